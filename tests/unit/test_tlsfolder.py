from __future__ import annotations

import shutil
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.files import Lock
from edgeagent.hub import authorities
from edgeagent.hub.authorities import Trust
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tlsfolder import TlsFolder, names
from edgeagent.trust import certificates

NOW = datetime(2030, 6, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
OPTIONS = HubOptions(name="berlin", tls="self", advertise="hub.example")


@pytest.fixture
def place(tmp_path: Path) -> HubFolder:
    made = HubFolder(tmp_path / "hub")
    made.create(OPTIONS)
    return made


@pytest.fixture
def own(place: HubFolder) -> TlsFolder:
    found = TlsFolder(place)
    assert found.ensure(OPTIONS, NOW) == "there is none"
    return found


def served(own: TlsFolder) -> certificates.Certificate:
    return certificates.read(own.certificate.read_bytes())


def handed_out(own: TlsFolder) -> list[str]:
    return [one.subject for one in certificates.read_all(own.authorities.read_bytes())]


def test_keys_are_private(own: TlsFolder) -> None:
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in own.path.glob("*.key")} == {
        "ca-1.key": 0o600,
        "server.key": 0o600,
    }


def test_nothing_is_made_twice(own: TlsFolder) -> None:
    before = own.certificate.read_bytes(), own.authorities.read_bytes()
    assert own.ensure(OPTIONS, NOW + 200 * DAY) == ""
    assert (own.certificate.read_bytes(), own.authorities.read_bytes()) == before


def test_it_is_renewed_by_the_same_authority(own: TlsFolder) -> None:
    before = own.authorities.read_bytes()
    assert own.ensure(OPTIONS, NOW + 300 * DAY) == "less than a third of its time is left"
    assert served(own).ends == NOW + (300 + 365) * DAY and own.authorities.read_bytes() == before


def test_a_new_name_in_hub_toml_comes_into_the_certificate(own: TlsFolder) -> None:
    more = HubOptions(name="berlin", tls="self", advertise="hub.example", tls_names=["edge.example", "fd00::5"])
    assert own.ensure(more, NOW) == "the hub's names changed"
    assert {"hub.example", "edge.example", "fd00::5", "localhost", "127.0.0.1", "::1"} <= set(served(own).names)


@pytest.mark.parametrize("name", ["server.key", "server.pem"])
def test_what_a_crash_left_half_is_made_anew(own: TlsFolder, place: HubFolder, tmp_path: Path, name: str) -> None:
    other = TlsFolder(HubFolder(tmp_path / "other"))
    other.ensure(OPTIONS, NOW)
    shutil.copy(other.path / name, own.path / name)  # of another pair
    assert own.ensure(OPTIONS, NOW) == "its files are not whole"
    assert certificates.fits(own.certificate.read_bytes(), own.key.read_bytes())


def test_a_new_authority_is_handed_out_first_and_signs_later(own: TlsFolder) -> None:
    own.rotate(OPTIONS, NOW, at_once=False)
    assert handed_out(own) == ["CN=edgeagent berlin CA 1", "CN=edgeagent berlin CA 2"]
    assert own.ensure(OPTIONS, NOW + 29 * DAY) == "" and served(own).issuer == "CN=edgeagent berlin CA 1"
    assert own.ensure(OPTIONS, NOW + 30 * DAY) == "another authority signs now"
    assert served(own).issuer == "CN=edgeagent berlin CA 2"
    assert own.ensure(OPTIONS, NOW + 61 * DAY) == "other authorities are handed out"
    assert handed_out(own) == ["CN=edgeagent berlin CA 2"]


def test_at_once(own: TlsFolder) -> None:
    own.rotate(OPTIONS, NOW, at_once=True)
    assert served(own).issuer == "CN=edgeagent berlin CA 2" and len(handed_out(own)) == 2


