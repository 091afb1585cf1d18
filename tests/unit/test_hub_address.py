from __future__ import annotations

import ipaddress

import pytest

from edgeagent.hub import address
from edgeagent.hub.address import addresses, authority, is_loopback, is_wildcard, local_url, own_address
from edgeagent.hub.cluster import ALONE
from edgeagent.hub.folder import HubOptions


@pytest.mark.parametrize(
    ("listen", "advertise", "operators", "local"),
    [
        ("127.0.0.1", "", "nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("192.168.1.10", "", "nats://192.168.1.10:4222", "nats://192.168.1.10:4222"),
        ("::1", "", "nats://[::1]:4222", "nats://[::1]:4222"),
        ("fd00::7", "", "nats://[fd00::7]:4222", "nats://[fd00::7]:4222"),
        ("hub.lan", "", "nats://hub.lan:4222", "nats://hub.lan:4222"),
        ("0.0.0.0", "", "nats://192.0.2.9:4222", "nats://127.0.0.1:4222"),
        ("::", "", "nats://192.0.2.9:4222", "nats://[::1]:4222"),
        ("0.0.0.0", "hub.example.org", "nats://hub.example.org:4222", "nats://127.0.0.1:4222"),
        ("127.0.0.1", "2001:db8::5", "nats://[2001:db8::5]:4222", "nats://127.0.0.1:4222"),
    ],
)
def test_urls(listen: str, advertise: str, operators: str, local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "own_address", lambda wildcard: "192.0.2.9")
    options = HubOptions(listen=listen, advertise=advertise)
    found = addresses(options, ALONE)
    assert (found.operators, local_url(options)) == (operators, local)
    assert found.devices == operators.replace("nats://", "nats-leaf://").replace(":4222", ":7422")


@pytest.mark.parametrize(
    ("listen", "advertise", "said"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("127.0.0.1", "hub.lan", False),
        ("10.0.0.1", "", False),
    ],
)
def test_that_only_this_machine_can_reach_it_is_said(listen: str, advertise: str, said: bool) -> None:
    note = addresses(HubOptions(listen=listen, advertise=advertise), ALONE).note
    assert note.startswith("Only this machine can reach these addresses") is said and bool(note) is said


def test_a_machine_without_a_route_says_what_to_fill_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "own_address", lambda wildcard: None)
    assert addresses(HubOptions(listen="0.0.0.0"), ALONE).operators == "nats://<this machine's address>:4222"


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_this_machines_own_address_is_one_that_others_can_use(wildcard: str) -> None:
    found = own_address(wildcard)
    if found is not None:  # a machine without a network has none
        assert not is_wildcard(found) and not is_loopback(found) and ipaddress.ip_address(found)


def test_only_addresses_with_colons_get_brackets() -> None:
    assert [authority(host, 1) for host in ("a.example", "10.0.0.1", "::")] == ["a.example:1", "10.0.0.1:1", "[::]:1"]


def test_urls_with_tls_and_websocket() -> None:
    plain, secure = HubOptions(websocket_port=8080), HubOptions(advertise="hub.example", tls="self", websocket_port=443)
    assert addresses(plain, ALONE).websocket == "ws://127.0.0.1:8080" and addresses(HubOptions(), ALONE).websocket == ""
    found = addresses(secure, ALONE)
    assert (found.operators, found.devices) == ("tls://hub.example:4222", "tls://hub.example:7422")
    assert found.websocket == "wss://hub.example:443" and local_url(secure) == "tls://127.0.0.1:4222"
