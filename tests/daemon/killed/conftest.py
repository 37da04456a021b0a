"""What the tests of this folder share."""

import pytest

from tests.daemon.boxes import installed
from tests.daemon.killed.losses import up

# So that nothing of keepd lives for as long as a test likes.
HOLD = "[Service]\nExecStartPre=/bin/sh -c 'while [ -e /run/hold ]; do sleep 0.01; done'\n"


@pytest.fixture
def detached(either):
    """A maker of keepds in the background."""

    def make(config):
        one = either(config)
        up(one)
        return one

    return make


@pytest.fixture(scope="module")
def box(request, tmp_path_factory):
    """A systemd, in which keepd runs the services of the module's CONFIG."""
    with installed(tmp_path_factory.mktemp("sdbox"), request.module.CONFIG) as box:
        box.drop_in("hold", HOLD)
        yield box
