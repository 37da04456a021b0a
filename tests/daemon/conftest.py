import os

import pytest

from tests.daemon.harness import GROUPS, WITHOUT_GROUPS, Keepd


@pytest.fixture
def keepd(tmp_path):
    """A maker of keepds that are ended with the test; none may have met a bug of its own."""
    made = []

    def make(config, **options):
        made.append(Keepd(tmp_path, config, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()
        assert "Traceback" not in one.said()
        assert "cannot go on" not in one.log("keepd")


@pytest.fixture(params=["with cgroups", "without cgroups"])
def either(request, keepd):
    """A maker of keepds that are tried with cgroups of their own, and without any."""
    grouped = request.param == "with cgroups"
    if grouped and (os.path.isdir("/run/systemd/system") or not os.access(GROUPS or "", os.W_OK)):
        pytest.skip("no cgroup here is ours to write")

    def make(config, **options):
        under = () if grouped or not os.access(GROUPS or "", os.W_OK) else WITHOUT_GROUPS
        one = keepd(config, under=under, **options)
        one.grouped = grouped
        return one

    return make
