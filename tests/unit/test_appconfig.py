"""Tables of programs, where the agent answers them, and what a device says of its configuration without a link."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgeagent import lastgood, settings
from edgeagent.assembly import appclient, apps, localconfig
from edgeagent.cli import config_local
from edgeagent.config import Layer, merged
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.hub.owner import Owner
from edgeagent.lastgood import Kept
from edgeagent.leaf.apps import App, environment, may_answer
from edgeagent.leaf.secrets import load_or_make
from edgeagent.natsserver import ports
from edgeagent.patterns.appconfig import tables_of
from edgeagent.trust.nkeys import KeyPair, verify

GENERATION = 1_760_000_000_123


def kept(values: dict[str, Any], signer: str = "olga", note: str = "") -> Kept:
    return Kept(generation=GENERATION, at=GENERATION // 1000, signer=signer, digest="00", values=values, note=note)


def test_the_tables_of_programs() -> None:
    values = merged(
        [
            Layer("fleet.all", {"agent": {"micro": True}, "app": {"doors": {"open": "07:00", "locks": {"a": 1, "b": 2}}}}),
            Layer("group.berlin", {"app": {"windows": {"tilt": [1, 2]}, "empty": {}}}),
            Layer("device", {"app": {"doors": {"locks": {"b": 3}}}}),
        ]
    )
    assert tables_of(values) == {
        "doors": {"open": "07:00", "locks": {"a": 1, "b": 3}},
        "windows": {"tilt": [1, 2]},
    }
    assert tables_of({}) == {}


@pytest.mark.parametrize("reply", ["_INBOX.doors.abc.1", "_INBOX.x", "_INBOX.cli.12.a", "_INBOX.operator.x", "_INBOX.agent2.x"])
def test_inboxes_of_programs_are_answered(reply: str) -> None:
    assert may_answer(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "_INBOX",
        "_INBOX.",
        "_INBOX..a",
        "_INBOX.a.",
        "_INBOX.a.*",
        "_INBOX.>",
        "_INBOX.a b",
        "_INBOX.a\n",
        "_INBOX.a\x0b1",
        "_INBOXES.a",
        " _INBOX.a",
        "_INBOX.agent.1",
        f"_INBOX.{'a' * 250}",
        "edge.from.pi-01.event.info",
        "local.config.windows",
        "$JS.API.STREAM.DELETE.kept",
    ],
    ids=ascii,
)
def test_nothing_else_is_answered(reply: str) -> None:
    assert not may_answer(reply)


# What the command line finds on the device.


async def test_where_the_login_of_a_program_is(pi: Pi, tmp_path: Path) -> None:
    wanted = settings.load(pi.file)
    await apps.add(wanted, "doors", target=tmp_path / "my doors.env")
    await apps.add(wanted, "locks")
    found = {name: apps.environment_file(wanted, name) for name in ("doors", "locks", "nobody")}
    assert found == {
        "doors": tmp_path / "my doors.env",
        "locks": pi.state / "apps" / "locks.env",
        "nobody": pi.state / "apps" / "nobody.env",
    }
    assert found["doors"].exists() and found["locks"].exists()


async def test_where_nothing_listens_the_agent_is_to_be_started(pi: Pi) -> None:
    there = appclient.way({"NATS_URL": f"nats://127.0.0.1:{ports.pick()}"}, pi.file)
    with pytest.raises(Unreachable, match=r"nothing listens at .*The agent brings the leaf there: .*`edgeagent run` starts it"):
        await appclient.ask(there, "doors")


def test_a_program_with_an_address_needs_no_settings(pi: Pi) -> None:
    pi.file.write_text("[device]\nidd = 1\n")
    assert appclient.way({"NATS_URL": "nats://127.0.0.1:1"}, pi.file).url == "nats://127.0.0.1:1"
    with pytest.raises(EdgeError, match=r"device\.idd"):
        appclient.way({}, pi.file)


class Pi:
    """The files of a device, and ``edgeagent config`` there."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.file = folder / "agent.toml"
        self.file.write_text('[device]\nid = "pi-01"\n[paths]\nstate = "state"\nruntime = "run"\n[query]\nburst = 7\n')

    def of_groups(self, *groups: str) -> None:
        login = Owner.create("hub").device_credentials("pi-01", groups)
        (self.state / "device.creds").touch(0o600)
        (self.state / "device.creds").write_text(login.format())

    def says(self, *words: str) -> str:
        """What the command prints; raises the error that it ends with."""
        app = typer.Typer()
        config_local.add_to(app)
        result = CliRunner().invoke(app, [*words, "--settings", str(self.file)], catch_exceptions=False)
        return result.stdout


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pi:
    for name in [name for name in os.environ if name.startswith("NATS_")]:
        monkeypatch.delenv(name)
    return Pi(tmp_path)


