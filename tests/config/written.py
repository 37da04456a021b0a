"""Configs written for a test, and what the reader says of them."""

import textwrap

from supervisor.config.faults import lines
from supervisor.config.places import Overrides
from supervisor.config.plan import Plan
from supervisor.config.read import read

ENVIRON = {"HOME": "/home/ada", "USER": "ada", "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": "/run/u"}


def by(uid=0, runtime_dir=None, **environ):
    return Overrides(runtime_dir=runtime_dir, environ=ENVIRON | environ, uid=uid)


class Folder:
    """A folder of configs: `write` files, then ask for the `plan` or for what is `told`."""

    def __init__(self, path):
        self.path = path

    def write(self, text, name="keepd.yaml"):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(file)

    def read(self, text, overrides=None):
        return read(self.write(text), overrides or by())

    def plan(self, text, overrides=None):
        plan = self.read(text, overrides)
        assert isinstance(plan, Plan), "\n".join(lines(plan))
        return plan

    def told(self, text, overrides=None):
        """Return the faults as lines, the folder's own path left out."""
        faults = self.read(text, overrides)
        assert isinstance(faults, tuple), "nothing is wrong with it"
        return [line.replace(f"{self.path}/", "") for line in lines(faults)]

    def service(self, text, overrides=None):
        """Return the first replica of a service given by its keys."""
        keys = textwrap.indent(textwrap.dedent(text), "    ")
        return self.plan(f"services:\n  web:\n{keys}", overrides).services["web"][0]

    def told_of(self, text, overrides=None):
        """Return the faults of one service given by its keys; its first line is line 3."""
        keys = textwrap.indent(textwrap.dedent(text), "    ")
        return self.told(f"services:\n  web:\n{keys}", overrides)
