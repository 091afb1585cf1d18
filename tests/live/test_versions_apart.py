"""Hub and agent one version apart, both ways: the newest release there is a tag of, against this tree.

As long as there is no tag, it is this tree under another version number: then only what the number itself decides can fail.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import __version__
from tests.support.enrolling import NewDevice
from tests.support.fleet import start_cli
from tests.support.hub import new_hub, started
from tests.support.servers import kill_leftovers, until
from tests.support.typed import typed

TREE = Path(__file__).parents[2]


def newest_tag() -> str:
    done = subprocess.run(["git", "describe", "--tags", "--abbrev=0"], cwd=TREE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a process that is to be of the other version."""
    folder = tmp_path_factory.mktemp("other")
    if tag := newest_tag():
        archive = subprocess.run(["git", "archive", tag, "edgeagent"], cwd=TREE, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
    else:
        shutil.copytree(TREE / "edgeagent", folder / "edgeagent", ignore=shutil.ignore_patterns("__pycache__"))
        init = folder / "edgeagent/__init__.py"
        init.write_text(init.read_text().replace(f'"{__version__}"', '"0.0.9"'))
    yield {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize("older", ["agent", "hub"])
async def test_hub_and_agent_one_version_apart_work_together(tmp_path: Path, other: dict[str, str], older: str) -> None:
    of_agent, of_hub = (other, {}) if older == "agent" else ({}, other)
    with new_hub(tmp_path) as hub, started(start_cli("hub", "up", "--dir", str(hub.place.path), env=of_hub)):
        await until(hub.answers, "the hub is up")
        token = (await typed("token", "create", "--groups", "berlin")).out
        device = NewDevice(
            tmp_path / "device", more="[sampling]\ninterval_seconds = 1\nflush_seconds = 1\n[forward]\nseconds = 1\n"
        )
        said = await device.enrol(f"127.0.0.1:{hub.leaf_port}", "--id", "pi-1", token=token, **of_agent)
        assert said.code == 0, said
        with device.running(**of_agent):
            await until(lambda: device.is_linked, "linked")
            status = device.status()
            assert status is not None and (status.version == __version__) == (older == "hub"), "each runs what it should"
            done = await typed("cmd", "run", "ping", "-g", "berlin", "--wait", "--json", "--timeout", "30")
            assert json.loads(done.out)["devices"]["pi-1"]["state"] == "succeeded", done
            assert (await typed("config", "set", "-g", "berlin", "app.doors.open=07:00")).code == 0

            async def follows() -> bool:
                said = await typed("config", "status", "-g", "berlin", "--json")
                (found,) = json.loads(said.out)
                return bool(found["desired"]) and found["desired"] == found["applied"]

            await until(follows, "it follows its configuration")

            async def measured() -> bool:
                return "system.cpu" in (await typed("metrics", "ls", "-d", "pi-1")).out

            await until(measured, "its samples are at the hub")
            found = await typed("fleet", "query", "true", "--select", "versions.agent", "--json")
            assert json.loads(found.out)["answered"][0]["facts"]["versions"]["agent"] == status.version
    kill_leftovers(tmp_path)
