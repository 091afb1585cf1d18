"""A leaf that systemd runs is ended only where systemd starts it again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.errors import Refused
from edgeagent.leaf import external
from edgeagent.natsserver import process

UNIT = "edgeagent-leaf"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("0::/system.slice/edgeagent-leaf.service\n", True),
        ("12:pids:/system.slice/edgeagent-leaf.service\n1:name=systemd:/system.slice/edgeagent-leaf.service\n0::/\n", True),
        ("0::/system.slice/edgeagent.service\n", False),
        ("0::/system.slice/edgeagent-leaf.service.d\n", False),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", False),
        ("", False),
    ],
)
def test_the_unit_of_a_process(tmp_path: Path, lines: str, found: bool) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(lines)
    assert external.is_in_unit(7, UNIT, tmp_path) is found
    assert not external.is_in_unit(8, UNIT, tmp_path)


async def test_one_that_nobody_would_start_again_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = process.Launch(
        name="the leaf", argv=("/bin/sleep", "3600.25"), output=tmp_path / "out", pid_file=tmp_path / "leaf.pid"
    )
    with pytest.raises(Refused, match="it does not run"):
        await external.end_for_restart(launch, UNIT)
    child = process.start(launch)
    try:
        with pytest.raises(Refused, match=r"edgeagent-leaf\.service does not run it"):
            await external.end_for_restart(launch, UNIT)
        os.kill(child.pid, 0)
        monkeypatch.setattr(external, "is_in_unit", lambda pid, unit: (pid, unit) == (child.pid, UNIT))
        await external.end_for_restart(launch, UNIT)
        assert await child.wait() == -15
    finally:
        await child.terminate()
        child.release()
