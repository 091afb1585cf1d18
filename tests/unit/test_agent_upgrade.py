"""The action ``agent.upgrade``: what the agent fetches and asks for, and how it learns what has become of it; root is the test here."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import actions
from edgeagent.actions import Context, Outcome
from edgeagent.builtin.actions import agent_upgrade
from edgeagent.builtin.actions.agent_upgrade import Upgrade
from edgeagent.errors import Failed, UsageProblem
from edgeagent.machine import Machine
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings
from edgeagent.subjects import FILES, file_piece
from edgeagent.transfer import PIECE_BYTES, pieces_of
from edgeagent.upgrade import manifest
from edgeagent.upgrade.manifest import Manifest, Wheel
from edgeagent.upgrade.places import Ended, Places, Standing, Trial, own_platform
from tests.support.servers import until

ID = "01J0000000000000000000000A"


class Pi:
    """A device that is installed below ``folder``, and has edgeagent 1.0 and lib 1. hub: subject -> the piece that it has there."""

    def __init__(self, folder: Path) -> None:
        self.opt, self.state, self.hub = folder / "opt/edgeagent", folder / "state", dict[str, bytes]()
        packages = self.opt / "lib/python3.11/site-packages"
        for name in ("edgeagent-1.0", "lib-1"):
            (packages / f"{name}.dist-info").mkdir(parents=True)
        self.places, self.root, self.asked = Places(self.opt), folder, list[str]()
        self.places.current.symlink_to(".")
        self.places.proven.symlink_to(".")
        self.written, self.cancelled = bytearray(), asyncio.Event()
        self.state.mkdir()

    def upload(self, data: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        for number in range(1, pieces_of(len(data)) + 1):
            self.hub[file_piece(sha256[:32], number)] = data[(number - 1) * PIECE_BYTES : number * PIECE_BYTES]
        return {"upload": sha256[:32], "bytes": len(data), "sha256": sha256}

    def release(self, **wheels: bytes) -> Upgrade:
        """One of version 2.0. wheels: file -> content, with two underscores for what no name can have."""
        files = {name.replace("__", "-").replace("_dot_", ".") + "-py3-none-any.whl": data for name, data in wheels.items()}
        listed = [Wheel(file=name, **self.upload(data)) for name, data in files.items()]
        said = self.upload(manifest.encode(Manifest(version="2.0", wheels=listed, sets={own_platform(): list(files)})))
        return Upgrade(version="2.0", pieces=pieces_of(said["bytes"]), **said)

    async def _read(self, stream: str, subject: str, seconds: float) -> bytes | None:
        self.asked.append(subject)
        return self.hub.get(subject) if stream == FILES else b"who may sign"

    async def run(self, args: Upgrade, profile: str = "normal") -> Outcome:
        return await agent_upgrade.upgrade(self.context(profile), args)

    def context(self, profile: str = "normal") -> Context:
        return Context(
            device_id="pi-1",
            settings=Settings(paths=PathSettings(state=str(self.state))),
            machine=Machine(self.root),
            boot="b",
            write=self.written.extend,
            cancelled=self.cancelled,
            read=self._read,
            id=ID,
            signed=b"the envelope",
            profile=profile,
        )

    @property
    def request(self) -> Path:
        return self.state / "upgrade/request.json"

    async def taken(self) -> dict[str, Any]:
        """What root takes, once it is there."""
        await until(self.request.exists, "it asks")
        found: dict[str, Any] = json.loads(self.request.read_bytes())
        self.places.keep(Trial(id=ID, version="2.0"))
        self.request.unlink()
        return found

    def ends(self, state: Any, why: str = "") -> None:
        self.places.keep(Standing(last=Ended(id=ID, version="2.0", state=state, why=why)))
        self.places.forget_trial()


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pi:
    monkeypatch.setattr(agent_upgrade, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(agent_upgrade, "TAKEN_SECONDS", 0.5)
    return Pi(tmp_path)


BIG = bytes(range(256)) * 1000


async def test_it_fetches_what_differs_and_root_gets_the_signature(pi: Pi) -> None:
    args = pi.release(edgeagent__2_dot_0=BIG, lib__1=b"never fetched")
    running = asyncio.ensure_future(pi.run(args))
    assert await pi.taken() == {"signed": "the envelope", "trust": "who may sign"}
    held = {path.name for path in pi.request.parent.iterdir()}
    assert held == {f"{hashlib.sha256(BIG).hexdigest()}.whl", f"{args.sha256}.json"}
    pi.ends("succeeded")
    assert (await running) == Outcome("succeeded", value={"version": "2.0", "unchanged": False})
    never = hashlib.sha256(b"never fetched").hexdigest()[:32]
    assert not any(never in subject for subject in pi.asked)


async def test_after_the_agent_was_started_anew_it_waits_for_the_end(pi: Pi) -> None:
    args = pi.release(edgeagent__2_dot_0=BIG)
    pi.places.keep(Trial(id=ID, version="2.0", phase="agent"))
    running = asyncio.ensure_future(pi.run(args))
    await until(lambda: b"2.0: agent" in pi.written, "it looks")
    pi.ends("failed", "its agent ended after 60 s")
    assert await running == Outcome("failed", "its agent ended after 60 s")
    assert pi.asked == [], "nothing is fetched again"
    assert await pi.run(args) == Outcome("failed", "its agent ended after 60 s"), "also when it is asked once more"
    assert agent_upgrade._recalled(pi.context(), args, "b") == Outcome("failed", "its agent ended after 60 s")
    pi.places.keep(Trial(id=ID, version="2.0", phase="back"))
    assert agent_upgrade._recalled(pi.context(), args, "b") is None


async def test_what_is_there_already_is_left_as_it_is(pi: Pi) -> None:
    release = Manifest(version="1.0", wheels=[Wheel(file="edgeagent-1.0-py3-none-any.whl", **pi.upload(b"x"))], sets={})
    release = msgspec.structs.replace(release, sets={own_platform(): ["edgeagent-1.0-py3-none-any.whl"]})
    said = pi.upload(manifest.encode(release))
    found = await pi.run(Upgrade(version="1.0", pieces=1, **said))
    assert found == Outcome("succeeded", value={"version": "1.0", "unchanged": True}) and not pi.request.exists()


async def test_what_others_stored_in_its_place_is_not_taken(pi: Pi) -> None:
    args = pi.release(edgeagent__2_dot_0=BIG)
    sha256 = hashlib.sha256(BIG).hexdigest()
    pi.hub[file_piece(sha256[:32], 1)] = b"x" * PIECE_BYTES
    with pytest.raises(Failed, match="its sha256 is another"):
        await pi.run(args)
    assert not (pi.state / f"upgrade/{sha256}.whl").exists() and not pi.request.exists()


async def test_a_device_on_a_metered_link_refuses_unless_it_may(pi: Pi) -> None:
    args = pi.release(edgeagent__2_dot_0=BIG)
    found = await pi.run(args, profile="metered")
    assert found.state == "refused" and "--allow-metered" in found.reason and pi.asked == []
    running = asyncio.ensure_future(pi.run(msgspec.structs.replace(args, allow_metered=True), profile="metered"))
    await pi.taken()
    pi.ends("succeeded")
    assert (await running).state == "succeeded"


async def test_without_an_installation_it_refuses(pi: Pi) -> None:
    pi.places.proven.unlink()
    found = await pi.run(pi.release(edgeagent__2_dot_0=BIG))
    assert found.state == "refused" and "sudo edgeagent install" in found.reason


async def test_where_nobody_carries_it_out_that_is_said(pi: Pi) -> None:
    found = await pi.run(pi.release(edgeagent__2_dot_0=BIG))
    assert found.state == "failed" and "edgeagent-upgrade.path" in found.reason and not pi.request.exists()
    running = asyncio.ensure_future(pi.run(pi.release(edgeagent__2_dot_0=BIG)))
    await pi.taken()
    pi.places.forget_trial()
    assert "ended without a word" in (await running).reason


async def test_it_can_be_cancelled_until_root_has_it(pi: Pi) -> None:
    running = asyncio.ensure_future(pi.run(pi.release(edgeagent__2_dot_0=BIG)))
    await until(pi.request.exists, "it asks")
    pi.cancelled.set()
    assert (await running).state == "cancelled" and not pi.request.exists()


async def test_a_release_for_other_machines_is_named(pi: Pi) -> None:
    said = pi.upload(manifest.encode(Manifest(version="2.0", wheels=[], sets={})))
    with pytest.raises(Failed, match=f"has nothing for {own_platform()}"):
        await pi.run(Upgrade(version="2.0", pieces=1, **said))


def test_a_manifest_is_small() -> None:
    with pytest.raises(UsageProblem, match="a manifest has at most"):
        actions.arguments(
            actions.find("agent.upgrade"),  # type: ignore[arg-type]
            {"version": "2.0", "upload": "0" * 32, "sha256": "0" * 64, "bytes": 1 << 20, "pieces": 16},
        )
