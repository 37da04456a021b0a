"""The control socket: how the operator and the faces speak to the daemon. It decides nothing."""