def test_twenty_years_later(own: TlsFolder) -> None:
    last_year = NOW + 19.5 * 365 * DAY
    own.ensure(OPTIONS, last_year)
    assert len(handed_out(own)) == 2 and served(own).issuer == "CN=edgeagent berlin CA 1"
    assert served(own).ends == own.state().authorities[0].ends
    own.ensure(OPTIONS, last_year + 31 * DAY)
    assert served(own).issuer == "CN=edgeagent berlin CA 2"


@pytest.mark.parametrize("years", [2, 19.5, 25])
def test_a_clock_that_was_wrong_for_an_hour_takes_no_authority_from_the_devices(own: TlsFolder, years: float) -> None:
    for now in (NOW + years * 365 * DAY, NOW + DAY):
        own.ensure(OPTIONS, now)
        assert "CN=edgeagent berlin CA 1" in handed_out(own)
    assert served(own).issuer == "CN=edgeagent berlin CA 1"


def test_a_renewed_certificate_does_not_bring_a_retired_authority_back(own: TlsFolder) -> None:
    own.rotate(OPTIONS, NOW, at_once=True)
    for days in (1, 200, 300, 301):
        own.ensure(OPTIONS, NOW + days * DAY)
    assert served(own).ends == NOW + (300 + 365) * DAY and handed_out(own) == ["CN=edgeagent berlin CA 2"]


def test_two_do_not_change_it_at_once(own: TlsFolder) -> None:
    with Lock(own.path / "lock", "hold it"), pytest.raises(Refused, match="already running"):
        own.renew(OPTIONS, NOW)


def test_without_an_authority_there_is_nothing_to_renew_with(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="there is no authority of the hub's own"):
        TlsFolder(HubFolder(tmp_path)).renew(OPTIONS, NOW)


def test_a_damaged_record_is_not_overwritten(own: TlsFolder) -> None:
    (own.path / "made.json").write_text("{")
    with pytest.raises(Failed, match=r"made\.json"):
        own.ensure(OPTIONS, NOW)


def test_a_wildcard_is_no_name() -> None:
    found = names(HubOptions(listen="0.0.0.0", tls="self"))
    assert "0.0.0.0" not in found and {"localhost", "127.0.0.1"} <= set(found) and list(found) == sorted(found)


def test_what_is_handed_out(own: TlsFolder, place: HubFolder) -> None:
    assert authorities.current(place) == own.authorities.read_text() and authorities.current_file(place) == own.authorities
    assert authorities.local(place, OPTIONS) == Trust(own.authorities)


def with_files(folder: Path, *given: str, **more: str) -> tuple[HubFolder, HubOptions]:
    """A hub with a certificate of somebody else's for ``given``."""
    place = HubFolder(folder)
    options = HubOptions(tls="files", certificate_file="c.pem", key_file="c.key", **more)  # type: ignore[arg-type]  # as above
    place.create(options)
    authority = certificates.make_authority("CA", NOW)
    pair = certificates.make_server(authority, given, NOW)
    for name, data in (("c.pem", pair.certificate), ("c.key", pair.key), ("ca.pem", authority.certificate)):
        place.named(name).write_bytes(data)
    return place, options


def test_a_hub_with_a_certificate_of_somebody_elses(tmp_path: Path) -> None:
    place, options = with_files(tmp_path / "own", "*.example.org", authorities_file="ca.pem")
    assert authorities.current(place) == place.named("ca.pem").read_text()
    assert authorities.local(place, options) == Trust(place.named("ca.pem"), "hub.example.org")
    place, options = with_files(tmp_path / "public", "127.0.0.1", "hub.example")
    assert authorities.current(place) == "" and authorities.local(place, options) == Trust()


def test_a_hub_without_tls_has_none(tmp_path: Path) -> None:
    place = HubFolder(tmp_path / "hub")
    place.create(HubOptions())
    assert authorities.current(place) == "" and authorities.local(place, place.options()) == Trust()
