"""Everything a person can get wrong: one clear sentence with a remedy on standard error, an exit code, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import context, places
from edgeagent.context import Context
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.keyring import Keyring
from edgeagent.natsserver import ports
from tests.support.fleet import PATIENCE_SECONDS, LiveFleet, Said, cli
from tests.support.home import own_home


def said_plainly(said: Said, code: int, *words: str) -> None:
    """``cannot <what>: <why>. <Remedy>``, nothing on standard output, and the words in it."""
    assert said.code == code, said
    assert said.out == "" and said.err.startswith("edgeagent: cannot "), said
    assert "Traceback" not in said.err and said.err.count("edgeagent: cannot ") == 1
    for word in words:
        assert word in said.err, said.err


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A person who has nothing yet; the folder for whatever the test makes."""
    with own_home(tmp_path / "home"):
        yield tmp_path


# ---- asking the fleet ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["query", "labels.site =="], ["labels.site ==", "^"]),
        (["query", "memory.utilisation > 0.8"], ["there is no field memory.utilisation", "Did you mean memory.utilization?"]),
        (["query", "size(labels.site) > 0 && frobnicate(id)"], ["frobnicate"]),
        (["query", "true", "--select", "memory.utilisation"], ["Did you mean 'memory.utilization'?"]),
        (["get", "kernal"], ["Did you mean 'kernel'?"]),
        (["ls", "-d", "pi-1"], ["the hub knows no such device", "Did you mean 'pi-01'?"]),
        (["ls", "-d", "nothing-like-it"], ["the hub knows no such device", "`edgeagent fleet ls` shows all"]),
        (["ls", "-d", "PI 1"], ["1 to 63 of a-z, 0-9 and '-'"]),
        (["ls", "-g", "berln"], ["no device is in such a group", "Did you mean 'berlin'?"]),
        (["ls", "-l", "site"], ["key=value", "For example `-l site=berlin`"]),
        (["ls", "--sort", "sight"], ["there is no such column", "The columns are: id, state, site"]),
        (["ls", "--context", "nowhere"], ["there is no such context (known: demo)", "`edgeagent context add` makes one"]),
    ],
    ids=lambda value: " ".join(value) if value[0] in ("query", "get", "ls") else "",
)
def test_what_cannot_be_meant(fleet: LiveFleet, words: list[str], expected: list[str]) -> None:
    said_plainly(cli("fleet", *words), 2, *expected)


def test_no_context(home: Path) -> None:
    said_plainly(cli("fleet", "ls"), 2, "no context is chosen", "`edgeagent hub init`", "`edgeagent context add")
    said_plainly(cli("context", "use", "berlin"), 2, "there is no such context (known: none yet)")
    said_plainly(cli("context", "rm", "berlin"), 2, "there is no such context")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"name": "x"}', b"\xff\xfe", b""])
def test_a_corrupt_context(home: Path, content: bytes) -> None:
    context.save(Context(name="x", url="nats://127.0.0.1:1", credentials="x"), make_current=True)
    file = places.contexts_folder() / "x.json"
    file.write_bytes(content)
    said_plainly(cli("fleet", "ls"), 1, str(file), "`edgeagent context add x`")


def test_credentials_that_are_missing_or_none(home: Path) -> None:
    file = home / "me.creds"
    context.save(Context(name="x", url="nats://127.0.0.1:1", credentials=str(file)), make_current=True)
    said_plainly(cli("fleet", "ls"), 1, f"read the credentials {file}: there is no such file", "Ask whoever runs the hub")
    file.write_text("no credentials")
    file.chmod(0o600)
    said_plainly(cli("fleet", "ls"), 1, f"read the credentials {file}", "It must be the whole file that the hub made")
    file.chmod(0o644)
    said_plainly(cli("fleet", "ls"), 1, f"hmod 600 {file}")


def test_no_hub_is_running(home: Path) -> None:
    port = ports.pick()
    folder = home / "hub"
    assert cli("hub", "init", "--dir", str(folder), "--client-port", str(port)).code == 0
    said_plainly(cli("fleet", "ls"), 1, f"nothing listens at nats://127.0.0.1:{port}", "Start it, or check the address")
    for words in (["hub", "status"], ["device", "add", "pi-01"]):
        said_plainly(cli(*words, "--dir", str(folder), cwd=home), 1, f"`edgeagent hub up --dir {folder}`")
    assert not (home / "pi-01.creds").exists()


def test_credentials_of_another_hub(fleet: LiveFleet, home: Path) -> None:
    assert cli("hub", "init", "--dir", str(home / "hub"), "--name", "other", "--admin", "me").code == 0
    context.save(Context(name="mixed", url=fleet.url, credentials=context.load("other").credentials), make_current=True)
    said_plainly(cli("fleet", "ls"), 1, f"the server at {fleet.url} does not accept these credentials", "another hub")


