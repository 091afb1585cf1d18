from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgeagent.errors import Failed
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.ownfiles import check, read, stamp, unnamed
from edgeagent.trust import certificates

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
ENDS = NOW + timedelta(days=90)
AUTHORITY = certificates.make_authority("CA", ENDS)
PAIR = certificates.make_server(AUTHORITY, ("*.example.org", "10.0.0.1"), ENDS)
OPTIONS = HubOptions(tls="files", certificate_file="c.pem", key_file="k.pem", authorities_file="a.pem")


@pytest.fixture
def place(tmp_path: Path) -> HubFolder:
    for name, data in (("c.pem", PAIR.certificate), ("k.pem", PAIR.key), ("a.pem", AUTHORITY.certificate)):
        (tmp_path / name).write_bytes(data)
    return HubFolder(tmp_path)


def test_what_can_be_used(place: HubFolder) -> None:
    assert check(place, OPTIONS, NOW) == read(place.named("c.pem"))[0]


def test_what_cannot(place: HubFolder) -> None:
    with pytest.raises(Failed, match="it expired on 2030-04-01"):
        check(place, OPTIONS, ENDS)
    place.named("a.pem").write_text("")
    with pytest.raises(Failed, match=r"a\.pem: it holds none in PEM form"):
        check(place, OPTIONS, NOW)
    place.named("k.pem").unlink()
    with pytest.raises(Failed, match=r"k\.pem: there is no such file"):
        check(place, OPTIONS, NOW)


def test_a_certificate_that_names_nobody(place: HubFolder) -> None:
    place.named("c.pem").write_bytes(AUTHORITY.certificate)
    place.named("k.pem").write_bytes(AUTHORITY.key)
    with pytest.raises(Failed, match="it names no host"):
        check(place, OPTIONS, NOW)


@pytest.mark.parametrize(
    ("listen", "advertise", "missing"),
    [
        ("10.0.0.1", "", []),
        ("10.0.0.2", "", ["10.0.0.2"]),
        ("0.0.0.0", "", []),
        ("127.0.0.1", "", []),
        ("0.0.0.0", "hub.example.org", []),
        ("10.0.0.1", "hub.example.com", ["hub.example.com"]),
    ],
)
def test_names_that_others_use_but_it_does_not_have(listen: str, advertise: str, missing: list[str]) -> None:
    assert unnamed(HubOptions(listen=listen, advertise=advertise), certificates.read(PAIR.certificate)) == missing


def test_a_change_is_seen(place: HubFolder) -> None:
    paths = [place.named("c.pem"), place.named("k.pem")]
    before = stamp(paths)
    assert stamp(paths) == before
    paths[0].rename(place.named("old.pem"))
    gone = stamp(paths)
    paths[0].write_bytes(PAIR.certificate + b"\n")
    assert len({before, gone, stamp(paths)}) == 3
