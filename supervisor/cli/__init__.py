"""The operator's words: each asks the daemon, or a reader process, and prints what came of it."""
