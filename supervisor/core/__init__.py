"""What to do: events in, actions out. Nothing here forks, sleeps, reads a clock or opens a file."""
