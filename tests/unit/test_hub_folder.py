from __future__ import annotations

import dataclasses
import shutil
import stat
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Failed, SettingsProblem, Unreachable
from edgeagent.hub.conf import HubConf, render
from edgeagent.hub.folder import HubFolder, HubOptions, suggested_store_bytes
from edgeagent.hub.owner import Owner
from edgeagent.hub.streams import MIN_STORE_BYTES
from edgeagent.natsserver import binary
from edgeagent.trust import certificates


@pytest.mark.parametrize(
    "options",
    [
        HubOptions(),
        HubOptions(name="berlin", listen="::", client_port=1, leaf_port=65535, store_max_bytes=1 << 45, ping_seconds=1.5),
        HubOptions(advertise="hub.example", micro=False),
        HubOptions(tls="self", tls_names=["*.hub.example", "fd00::1"], websocket_port=443),
        HubOptions(tls="files", certificate_file="c.pem", key_file="/etc/k.pem", authorities_file="a.pem"),
        HubOptions(server='/opt/"nats"\\server ü\t\x1f'),
    ],
)
def test_options_survive_the_file(tmp_path: Path, options: HubOptions) -> None:
    place = HubFolder(tmp_path / "hub")
    assert not place.exists
    place.create(options)
    assert place.exists and place.options() == options
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.options_file.stat().st_mode) == 0o600


