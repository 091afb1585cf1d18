"""The section ``[mqtt]``: what may listen where."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import settings
from edgeagent.errors import SettingsProblem
from edgeagent.mqttsettings import MqttSettings


def parsed(text: str) -> MqttSettings:
    return settings.parse(f"[mqtt]\n{text}", Path("agent.toml")).mqtt


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.9", "::1"])
def test_loopback_needs_no_tls(listen: str) -> None:
    assert parsed(f'listen = "{listen}"').is_loopback


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.168.1.5"])
def test_anything_else_does(listen: str) -> None:
    with pytest.raises(SettingsProblem, match="plain text; set tls"):
        parsed(f'listen = "{listen}"')
    assert not parsed(f'listen = "{listen}"\ntls = "self"').is_loopback


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('listen = "raspberrypi"', "no address of this device"),
        ('tls = "files"', "set certificate_file and key_file"),
        ("port = 80", "at least 1024"),
        ("store_max_bytes = 1000", "at least 4194304"),
        ('tls_names = ["a b"]', "a host name or an address"),
    ],
    ids=["listen", "files", "port", "store", "names"],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(SettingsProblem, match=why):
        parsed(text)
