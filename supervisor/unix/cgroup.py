"""Cgroup v2: one group a replica, where the tree is ours to write.

Ours is what systemd has delegated to our unit or, where no systemd manages the machine, what lies
below the group that we were started in. Nothing is ever created, moved or killed elsewhere; any
doubt or failure means that we do without groups.

    <base>/                 the unit's group; or keepd.<project>.<hash of the runtime directory>
      keepd/                the leaf: anchor, master and their helpers
      services/web.0/       one group a replica, kept over its runs
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib

from supervisor.ipc.filelock import is_locked
from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.records import record

from .process import whole

GUEST = "KEEPD_GUEST"  # in our environment: what systemd has delegated is not for us
_ROUNDS = 100
_KILL = 9
_MARKS = ("user.keepd", "trusted.keepd")  # whose the services of a unit are; the first that goes
_MADE = re.compile(r"keepd\..+\.[0-9a-f]{8}")  # a base that is no unit's, but made by us


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


@record(frozen=True)
class Group:
    """One group; `home` is where keepd's own processes live."""

    path: str
    home: str

    def procs(self) -> list[int]:
        """Return the pids of all processes in it, zombies not among them."""
        try:
            return [int(pid) for pid in whole(f"{self.path}/cgroup.procs").split()]
        except FileNotFoundError:
            return []

    def populated(self) -> bool:
        """Return whether a process lives in it, or in a group below it."""
        try:
            return b"populated 1" in whole(f"{self.path}/cgroup.events")
        except FileNotFoundError:
            return False

    def enter(self) -> None:
        """Move ourselves into it, so that what we start is born there; it is made if need be."""
        try:
            _write(f"{self.path}/cgroup.procs", b"0")
        except FileNotFoundError:
            os.makedirs(self.path, exist_ok=True)
            _write(f"{self.path}/cgroup.procs", b"0")

    def go_home(self) -> None:
        """Move ourselves back; if that cannot be, the next birth tries again, see kill()."""
        with contextlib.suppress(OSError):
            _write(f"{self.home}/cgroup.procs", b"0")

    def make(self) -> str:
        """Return its folder, for a newborn that enters by itself."""
        os.makedirs(self.path, exist_ok=True)
        return self.path

    def renew(self) -> int:
        """Return a descriptor of the group, made anew, for a newborn to be born in; -1 if not.

        A group that was ever killed kills all that clone3 bears in it, by kernels that compare the
        count of kills with that of the parent's group (seen on 6.18).
        """
        with contextlib.suppress(OSError):
            self.remove()
            os.mkdir(self.path)
            return os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        return -1

    def everybody(self) -> list[int]:
        """Return the pids in it and in the groups below."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.path):
            found += Group(folder, self.home).procs()
        return found

    def signal(self, signum: int) -> None:
        """Send a signal to everybody in it."""
        held: dict[int, int] = {}
        try:
            for pid in self.everybody():
                with contextlib.suppress(ProcessLookupError):
                    held[pid] = open_pidfd(pid)
            # Who is in the group now, after the pidfd was opened, is one of the group's.
            for pid in {*self.everybody()} & {*held} - {os.getpid()}:
                with contextlib.suppress(PermissionError):
                    send_signal(held[pid], signum)
        finally:
            for fd in held.values():
                os.close(fd)

    def kill(self) -> None:
        """KILL to everybody in it; their deaths are told later. Never to ourselves."""
        if os.getpid() in self.procs():
            self.go_home()
        try:
            if os.getpid() not in self.procs():
                _write(f"{self.path}/cgroup.kill", b"1")
                return
        except FileNotFoundError:  # no such group, or a kernel before 5.14
            pass
        self._kill_each()

    def _kill_each(self) -> None:
        for _ in range(_ROUNDS):
            if not {*self.everybody()} - {os.getpid()}:
                return
            self.signal(_KILL)

    def remove(self) -> None:
        """Remove it and what is below; a group that is not empty stays."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


