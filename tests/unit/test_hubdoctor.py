"""What the hub's doctor finds where no hub runs; tests/live/test_hub_tls.py asks it about one that does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from edgeagent.assembly import hubdoctor, hubmake, hubtls
from edgeagent.assembly.findings import Finding
from edgeagent.errors import Failed
from edgeagent.hub import tls
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.trust import certificates
from tests.support.home import own_home

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with own_home(tmp_path / "home"):
        yield tmp_path


def made(folder: Path, **options: object) -> HubFolder:
    place = HubFolder(folder / "hub")
    hubmake.make(place, HubOptions(name="berlin", **options), "olga", passphrase=None)  # type: ignore[arg-type]  # as given
    return place


async def of(place: HubFolder, check: hubdoctor.Check) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in await check(place, place.options())]


async def test_a_hub_that_does_not_run(home: Path) -> None:
    found = await hubdoctor.examine(made(home, tls="self"))
    bad = [finding for finding in found if not finding.good]
    assert [finding.check for finding in bad] == ["nats-server"] and "hub up" in bad[0].remedy
    assert len(found) >= 6 and all(finding.check and "  " not in finding.text for finding in found)


async def test_a_hub_that_is_the_hub_no_more_is_not_to_be_started(home: Path) -> None:
    place = made(home)
    place.retire("2026-11-22T13:39:45Z")
    (found,) = await hubdoctor.running(place, place.options())
    assert found.level == "wrong" and "final backup was taken" in found.text and "hub up" not in found.remedy


async def test_what_makes_a_check_impossible_is_a_finding(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(place: HubFolder, options: HubOptions) -> list[Finding]:
        raise Failed("look", "the disk is gone", "buy one")

    monkeypatch.setattr(hubdoctor, "CHECKS", [broken, hubdoctor.exposure])
    first, second = await hubdoctor.examine(made(home))
    assert (first.level, first.text, first.remedy) == ("wrong", "look: the disk is gone", "buy one") and second.good


@pytest.mark.parametrize(
    ("listen", "kind", "level"), [("127.0.0.1", "", "good"), ("0.0.0.0", "", "warn"), ("0.0.0.0", "self", "good")]
)
async def test_whether_others_may_listen_in(home: Path, listen: str, kind: str, level: str) -> None:
    place = made(home, listen=listen, tls=kind)
    assert [found for found, _ in await of(place, hubdoctor.exposure)] == [level]


@pytest.mark.parametrize(("days", "level"), [(31, "good"), (20, "warn"), (-2, "wrong")])
async def test_the_end_of_its_own_certificate_and_authority(home: Path, days: int, level: str) -> None:
    place = made(home, tls="self")
    own, ends = TlsFolder(place), now() + (days + 0.5) * DAY
    authority = certificates.make_authority("CA", ends)
    own.authorities.write_bytes(authority.certificate)
    own.certificate.write_bytes(certificates.make_server(authority, tuple(own.state().server.names), ends).certificate)  # type: ignore[union-attr]  # made above
    assert [found for found, _ in await of(place, hubdoctor.certificate)] == [level]
    assert [found for found, _ in await of(place, hubdoctor.certificate_authorities)] == [level]


async def test_a_name_that_the_certificate_lacks(home: Path) -> None:
    place = made(home, tls="self")
    place.options_file.write_text(place.options_file.read_text().replace('advertise = ""', 'advertise = "new.example"'))
    assert ("warn", "names        new.example: not in the certificate") in await of(place, hubdoctor.certificate)


@pytest.mark.parametrize(("days", "level"), [(31, "good"), (20, "warn")])
async def test_the_end_of_its_owners_certificate(home: Path, days: int, level: str) -> None:
    ends = now() + (days + 0.5) * DAY
    authority = certificates.make_authority("CA", ends)
    pair = certificates.make_server(authority, ("hub.example",), ends)
    files = {"certificate_file": pair.certificate, "key_file": pair.key, "authorities_file": authority.certificate}
    for name, data in files.items():
        (home / name).write_bytes(data)
        (home / name).chmod(0o640)
    place = made(home, tls="files", advertise="other.example", **{name: str(home / name) for name in files})
    assert await of(place, hubdoctor.foreign_key) == []
    (home / "key_file").chmod(0o644)
    assert await of(place, hubdoctor.foreign_key) == [("wrong", f"files        everybody can read {home / 'key_file'}")]
    first, second = await of(place, hubdoctor.certificate)
    assert first[0] == level and second == ("warn", "names        other.example: not in the certificate")
    assert [found for found, _ in await of(place, hubdoctor.certificate_authorities)] == [level]


async def test_keys_that_others_can_read(home: Path) -> None:
    place = made(home, tls="self")
    assert [level for level, _ in await of(place, hubdoctor.permissions)] == ["good"]
    for path in (place.keys, place.tls / "ca-1.key"):
        path.chmod(0o755)
    found = await of(place, hubdoctor.permissions)
    assert found == [("wrong", f"files        others can read {path}") for path in (place.keys, place.tls / "ca-1.key")]


async def test_logins_of_the_hubs_services(home: Path) -> None:
    ((level, text),) = await of(made(home), hubdoctor.services)
    assert level == "good" and "have no end" in text


def test_a_hub_that_does_not_know_the_time_makes_certificates_that_count() -> None:
    assert hubtls.now() >= tls.START and msgspec.json.encode(hubtls.now())
