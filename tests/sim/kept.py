"""What masters leave behind when they are killed: the only thing that their successors know."""

import json

from supervisor.core import memory
from supervisor.core.events import Noted, ShutdownWanted, StartWanted


class Kept:
    """Notes, specs and flags, each written at once or not at all, one after the other."""

    def __init__(self, core, specs, names):
        self.core = core
        self.plan = specs  # in force: written before it is told
        self.names = names  # whom the first start is for
        self.started = False  # and has been noted whole
        self.shutdown = False
        self.exit_code = 0
        self.notes = {}
        self.specs = {}  # of each replica, when it was noted

    def write(self, supervisor, key):
        service = supervisor.services[key]
        text = json.dumps(self.core.note(service))
        assert len(text) <= memory.SIZE, f"too long: {text}"
        self.notes[key], self.specs[key] = text, service.spec

    def flags(self, supervisor):
        self.shutdown, self.exit_code = supervisor.shutdown, supervisor.exit_code

    def forget(self, key):
        self.specs.pop(key, None)
        run = json.loads(self.notes[key]).get("run", 0)
        self.notes[key] = json.dumps(memory.forgotten(run))

    def carried_out(self, event, supervisor, outputs):
        """Return what a master does with an answer, step by step: first it notes, then it acts."""
        noted = dict.fromkeys(output.id for output in outputs if type(output) is Noted)
        steps = [(self.flags, supervisor)] if supervisor.shutdown != self.shutdown else []
        steps += [(self.write, supervisor, key) for key in noted]
        if type(event) is StartWanted and not self.started:
            steps.append((setattr, self, "started", True))
        return steps, [o for o in outputs if type(o) is not Noted], noted

    def successor(self, seed, budget):
        """Return a supervisor of whatever was noted, which has heard nothing yet."""
        specs = {}
        for key, spec in self.specs.items():
            name, _, number = key.rpartition("/")
            replicas = specs.setdefault(name, [])
            replicas.extend([spec] * (int(number) + 1 - len(replicas)))
            replicas[int(number)] = spec
        supervisor = self.core.Supervisor(specs, seed=seed, budget=budget)
        supervisor.exit_code = self.exit_code
        return supervisor

    def recalled(self):
        return {key: json.loads(text) for key, text in self.notes.items()}

    def next_words(self, plan):
        """Return what the successor is told of what is wanted."""
        if self.shutdown:
            return ShutdownWanted()
        return plan

    def is_true_of(self, supervisor):
        """Assert that whoever recalls it is just where this one is."""
        for key, service in supervisor.services.items():
            noted = json.loads(self.notes[key])
            names = ("wanted", "run", "failures", "removed")
            for name in (*names, *(("due",) if service.at_rest else ("born",))):
                is_now = getattr(service, name)
                assert noted.get(name, 0) == is_now, f"{key}: {name} {is_now} is not noted"
            assert noted["state"] == service.state, f"{key}: {service.state} is not noted"
