import pytest

from tests.daemon.harness import Keepd


@pytest.fixture
def keepd(tmp_path):
    """A maker of keepds that are ended with the test."""
    made = []

    def make(config, **options):
        made.append(Keepd(tmp_path, config, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()
