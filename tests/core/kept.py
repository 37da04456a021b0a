"""A crew whose master may be killed: what was noted is kept, and all else is lost."""

import json

from supervisor.core import memory
from supervisor.core.events import Do, Noted, PlanWanted, Recalled, ShutdownWanted
from supervisor.core.supervisor import Supervisor

from .crew import Crew


class Kept(Crew):
    """A crew whose notes are kept, and whose master may be killed and followed by another."""

    def __init__(self, *specs, **options):
        super().__init__(*specs, **options)
        self.plan = {spec.name: (spec,) * spec.replicas for spec in specs}
        self.notes = {}
        self._listen()

    def _listen(self):
        self._keep(self.keys)
        handle = self.supervisor.handle

        def noting(event, now):
            outputs = handle(event, now)
            self._keep(o.id for o in outputs if isinstance(o, Noted))
            return outputs

        self.supervisor.handle = noting

    def _keep(self, keys):
        for key in keys:
            self.notes[key] = json.dumps(memory.note(self.supervisor.services[key]))

    def reload(self, *specs, **expected):
        self.plan = {spec.name: (spec,) * spec.replicas for spec in specs}
        return self.hears(PlanWanted(self.plan), **expected)

    def is_killed(self, *, away=0.0, does=None, then=None, born_with=None, shutdown=False):
        """Be followed by another master, which does this, and `then` that for its plan."""
        self.now += away
        self.supervisor = Supervisor(born_with or self.plan)
        recalled = Recalled({key: json.loads(note) for key, note in self.notes.items()})
        outputs = self.supervisor.handle(recalled, self.now)
        found = {}
        for output in outputs:
            if isinstance(output, Do):
                found.setdefault(output.id, []).append(output.action)
        assert found == (does or {})
        self._listen()
        self.hears(ShutdownWanted() if shutdown else PlanWanted(self.plan), does=then)

    def replica(self, key="web/0"):
        return self.supervisor.services[key]
