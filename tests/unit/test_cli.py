"""The command line itself: help, version, exit codes, and the commands that need no hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from edgeagent import __version__, context, status
from edgeagent.cli import app, config_keys, main
from edgeagent.config import KEYS
from edgeagent.errors import EdgeError
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.owner import Owner
from edgeagent.hub.streams import MIN_STORE_BYTES
from edgeagent.status import LeafStatus, LinkStatus, Status
from edgeagent.times import rfc3339


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below ``command`` (click's, which newer releases of typer bring along under another name)."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG_HOME", "STATE_HOME", "CACHE_HOME"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name.lower()))


def run(*words: str) -> tuple[int, str]:
    """Exit code and everything printed; an error of ours is said and coded as :func:`main` does."""
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, EdgeError):
        return result.exception.exit_code, f"{result.output}edgeagent: {result.exception}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(("edgeagent", *path))) for path in ALL])
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    code, said = run(*path, "--help")
    assert code == 0
    (example,) = [line.strip() for line in said.splitlines() if "Example:" in line]
    words = example.split("edgeagent ", 1)[1].split()
    assert tuple(words[: len(path)]) == path, "an example is of the command itself"


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(("edgeagent", *path))) for path in ALL])
def test_every_option_says_what_it_does(path: tuple[str, ...]) -> None:
    options = [parameter for parameter in ALL[path].params if parameter.param_type_name == "option"]
    assert [option.name for option in options if not option.help] == []


def test_the_version() -> None:
    assert run("--version") == (0, f"edgeagent {__version__}\n")


@pytest.mark.parametrize(
    "words", [["colour"], ["fleet", "colour"], ["fleet", "ls", "--colour"], ["fleet", "query"], ["fleet", "ls", "-o", "x"]]
)
def test_what_cannot_be_meant_exits_with_2(words: list[str]) -> None:
    assert run(*words)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fleet", "ls"], "no context is chosen"),
        (["fleet", "ls", "--context", "bern"], "there is no such context"),
        (["fleet", "ls", "--sort", "colour"], "there is no such column"),
        (["context", "use", "bern"], "there is no such context"),
        (["context", "rm", "../x"], "made of letters"),
    ],
)
def test_our_own_usage_errors_exit_with_2(words: list[str], said: str) -> None:
    code, text = run(*words)
    assert code == 2 and said in text


def test_an_error_is_one_sentence_and_never_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgeagent", "fleet", "ls"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("edgeagent: cannot reach a hub: no context is chosen. ") and err.count("\n") == 1


def test_a_reader_that_leaves_early_is_told_nothing() -> None:
    script = "from edgeagent.cli import main; main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", script, "--version"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_contexts(tmp_path: Path) -> None:
    code, said = run("context", "ls")
    assert code == 0 and "There are none yet" in said
    login = Owner.create("hub").operator_credentials("olga", "viewer")
    file = tmp_path / "olga.creds"
    file.touch(0o600)
    file.write_text(login.format())
    for name in ("berlin", "munich"):
        assert run("context", "add", name, "--url", f"nats://{name}:4222", "--credentials", str(file)) == (
            0,
            f"{name} is current now\n",
        )
    assert run("context", "use", "berlin") == (0, "berlin is current now\n")
    listed = json.loads(run("context", "ls", "--json")[1])
    assert [(row["id"], row["current"], row["url"]) for row in listed] == [
        ("berlin", True, "nats://berlin:4222"),
        ("munich", False, "nats://munich:4222"),
    ]
    assert run("context", "rm", "berlin")[0] == 0
    assert context.names() == ["munich"] and context.current_name() is None and file.exists()


def test_a_context_with_credentials_that_are_none_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "x.creds").write_text("hello")
    code, said = run("context", "add", "berlin", "--url", "nats://h:4222", "--credentials", str(tmp_path / "x.creds"))
    assert code == 1 and "cannot read the credentials" in said and context.names() == []


@pytest.mark.parametrize("name", ["My Hub", "hub.berlin", ""])
def test_a_hub_whose_options_cannot_be_meant_is_not_made(tmp_path: Path, name: str) -> None:
    code, said = run("hub", "init", "--dir", str(tmp_path / "hub"), "--name", name)
    assert code == 2 and "hub.name" in said
    assert not (tmp_path / "hub").exists() and context.names() == []


def test_a_hub_is_made_with_a_context_for_its_maker(tmp_path: Path) -> None:
    code, said = run(
        "hub",
        "init",
        "--dir",
        str(tmp_path / "hub"),
        "--name",
        "berlin",
        "--store-bytes",
        str(MIN_STORE_BYTES),
        "--admin",
        "olga",
    )
    assert code == 0 and "Next: `edgeagent hub up --dir " in said
    made = context.load()
    assert (made.name, made.url) == ("berlin", "nats://127.0.0.1:4222") and Path(made.credentials).exists()
    assert HubFolder(tmp_path / "hub").options() == HubOptions(name="berlin", store_max_bytes=MIN_STORE_BYTES)
    assert run("hub", "init", "--dir", str(tmp_path / "hub"), "--name", "other")[0] == 1


@pytest.mark.parametrize("words", [["hub", "up"], ["hub", "status"], ["device", "add", "pi-01"]])
def test_without_a_hub_it_says_how_to_make_one(tmp_path: Path, words: list[str]) -> None:
    code, said = run(*words, "--dir", str(tmp_path / "none"))
    assert code == 1 and "cannot" in said


@pytest.mark.parametrize("words", [["demo", "cut", "pi-01"], ["demo", "restore", "pi-01"]])
def test_without_a_demo_it_says_how_to_start_one(words: list[str]) -> None:
    code, said = run(*words)
    assert code == 1 and "no demo is running. Start one in another terminal" in said


def test_check_says_everything_and_exits_with_1(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[device]\nid = 'pi-01'\n[paths]\nstate = '.'\nruntime = '.'\n")
    code, said = run("check", "--settings", str(path))
    assert code == 0 and "ok     device id    pi-01" in said and "stays on its own" in said
    path.write_text(path.read_text() + "[hub]\nurls = ['nats-leaf://hub.example:7422']\n")
    code, said = run("check", "--settings", str(path))
    assert code == 1 and f"WRONG  read the credentials {tmp_path}/device.creds: there is no such file\n       ask whoever" in said
    path.write_text("[device]\nid = 'PI'\n")
    code, said = run("check", "--settings", str(path))
    assert code == 2 and "device.id = 'PI'" in said


def test_the_status_of_an_agent_that_is_not_running(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[paths]\nstate = '.'\nruntime = '.'\n")
    code, said = run("status", "-s", str(path))
    assert code == 1 and "the agent has not run here" in said
    process = subprocess.Popen(["true"])
    process.wait()
    moment = rfc3339(status_time())
    leaf, link = LeafStatus(mode="managed", state="stopped"), LinkStatus(up=False)
    written = Status(id="pi-01", version="1", pid=process.pid, started=moment, written=moment, leaf=leaf, link=link)
    status.write(tmp_path / "status.json", written)
    code, said = run("status", "-s", str(path))
    assert code == 1 and "pi-01  edgeagent 1 is not running" in said
    code, said = run("status", "-s", str(path), "--json")
    assert code == 1 and json.loads(said)["id"] == "pi-01"


def test_what_the_agents_user_leaves_as_its_status_does_nothing_to_who_looks(tmp_path: Path) -> None:
    settings, file = tmp_path / "agent.toml", tmp_path / "status.json"
    settings.write_text("[paths]\nstate = '.'\nruntime = '.'\n")
    leaf, now = LeafStatus(mode="managed", state="stopped"), rfc3339(status_time())
    moving = "pi\x1b[2J\x9b2J\u202e"
    written = Status(id=moving, version="1", pid=0, started=now, written=now, leaf=leaf, link=LinkStatus(up=False, hub=moving))
    status.write(file, written)
    for words in ((), ("--json",)):
        code, said = run("status", "-s", str(settings), *words)
        assert code == 1 and not {"\x1b", "\x9b", "\u202e"} & set(said), words
    file.rename(tmp_path / "other")
    file.symlink_to(tmp_path / "other")
    assert "it is a link, or no file" in run("status", "-s", str(settings))[1]
    file.unlink()
    os.mkfifo(file)
    assert "it is a link, or no file" in run("status", "-s", str(settings))[1]
    file.unlink()
    file.write_bytes(b" " * (status.MAX_BYTES + 1))
    assert "more than" in run("status", "-s", str(settings))[1]


def status_time() -> datetime:
    return datetime.now(timezone.utc)


@pytest.mark.parametrize("width", [80, 40])
def test_keys_are_whole_on_a_narrow_terminal(width: int) -> None:
    rows = json.loads(run("config", "keys", "--json")[1])
    shown = config_keys.lines(rows, width)
    assert [line for line in shown if not line.startswith(" ")] == list(KEYS)
    assert max(len(line) for line in shown) <= width
    text = " ".join(" ".join(shown).split())
    assert all(row["description"] in text for row in rows)
    heartbeat = " ".join(" ".join(shown[shown.index("agent.heartbeat_seconds") :]).split())
    assert heartbeat.startswith("agent.heartbeat_seconds number (at least 1, at most 3,600); 60.0 if not set; counts at once")


@pytest.mark.parametrize("command", [["token", "create"], ["device", "add", "pi-01"]], ids=" ".join)
@pytest.mark.parametrize("time", ["1s", "0m", "", "9999w"])
def test_a_time_that_is_none_says_how_to_write_one(command: list[str], time: str) -> None:
    code, said = run(*command, "--expires", time)
    assert code == 2 and f"Invalid value for '--expires': {time!r} is no such time: write 90m, 12h" in " ".join(said.split())


def test_the_smallest_store_is_the_same_for_init_and_for_the_streams(tmp_path: Path) -> None:
    code, said = run("hub", "init", "--dir", str(tmp_path / "hub"), "--store-bytes", str(MIN_STORE_BYTES - 1))
    assert code == 2 and f"it must be at least {MIN_STORE_BYTES}" in said and not (tmp_path / "hub").exists()
    assert f"{MIN_STORE_BYTES >> 20} MiB at least" in " ".join(run("hub", "init", "--help")[1].split())
