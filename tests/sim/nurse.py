"""Whose run is ill, and whose is not: the part of the witness that counts checks and heartbeats."""

from supervisor.core.events import Beat, CheckFailed, CheckPassed
from supervisor.core.health import LATE

from .listed import EPSILON, Listed


class Nurse(Listed):
    def told(self, key, report):
        """Note a sign of health before the core hears it; other news do not matter here."""
        kind, past, run = type(report), self.pasts.get(key), self.world.runs.get(key)
        if kind not in {CheckFailed, CheckPassed, Beat} or past is None:
            return
        if past.state is not self.state.RUNNING or report.run != run.number:
            return
        self._may_be_forgiven(key)
        self._be_patient(key)
        if kind is Beat:
            past.beat = self.world.now
        elif kind is CheckFailed:
            past.failed, past.well_since = past.failed + 1, None
        elif past.well_since is None:
            past.failed, past.well_since = 0, self.world.now

    def _may_be_forgiven(self, key):
        past, reset_after = self.pasts[key], self.everyone[key].spec.backoff.reset_after
        well = past.state is self.state.RUNNING and past.well_since is not None
        if well and self.world.now - past.well_since >= reset_after - EPSILON:
            past.fewest = 0
            past.most *= self.world.now - past.well_since < reset_after + EPSILON

    def _runs_now(self, key):
        past, now = self.pasts[key], self.world.now
        past.failed, past.beat = 0, now
        past.well_since = None if self.services[key].spec.health else now

    def _may_be_ill(self, key):
        past, service, spec = self.pasts[key], self.services[key], self.services[key].spec
        ill = spec.health is not None and past.failed >= spec.health.failures
        late = self._late(key)
        hung = late is not None and -EPSILON <= late <= LATE + EPSILON
        if service.cause == "unhealthy":
            assert ill or hung, f"{key} not healthy after {past.failed} checks, beat {past.beat}"
        else:
            assert not (ill and service.wanted), f"{key} ends, and it is not said to be ill"

    def _may_go_on(self, key):
        service, past = self.services[key], self.pasts[key]
        if past.state is not self.state.RUNNING:
            return True
        checked, beats = service.spec.health, service.spec.watchdog is not None
        looks = service.deadline is not None or not beats
        return looks and (not checked or past.failed < checked.failures)

    def _late(self, key):
        """Return for how long a heartbeat has been missing; None where none is wanted."""
        past, service = self.pasts[key], self.services.get(key)
        if service is None or past.state is not self.state.RUNNING or not service.spec.watchdog:
            return None
        return self.world.now - past.beat - service.spec.watchdog

    def _be_patient(self, key):
        if (self._late(key) or 0.0) > LATE - EPSILON:
            self.pasts[key].beat = self.world.now  # nobody was there to hear it

    def _beat_in_time(self):
        for key in self.pasts:
            late = self._late(key)
            if late is not None and late >= 0:
                assert late > LATE - EPSILON, f"{key} goes on without a heartbeat"
                self._be_patient(key)
