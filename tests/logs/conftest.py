import pytest

from tests.logs.house import House


@pytest.fixture
def house(tmp_path):
    built = House(tmp_path)
    yield built
    built.close()
