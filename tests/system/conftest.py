"""A machine of one's own for every module of system tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.debian import Debian, booted, missing, wheels


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A new Debian that has booted, where pip can install this edgeagent."""
    if why := missing():
        pytest.skip(why)
    shared = wheels(tmp_path_factory.mktemp("wheel"))
    with booted(tmp_path_factory.mktemp("debian"), shared) as machine:
        yield machine
