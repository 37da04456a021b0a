"""Another image for the same process: whoever is the anchor from now on, with its pid and children.

execve keeps pid, parent, children, and the descriptors that are to be kept; a subreaper stays one.
What the new image must know goes along in a file without a name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from supervisor import launch
from supervisor.launch import Launch
from supervisor.records import asdict
from supervisor.unix import process

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from supervisor import anchor; anchor.resume()"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def become_anchor(start: Launch, nofile: int, born: float, kept: Mapping[str, int]) -> None:
    """Be the anchor in another image, with what an anchor has kept; OSError."""
    state = {"launch": asdict(start), "nofile": nofile, "born": born, "kept": dict(kept)}
    told = os.memfd_create("keepd", 0)
    os.write(told, json.dumps(state).encode())
    for fd in (start.lock_fd, *kept.values()):
        os.set_inheritable(fd, True)
    os.execv(sys.executable, [sys.executable, "-c", _CODE, ROOT, str(told)])


def state() -> tuple[Launch, int, float, dict[str, int]]:
    """Return what become_anchor was given, in the new image; nothing else is open here."""
    told = int(sys.argv[2])
    with open(f"/proc/self/fd/{told}", "rb") as file:
        found = json.load(file)
    start = Launch(**{**found["launch"], "names": tuple(found["launch"]["names"])})
    kept: dict[str, int] = found["kept"]
    process.close_others({start.lock_fd, *kept.values()})
    process.keep_private()
    launch.sign(start.lock_fd)
    return start, found["nofile"], found["born"], kept
