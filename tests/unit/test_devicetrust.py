"""What a device makes of its record, of who may sign and of the hub's authorities."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeagent import wire
from edgeagent.assembly.devicetrust import AUTHORITIES, RECORD, SIGNERS, DeviceTrust, sources
from edgeagent.direct import Stored
from edgeagent.errors import EdgeError, Failed
from edgeagent.trust import certificates, jwt, signers
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins, load

ISSUED = 1_800_000_000
ADMIN, STRANGER = KeyPair.generate("account"), KeyPair.generate("account")
THIEF = KeyPair.generate("user").public


def stored(data: bytes, sequence: int = 1) -> Stored:
    return Stored("subject", sequence, datetime.now(timezone.utc), data, False)


def document(issuer: KeyPair = ADMIN) -> bytes:
    key = KeyPair.generate("user")
    account = KeyPair.generate("account").public
    token = jwt.scoped_user(issuer, subject=key.public, name="olga", account=account, issued_at=ISSUED)
    return signers.changed(Credentials(token, key.seed), None, now=ISSUED, revoke={THIEF: ISSUED})


class Told:
    def __init__(self, folder: Path) -> None:
        self.records: list[wire.DeviceRecord] = []
        self.reloads = self.signers = 0
        self.events: list[tuple[str, str]] = []
        self.trust = DeviceTrust(
            folder, on_record=self.record, on_signers=self.signers_changed, on_authorities=self.reload, tell=self.tell
        )

    async def record(self, record: wire.DeviceRecord) -> None:
        self.records.append(record)

    async def reload(self) -> None:
        self.reloads += 1

    def signers_changed(self) -> None:
        self.signers += 1

    def tell(self, severity: str, kind: str, text: str, **data: object) -> None:
        self.events.append((severity, kind))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def authority() -> str:
    return certificates.make_authority("a hub", datetime(2050, 1, 1, tzinfo=timezone.utc)).certificate.decode()


def pinned(folder: Path) -> None:
    (folder / "trust.json").write_text(json.dumps({"signers": {ADMIN.public: "admin"}}))


def test_what_is_followed_is_what_the_role_may_read() -> None:
    from edgeagent.hub import roles
    from edgeagent.subjects import direct_get

    rights = roles.template("device", micro=False)
    for source in sources("{{name()}}"):
        assert direct_get(source.stream, source.subject) in rights["pub"]["allow"]
    doorbells = {source.doorbell for source in sources("{{name()}}")}
    assert doorbells - {"edge.to.device.{{name()}}.record"} <= set(rights["sub"]["allow"])


async def test_the_record_is_handed_on(told: Told) -> None:
    record = wire.DeviceRecord(id="pi-01", labels={"rack": "7"})
    await told.trust.changed(RECORD, stored(wire.encode(record)))
    assert told.records == [record]


async def test_what_is_gone_changes_nothing(told: Told, tmp_path: Path) -> None:
    for key in (RECORD, SIGNERS, AUTHORITIES):
        await told.trust.changed(key, None)
    assert (told.records, told.reloads, told.events, list(tmp_path.iterdir())) == ([], 0, [], [])


async def test_signers_are_checked_and_kept(told: Told, tmp_path: Path) -> None:
    pinned(tmp_path)
    await told.trust.changed(SIGNERS, stored(document()))
    assert load(tmp_path / "trust.json") == Pins(
        signers={ADMIN.public: "admin"}, revoked={THIEF: ISSUED}, generation=ISSUED * 1000
    )
    assert (tmp_path / "trust.json").stat().st_mode & 0o777 == 0o600
    assert told.events == [("info", "trust.signers_changed")] and told.signers == 1
    await told.trust.changed(SIGNERS, stored(document(), 2))
    assert len(told.events) == 1


@pytest.mark.parametrize("data", [document(STRANGER), b"rubbish"])
async def test_a_strangers_signers_are_refused_and_told_once(told: Told, tmp_path: Path, data: bytes) -> None:
    pinned(tmp_path)
    before = (tmp_path / "trust.json").read_bytes()
    await told.trust.changed(SIGNERS, stored(data))
    await told.trust.changed(SIGNERS, stored(data))
    assert told.events == [("error", "trust.signers_refused")] and told.signers == 0
    assert (tmp_path / "trust.json").read_bytes() == before


async def test_a_device_that_was_not_enrolled_follows_nobody(told: Told, tmp_path: Path) -> None:
    await told.trust.changed(SIGNERS, stored(document()))
    assert (told.events, list(tmp_path.iterdir())) == ([], [])


async def test_new_authorities_are_written_once_and_the_leaf_is_told(told: Told, tmp_path: Path, authority: str) -> None:
    data = json.dumps({"authorities": [authority]}).encode()
    for sequence in (1, 2):
        await told.trust.changed(AUTHORITIES, stored(data, sequence))
    assert (tmp_path / "authorities.pem").read_text() == authority
    assert told.reloads == 1


@pytest.mark.parametrize("text", ["rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ä"])
async def test_damaged_authorities_do_not_cut_the_device_off(told: Told, tmp_path: Path, text: str) -> None:
    (tmp_path / "authorities.pem").write_text("those that work")
    with pytest.raises(EdgeError):
        await told.trust.changed(AUTHORITIES, stored(json.dumps({"authorities": [text]}).encode()))
    await told.trust.changed(AUTHORITIES, stored(b'{"authorities":[]}'))
    assert (tmp_path / "authorities.pem").read_text() == "those that work"
    with pytest.raises(Failed):
        await told.trust.changed(AUTHORITIES, stored(b"{"))
