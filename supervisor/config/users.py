"""Whom a service runs as: names of users and groups become numbers when the config is read.

So that a newborn need not look anything up, which may block or lie: it takes the numbers, and what
is wrong with a name is told with its place before anything is started.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from typing import Final

from supervisor.core.spec import Identity, ServiceSpec
from supervisor.records import record

from .faults import Faults
from .nodes import Text, shortened

_MOST: Final = 2**32 - 2  # the number after it means "leave it as it is"
_NOT_ROOT: Final = "only root can start services as somebody else, and keepd is not run by root"


@record(frozen=True)
class Who:
    """A service's user: its rights (None: keepd's own) and the variables that speak of it."""

    identity: Identity | None
    variables: Mapping[str, str]


NOBODY_ELSE: Final = Who(None, {})  # user and group are not given: as keepd itself


class Users:
    """Looks users and groups up; `uid` is the one that services are started by."""

    def __init__(self, uid: int, faults: Faults) -> None:
        self._uid = uid
        self._faults = faults
        self._known: dict[tuple[str | None, str | None], Who | None] = {}

    def of(self, spec: ServiceSpec) -> Who:
        """Return who a service is; a fault is told."""
        asked = (spec.user, spec.group)
        if asked == (None, None):
            return NOBODY_ELSE
        if asked not in self._known or self._known[asked] is None:  # each place has its own fault
            self._known[asked] = self._who(spec)
        return self._known[asked] or NOBODY_ELSE

    def _who(self, spec: ServiceSpec) -> Who | None:
        uid, entry = self._user(spec.user)
        gid = None if spec.group is None else self._group(spec.group)
        if uid is None or (gid is None and spec.group is not None):
            return None
        variables = _variables(entry) if spec.user is not None else {}
        if self._uid != 0:
            if uid != self._uid or gid not in {None, os.getegid()}:
                self._tell(spec.group if uid == self._uid else spec.user, _NOT_ROOT, "leave it out")
            return Who(None, variables)
        if gid is None and entry is None:
            what = f"there is no user {uid} here, whose group it would have"
            self._tell(spec.user, what, "give a group as well")
            return None
        first = entry.pw_gid if gid is None and entry else gid
        assert first is not None
        groups = os.getgrouplist(entry.pw_name, first) if entry else [first]
        return Who(Identity(uid, first, tuple(sorted(set(groups)))), variables)

    def _user(self, written: str | None) -> tuple[int | None, pwd.struct_passwd | None]:
        """Return the number of a user and what is known of it; no number after a fault."""
        if written is not None:
            try:
                entry = pwd.getpwnam(written)
            except (KeyError, ValueError):
                names = [entry.pw_name for entry in pwd.getpwall()]
                uid = self._number(written, "user", names)
            else:
                return entry.pw_uid, entry
        else:
            uid = self._uid
        try:
            return uid, None if uid is None else pwd.getpwuid(uid)
        except KeyError:
            return uid, None

    def _group(self, written: str) -> int | None:
        try:
            return grp.getgrnam(written).gr_gid
        except (KeyError, ValueError):
            names = [entry.gr_name for entry in grp.getgrall()]
            return self._number(written, "group", names)

    def _number(self, written: str, what: str, names: list[str]) -> int | None:
        if written.isascii() and written.isdigit() and len(written) < 11 and int(written) <= _MOST:
            return int(written)
        advice = self._faults.like(written, names)
        if "${" in written:
            advice = "${...} is not expanded in this key"
        self._tell(written, f"there is no {what} '{shortened(written)}' here", advice)
        return None

    def _tell(self, written: str | None, what: str, advice: str | None) -> None:
        assert isinstance(written, Text)
        self._faults.add(written.at(), written.key, what, advice)


def _variables(entry: pwd.struct_passwd | None) -> dict[str, str]:
    if entry is None:  # a number and no more, as in containers
        return {"HOME": "/"}
    name = entry.pw_name
    shell = entry.pw_shell or "/bin/sh"
    return {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": shell}
