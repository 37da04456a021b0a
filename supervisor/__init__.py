"""keepd: a fault-tolerant supervisor daemon for Unix."""

__version__ = "0.1.0"
