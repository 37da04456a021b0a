"""Crash-safe Process, queue and lock. Usable without the daemon; knows nothing of it."""
