"""Fault injection that operators run too: kill or stop keepd, and say what came of it."""
