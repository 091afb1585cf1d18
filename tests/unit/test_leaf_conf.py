from dataclasses import replace
from pathlib import Path
from subprocess import run

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.leaf.conf import LeafConf, render
from edgeagent.leaf.conftext import quote
from edgeagent.leaf.options import LeafOptions
from edgeagent.natsserver import binary

CONF = LeafConf(
    server_name="pi-1-3fa9",
    domain="pi-1",
    port=4222,
    store=Path("/var/lib/edgeagent/leaf/js"),
    agent_password="a-secret",
    app_password="b-secret",
    system_password="c-secret",
)


def accepted(text: str, folder: Path) -> tuple[bool, str]:
    """Whether nats-server itself takes the text (``-t``: test the configuration and exit)."""
    path = folder / "test.conf"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = run([binary.find().path, "-t", "-c", path], capture_output=True, text=True)
    return result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"hub_urls": ("nats-leaf://hub.example:7422",)},
        {"hub_urls": ("tls://a.example:7422", "tls://b.example:7422"), "credentials": Path("/x y/device.creds")},
        {"hub_urls": ("wss://hub.example:443",)},
        {"hub_urls": ("wss://hub.example:443",), "proxy": "http://olga:p%40ss%20%22word%22@proxy.example:3128"},
        {"log": Path("/tmp/l"), "pid_file": Path("/tmp/p"), "sync_seconds": 0.5},
        {"store": Path('/odd/"quoted" \\back {brace} # hash\ttab\nline é \udcff'), "agent_password": '$HOME"; \\x41'},
    ],
)
def test_nats_server_accepts_it(change: dict[str, object], tmp_path: Path) -> None:
    ok, said = accepted(render(replace(CONF, **change)), tmp_path)  # type: ignore[arg-type]  # each case has the right types
    assert ok, said


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    assert not accepted(render(CONF).replace("sync_interval", "sink_interval"), tmp_path)[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", '"plain"'),
        ("/a b/c", '"/a b/c"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("$HOME", '"$HOME"'),
        ("a\nb\tc\rd\x07", r'"a\nb\tc\rd\x07"'),
        ("\udcff", r'"\xff"'),
        ("é", '"é"'),
    ],
)
def test_quote(value: str, text: str) -> None:
    assert quote(value) == text


def test_without_a_hub_there_is_no_remote() -> None:
    assert "remotes: []" in render(CONF)


def test_remote_has_what_slow_links_need() -> None:
    text = render(replace(CONF, hub_urls=("nats-leaf://hub:7422",), credentials=Path("/c")))
    for line in (
        'urls: ["nats-leaf://hub:7422"]',
        'credentials: "/c"',
        "ignore_discovered_servers: true",
        "compression: s2_fast",
        'dial_timeout: "10000ms"',
        'first_info_timeout: "10000ms"',
        'deny_exports: ["local.>", "mcu.>"]',
        'deny_imports: ["local.>", "mcu.>"]',
    ):
        assert line in text
    assert "tls" not in text


def test_tls_needs_time_and_its_authority() -> None:
    text = render(replace(CONF, hub_urls=("tls://hub:7422",), tls_ca_file=Path("/ca.pem")))
    assert 'tls { timeout: 10, ca_file: "/ca.pem", handshake_first: true }' in text
    assert "handshake_first" not in render(replace(CONF, hub_urls=("wss://hub:443",)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"device_id": "Pi 1"}, "is no device id"),
        ({"device_id": "hub"}, "no device may be called 'hub'"),
        ({"port": 0}, "0 is no port"),
        ({"hub_urls": ("wss://a:443", "tls://b:7422")}, "mixes"),
        ({"hub_urls": ("tls://b:7422",), "proxy": "http://proxy:3128"}, "hub.proxy counts only for"),
        ({"hub_urls": ("wss://a:443",), "proxy": "socks5://u:secret@proxy:1"}, "hub.proxy is no address such as"),
        ({"hub_urls": ("wss://a:443",), "proxy": "http://u:secret@proxy"}, "hub.proxy is no address such as"),
    ],
)
def test_options_are_checked_at_once(change: dict[str, object], why: str, tmp_path: Path) -> None:
    arguments = {"device_id": "pi-1", "server_name": "pi-1-3fa9", "folder": tmp_path, **change}
    with pytest.raises(UsageProblem, match=why):
        LeafOptions(**arguments)  # type: ignore[arg-type]  # each case has the right types


def test_the_proxys_login_is_apart_from_its_address() -> None:
    text = render(replace(CONF, hub_urls=("wss://hub:443",), proxy="http://olga:p%40ss@proxy.example:3128"))
    assert 'proxy { url: "http://proxy.example:3128", timeout: "10000ms", username: "olga", password: "p@ss" }' in text
    assert "username" not in render(replace(CONF, hub_urls=("wss://hub:443",), proxy="http://proxy:1"))


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageProblem) as caught:
        LeafOptions(
            device_id="pi-1", server_name="pi-1-x", folder=Path("/x"), hub_urls=("wss://a:1",), proxy="ftp://u:secret@p:1"
        )
    assert "secret" not in str(caught.value)
