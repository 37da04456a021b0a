"""A witness that outlives masters: what a successor may believe is what was noted, and no more."""

import copy

from supervisor.core.events import Adopt, Do, Forgot, Kill, PlanWanted
from supervisor.core.supervisor import LAST_KILL, SHUTDOWN_LIMIT

from .listed import EPSILON, Past, hard
from .witness import Witness

WISHES = ("must_be", "may_be", "shutdown_at", "ends_by", "hurried", "exit_code")


class Survivor(Witness):
    def snapshot(self):
        """Return what is to be believed again where the next word is not noted any more."""
        pasts = {}
        for key, past in self.pasts.items():
            pasts[key] = same = copy.copy(past)
            same.starts, same.unasked = list(past.starts), list(past.unasked)
        wishes = {name: copy.copy(getattr(self, name)) for name in WISHES}
        return pasts, wishes, set(self.restarted), self.left

    def died(self, before, lost, event, *, unheard, whole):
        """Believe what was noted: of those `lost` nothing new, and nothing at all if `unheard`."""
        self.crowd = len(self.services)
        pasts, wishes, restarted, self.left = before
        for key in lost:
            self.pasts[key] = pasts.get(key) or Past(self.state.STOPPED)
        self.restarted |= restarted
        if unheard:
            for name, value in wishes.items():
                setattr(self, name, value)
        elif not whole and type(event) is not PlanWanted:
            self.must_be = self.must_be & wishes["must_be"]
            self.may_be = self.may_be | wishes["may_be"]
            if self.shutdown_at is not None:  # whoever was not told yet is told by the next one
                self.may_be = set(self.pasts)
        for key, past in self.pasts.items():
            if type(event) is PlanWanted:  # it is told again, and what it changes begins anew
                past.fewest = 0
                past.unasked.clear()
            if past.state is self.state.RUNNING and past.well_since is not None:
                lived = self.world.now - past.well_since + EPSILON
                past.fewest *= lived < self.everyone[key].spec.backoff.reset_after

    def inherits(self, supervisor, outputs):
        """Judge what another master makes of the notes."""
        self.supervisor, self.services = supervisor, supervisor.services
        self.hopeless = set()
        for output in outputs:
            if type(output) is Forgot:
                self.pasts[output.id].state = self.state.STOPPED
            elif type(output) is Do:
                self._may_resume(output.id, output.action)
        for key, service in self.services.items():
            self._is_as_it_was(key, service)
        if self.shutdown_at is not None:
            self.ends_by = self.world.now + SHUTDOWN_LIMIT + LAST_KILL
            self.plan = {k: s.spec for k, s in self.services.items() if not s.removed}
        alive = {k for k in self.plan if k in self.services and not self.services[k].at_rest}
        self.pending = {k for k in alive if hard(self.services[k].spec) != hard(self.plan[k])}
        self.rearranged()

    def _may_resume(self, key, action):
        state, kind = self.pasts[key].state, type(action)
        assert state not in self.rest, f"{key}: {action}, and it was {state}"
        stops = state is self.state.STOPPING
        assert stops or kind is Adopt, f"{key}: {action}, and it was {state}"
        killed = self.services[key].killed
        assert kind is not Kill or killed, f"{key} killed, and nobody had lost patience"

    def _is_as_it_was(self, key, service):
        past, run = self.pasts[key], service.run
        assert service.state == past.state, f"{key} was {past.state}, is {service.state}"
        assert run == len(past.starts), f"{key} was run {len(past.starts)}, is {run}"
        least, most = past.fewest, past.most
        assert least <= service.failures <= most, f"{key} has failed {service.failures} times"
        assert service.wanted or key not in self.must_be, f"{key} is not wanted any more"
        unasked = service.wanted and key in self.plan and key not in self.may_be
        assert not unasked, f"{key} is wanted all at once"
        if service.at_rest:
            self.restarted.discard(key)
            return
        self.soft[key] = service.spec
        if service.state == self.state.RUNNING:
            self._runs_now(key)

    def resting(self):
        """Return those that are over, each with its run."""
        return {k: s.run for k, s in self.services.items() if s.state in self.over}