# ---- the hub ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(home: Path) -> HubFolder:
    """A hub that was made and does not run."""
    place = HubFolder(home / "hub")
    numbers = ["--client-port", str(ports.pick()), "--leaf-port", str(ports.pick())]
    assert cli("hub", "init", "--dir", str(place.path), *numbers).code == 0
    return place


def test_there_is_no_hub(home: Path) -> None:
    for words in (["hub", "up"], ["hub", "status"], ["device", "add", "pi-01"]):
        said_plainly(cli(*words, "--dir", str(home / "hub"), cwd=home), 1, "`edgeagent hub init`", "--dir")


def test_a_hub_is_made_once(hub: HubFolder) -> None:
    before = {path: path.read_bytes() for path in hub.path.rglob("*") if path.is_file()}
    said_plainly(cli("hub", "init", "--dir", str(hub.path)), 1, " already", "hoose another")
    said_plainly(cli("hub", "init", "--dir", str(hub.path), "--name", "x"), 1, "there is one already", "`edgeagent hub up`")
    elsewhere = hub.path.with_name("other")
    said_plainly(cli("hub", "init", "--dir", str(elsewhere)), 1, "you have a context of that name already", "--name")
    assert not elsewhere.exists()
    assert {path: path.read_bytes() for path in hub.path.rglob("*") if path.is_file()} == before
    assert context.names() == ["hub"]


def test_a_port_that_is_taken(hub: HubFolder, fleet: LiveFleet) -> None:
    taken = fleet.hub.options().client_port
    mine = hub.options().client_port
    hub.options_file.write_text(hub.options_file.read_text().replace(f"client_port = {mine}", f"client_port = {taken}"))
    said = cli("hub", "up", "--dir", str(hub.path))
    assert said.code == 1 and "Traceback" not in said.err
    last = said.err.splitlines()[-1]
    assert last.startswith("edgeagent: cannot run the hub's nats-server: another program uses 127.0.0.1:"), said.err
    assert f":{taken}. Choose another port" in last
    assert not hub.server_pid.exists() or not Path(f"/proc/{hub.server_pid.read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hub\n", ["it is not valid TOML"]),
        ("[hub]\nclient_prot = 4222\n", ["hub.client_prot: there is no such setting; did you mean hub.client_port?"]),
        ('[hub]\nclient_port = "x"\nname = "B"\n', ["hub.client_port = 'x'", "hub.name = 'B'"]),
    ],
)
def test_a_corrupt_hub_toml(hub: HubFolder, text: str, words: list[str]) -> None:
    hub.options_file.write_text(text)
    for command in (["hub", "up"], ["hub", "status"], ["device", "add", "pi-01"]):
        said_plainly(cli(*command, "--dir", str(hub.path)), 2, str(hub.options_file), *words)


def test_damaged_or_missing_keys(hub: HubFolder) -> None:
    key = hub.keys / "operator-signing.nk"
    key.chmod(0o644)
    said_plainly(cli("hub", "up", "--dir", str(hub.path)), 1, f"`chmod 600 {key}`")
    key.write_text("SU\n")
    key.chmod(0o600)
    said_plainly(cli("hub", "up", "--dir", str(hub.path)), 1, f"read the key {key}", "`edgeagent hub keys update`")
    key.unlink()
    said_plainly(
        cli("hub", "up", "--dir", str(hub.path)),
        1,
        f"read the key {key}: there is no such file",
        "`edgeagent hub keys update`",
    )


def test_a_device_is_added_once(fleet: LiveFleet, home: Path) -> None:
    place = ["--dir", str(fleet.hub.path)]
    said_plainly(
        cli("device", "add", "pi-01", *place, "--out", str(home / "new.creds")), 1, "there is a device of that id already"
    )
    assert not (home / "new.creds").exists(), "credentials of a device that was not added"
    (home / "pi-77.creds").write_text("precious")
    said_plainly(cli("device", "add", "pi-77", *place, cwd=home), 1, "there is such a file already", "--out")
    assert (home / "pi-77.creds").read_text() == "precious"
    assert "pi-77" not in [device["id"] for device in listed(fleet)]


def listed(fleet: LiveFleet) -> list[dict[str, str]]:
    environment = {"EDGEAGENT_CONTEXT": "here"}
    context.save(Context(name="here", url=fleet.url, credentials=str(fleet.credentials)), make_current=False)
    found: list[dict[str, str]] = json.loads(cli("fleet", "ls", "--json", env=environment).out)
    return found


@pytest.mark.parametrize("words", [["Pi_01"], ["../x"], ["-leading"], ["a" * 64], [""], ["pi-77", "--groups", "Kitchen"]])
def test_a_device_needs_a_good_id(fleet: LiveFleet, home: Path, words: list[str]) -> None:
    first, *rest = words
    said_plainly(
        cli("device", "add", *rest, "--dir", str(fleet.hub.path), "--", first, cwd=home), 2, "1 to 63 of a-z, 0-9 and '-'"
    )
    assert [path.name for path in home.iterdir()] == ["home"]


# ---- the device ------------------------------------------------------------------------------------------------------------


