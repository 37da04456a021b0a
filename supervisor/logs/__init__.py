"""The log path: from what services print to log files, and back to people's eyes."""
