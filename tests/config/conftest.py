import pytest

from tests.config.written import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
