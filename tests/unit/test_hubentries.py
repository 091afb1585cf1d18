"""``hub.urls``: what a document may say of hubs, where a device goes for it, and what is kept of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import config, servers
from edgeagent.hubentries import check_document, is_encrypted, is_open, refusal
from edgeagent.leaf import hubkept
from edgeagent.leaf.hubkept import Kept

CLUSTER = "tls://a.example:7422,tls://b.example:7422"
PLAIN, SAFE, WEB = "nats-leaf://10.0.0.5:7422", "tls://hub.example:7422", "wss://hub.example"


def test_an_entry_is_one_hub_of_one_or_several_servers() -> None:
    assert servers.split(CLUSTER) == ["tls://a.example:7422", "tls://b.example:7422"]
    assert servers.split(SAFE) == [SAFE]
    assert [is_open(entry) for entry in (PLAIN, SAFE, WEB, "ws://127.0.0.1:80", "nats://localhost", "ws://[::1]:80")] == [
        *(True, False, False, False, False, False)
    ]
    assert is_open("tls://a,nats-leaf://b") and is_encrypted(WEB) and not is_encrypted("nats-leaf://127.0.0.1:1")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "hub.urls: it must have an entry"),
        ("tls://a", "hub.urls = 'tls://a': it must be a list"),
        (["hub.example"], "hub.urls[0] = 'hub.example': it must be an address such as"),
        (["tls://a, tls://b"], "hub.urls[0] = 'tls://a, tls://b': it must be an address such as"),
        (["tls://a,"], "it must be an address such as"),
        ([SAFE, SAFE], "hub.urls: an entry is there twice"),
        ([WEB, SAFE], "hub.urls: it mixes ws:// or wss:// with other addresses"),
        (["tls://a,nats-leaf://b"], "hub.urls: the servers of one entry are of one hub, so they begin with the same scheme"),
        (["tls://a:99999"], "hub.urls: tls://a:99999 is no address"),
        (["tls://:7422"], "hub.urls: tls://:7422 is no address"),
        (["tls://olga:secret@a:7422"], "may name a host and a port, and nothing else"),
        ([f"tls://h{number}" for number in range(9)], "hub.urls"),
        ([",".join(f"tls://h{number}" for number in range(17))], "hub.urls: an entry may have 16 servers"),
        ([f"tls://{'a' * 1100}"], "hub.urls[0]"),
    ],
)
def test_what_no_document_may_say(value: object, problem: str) -> None:
    found = config.invalid({"hub": {"urls": value}})
    assert len(found) == 1 and problem in found[0], found


@pytest.mark.parametrize("value", [[SAFE], [CLUSTER, SAFE], [WEB], [PLAIN], ["nats://a,nats-leaf://b"]])
def test_what_a_document_may_say(value: list[str]) -> None:
    assert config.invalid({"hub": {"urls": value}}) == []
    check_document(value)


def test_agent_toml_may_leave_it_empty() -> None:
    assert config.impossible(config.merged([config.defaults()])) == []


@pytest.mark.parametrize(
    ("own", "encrypted", "entries", "refused"),
    [
        ([SAFE], False, [CLUSTER], False),
        ([SAFE], False, [CLUSTER, PLAIN], True),
        ([SAFE], False, ["ws://hub.example"], True),
        ([SAFE], False, ["nats-leaf://127.0.0.1:7422"], False),
        ([PLAIN], False, ["nats-leaf://10.0.0.6:7422"], False),
        ([PLAIN], True, ["nats-leaf://10.0.0.6:7422"], True),
        ([PLAIN], True, [PLAIN], False),
        (["nats-leaf://127.0.0.1:1"], True, [PLAIN], True),
        ([PLAIN, SAFE], False, ["nats-leaf://10.0.0.6:7422"], True),
    ],
)
def test_nobody_takes_a_device_out_of_tls(own: list[str], encrypted: bool, entries: list[str], refused: bool) -> None:
    """Whoever has an operator's key could be its hub then."""
    found = refusal(entries, own, encrypted=encrypted, proxy=False)
    assert bool(found) == refused, found


def test_a_proxy_lets_only_websockets_pass() -> None:
    assert refusal([WEB], [WEB], encrypted=True, proxy=True) == ""
    assert "pass this device's proxy, not tls://" in refusal([SAFE], [WEB], encrypted=True, proxy=True)


def test_what_is_kept_is_of_what_the_device_was_given(tmp_path: Path) -> None:
    kept = Kept(good=SAFE, before=PLAIN, trying=CLUSTER, tries=2)
    hubkept.save(tmp_path, [SAFE], kept)
    assert hubkept.load(tmp_path, [SAFE]) == kept
    assert hubkept.load(tmp_path, [PLAIN]) == Kept(), "somebody wrote another address, or enrolled the device elsewhere"
    assert (tmp_path / hubkept.FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / hubkept.FILE).write_text('{"own": ["tls://hub')
    assert hubkept.load(tmp_path, [SAFE]) == Kept()
    assert hubkept.load(tmp_path / "nowhere", [SAFE]) == Kept()
