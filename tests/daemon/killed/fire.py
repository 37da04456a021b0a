"""A keepd under fire: its processes are killed at random while its services are made to move.

The services are witnesses (programs/witness.py); what they have seen is judged in the end: nobody
was ever doubled, nobody started again but after an end that was planned or asked for, and each line
that was printed stands in the log once, whole and in order.
"""

import collections
import contextlib
import random
import re
import select
import signal
import statistics
import subprocess
import time

from supervisor.control.client import NoDaemon, Refused
from tests.daemon.harness import (
    PROGRAMS,
    alive,
    children,
    kill,
    kill_at_once,
    program,
    read,
    tagged,
    until,
)
from tests.daemon.logged import paths, unstamped

UNFINISHED = " [keepd: no newline at the end]"
AWAY = (NoDaemon, Refused, TimeoutError)


def services(folder, *, times=1):
    """Return a list of all kinds of services: ten replicas, so many times."""
    folder = str(folder)
    function = f"python: 'witness:live', env: {{PYTHONPATH: '{PROGRAMS}'}}, args: ['{folder}'"
    return f"""
    defaults:
      backoff: {{first: 50ms, factor: 1.5, limit: 300ms}}
      stop: {{timeout: 3s}}
      log: {{max_size: 20KB, max_files: 1000, compress: false}}
    services:
      plain: {{command: {program("witness", folder)}, replicas: {3 * times}}}
      prepared: {{command: {program("witness", folder)}, umask: "022", replicas: {times}}}
      function: {{{function}], replicas: {times}}}
      clan: {{command: {program("witness", folder, "child")}, replicas: {times}}}
      loops: {{command: {program("witness", folder, "life=1", "child")}, replicas: {times}}}
      loopsfn: {{{function}, "life=1"], replicas: {times}}}
      notifies: {{command: {program("witness", folder, "notify", "life=4")},
                 ready: {{notify: true}}, replicas: {times}}}
      tells: {{command: {program("witness", folder, "tells")}, ready: {{log: ready}},
              env: {{AGE: "0"}}, replicas: {times}}}
    """