def test_a_hub_is_not_made_over_another(tmp_path: Path) -> None:
    place = HubFolder(tmp_path / "hub")
    place.create(HubOptions(name="first"))
    with pytest.raises(Failed, match="there is one already"):
        place.create(HubOptions(name="second"))
    assert place.options().name == "first"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "My Hub"}, "hub.name = 'My Hub': it must be 1 to 63 of a-z"),
        ({"name": "hub\n"}, "hub.name = 'hub\\n': it must be"),
        ({"client_port": 0}, "hub.client_port = 0: it must be at least 1"),
        ({"store_max_bytes": MIN_STORE_BYTES - 1}, "hub.store_max_bytes = 268435455: it must be at least 268435456"),
        ({"listen": ""}, "hub.listen = '': it must be a host name or an address"),
        ({"listen": "[::1]"}, "hub.listen = '[::1]': it must be"),
        ({"listen": "127.0.0.1:4222"}, "hub.listen = '127.0.0.1:4222': it must be"),
        ({"advertise": "nats://hub.example"}, "hub.advertise = 'nats://hub.example': it must be"),
        ({"advertise": "hub.example:4222"}, "hub.advertise = 'hub.example:4222': it must be"),
        ({"websocket_port": 7422}, "hub.websocket_port = 7422: it must differ from the other ports"),
        ({"tls_names": ["https://hub"]}, "hub.tls_names = 'https://hub': it must be a host name or an address"),
        ({"tls": "yes"}, "hub.tls = 'yes': it must be one of '', self, files"),
        ({"tls": "files", "certificate_file": "c"}, 'hub.key_file: it is needed with tls = "files"'),
        ({"tls": "self", "certificate_file": "c"}, 'hub.certificate_file: it counts only with tls = "files"'),
        ({"client_port": 7422}, "hub.leaf_port = 7422: it must differ from hub.client_port"),
    ],
)
def test_options_that_could_not_be_read_again_are_not_written(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    place = HubFolder(tmp_path / "hub")
    with pytest.raises(SettingsProblem) as caught:
        place.create(HubOptions(**options))
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith(problem)
    assert not place.path.exists()


def test_a_folder_without_a_hub(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"there is none\. Make one with `edgeagent hub init`"):
        HubFolder(tmp_path).options()


def test_a_file_that_a_person_spoiled(tmp_path: Path) -> None:
    place = HubFolder(tmp_path)
    place.options_file.write_text("[hub]\nleaf_prot = 1\nping_seconds = 0\n[leaf]\n")
    with pytest.raises(SettingsProblem) as caught:
        place.options()
    assert caught.value.problems == [
        "hub.leaf_prot: there is no such setting; did you mean hub.leaf_port?",
        "hub.ping_seconds = 0: it must be at least 1",
        "leaf: there is no such setting",
    ]


def test_the_suggested_store_is_a_share_of_the_disk(tmp_path: Path) -> None:
    suggested = suggested_store_bytes(tmp_path / "not" / "there" / "yet")
    assert 256 << 20 <= suggested <= 64 << 30 and suggested % (1 << 20) == 0
    free = shutil.disk_usage(tmp_path).free
    assert suggested <= max(256 << 20, free // 2 + (64 << 20))
    HubOptions(store_max_bytes=suggested)


def conf(folder: Path, keyring: Owner, **more: Any) -> HubConf:
    base = HubConf(
        name="hub",
        listen="127.0.0.1",
        client_port=4222,
        leaf_port=7422,
        ping_seconds=2.5,
        store=folder / "store",
        store_max_bytes=1 << 30,
        resolver=folder / "accounts",
        log=folder / "server.log",
        ports=folder / "ports",
        operator_jwt=keyring.operator_jwt(),
        system_account=keyring.account_public("SYS"),
        accounts=dict(keyring.account_jwts().values()),
    )
    return dataclasses.replace(base, **more)


@pytest.fixture(scope="module")
def keyring() -> Owner:
    return Owner.create("hub")


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost"])
@pytest.mark.parametrize("word", ["plain", 'a "quoted" \\ földer #1 $HOME'])
def test_nats_server_takes_the_configuration(tmp_path: Path, keyring: Owner, listen: str, word: str) -> None:
    folder = tmp_path / word
    (folder / "accounts").mkdir(parents=True)
    (folder / "server.conf").write_text(render(conf(folder, keyring, listen=listen)))
    checked = subprocess.run([binary.find().path, "-t", "-c", folder / "server.conf"], capture_output=True, text=True)
    assert checked.returncode == 0 and "is valid" in checked.stderr + checked.stdout, checked.stderr


def test_what_the_hub_cannot_do_without(tmp_path: Path, keyring: Owner) -> None:
    lines = [line.strip() for line in render(conf(tmp_path, keyring)).splitlines()]
    for line in (
        "isolate_leafnode_interest: true",
        "no_advertise: true",
        "domain: hub",
        'ping_interval: "2.5s"',
        "max_file_store: 1073741824",
    ):
        assert line in lines
    assert sum(keyring.account_public("SYS") in line for line in lines) == 2


@pytest.mark.parametrize(("compress", "said"), [(True, "s2_fast"), (False, "off")])
def test_links_are_compressed_unless_the_hub_says_otherwise(tmp_path: Path, keyring: Owner, compress: bool, said: str) -> None:
    leafnodes = render(conf(tmp_path, keyring, compress=compress)).partition("leafnodes {")[2].partition("\n}")[0]
    assert f"compression: {said}\n" in leafnodes
    assert HubOptions().compress, "a metered link pays for it otherwise"


TLS = {"certificate": Path("/x y/server.pem"), "key": Path("/x y/server.key")}


def test_every_port_has_tls_or_none(tmp_path: Path, keyring: Owner) -> None:
    files = 'cert_file: "/x y/server.pem", key_file: "/x y/server.key"'
    text = render(conf(tmp_path, keyring, websocket_port=443, **TLS))
    assert text.count(files) == 3 and text.count("handshake_first: true") == 1 and "no_tls" not in text
    assert "handshake_first" in text[text.index("leafnodes {") : text.index("websocket {")]
    plain = render(conf(tmp_path, keyring, websocket_port=80))
    assert "cert_file" not in plain and "no_tls: true" in plain
    assert "websocket" not in render(conf(tmp_path, keyring, **TLS))


@pytest.mark.parametrize("tls", [True, False])
def test_nats_server_takes_tls_websocket_and_a_cluster(tmp_path: Path, keyring: Owner, tls: bool) -> None:
    authority = certificates.make_authority("CA", datetime(2040, 1, 1, tzinfo=timezone.utc))
    (tmp_path / "c.pem").write_bytes(authority.certificate)
    (tmp_path / "c.key").write_bytes(authority.key)
    (tmp_path / "accounts").mkdir()
    files = {"certificate": tmp_path / "c.pem", "key": tmp_path / "c.key"} if tls else {}
    text = render(
        conf(tmp_path, keyring, websocket_port=8443, cluster_text="cluster { name: c, listen: 127.0.0.1:-1 }\n", **files)
    )
    (tmp_path / "server.conf").write_text(text)
    checked = subprocess.run([binary.find().path, "-t", "-c", tmp_path / "server.conf"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert text.endswith("cluster { name: c, listen: 127.0.0.1:-1 }\n")
