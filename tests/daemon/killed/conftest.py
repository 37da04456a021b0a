"""What the tests of this folder share."""

import pytest

from tests.daemon.killed.losses import up


@pytest.fixture
def detached(either):
    """A maker of keepds in the background."""

    def make(config):
        one = either(config)
        up(one)
        return one

    return make
