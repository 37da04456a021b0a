"""keepd as PID 1 of a container: whoever loses its parent there is its child, and is reaped."""

import subprocess
import sys
import textwrap

import pytest

from tests.daemon.harness import children, kill, until

CONFIG = "services: {web: {command: [sleep, '1000'], replicas: 2}}"
# Forks as many as it is told and ends; they become children of PID 1, and die in one instant.
STRANGERS = """
import os, sys
out, end = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(end)
        os.read(out, 1)
        os._exit(3)
if os.fork() == 0:
    parent = os.getppid()
    while os.getppid() == parent:
        pass
"""


@pytest.mark.parametrize("number", [10, 3000])
def test_f40_however_many_strangers_die_at_once_none_stays_a_zombie(keepd, number):
    one = keepd(CONFIG, under=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    one.up()
    (first,) = children(one.process.pid)
    before = len(children(first))
    inside = ["nsenter", "--target", str(first), "--pid", "--mount", sys.executable, "-c"]
    code = textwrap.dedent(STRANGERS)
    subprocess.run([*inside, code, str(number)], check=True, stdin=subprocess.DEVNULL, timeout=60)
    until(lambda: len(children(first)) == before, limit=15, every=0.1)
    assert all(replica["run"] == 1 for replica in one.replicas())
    kill(first, number=15)
    assert one.process.wait(20) == 0
