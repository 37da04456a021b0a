"""What the control socket can be asked for: a closed table, each word a function of its parameters.

Nothing here decides: words become wishes for the core, and answers are read from what it believes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from supervisor import __version__
from supervisor.control.server import Reply
from supervisor.core.events import Input, RestartWanted, ShutdownWanted, StartWanted, StopWanted
from supervisor.core.service import Service, State
from supervisor.core.supervisor import Supervisor
from supervisor.params import (
    BadParams,
    Params,
    is_environment,
    is_time,
    match,
    names_of,
    number_of,
)
from supervisor.records import record
from supervisor.reloads import Asked

GOALS = ("ready", "stopped", "completed")


@record()
class Waiter:
    """A request that is answered when its replicas have reached a goal, or its time is up."""

    ids: tuple[str, ...]
    goal: str
    reply: Reply
    deadline: float | None


@record(frozen=True)
class Desk:
    """What the words need of the master."""

    supervisor: Supervisor
    handle: Callable[[Input], None]
    status: Callable[[Iterable[str]], dict[str, Any]]
    signal: Callable[[str, int], bool]
    now: Callable[[], float]
    reload: Callable[[Asked], None]
    upgrade: Callable[[Reply | None], None]
    log_dir: str
    config: str
    anchor_pid: int


class Verbs:
    """The words, bound to one master."""

    def __init__(self, desk: Desk) -> None:
        """Take what the words need; `table` goes to the control server, `look` into the loop."""
        self.desk = desk
        self.waiters: list[Waiter] = []

    def table(self) -> dict[str, Callable[[Params, Reply], None]]:
        """Return the closed table: method name -> function."""
        words = {
            "status": self.status,
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "signal": self.signal,
            "wait": self.wait,
            "down": self.down,
            "reload": self.reload,
            "upgrade": self.upgrade,
            "logs": self.logs,
            "version": self.version,
        }
        return {name: _guarded(word) for name, word in words.items()}

    def status(self, params: Params, reply: Reply) -> None:
        """Answer with the status object."""
        reply.result(self.desk.status(self._ids(params)))

    def start(self, params: Params, reply: Reply) -> None:
        """Want the replicas up."""
        self._refuse_while_stopping()
        ids = self._ids(params)
        self.desk.handle(StartWanted(ids))
        reply.result({"replicas": list(ids)})

    def stop(self, params: Params, reply: Reply) -> None:
        """Want the replicas down."""
        ids = self._ids(params)
        self.desk.handle(StopWanted(ids))
        reply.result({"replicas": list(ids)})

    def restart(self, params: Params, reply: Reply) -> None:
        """End the replicas and start them again."""
        self._refuse_while_stopping()
        ids = self._ids(params)
        self.desk.handle(RestartWanted(ids))
        reply.result({"replicas": list(ids)})

    def signal(self, params: Params, reply: Reply) -> None:
        """Send a signal to the leaders of the replicas that run."""
        number = number_of(params.get("signal"))
        ids = self._ids(params)
        sent = [key for key in ids if self.desk.signal(key, number)]
        if sent:
            reply.result({"replicas": sent})
        else:
            reply.error("failed", f"cannot signal {', '.join(ids)}: not running")

    def wait(self, params: Params, reply: Reply) -> None:
        """Answer when the replicas have reached a goal."""
        goal, limit = params.get("for", "ready"), params.get("timeout")
        if goal not in GOALS:
            raise BadParams(
                "bad-params", f"cannot wait for {goal!r}: it is one of {', '.join(GOALS)}"
            )
        if limit is not None and not is_time(limit):
            raise BadParams("bad-params", "cannot wait: timeout is a number of seconds")
        deadline = None if limit is None else self.desk.now() + limit
        ids = self._ids(params)
        if not params.get("names"):  # whoever is removed or was stopped does not come to it
            known = self.desk.supervisor.services
            there = [key for key in ids if not known[key].removed]
            ids = tuple(key for key in there if goal == "stopped" or known[key].wanted)
        waiter = Waiter(ids, goal, reply, deadline)
        if not self._settled(waiter):
            self.waiters.append(waiter)
            reply.on_close(lambda: self.waiters.remove(waiter) if waiter in self.waiters else None)

    def down(self, _params: Params, reply: Reply) -> None:
        """Stop everything, and then keepd."""
        self.desk.handle(ShutdownWanted())
        reply.result({"pid": self.desk.anchor_pid, "master_pid": os.getpid()})

    def logs(self, params: Params, reply: Reply) -> None:
        """Tell where the logs are."""
        folder = self.desk.log_dir
        names = names_of(params)
        keys = ["keepd"] if "keepd" in names else []
        rest = [name for name in names if name != "keepd"]
        keys += self._ids({"names": rest}) if rest or not names else ()
        keys += [] if names else ["keepd"]
        streams = [{"id": key, "path": f"{folder}/{key}.log"} for key in keys]
        reply.result({"log_dir": folder, "streams": streams})

    def version(self, _params: Params, reply: Reply) -> None:
        """Tell who answers."""
        version = {"version": __version__, "protocol": 1}
        reply.result(version | {"config": self.desk.config})

    def reload(self, params: Params, reply: Reply) -> None:
        """Read the config again, and answer when what it changes has begun, or would."""
        variables = params.get("variables")
        if variables is not None and not is_environment(variables):
            raise BadParams("bad-params", "cannot reload: variables is an object of strings")
        dry, yes = params.get("dry_run") is True, params.get("yes") is True
        self.desk.reload(Asked(reply, variables, dry, yes))

    def upgrade(self, _params: Params, reply: Reply) -> None:
        """Try the code that is installed now; answer before keepd becomes it."""
        self._refuse_while_stopping()
        self.desk.upgrade(reply)

    def look(self) -> None:
        """Answer whoever need not wait any longer."""
        if self.waiters:
            self.waiters = [waiter for waiter in self.waiters if not self._settled(waiter)]

    def next_deadline(self) -> float | None:
        """Return when the patience of the first waiter ends."""
        return min((w.deadline for w in self.waiters if w.deadline is not None), default=None)

    def _settled(self, waiter: Waiter) -> bool:
        if waiter.reply.closed:
            return True
        known = self.desk.supervisor.services
        gone = [key for key in waiter.ids if key not in known]
        if gone and waiter.goal != "stopped":
            text = f"cannot become {waiter.goal}: {', '.join(gone)}: removed by a reload"
            waiter.reply.error("failed", text, replicas=gone)
            return True
        services = [known[key] for key in waiter.ids if key in known]
        missing = [s for s in services if not _reached(s, waiter.goal)]
        if not missing:
            waiter.reply.result({"replicas": list(waiter.ids)})
            return True
        hopeless = self._hopeless(missing, waiter.goal)
        if hopeless:
            text = f"cannot become {waiter.goal}: {', '.join(hopeless)}"
            waiter.reply.error("failed", text, replicas=hopeless)
            return True
        if waiter.deadline is not None and self.desk.now() >= waiter.deadline:
            ids = [service.id for service in missing]
            waiter.reply.error(
                "timeout",
                f"cannot wait any longer: not {waiter.goal}: {', '.join(ids)}",
                replicas=ids,
            )
            return True
        return False

    def _hopeless(self, missing: list[Service], goal: str) -> list[str]:
        """Return which of them cannot reach the goal unless somebody asks for it."""
        if goal == "stopped":
            return []
        waits = any(s.due and s.at_rest and s.spec.depends_on for s in missing)
        vain = self.desk.supervisor.hopeless() if waits else ()
        return [
            s.id
            for s in missing
            if s.state is State.FATAL
            or not s.wanted
            or (s.due and s.at_rest and s.spec.name in vain)
        ]

    def _refuse_while_stopping(self) -> None:
        if self.desk.supervisor.shutdown:
            raise BadParams("stopping", "cannot start anything: keepd is stopping")

    def _ids(self, params: Params) -> tuple[str, ...]:
        """Return the replicas that the patterns name, in the order of the list; all for none."""
        return match(self.desk.supervisor.replicas, names_of(params))


def _reached(service: Service, goal: str) -> bool:
    if goal == "stopped":
        return service.at_rest and not service.due
    if goal == "completed":
        return service.state is State.EXITED
    return service.state in {State.RUNNING, State.EXITED}


def _guarded(word: Callable[[Params, Reply], None]) -> Callable[[Params, Reply], None]:
    def guarded(params: Params, reply: Reply) -> None:
        try:
            word(params, reply)
        except BadParams as error:
            reply.error(error.kind, str(error))

    return guarded
