"""What a keepd is started with: decided by the command line, kept by the anchor for life."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """The plan itself is not in here: it is run_dir/applied.json, written before the launch."""

    run_dir: str  # absolute, 0700, ours
    log_dir: str
    project: str
    folder: str  # of the config: where services start that say nothing else
    lock_fd: int  # run_dir/lock, locked: the right to be this daemon, lost with the descriptor
    names: tuple[str, ...] = ()  # patterns of what to start first; empty: everything
    foreground: bool = True  # False: detached; nobody watches a terminal, a hang-up ends nothing
    colour: bool = False  # the terminal shows colours
