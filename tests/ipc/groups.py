"""Cgroups with a limit, for tests of what happens when memory or processes run short."""

import contextlib
import os
import re

import pytest

ROOT = "/sys/fs/cgroup"
LIMITS = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max", "pids.max")}


class Group:
    """A cgroup with a limit, of version 1 or 2, whichever is there to be written."""

    def __init__(self, controller, limit):
        self.second = os.path.exists(f"{ROOT}/cgroup.controllers")
        with open("/proc/self/cgroup", encoding="ascii") as file:
            line = "^0::(.*)$" if self.second else rf"^\d+:{controller}:(.*)$"
            own = re.search(line, file.read(), re.MULTILINE)[1]
        root = ROOT if self.second else f"{ROOT}/{controller}"
        self.path = f"{root}{own.rstrip('/')}/test-{os.getpid()}"
        self.limits = LIMITS[controller][self.second]
        os.mkdir(self.path)
        try:
            self.limit(limit)
        except OSError:
            os.rmdir(self.path)
            raise

    def limit(self, limit):
        self.write(self.limits, limit)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write(str(value))

    def enter(self):
        self.write("cgroup.procs", os.getpid())

    def refuse(self):
        """Let what is too much be refused, where the kernel can, and nobody be killed for it."""
        if not self.second:
            self.write("memory.oom_control", 1)


@contextlib.contextmanager
def limited(controller, limit):
    try:
        group = Group(controller, limit)
    except (OSError, TypeError):
        pytest.skip(f"no {controller} cgroup may be made here")
    try:
        yield group
    finally:
        os.rmdir(group.path)
