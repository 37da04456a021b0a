"""What all tests share: in CI a skipped test is a failure, unless its reason is on the list."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("keepd", deadline=None)  # how long an example takes is the machine's
settings.load_profile("keepd")

LISTED = Path(__file__).parents[1] / ".ci" / "allowed-skips"


def allowed(reason: str) -> bool:
    """Return whether a line of .ci/allowed-skips matches the reason from its start."""
    lines = LISTED.read_text(encoding="utf-8").splitlines()
    return any(re.match(line, reason) for line in lines if line and not line.startswith("#"))


def failed_if_skipped(report):
    if report.outcome == "skipped" and os.environ.get("CI"):
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        if not allowed(reason.removeprefix("Skipped: ")):
            report.outcome = "failed"
            report.longrepr = f"{reason}\n(a skip is a failure in CI: see .ci/allowed-skips)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return failed_if_skipped((yield))
