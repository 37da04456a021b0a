"""A real systemd that is PID 1 of a box of its own, with keepd in it as a unit."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "keepd.service"
SDBOX = Path(__file__).with_name("sdbox")
LIMIT = 60.0  # seconds: more than anything here takes on a busy machine

WRAPPER = f"""\
#!/bin/sh
PYTHONPATH={ROOT} exec {sys.executable} -m supervisor "$@"
"""


class Box:
    """A systemd of our own, and what can be said to it."""

    def __init__(self, folder):
        self.folder = folder

    def up(self):
        here = os.stat("/").st_dev
        places = {str(ROOT), sys.prefix, sys.base_prefix}
        self.told("up", *sorted(p for p in places if os.stat(p).st_dev != here))

    def down(self):
        self.told("down")

    def told(self, verb, *words, text=None, check=True):
        done = subprocess.run(
            [SDBOX, verb, self.folder, *words],
            input=text or "",
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert not (check and done.returncode), f"{verb} {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def sh(self, *words, **options):
        return self.told("sh", *words, **options)

    def write(self, path, text, mode="644"):
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        self.sh("sh", "-c", script, "sh", path, mode, text=text)

    def install(self, config):
        """Put keepd in it, as a user would."""
        self.write("/usr/local/bin/keepd", WRAPPER, "755")
        self.write("/etc/keepd/keepd.yaml", config)
        self.write("/etc/systemd/system/keepd.service", UNIT.read_text(encoding="utf-8"))
        self.sh("systemctl", "daemon-reload")

    def drop_in(self, name, text):
        """Add to the unit."""
        self.write(f"/etc/systemd/system/keepd.service.d/{name}.conf", text)
        self.sh("systemctl", "daemon-reload")

    def show(self, name):
        return self.sh("systemctl", "show", "--value", "-p", name, "keepd").strip()

    def sleepers(self):
        lines = self.sh("ps", "-eo", "args").splitlines()
        return sorted(line for line in lines if line.startswith("sleep 100000"))

    def until(self, name, value):
        end = time.monotonic() + LIMIT
        while (found := self.show(name)) != value:
            assert time.monotonic() < end, f"{name}: {found}\n{self.journal()}"

    def journal(self):
        return self.sh("journalctl", "--no-pager", "-u", "keepd", check=False)


@contextlib.contextmanager
def installed(folder, config):
    """A box, with keepd in it, that is there for so long."""
    box = Box(folder)
    try:
        box.up()
        box.install(config)
        yield box
    finally:
        box.down()
