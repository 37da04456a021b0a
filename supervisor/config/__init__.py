"""YAML in, a plan out; or all faults at once, with file, line, column and the likely fix.

The only room that knows YAML. Nothing here starts, stops or signals a service.
"""
