"""What is looked at before an agent begins."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeagent.assembly.devicestart import lock, warn_of_a_moved_card
from edgeagent.errors import Refused
from edgeagent.identity import Identity, Installation
from edgeagent.patterns.events import Events


def test_one_agent_at_a_time_has_a_state_folder(tmp_path: Path) -> None:
    with lock(tmp_path):
        assert stat.S_IMODE((tmp_path / "agent.lock").stat().st_mode) & 0o077 == 0
        with pytest.raises(Refused, match="already running"):
            lock(tmp_path).acquire()
    lock(tmp_path).acquire()


@pytest.mark.parametrize(("before", "warned"), [(None, False), ("100000001", True)], ids=["its own", "another's"])
def test_a_card_of_another_board_is_told(caplog: pytest.LogCaptureFixture, before: str | None, warned: bool) -> None:
    installation = Installation(suffix="x", serial="2", moved_from=before)
    warn_of_a_moved_card(Identity(id="pi-1", installation=installation, boot=""), Events("pi-1"))
    assert (f"another board ({before})" in caplog.text) is warned
