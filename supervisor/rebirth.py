"""Another image for the same process: whoever is the anchor from now on, with its pid and children.

execve keeps pid, parent, children, and the descriptors that are to be kept; a subreaper stays one.
What the new image must know goes along in a file without a name. A master in its anchor's place
needs no other image: it has the one that both were forked from.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping

from supervisor import launch
from supervisor.launch import Launch
from supervisor.records import asdict, record
from supervisor.unix import notify, process, signals

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from supervisor import anchor; anchor.resume()"
MOST_ASHES = 32  # masters that have become the anchor one after the other, in one image
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_ashes: list[object] = []


@record(frozen=True)
class State:
    """What one anchor leaves to the next."""

    launch: Launch
    nofile: int  # the soft descriptor limit that services get
    born: float  # monotonic seconds
    foreign: frozenset[int]  # children that whoever became keepd by exec had already
    kept: Mapping[str, int]  # descriptors by name
    stopping: bool = False  # all is to end: whoever comes next goes on with that
    untold: notify.Untold = ()  # what systemd had no room for


def become_anchor(left: State) -> None:
    """Be the anchor in another image, with what an anchor has kept; OSError.

    Signals wait until that image hears them.
    """
    state = {**asdict(left), "launch": asdict(left.launch), "foreign": list(left.foreign)}
    state["kept"] = dict(left.kept)
    start, kept = left.launch, left.kept
    told = os.memfd_create("keepd", 0)
    os.write(told, json.dumps(state).encode())
    for fd in (start.lock_fd, *kept.values()):
        os.set_inheritable(fd, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.ALL)
    try:
        os.execv(sys.executable, [sys.executable, "-c", _CODE, ROOT, str(told)])
    except OSError:
        os.close(told)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise


def state() -> State:
    """Return what become_anchor was given, in the new image; nothing else is open here."""
    told = int(sys.argv[2])
    with open(f"/proc/self/fd/{told}", "rb") as file:
        found = json.load(file)
    start = Launch(**{**found["launch"], "names": tuple(found["launch"]["names"])})
    foreign = frozenset(found["foreign"])
    stopping = found.get("stopping", False)  # an older keepd does not tell
    untold = tuple((key, text, tuple(fds)) for key, text, fds in found.get("untold", ()))
    left = State(start, found["nofile"], found["born"], foreign, found["kept"], stopping, untold)
    let_go(left)
    return left


def in_place(left: State, ashes: object, be: Callable[[], int]) -> int:
    """Be the anchor in the place of one that has died, in the image that it had itself.

    What a master has in memory (`ashes`) stays there, unused; so after some such deaths another
    image begins.
    """
    _ashes.append(ashes)  # collected, its objects would close what has their numbers by then
    if len(_ashes) > MOST_ASHES:
        with contextlib.suppress(OSError):  # then in this image all the same
            become_anchor(left)
    gc.collect()
    gc.freeze()
    with signals.held_back():  # until there is somebody who hears them
        signals.reset(mask=False)  # else they would be written to whatever has the pipe's number
        let_go(left)
        return be()


def let_go(left: State) -> None:
    """Close everything but what an anchor has, and be it for whoever looks."""
    process.close_others({left.launch.lock_fd, *left.kept.values()})
    process.keep_private()
    launch.sign(left.launch.lock_fd)