def agent_toml(folder: Path, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "agent.toml"
    path.write_text(
        f'[device]\nid = "pi-01"\n[paths]\nstate = "state"\nruntime = "run"\n{more or f"[leaf]{chr(10)}port = {ports.pick()}"}\n'
    )
    return path


def script(folder: Path, text: str) -> Path:
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[device\n", ["it is not valid TOML"]),
        ('[leaf]\nprot = 4222\nport = "x"\n[hubb]\n', ["leaf.prot", "did you mean leaf.port?", "leaf.port = 'x'", "hubb"]),
        ("leaf = 3\n", ["write it as a section [leaf]"]),
        ("[leaf]\nport = 0\n", ["leaf.port = 0"]),
    ],
)
def test_corrupt_settings(home: Path, text: str, words: list[str]) -> None:
    path = home / "agent.toml"
    path.write_text(text)
    for command in ("run", "check", "status"):
        said_plainly(cli(command, "--settings", str(path)), 2, str(path), *words)


def test_settings_that_are_missing_or_no_text(home: Path) -> None:
    said_plainly(cli("run", "--settings", str(home / "agent.toml")), 1, "there is no such file")
    (home / "agent.toml").write_bytes(b"\xff\xfe")
    said_plainly(cli("run", "--settings", str(home / "agent.toml")), 1, "it is not UTF-8 text")


def test_nats_server_is_not_where_the_settings_say(home: Path) -> None:
    path = agent_toml(home, f'[leaf]\nserver = "{home}/nats-server"')
    said_plainly(last_line(cli("run", "--settings", str(path))), 1, f"there is no file {home}/nats-server", "`leaf.server`")
    checked = cli("check", "--settings", str(path))
    assert checked.code == 1 and f"there is no file {home}/nats-server" in checked.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo nats-server: v2.10.0", ["it is nats-server 2.10.0, at least 2.15.1 is needed", "nstall"]),
        ("echo hello", ["it is no nats-server: it said 'hello'"]),
        ("exit 1", ["it is no nats-server"]),
    ],
)
def test_a_nats_server_that_is_too_old_or_none(home: Path, text: str, words: list[str]) -> None:
    path = agent_toml(home, f'[leaf]\nserver = "{script(home, text)}"')
    said_plainly(last_line(cli("run", "--settings", str(path))), 1, *words)


def test_nats_server_is_not_installed(home: Path) -> None:
    """A Python with no nats-server beside it, and an empty PATH."""
    python = home / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    environment = {**os.environ, "PATH": str(home / "empty"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("VIRTUAL_ENV", None)
    for words in (["run", "--settings", str(agent_toml(home))], ["hub", "up", "--dir", str(made_hub(home))]):
        argv = [str(python), "-m", "edgeagent", *words]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=PATIENCE_SECONDS)
        said_plainly(
            last_line(Said(done.returncode, done.stdout, done.stderr)), 1, "start nats-server: it is not installed. Install"
        )


def made_hub(home: Path) -> Path:
    assert cli("hub", "init", "--dir", str(home / "hub")).code == 0
    return home / "hub"


def last_line(said: Said) -> Said:
    """Without the log lines before it."""
    assert "Traceback" not in said.err
    return Said(said.code, said.out, said.err.splitlines()[-1])


def test_a_state_folder_that_cannot_be_written(home: Path) -> None:
    (home / "card").write_text("a file, not a folder")
    path = agent_toml(home / "etc", f'state = "{home}/card/edgeagent"')
    path.write_text(path.read_text().replace('state = "state"\n', ""))
    said_plainly(cli("run", "--settings", str(path)), 1, f"{home}/card/edgeagent")
    said_plainly(cli("hub", "init", "--dir", str(home / "card" / "hub")), 1, f"{home}/card")
    assert context.names() == []


def test_the_agent_never_ran(home: Path) -> None:
    said_plainly(cli("status", "--settings", str(agent_toml(home))), 1, "the agent has not run here", "`edgeagent run`")


def test_a_damaged_status(home: Path) -> None:
    path = agent_toml(home)
    (home / "run").mkdir()
    (home / "run" / "status.json").write_text("{")
    said_plainly(cli("status", "--settings", str(path)), 1, "is damaged", "Restart the agent")


def test_expired_credentials_are_found_by_check(home: Path, hub: HubFolder) -> None:
    path = agent_toml(home, '[hub]\nurls = ["nats-leaf://127.0.0.1:1"]')
    (home / "state").mkdir()
    file = home / "state" / "device.creds"
    file.write_text(Keyring.load(hub.path).device_credentials("pi-01", expires_in_seconds=-60).format())
    file.chmod(0o600)
    said = cli("check", "--settings", str(path))
    assert said.code == 1 and "expired" in said.out and "Traceback" not in said.err


def test_no_demo_runs(home: Path) -> None:
    said_plainly(cli("demo", "cut", "pi-01"), 1, "no demo is running", "`edgeagent demo`")
    said_plainly(cli("demo", "restore", "pi-01"), 1, "no demo is running")
