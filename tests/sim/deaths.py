"""Masters that are killed at any point of what they do, and the next ones."""

from supervisor.core.events import (
    Adopt,
    Do,
    Forgot,
    Noted,
    PlanWanted,
    Recalled,
    ShutdownWanted,
    Spawn,
    StartWanted,
)

AWAY = (0.0, 0.0, 0.0, 0.01, 0.5, 5.0, 40.0)  # seconds until there is another


class Deaths:
    """The part of a schedule in which masters die; `kept` is what is left of them."""

    def foresee(self):
        """Return whether the master is to die of the next word, with what to go back to then."""
        if self.deadly and self.rng.random() < self.deadly:
            return True, self.witness.snapshot()
        return False, None

    def carry_out(self, event, outputs, foreseen):
        """Let the master note and act; return whether it has lived to see the end of that."""
        dies, before = foreseen
        self._precede(outputs)
        notes, acts, noted = self.kept.carried_out(event, self.supervisor, outputs)
        cut = len(notes) + len(acts) + 1
        if dies:
            cut = int(self.rng.random() * cut)
        for write, *what in notes[:cut]:
            write(*what)
        if cut >= len(notes):
            self.kept.is_true_of(self.supervisor)
        left = max(cut - len(notes), 0)
        for output in acts[:left]:
            self.act(output)
        if self.witness.left is not None and left >= len(acts):
            self.deadly = 0.0  # there is no master any more
        elif dies:
            lost = set(noted) - {step[-1] for step in notes[:cut]}
            lost |= {output.id for output in acts[left:] if type(output) is Forgot}
            unheard = self.supervisor.shutdown != self.kept.shutdown
            whole = cut >= len(notes)
            self.witness.died(before, lost, event, unheard=unheard, whole=whole)
            self.die(event)
        return not self.away

    def _precede(self, outputs):
        noted = set()
        for output in outputs:
            if type(output) is Noted:
                noted.add(output.id)
            elif type(output) is Do and type(output.action) is Spawn:
                assert output.id in noted, f"{output.id} is born, and it is not noted"

    def act(self, output):
        kind = type(output)
        if kind is Forgot and self.deadly:
            self.kept.forget(output.id)
        elif kind is Do:
            service = self.supervisor.services[output.id]
            if type(output.action) is Adopt:
                self.world.adopt(service, output.action.run)
            else:
                self.world.perform(output.id, output.action, service.spec)

    def die(self, event=None):
        """Let there be no master for a while; what it was told last may have been lost."""
        if self.trace:
            self.trace(f"{self.world.now:10.3f} the master is killed")
        self.away, self.deadline = True, None
        self.world.master += 1
        self.cut_short = self.cut_short or type(event) is PlanWanted
        delay = self.rng.choice(AWAY) * self.rng.random()
        self.world.at(delay, self.succeed)
        if type(event) is ShutdownWanted and not self.kept.shutdown:
            self.world.at(delay + 1.0, self.command, event)

    def succeed(self):
        """Let another master take over from what was noted."""
        kept, world = self.kept, self.world
        self.supervisor = supervisor = kept.successor(self.seed, self.supervisor.budget)
        event = Recalled(kept.recalled())
        outputs = supervisor.handle(event, world.now)
        self.tell(event, outputs)
        self.witness.inherits(supervisor, outputs)
        for output in outputs:
            if self.rng.random() < 0.02:
                self.die()
                return
            self.act(output)
        self.away = False
        self._go_on()

    def _go_on(self):
        """Tell the new master what is wanted."""
        kept, resting = self.kept, self.witness.resting()
        if kept.shutdown:
            self.witness.must_be, self.witness.may_be = set(), set()
            self.step(ShutdownWanted())
            return
        self.step(PlanWanted(kept.plan))
        if self.away:
            return
        if not self.cut_short:
            now = self.witness.resting()
            moved = [key for key, run in resting.items() if now.get(key) != run]
            assert not moved, f"{moved} had ended for good, and nobody asked for another run"
        self.cut_short = False
        if not kept.started:
            self.command(StartWanted(kept.names))
