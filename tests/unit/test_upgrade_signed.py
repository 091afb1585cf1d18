"""Whom root believes when something is to be installed, against an agent that was taken over: it has the folder, and no signature."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.command import Entry, Target, new_id
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.subjects import FLEET_ALL, SIGNERS, Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.trust.pins import Pins
from edgeagent.trust.signed import sign
from edgeagent.trust.signers import changed
from edgeagent.upgrade import authority, manifest
from edgeagent.upgrade.authority import Authority
from edgeagent.upgrade.manifest import Manifest, Wheel
from edgeagent.upgrade.places import Places, Request
from edgeagent.upgrade.spool import Spool, manifest_file

NOW = 1_800_000_000
ROLES = {role: KeyPair.generate("account") for role in ("operator", "admin", "group-operator")}
ACCOUNT = KeyPair.generate("account").public
PINS = Pins(signers={key.public: role for role, key in ROLES.items()})
OURS = Authority(id="pi-1", pins=PINS, since=NOW - 86_400)


def login(role: str = "operator", *tags: str, issuer: KeyPair | None = None) -> Credentials:
    key = KeyPair.generate("user")
    token = jwt.scoped_user(
        issuer or ROLES[role],
        subject=key.public,
        name="olga",
        account=ACCOUNT,
        issued_at=NOW - 30 * 86_400,
        expires_at=NOW + 30 * 86_400,
        tags=tags,
    )
    return Credentials(token, key.seed)


def ordered(
    who: Credentials, scope: Scope = FLEET_ALL, *, at: int = NOW, ours: Authority = OURS, now: int = NOW, **fields: Any
) -> str:
    """The version that root would install. fields: of the entry."""
    entry = Entry(
        **{"id": new_id(at, who.public_key), "action": "agent.upgrade", "log": "l", "floor": 1, "not_after": at + 3600, **fields}
    )
    envelope = sign(who, kind="command", scope=scope, number=3, at=at, body=msgspec.json.encode(entry))
    return authority.ordered(ours, envelope, now).id


def why_not(*args: Any, **how: Any) -> str:
    with pytest.raises(EdgeError) as caught:
        ordered(*args, **how)
    return caught.value.why


@pytest.mark.parametrize("scope", [FLEET_ALL, Scope("group", "berlin"), Scope("device", "pi-1")], ids=str)
def test_an_operators_signature_is_followed(scope: Scope) -> None:
    assert ordered(login(), scope)
    assert ordered(login("group-operator", "group:berlin"), Scope("group", "berlin"))


def test_nobody_else_has_anything_installed() -> None:
    assert "not known here" in why_not(login(issuer=KeyPair.generate("account")))
    assert "limited to the groups" in why_not(login("group-operator", "group:rome"), Scope("group", "berlin"))
    assert "may not order it" in why_not(login("operator", "action:ping"))
    assert "another command was signed" in why_not(login(), action="ping")
    assert "knows nobody" in why_not(login(), ours=Authority(id="pi-1", pins=Pins()))


def test_what_was_signed_for_another_device_stays_there() -> None:
    assert "for another device" in why_not(login(), Scope("device", "pi-2"))
    assert "for another device" in why_not(login(), target=Target(devices=["pi-2"]))
    assert ordered(login(), target=Target(devices=["pi-2", "pi-1"]))


def test_what_was_signed_long_ago_is_not_played_again() -> None:
    assert "expired" in why_not(login(), now=NOW + 3600 + 301)
    assert "expired" in why_not(login(), not_after=NOW + 10**9, now=NOW + authority.MAX_AGE_SECONDS + 301)
    later = msgspec.structs.replace(OURS, last=NOW + 1)
    assert "before the last one" in why_not(login(), ours=later)
    assert "before this device was enrolled" in why_not(login(), ours=Authority(id="pi-1", pins=PINS, since=NOW + 301))


def test_a_changed_byte_is_not_what_was_signed() -> None:
    who = login()
    entry = Entry(
        id=new_id(NOW, who.public_key), action="agent.upgrade", log="l", floor=1, not_after=NOW + 9, args={"sha256": "a" * 64}
    )
    envelope = sign(who, kind="command", scope=FLEET_ALL, number=3, at=NOW, body=msgspec.json.encode(entry))
    with pytest.raises(Refused, match="is not olga's"):
        authority.ordered(OURS, envelope.replace(b"a" * 64, b"b" * 64), NOW)


def test_root_follows_signed_changes_of_who_may_sign_and_no_others() -> None:
    admin, olga = login("admin"), login()
    document = changed(admin, None, now=NOW - 10, revoke={olga.public_key: NOW})
    assert "revoked" in why_not(olga, ours=authority.renewed(OURS, document.decode()))
    forged = changed(login("admin", issuer=KeyPair.generate("account")), None, now=NOW - 10, signers={"AX": "admin"})
    assert authority.renewed(OURS, forged.decode()) == OURS == authority.renewed(OURS, "{")
    assert SIGNERS.kind == "trust"


def test_without_pins_of_roots_own_nothing_is_installed(tmp_path: Path) -> None:
    places = Places(tmp_path)
    with pytest.raises(Refused, match="root on this device knows nobody"):
        authority.load(places)
    authority.adopt(places, "pi-1", PINS, NOW)
    assert authority.load(places) == Authority(id="pi-1", pins=PINS, since=NOW)
    places.signers.write_text("{")
    with pytest.raises(Failed, match="damaged"):
        authority.load(places)


# ---- the folder of the agent's user ----

CONTENT = b"a wheel" * 1000
WHEEL = Wheel(
    file="edgeagent-2.0-py3-none-any.whl", bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest(), upload="0" * 32
)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "upgrade"
    folder.mkdir(parents=True)
    return folder


def copied(spool: Path, out: Path) -> bytes:
    out.mkdir(exist_ok=True)
    with Spool(spool.parent) as opened:
        return opened.copy(WHEEL, out).read_bytes()


def test_a_wheel_is_taken_by_its_sha256(spool: Path, tmp_path: Path) -> None:
    held = spool / f"{WHEEL.sha256}.whl"
    held.write_bytes(CONTENT)
    assert copied(spool, tmp_path / "one") == CONTENT
    for other in (CONTENT[:-1], CONTENT + b"x", b"b" + CONTENT[1:]):
        held.write_bytes(other)
        with pytest.raises(Refused, match="not the one that was signed"):
            copied(spool, tmp_path / "two")
    assert list((tmp_path / "two").iterdir()) == []


def test_no_link_is_followed_and_nothing_is_waited_for(spool: Path, tmp_path: Path) -> None:
    secret, held = tmp_path / "secret", spool / f"{WHEEL.sha256}.whl"
    secret.write_bytes(CONTENT)
    held.symlink_to(secret)
    with pytest.raises(EdgeError, match="link"):
        copied(spool, tmp_path / "out")
    held.unlink()
    os.mkfifo(held)
    with pytest.raises(Refused, match="is no file"):
        copied(spool, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    spool.rename(elsewhere)
    spool.symlink_to(elsewhere)
    with pytest.raises(EdgeError):
        Spool(spool.parent)


def test_a_request_is_taken_once_and_bounded(spool: Path) -> None:
    held = spool / "request.json"
    with Spool(spool.parent) as opened:
        assert opened.request() is None
        held.write_bytes(msgspec.json.encode(Request(signed="x")))
        assert opened.request() == Request(signed="x") and not held.exists()
        for rubbish in (b"{", b"[" * 100_000, b" " * (5 << 20)):
            held.write_bytes(rubbish)
            with pytest.raises(EdgeError):
                opened.request()
            assert not held.exists(), "it would be asked for without end"
        (held / "x").mkdir(parents=True)
        with pytest.raises(Refused, match="is no file"):
            opened.request()
        assert not held.exists()


def test_a_manifest_is_the_one_that_was_signed(spool: Path) -> None:
    data = b"{}"
    (spool / manifest_file("f" * 64)).write_bytes(data)
    with Spool(spool.parent) as opened, pytest.raises(Refused, match="not the one that was signed"):
        opened.manifest("f" * 64)


def wheel(file: str, size: int = 10) -> dict[str, Any]:
    return {"file": file, "bytes": size, "sha256": "a" * 64, "upload": "0" * 32}


OWN = wheel("edgeagent-2.0-py3-none-any.whl")
PLATFORM = "3.11 aarch64"


@pytest.mark.parametrize(
    ("wheels", "names", "version"),
    [
        ([OWN], [], "2.0"),
        ([OWN], ["edgeagent-2.0-py3-none-any.whl"], "2.1"),
        ([wheel("../../etc/passwd-1-py3-none-any.whl")], ["../../etc/passwd-1-py3-none-any.whl"], "2.0"),
        ([OWN, wheel("a_b-1-py3-none-any.whl"), wheel("A.B-2-py3-none-any.whl")], None, "2.0"),
        ([OWN, wheel("big-1-py3-none-any.whl", 2 << 30)], None, "2.0"),
        ([OWN, *(wheel(f"big{n}-1-py3-none-any.whl", 256 << 20) for n in range(5))], None, "2.0"),
        ([OWN], None, "../2.0"),
    ],
    ids=["without itself", "of another version", "out of its folder", "one twice", "too large", "together too large", "a path"],
)
def test_a_manifest_that_makes_no_sense_is_refused(wheels: list[dict[str, Any]], names: list[str] | None, version: str) -> None:
    listed = names if names is not None else [each["file"] for each in wheels]
    with pytest.raises(Failed):
        manifest.parse(msgspec.json.encode({"version": version, "wheels": wheels, "sets": {PLATFORM: listed}}))


def test_a_device_fetches_what_it_does_not_have() -> None:
    wheels = [OWN, wheel("nats_py-2.16.0-py3-none-any.whl"), wheel("psutil-7.2-cp36-abi3-manylinux2014_aarch64.whl")]
    found = manifest.parse(
        msgspec.json.encode({"version": "2.0", "wheels": wheels, "sets": {PLATFORM: [each["file"] for each in wheels]}})
    )
    lacking = found.lacking(PLATFORM, {"edgeagent": "1.0", "nats-py": "2.16.0", "psutil": "7.1", "own-plugin": "3"})
    assert [each.name for each in lacking] == ["edgeagent", "psutil"]
    assert found.wheels_for("3.12 aarch64") == [] and manifest.parse(manifest.encode(found)) == found
    assert isinstance(found, Manifest)


@pytest.mark.parametrize(
    ("python", "machine", "bits", "key"),
    [
        ("3.11.2", "aarch64", 64, "3.11 aarch64"),
        ("3.13.1", "aarch64", 32, "3.13 armv7l"),
        ("3.11.2", "armv6l", 32, "3.11 armv6l"),
        ("3.10.12", "x86_64", None, "3.10 x86_64"),
    ],
)
def test_a_platform_is_of_the_programs_and_not_of_the_kernel(python: str, machine: str, bits: int | None, key: str) -> None:
    assert manifest.platform_key(python, machine, bits) == key
