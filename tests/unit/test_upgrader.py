"""What root does with a request: looked at piece by piece, in folders of the test's own. tests/system/test_upgrade.py does it on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.assembly import rootpins, upgrader
from edgeagent.assembly.upgrader import Machinery
from edgeagent.cli.upgradelines import lines
from edgeagent.command import Entry, new_id
from edgeagent.commandsettings import CommandSettings
from edgeagent.enrolled import Enrolment, write
from edgeagent.enrolment import Admission
from edgeagent.errors import EdgeError, Refused
from edgeagent.schema import PathSettings
from edgeagent.settings import Settings
from edgeagent.subjects import FLEET_ALL
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign
from edgeagent.upgrade import authority
from edgeagent.upgrade.gather import Gathered
from edgeagent.upgrade.manifest import Manifest, Wheel, encode
from edgeagent.upgrade.places import Failure, Places, Request, Standing, Trial, own_platform

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is root")
ROLE, USER = KeyPair.generate("account"), KeyPair.generate("user")


class Root:
    """A device whose folders are below ``folder``: edgeagent 1.0 is its environment, and its root follows ROLE."""

    def __init__(self, folder: Path, *allow: str) -> None:
        self.places, self.state = Places(folder / "opt"), folder / "state"
        (folder / "opt/lib/python3.11/site-packages/edgeagent-1.0.dist-info").mkdir(parents=True)
        self.places.current.symlink_to(".")
        self.places.proven.symlink_to(".")
        self.state.mkdir()
        self.gathered = Gathered(self.state)
        self.settings = Settings(
            commands=CommandSettings(allow=list(allow)), paths=PathSettings(state=str(self.state), runtime=str(folder))
        )
        authority.adopt(self.places, "pi-1", Pins(signers={ROLE.public: "operator"}), time.time() - 60)

    def asked(self, version: str = "2.0", *, has: str = "", problem: EdgeError | None = None) -> dict[str, Any]:
        """Have the agent ask, signed, and root do it: what root says. has: version that the release has in truth. problem: with agent.toml."""
        file = f"edgeagent-{has or version}-py3-none-any.whl"
        wheel = Wheel(file=file, bytes=1, sha256="a" * 64, upload="0" * 32)
        data = encode(Manifest(version=has or version, wheels=[wheel], sets={own_platform(): [file]}))
        sha256 = hashlib.sha256(data).hexdigest()
        self.gathered.manifest(sha256).write_bytes(data)
        now = int(time.time())
        args = {"version": version, "upload": "0" * 32, "pieces": 1, "bytes": len(data), "sha256": sha256}
        entry = Entry(id=new_id(now, USER.public), action="agent.upgrade", log="l", floor=1, not_after=now + 60, args=args)
        token = jwt.scoped_user(
            ROLE, subject=USER.public, name="olga", account=ROLE.public, issued_at=now - 60, expires_at=now + 60, tags=()
        )
        body = msgspec.json.encode(entry)
        signed = sign(Credentials(token, USER.seed), kind="command", scope=FLEET_ALL, number=1, at=now, body=body)
        self.signed = signed.decode()
        last = self.judged(self.signed, problem)
        assert last["id"] == entry.id and not self.gathered.is_asked
        return last

    def judged(self, signed: str, problem: EdgeError | None = None) -> dict[str, Any]:
        """What root says of that envelope."""
        self.gathered.ask(Request(signed=signed))
        upgrader.run(self.places, self.settings, problem)
        return msgspec.to_builtins(self.places.standing().last)  # type: ignore[no-any-return]


def test_what_is_there_already_needs_no_trial(tmp_path: Path) -> None:
    root = Root(tmp_path, "agent.upgrade")
    assert root.asked("1.0")["state"] == "succeeded" and str(root.places.current.readlink()) == "."
    assert authority.load(root.places).last >= time.time() - 30, "an older command is not followed any more"


@pytest.mark.parametrize("version", ["1.0", "2.0"], ids=["that succeeded", "that failed"])
def test_a_command_that_has_ended_is_not_played_again(tmp_path: Path, version: str) -> None:
    root = Root(tmp_path, "agent.upgrade")
    assert root.asked(version)["state"] != "refused"
    for _ in range(2):
        assert root.judged("rubbish")["state"] != "succeeded"
        assert "carried out already" in root.judged(root.signed)["why"], "whatever was asked for since"


def test_root_reads_for_itself_what_the_device_allows(tmp_path: Path) -> None:
    said = Root(tmp_path, "ping").asked()
    assert said["state"] == "refused" and "`agent.upgrade` in `commands.allow`" in said["why"]


def test_settings_that_cannot_be_followed_begin_nothing_and_are_named(tmp_path: Path) -> None:
    said = Root(tmp_path, "agent.upgrade").asked(problem=Refused("upgrade", "others than root may write it"))
    assert (said["state"], said["why"]) == ("refused", "others than root may write it")


def test_a_release_of_another_version_than_was_signed_is_refused(tmp_path: Path) -> None:
    said = Root(tmp_path, "agent.upgrade").asked(has="1.9")
    assert said["state"] == "refused" and "the release is 1.9, and 2.0 was signed" in said["why"]


def test_a_wheel_that_the_agent_does_not_have_fails_and_leaves_nothing(tmp_path: Path) -> None:
    root = Root(tmp_path, "agent.upgrade")
    said = root.asked()
    assert said["state"] == "failed" and "no such file" in said["why"] and root.places.trial() is None
    assert sorted(path.name for path in root.places.folder.iterdir() if path.name.startswith(".")) == []


def test_without_a_request_there_is_nothing_to_do(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.places.keep(Trial(id="x", version="2.0"))
    upgrader.run(root.places, root.settings)
    assert root.places.trial() is None and root.places.standing() == Standing(), "the agent asks again"


def test_the_agent_is_linked_when_this_very_process_says_so(tmp_path: Path) -> None:
    looked, file = Machinery(Settings(paths=PathSettings(runtime=str(tmp_path)))), tmp_path / "status.json"
    assert not looked.is_linked(7, "2.0")
    for found, linked in (
        ({"pid": 7, "version": "2.0", "link": {"up": True}, "new": 1}, True),
        ({"pid": 8, "version": "2.0", "link": {"up": True}}, False),
        ({"pid": 7, "version": "1.0", "link": {"up": True}}, False),
        ({"pid": 7, "version": "2.0", "link": {"up": False}}, False),
        ([], False),
    ):
        file.write_text(json.dumps(found))
        assert looked.is_linked(7, "2.0") == linked
    other = tmp_path / "other"
    file.rename(other)
    file.symlink_to(other)
    assert not looked.is_linked(7, "2.0")


@needs_root
def test_root_takes_the_pins_of_an_enrolment_when_a_person_makes_one(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.places.signers.unlink()
    assert not rootpins.take_over(root.settings, root.places), "it is nobody's device"
    assert not rootpins.lacks(root.settings, root.places)
    pins = Pins(signers={ROLE.public: "admin"})
    write(root.state, Enrolment(id="pi-9", hub="berlin", urls=["tls://hub"]))
    (root.state / "trust.json").write_bytes(msgspec.json.encode(pins))
    assert rootpins.lacks(root.settings, root.places)
    assert rootpins.take_over(root.settings, root.places) and not rootpins.lacks(root.settings, root.places)
    assert (authority.load(root.places).id, authority.load(root.places).pins) == ("pi-9", pins)
    assert not rootpins.take_over(root.settings, root.places), "later the file may be anybody's"


@needs_root
def test_at_an_enrolment_the_hubs_answer_counts_and_not_what_the_agents_user_put_there(tmp_path: Path) -> None:
    """An enrolment that looks completed is nothing to ask the hub for: whoever has the folder can make one, with pins of their own."""
    root = Root(tmp_path)
    before, ours = authority.load(root.places), KeyPair.generate("account").public
    write(root.state, Enrolment(id="pi-9", hub="berlin", urls=["tls://hub"]))
    (root.state / "trust.json").write_bytes(msgspec.json.encode(Pins(signers={KeyPair.generate("account").public: "admin"})))
    reading, writing = os.pipe()
    os.close(writing)
    told = rootpins.heard(reading)
    assert not rootpins.take_over(root.settings, root.places, told=told) and authority.load(root.places) == before
    reading, writing = os.pipe()
    rootpins.tell(writing, Admission(id="pi-1", jwt="", renewal="", hub="berlin", signers={ours: "admin"}))
    assert rootpins.take_over(root.settings, root.places, told=rootpins.heard(reading))
    assert authority.load(root.places).pins == Pins(signers={ours: "admin"})


def test_status_names_what_did_not_stay() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    failed = Failure(version="0.3.0", why="its agent ended after 60 s", at="2026-11-22T10:00:00Z")
    trial = Trial(id="x", version="0.4.0", phase="agent")
    assert lines(Standing(), None, now) == []
    assert lines(Standing(failed=failed), None, now) == ["  upgrade  0.3.0 did not stay, 2h ago: its agent ended after 60 s"]
    assert lines(Standing(failed=failed), trial, now)[0] == "  upgrade  0.4.0 is being tried (agent)"
