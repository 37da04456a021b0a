"""A queue under fire: producers and consumers who are killed and stopped, and the books on it."""

import mmap
import multiprocessing
import os
import random
import signal
import struct
from collections import Counter
from dataclasses import dataclass, field

from tests.ipc.deaths import LIMIT, ended, forked, killed, paused, until

WORDS = 1 << 16
RECORD = struct.Struct("<II")


@dataclass(frozen=True)
class Battle:
    kills: int
    producers: int = 4
    consumers: int = 2
    victims: tuple[str, ...] = ("producers", "consumers")
    stops: float = 0.0  # the share of victims that are stopped and go on, instead of dying
    spawned: float = 0.0  # the share of processes that are spawned, not forked
    sizes: tuple[int, ...] = (0, 1, 20, 100, 1000, 5000)
    seed: int = 0
    limit: float = LIMIT


@dataclass
class Outcome:
    accepted: int = 0
    received: int = 0
    killed: Counter = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    hung: bool = False

    def clean(self):
        """Return whether nobody but killed consumers has taken a message along, one each."""
        worst = self.lost <= self.killed["consumers"]
        return worst and not (self.doubled or self.torn or self.hung)


class Books:
    """What is known of each process after its death: words in a file that all have mapped."""

    def __init__(self, folder):
        self.folder = folder
        path = os.path.join(folder, "books")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.truncate(fd, WORDS * 8)
        self.words = memoryview(mmap.mmap(fd, WORDS * 8)).cast("Q")
        os.close(fd)

    def __reduce__(self):
        return Books, (self.folder,)

    def log(self, number):
        return os.path.join(self.folder, f"{number}.log")


def message(number, count, sizes):
    """Return a message that shows whether it is whole, as bytes or as an object."""
    size = sizes[random.Random(number * 1_000_003 + count).randrange(len(sizes))]
    payload = bytes([(number + count) % 256]) * size
    if count % 2:
        return RECORD.pack(number, count) + payload
    return number, count, payload


def opened(said):
    """Return number and count of a message, None if it is not whole."""
    if isinstance(said, bytes):
        number, count = RECORD.unpack_from(said)
        payload = said[RECORD.size :]
    else:
        number, count, payload = said
    whole = payload == bytes([(number + count) % 256]) * len(payload)
    return (number, count) if whole else None


def produce(queue, books, number, sizes):
    """Put numbered messages and note each that was accepted, until word 0 says stop."""
    count = 0
    while not books.words[0]:
        count += 1
        queue.put(message(number, count, sizes))
        books.words[number] = count


def consume(queue, books, number):
    """Get messages and note each, until told to stop by None."""
    log = os.open(books.log(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while (said := queue.get()) is not None:
        os.write(log, RECORD.pack(*(opened(said) or (0, 0))))
        books.words[number] += 1


class Fire:
    """One battle over one queue; fight() returns what became of it."""

    def __init__(self, queue, battle, folder):
        self.queue, self.battle = queue, battle
        self.books = Books(str(folder))
        self.chance = random.Random(battle.seed)
        self.last = 0
        self.people = {"producers": {}, "consumers": {}}  # pid by number
        self.everyone = {"producers": [], "consumers": []}
        self.spawner = multiprocessing.get_context("spawn")
        self.spawned = {}
        self.outcome = Outcome()

    def starts(self, side):
        self.last += 1
        number = self.last
        args = (self.queue, self.books, number)
        work, args = (
            (produce, (*args, self.battle.sizes)) if side == "producers" else (consume, args)
        )
        if self.chance.random() < self.battle.spawned:
            process = self.spawned[number] = self.spawner.Process(target=work, args=args)
            process.start()
            pid = process.pid
        else:
            pid = forked(lambda: work(*args))
        self.people[side][number] = pid
        self.everyone[side].append(number)

    def fight(self):
        for side in self.people:
            for _ in range(getattr(self.battle, side)):
                self.starts(side)
        try:
            for _ in range(self.battle.kills):
                self.strike()
            self.peace()
        except AssertionError:
            self.outcome.hung = True
        finally:
            for pid in (*self.people["producers"].values(), *self.people["consumers"].values()):
                killed(pid)
        return self.counted()

    def progress(self):
        return sum(self.books.words[number] for number in self.everyone["consumers"])

    def strike(self):
        """Kill somebody, or stop him for a while; then see that messages still arrive."""
        side = self.chance.choice(self.battle.victims)
        number, pid = self.chance.choice(list(self.people[side].items()))
        paused(self.chance.random() * 0.002)
        if self.chance.random() < self.battle.stops:
            os.kill(pid, signal.SIGSTOP)
            paused(self.chance.random() * 0.01)
            os.kill(pid, signal.SIGCONT)
        else:
            del self.people[side][number]
            killed(pid)
            self.outcome.killed[side] += 1
            self.starts(side)
        before = self.progress()
        until(lambda: self.progress() > before, self.battle.limit)

    def peace(self):
        """Let the producers end, and the consumers take what is left."""
        self.books.words[0] = 1
        for number, pid in list(self.people["producers"].items()):
            del self.people["producers"][number]
            assert ended(pid, self.battle.limit) == 0
        for _ in self.people["consumers"]:
            self.queue.put(None)
        for number, pid in list(self.people["consumers"].items()):
            del self.people["consumers"][number]
            assert ended(pid, self.battle.limit) == 0

    def counted(self):
        """Compare what was accepted with what was received."""
        outcome, received = self.outcome, Counter()
        for number in self.everyone["consumers"]:
            if os.path.exists(self.books.log(number)):
                with open(self.books.log(number), "rb") as log:
                    received.update(RECORD.iter_unpack(log.read()))
        outcome.torn = received.pop((0, 0), 0)
        outcome.received = received.total()
        outcome.doubled = received.total() - len(received)
        for number in self.everyone["producers"]:
            accepted = self.books.words[number]
            outcome.accepted += accepted
            outcome.lost += sum((number, at) not in received for at in range(1, accepted + 1))
        return outcome