class Fire:
    """What is done to one keepd, and what it must not notice."""

    def __init__(self, one, seed, *, detached=False):
        self.one = one
        self.dice = random.Random(seed)
        self.detached = detached
        self.asked = collections.Counter()  # at most so often each was told to end, by service
        self.asks = []  # who was told, and when; "" is everybody
        self.times = []  # that recoveries took
        self.age = 0
        self.kills = 0
        self.gone = []  # from when to when nothing at all was left of keepd

    # ---- keepd --------------------------------------------------------------------------------

    def up(self):
        if not self.detached:
            self.one.up(ready=False)
            return
        command = [*self.one.under, *self.one.command("up", "-d")]
        with open(self.one.folder / "ups", "ab") as said:
            streams = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
            done = subprocess.run(command, cwd=self.one.root, timeout=60, check=False, **streams)
        assert done.returncode == 0, (self.one.folder / "ups").read_text()

    def answers(self):
        """Return what status says, unless nobody answers at this moment."""
        try:
            return self.one.call("status")
        except AWAY:
            return None

    def daemon(self):
        """Return the `daemon` part of the status as soon as somebody answers."""
        return until(self.answers, every=0.005)["daemon"]

    def helpers(self, anchor):
        """Return the processes of keepd itself: title and pid, the anchor first."""
        found, waiting = [], [anchor]
        while waiting:
            pid = waiting.pop(0)
            title = read(pid, "cmdline").partition("\0")[0]
            if title.startswith("keepd: ") and alive(pid):
                found.append((title.removeprefix("keepd: "), pid))
                waiting += children(pid)
        return found

    def master(self, anchor):
        return next((pid for title, pid in self.helpers(anchor) if title == "master"), None)

    def hit(self, *pids):
        kill_at_once(*pids)
        self.kills += 1
        return time.monotonic()

    def recovers(self, since, changed):
        """Wait until status answers, and what it says of itself is as it must be."""

        def look():
            found = self.answers()
            return found if found and changed(found["daemon"]) else None

        until(look, every=0.002)
        self.times.append(time.monotonic() - since)

    def pause(self, limit):
        select.poll().poll(self.dice.random() * limit * 1000)

    def told(self):
        """Return how long recoveries took, in words."""
        if not self.times:
            return f"{self.kills} kills"
        median, most = statistics.median(self.times), max(self.times)
        return f"{self.kills} kills, recovery: median {median:.3f} s, max {most:.3f} s"

    # ---- services -----------------------------------------------------------------------------

    def stir(self):
        """Let something happen that takes a while."""
        what = self.dice.choice([self.restart, self.stop, self.crash, self.reload, lambda: None])
        with contextlib.suppress(*AWAY):
            what()

    def someone(self):
        name = self.dice.choice(["plain", "prepared", "function", "clan", "notifies"])
        key = f"{name}/0"
        self.asked[key] += 1
        self.asks.append((key, time.monotonic()))
        return key

    def restart(self):
        self.one.call("restart", {"names": [self.someone()]})

    def stop(self):
        key = self.someone()
        self.one.call("stop", {"names": [key]})
        self.pause(0.1)
        self.one.call("start", {"names": [key]})

    def crash(self):
        """A storm: many crash at once."""
        latest = {}
        for name, _, word, pid, *_ in self.journal():
            latest[name] = (word, int(pid))
        pids = [pid for word, pid in latest.values() if word == "start"]
        for pid in self.dice.sample(pids, len(pids) // 2):
            if f"KEEPD_RUN={self.one.run_dir}:" in read(pid, "environ"):
                kill(pid, number=signal.SIGUSR1)

    def reload(self):
        text = self.one.config.read_text()
        self.age += 1
        self.one.config.write_text(re.sub(r'AGE: "\d+"', f'AGE: "{self.age}"', text))
        for key in self.keys("tells"):
            self.asked[key] += 1
            self.asks.append((key, time.monotonic()))
        self.one.call("reload", {"yes": True})

    def keys(self, name):
        return {words[0] for words in self.journal() if words[0].startswith(f"{name}/")}

    # ---- what became of it --------------------------------------------------------------------

    def journal(self):
        path = self.one.folder / "journal"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def settles(self):
        """Wait until all is as it was wanted."""
        until(self.answers)
        self.one.call("start")
        until(lambda: all(r["state"] != "STOPPED" and r["wanted"] for r in self.one.replicas()))

    def ends(self):
        """Stop all of it, and wait until nothing is left."""
        self.asks.append(("", time.monotonic()))
        if self.detached:
            anchor = self.daemon()["pid"]
            assert self.one.run("down").returncode == 0
            until(lambda: not alive(anchor))
        else:
            assert self.one.stop() == 0
        assert tagged(self.one.run_dir) == []

    def judge(self):
        """Say what is wrong, of all that was seen."""
        two = self.one.folder / "two"
        assert not two.exists(), two.read_text()
        path = self.one.folder / "unheard"
        unheard = path.read_text().splitlines() if path.exists() else []
        assert all(self._was_gone(float(line.split()[0])) for line in unheard), unheard
        lives = collections.defaultdict(dict)
        for name, run, word, _, lines, at in self.journal():
            lives[name].setdefault(int(run), {})[word] = (int(lines), float(at))
        for name, runs in lives.items():
            self._judge_starts(name, runs)
            self._judge_lines(name, runs)

    def _was_gone(self, at):
        return any(first <= at <= last for first, last in self.gone)

    def _was_newborn(self, name, started):
        """Tell whether it was told to end before keepd could hear that its birth was over."""
        near = (at for who, at in self.asks if who == name and abs(at - started) < 0.5)
        end = (at for who, at in self.asks if who == "" and at - started < 0.5)  # `down` takes time
        return any(near) or any(end)

    def _judge_starts(self, name, runs):
        ends = [runs[number].keys() - {"start"} for number in sorted(runs)]
        unasked = [
            number
            for number, words in runs.items()
            if len(words) != 2 and not self._was_newborn(name, words["start"][1])
        ]
        assert not unasked, f"{name}: runs {unasked} of {runs} ended, and nobody had asked for it"
        terms = sum("term" in each for each in ends)
        assert terms <= self.asked[name] + 1, f"{name} was ended {terms} times: {runs}"

    def _judge_lines(self, name, runs):
        texts = [path.read_bytes() for path in paths(self.one, name)]
        assert all(text.endswith(b"\n") for text in texts)
        found, cut = collections.defaultdict(list), []
        for line in unstamped(self.one, name).decode().splitlines():
            if line == "ready":
                continue
            if line.endswith(UNFINISHED):
                cut.append(line.removesuffix(UNFINISHED))
                continue
            match = re.fullmatch(rf"{name} (\d+) (\d+) x*", line)
            assert match, f"torn: {line!r} of {name}"
            found[int(match[1])].append(int(match[2]))
        for number, words in runs.items():
            end = words.get("term", words.get("exit"))
            if end is None:
                continue
            lines, at = end
            said, printed = found[number], list(range(lines))
            if self._was_gone(at):  # nobody kept its last words, perhaps in the middle of a line
                printed = printed[: len(said)]
                rest = f"{name} {number} {len(said)} {'x' * 150}"
                cut = [line for line in cut if not rest.startswith(line)]
            assert said == printed, f"{name} run {number}: lost or doubled, of {lines} lines"
        assert not cut, f"torn: {cut} of {name}"
        assert found.keys() <= runs.keys()