def test_each_value_with_its_layer(pi: Pi) -> None:
    pi.of_groups("berlin")
    lastgood.save(
        pi.state,
        {
            "fleet.all": kept(
                {"agent": {"heartbeat_seconds": 30}, "query": {"burst": 9}, "app": {"doors": {"a": 1}}}, note="winter"
            ),
            "group.berlin": kept({"app": {"doors": {"a": 2}}}),
            "group.munich": kept({"app": {"doors": {"a": 3}}}),
        },
    )
    found = json.loads(pi.says("local", "--json"))
    assert found["values"]["app.doors.a"] == {"value": 2, "layer": "group.berlin"}
    assert found["values"]["query.burst"] == {"value": 9, "layer": "fleet.all"}
    assert found["values"]["agent.log_level"]["layer"] == "default"
    assert found["documents"]["fleet.all"] == {
        "generation": GENERATION,
        "at": GENERATION // 1000,
        "signer": "olga",
        "note": "winter",
    }
    assert set(json.loads(pi.says("local", "--json", "--changed"))["values"]) == {
        "agent.heartbeat_seconds",
        "query.burst",
        "app.doors.a",
    }
    text = pi.says("local", "--changed").splitlines()
    assert [line.split() for line in text if line.startswith("app.")] == [["app.doors.a", "2", "group.berlin"]]
    assert not [line for line in text if line.startswith("agent.log_level")]
    (fleet,) = [line for line in text if line.startswith("fleet.all")]
    assert f"generation {GENERATION} of 2025-10-" in fleet and fleet.endswith("signed by olga: winter")
    assert [line.split()[0] for line in text if "does not count" in line] == ["group.munich"]


def test_before_the_first_link_it_is_what_agent_toml_says(pi: Pi) -> None:
    found = json.loads(pi.says("local", "--json"))
    assert found["values"]["query.burst"] == {"value": 7, "layer": "agent.toml"} and found["documents"] == {}
    assert "No agent has run here yet" in pi.says("local")
    assert list(pi.state.iterdir()) == [], "looking makes no files"
    load_or_make(pi.state / "secrets.json")
    assert "The hub has given no configuration yet." in pi.says("local")


def test_what_an_operator_wrote_does_not_reach_the_terminal_raw(pi: Pi) -> None:
    lastgood.save(pi.state, {"fleet.all": kept({"app": {"doors": {"a": "\x1b[2J"}}}, signer="olga\x9b", note="\x1b]0;x")})
    said = pi.says("local")
    assert "app.doors.a" in said and not {"\x1b", "\x9b"} & {*said}


@pytest.mark.parametrize("generation", [(1 << 63) - 1, 1 << 53])
def test_a_signer_without_a_clock_spoils_nothing(pi: Pi, generation: int) -> None:
    document = Kept(generation=generation, at=0, signer="olga", digest="00")
    lastgood.save(pi.state, {"fleet.all": document})
    assert f"generation {generation} of an impossible time" in pi.says("local")


def test_a_damaged_file_is_a_clear_error(pi: Pi) -> None:
    (pi.state / "config.json").write_text("{")
    with pytest.raises(Failed, match=r"config\.json.*Remove it"):
        pi.says("local")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_told_to_use_sudo(pi: Pi) -> None:
    wanted = settings.load(pi.file)
    os.seteuid(65534)
    try:
        with pytest.raises(EdgeError, match="with sudo"):
            localconfig.read(wanted)
    finally:
        os.seteuid(0)


def test_the_way_to_the_leaf_is_in_the_environment(pi: Pi, tmp_path: Path) -> None:
    text = environment(App(name="doors", password="secret"), "nats://127.0.0.1:7777")
    found = appclient.way(dict(line.split("=", 1) for line in text.splitlines()), pi.file)
    assert (found.url, found.inbox, found.password) == ("nats://127.0.0.1:7777", "_INBOX.doors", ("doors", "secret"))
    assert "secret" not in repr(found)
    assert appclient.way({}, pi.file) == appclient.Way(url="nats://127.0.0.1:4222", settings=settings.load(pi.file))


def test_the_way_with_a_key(pi: Pi, tmp_path: Path) -> None:
    key = KeyPair.generate("user")
    (tmp_path / "doors.nk").write_text(f"{key.seed}\n")
    text = environment(App(name="doors", nkey=key.public), "nats://127.0.0.1:7777", tmp_path / "doors.nk")
    found = appclient.way(dict(line.split("=", 1) for line in text.splitlines()), pi.file)
    assert found.password is None and found.nkey is not None and found.nkey[0] == key.public
    assert verify(key.public, b"nonce", base64.urlsafe_b64decode(found.nkey[1]("nonce") + b"=="))
    assert key.seed not in repr(found)


@pytest.mark.parametrize(("words", "said"), [(["app", "Doors"], "a program's name is"), (["app", "a.b", "--follow"], "'a.b'")])
def test_a_name_that_no_program_has(pi: Pi, words: list[str], said: str) -> None:
    with pytest.raises(EdgeError, match=said) as raised:
        pi.says(*words)
    assert raised.value.exit_code == 2


def test_no_leaf_is_one_sentence_and_exit_code_1(pi: Pi) -> None:
    pi.file.write_text(pi.file.read_text() + "[leaf]\nport = 1\n")
    with pytest.raises(
        EdgeError, match=r"cannot read the configuration of the program 'doors': nothing listens at nats://127"
    ) as raised:
        pi.says("app", "doors")
    assert raised.value.exit_code == 1
