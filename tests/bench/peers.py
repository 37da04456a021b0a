"""Who is measured: keepd in several settings, the loop in C, and supervisord where it is installed.

A peer prepares a folder for some services and returns the command that supervises them.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = str(Path(__file__).parents[2])
_CONFIG = """\
version: 1
runtime_dir: {memory}/run
log_dir: {folder}/log
defaults:
  restart: always
  backoff: {{first: 0s}}
{more}services:
"""
SET_UP = 'umask: "077"'  # something to be done between birth and exec
_OLD_CONFIG = """\
[supervisord]
nodaemon=true
minfds={minfds}
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer runs, and what: the helpers, the FIFO that services tell, their number."""

    folder: str
    memory: str  # another one, that is no disk
    tools: object
    fifo: str
    count: int

    def commands(self):
        """Return [(name, argv)] of the services; a peer numbers them from 1."""
        numbers = range(1, self.count + 1)
        return [(f"s{at:04d}", [self.tools.service, self.fifo, str(at)]) for at in numbers]


@dataclass(frozen=True, slots=True)
class Loop:
    """The raw limit; `sessions`: that of whoever gives each service a session of its own."""

    name: str = "C loop"
    sessions: bool = False
    hides_groups: bool = False

    def argv(self, site):
        return [
            site.tools.loop,
            site.fifo,
            site.tools.service,
            str(site.count),
            str(int(self.sessions)),
        ]


@dataclass(frozen=True, slots=True)
class Keepd:
    """keepd from this tree, in the foreground."""

    name: str
    groups: bool = False  # a cgroup for each service
    logs: bool = False  # their output is written to files, with time stamps
    more: str = ""  # keys of every service, as lines of YAML

    @property
    def hides_groups(self):
        return not self.groups

    def argv(self, site):
        more = "" if self.logs else "  log: {to: none}\n"
        more += f"  {self.more}\n" if self.more else ""
        text = _CONFIG.format(folder=site.folder, memory=site.memory, more=more)
        for name, argv in site.commands():
            text += f"  {name}:\n    command: [{', '.join(map(repr, argv))}]\n"
        config = Path(site.folder, "keepd.yaml")
        config.write_text(text, encoding="utf-8")
        keepd = "import sys; sys.path.insert(0, sys.argv.pop(1)); import supervisor.__main__"
        return [sys.executable, "-c", keepd, _ROOT, "-c", str(config), "up"]


@dataclass(frozen=True, slots=True)
class Supervisord:
    """supervisord 4; BENCH_SUPERVISORD says where it is, else it is looked for in PATH."""

    name: str = "supervisord"
    hides_groups: bool = False

    def argv(self, site):
        minfds = max(1024, 3 * site.count + 64)  # with the default it ends at about 330 services
        text = _OLD_CONFIG.format(folder=site.folder, minfds=minfds)
        for name, argv in site.commands():
            text += f"[program:{name}]\ncommand={' '.join(argv)}\nstdout_logfile=NONE\n"
            text += "redirect_stderr=true\nautorestart=true\nstartsecs=0\nstartretries=1000000\n"
        config = Path(site.folder, "supervisord.conf")
        config.write_text(text, encoding="utf-8")
        return [_supervisord(), "-c", str(config)]


def _supervisord():
    return os.environ.get("BENCH_SUPERVISORD") or shutil.which("supervisord")


def others():
    """Return the peers that are no keepd."""
    loops = [Loop(), Loop("C loop, setsid", sessions=True)]
    if _supervisord():
        return [*loops, Supervisord()]
    print("supervisord: not installed (pip install supervisor==4.3.0; BENCH_SUPERVISORD=its path)")
    return loops


def group_mount():
    """Return where cgroup v2 is mounted; "" where keepd would make no groups anyway."""
    if os.geteuid() or os.path.isdir("/run/systemd/system"):
        return ""
    mounts = map(str.split, Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    return next((mount[1] for mount in mounts if mount[2] == "cgroup2"), "")