@record(frozen=True)
class Tree:
    """The part of the hierarchy that is ours. `base` is a folder; `outside` where we came from."""

    base: str
    outside: str

    @property
    def leaf(self) -> Group:
        """The group of keepd's own processes."""
        return Group(f"{self.base}/keepd", f"{self.base}/keepd")

    @property
    def services(self) -> Group:
        """The group above those of all replicas."""
        return Group(f"{self.base}/services", f"{self.base}/keepd")

    def group(self, replica: str) -> Group:
        """Return the group of "web/0"; it need not exist yet.

        A service's name may hold dots, its replica's number does not: the last dot tells.
        """
        name = ".".join(replica.rsplit("/", 1))
        return Group(f"{self.base}/services/{name}", f"{self.base}/keepd")

    def settle(self) -> None:
        """Make it and move ourselves into the leaf, with all who are with us in a unit's group."""
        os.makedirs(self.services.path, exist_ok=True)
        os.makedirs(self.leaf.path, exist_ok=True)
        self.leaf.enter()
        if self.base == self.outside:
            for pid in Group(self.base, self.base).procs():
                with contextlib.suppress(ProcessLookupError):
                    _write(f"{self.leaf.path}/cgroup.procs", b"%d" % pid)

    def remove(self) -> None:
        """Go back where we came from and leave nothing; the last of our processes calls it."""
        self.services.remove()
        with contextlib.suppress(OSError):
            _write(f"{self.outside}/cgroup.procs", b"0")
        self.leaf.remove()
        if _MADE.fullmatch(os.path.basename(self.base)):
            with contextlib.suppress(OSError):
                os.rmdir(self.base)


def _mount() -> tuple[str, str] | None:
    """Return (mount point, the part of the hierarchy that it shows) of cgroup v2."""
    for line in whole("/proc/self/mountinfo").decode().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            root, point = left.split(" ")[3:5]
            return re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), point), root
    return None


def _own_folder() -> str | None:
    """Return the folder of the group that we are in, if it can be seen."""
    mount = _mount()
    if mount is None:
        return None
    point, root = mount
    for line in whole("/proc/self/cgroup").decode().splitlines():
        if line.startswith("0::/"):
            path = line[3:]
            inside = path == root or path.startswith(root.rstrip("/") + "/")
            if not inside or "/../" in f"{path}/":
                return None
            return os.path.normpath(f"{point}/{path[len(root.rstrip('/')) :]}")
    return None


def _delegated(folder: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _writable(folder: str) -> bool:
    return os.access(folder, os.W_OK) and os.access(f"{folder}/cgroup.procs", os.W_OK)


def _find(project: str, run_dir: str) -> tuple[Tree | None, str]:
    own = _own_folder()
    if own is None:
        return None, "no cgroup v2 hierarchy shows the group that we are in"
    above = os.path.dirname(own) if os.path.basename(own) == "keepd" else own
    if os.path.isdir("/run/systemd/system"):
        if GUEST in os.environ:
            return None, "what systemd has delegated is another keepd's"
        if not _delegated(above):
            return None, f"systemd has not delegated {above} (Delegate=yes in the unit does)"
        return Tree(above, above), ""
    if not _writable(own):
        return None, f"{own} is not ours to write"
    name = re.sub(r"[^A-Za-z0-9_.@-]", "_", project)[:64]
    return Tree(f"{own}/keepd.{name}.{zlib.crc32(os.fsencode(run_dir)):08x}", own), ""


def _taken(folder: str, run_dir: str) -> str:
    """Mark a folder as ours; return whose it is, where another keepd that lives has done so."""
    for name in _MARKS:
        try:
            os.setxattr(folder, name, os.fsencode(run_dir), os.XATTR_CREATE)
        except FileExistsError:
            owner = os.fsdecode(os.getxattr(folder, name))
            if owner != run_dir:
                if _lives(owner):
                    return owner
                os.setxattr(folder, name, os.fsencode(run_dir))
        except OSError:  # an older kernel has not the one, who is not root not the other
            continue
        return ""
    return ""


def _lives(run_dir: str) -> bool:
    """Return whether the keepd of a runtime directory is there: it has its lock."""
    try:
        fd = os.open(f"{run_dir}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # of another user
        return True
    try:
        return is_locked(fd)
    finally:
        os.close(fd)


def settle(project: str, run_dir: str, before: str = "") -> tuple[Tree | None, str]:
    """Return our tree, with ourselves in its leaf; or None, and why we do without, in words.

    `before` is the base of the tree in which an earlier keepd has left its services, if it had one:
    it stays theirs wherever we are ourselves.
    """
    try:
        tree, why = _find(project, run_dir)
        if before and os.path.isdir(f"{before}/services") and (not tree or tree.base != before):
            own = _own_folder() or before
            inside = own == before or own.startswith(f"{before}/")
            made = _MADE.fullmatch(os.path.basename(before))
            outside = own if not inside else os.path.dirname(before) if made else before
            tree, why = Tree(before, outside), ""
        if tree is not None and not _MADE.fullmatch(os.path.basename(tree.base)):
            os.makedirs(tree.services.path, exist_ok=True)
            if owner := _taken(tree.services.path, run_dir):
                return None, f"those of {tree.base} are the ones of the keepd in {owner}"
        if tree is not None:
            tree.settle()
    except OSError as error:
        return None, f"cannot set up cgroups: {error.strerror}: {error.filename!r}"
    return tree, why
