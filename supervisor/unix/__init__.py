"""The only door to the kernel. Nothing here knows services, plans or decisions."""
