"""The built-in actions, with real programs in place of systemd's; plugins and programs that behave as badly as they can."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from edgeagent import __version__, actions
from edgeagent.actions import Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions import _power, app
from edgeagent.builtin.actions.plugin import FOLDER, load_folder
from edgeagent.builtin.actions.reboot import recent
from edgeagent.errors import Unreachable
from edgeagent.patterns import commandrun
from tests.support.acting import ME, Board
from tests.support.servers import is_alive, until

LED = "/sys/class/leds/ACT"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builtin_actions.__path__
    monkeypatch.setattr(actions, "_actions", dict(actions._actions))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_ping(board: Board) -> None:
    assert await board.run("ping") == Outcome("succeeded", value={"agent": __version__, "boot": "boot-1"})


async def test_the_led_blinks_and_is_given_back(board: Board) -> None:
    trigger = board.put(f"{LED}/trigger", "none timer [mmc0] heartbeat\n")
    brightness = board.put(f"{LED}/brightness", "9")
    running = asyncio.create_task(board.run("identify", seconds=1))
    await until(lambda: trigger.read_text() == "none" and brightness.read_text() in "01", "it blinks")
    assert await board.run("identify") == Outcome("succeeded", value={"already": True})
    assert await running == Outcome("succeeded")
    assert trigger.read_text() == "mmc0" and brightness.read_text() == "0"


async def test_blinking_ends_when_it_is_cancelled(board: Board) -> None:
    trigger = board.put(f"{LED}/trigger", "[actpwr]")
    board.put(f"{LED}/brightness", "9")
    running = asyncio.create_task(board.run("identify", seconds=300))
    await until(lambda: trigger.read_text() == "none", "it blinks")
    board.cancelled.set()
    assert (await running).state == "cancelled"
    assert trigger.read_text() == "actpwr"


async def test_a_board_without_a_led(board: Board) -> None:
    outcome = await board.run("identify")
    assert outcome.state == "refused" and "no activity LED" in outcome.reason


async def test_a_led_that_is_not_ours(board: Board) -> None:
    board.put(f"{LED}/brightness", "0")
    board.machine.path(f"{LED}/trigger").mkdir()  # unlike a missing right, root meets it too
    outcome = await board.run("identify")
    assert outcome.state == "failed" and "right to write" in outcome.reason


def allowing(folder: Path, *argv: str) -> Board:
    listed = msgspec.json.encode([list(argv)]).decode()
    return Board(folder, f'[commands]\nallow = ["exec"]\n[exec]\nenabled = true\nuser = "{ME}"\nallow = {listed}')


async def test_a_listed_program_runs(tmp_path: Path) -> None:
    board = allowing(tmp_path, "/usr/bin/tell", "*")
    board.program("/usr/bin/tell", 'echo "$0 $1"; exit 4')
    outcome = await board.run("exec", argv=["tell", "$(id)"])
    assert board.written.decode() == f"{board.machine.path('/usr/bin/tell')} $(id)\n"
    assert outcome == Outcome("failed", f"tell ended with exit code 4: {board.written.decode().strip()}", 4)


async def test_a_program_that_is_not_listed_is_refused_even_if_asked_directly(tmp_path: Path) -> None:
    board = allowing(tmp_path, "/usr/bin/tell", "*")
    marker = tmp_path / "ran"
    board.program("/usr/bin/tell", f"touch {marker}")
    for argv in (["tell", "--help"], ["tell"], ["tell", "a\nb"], ["./tell", "a"]):
        assert (await board.run("exec", argv=argv)).state == "refused"
    closed = Board(tmp_path, '[exec]\nallow = [["/usr/bin/tell"]]')
    assert (await closed.run("exec", argv=["tell"])).state == "refused"
    assert not marker.exists()


async def test_a_listed_program_that_others_may_change_does_not_run(tmp_path: Path) -> None:
    board = allowing(tmp_path, "/opt/tell")
    elsewhere = board.program("/tmp/tell", f"touch {tmp_path / 'ran'}")
    elsewhere.chmod(0o777)
    board.machine.path("/opt").mkdir()
    board.machine.path("/opt/tell").symlink_to(elsewhere)
    outcome = await board.run("exec", argv=["/opt/tell"])
    assert outcome.state == "failed" and "everybody may write" in outcome.reason
    assert not (tmp_path / "ran").exists()


async def test_a_program_that_takes_too_long(tmp_path: Path) -> None:
    board = allowing(tmp_path, "/bin/forever")
    board.program("/bin/forever", "exec sleep 1000")
    outcome = await board.run("exec", argv=["forever"], timeout_seconds=1)
    assert (outcome.state, outcome.exit_code) == ("timed_out", 143)
    assert "longer than 1 s" in outcome.reason


async def test_a_listed_program_that_is_not_there(tmp_path: Path) -> None:
    outcome = await allowing(tmp_path, "/bin/nothing").run("exec", argv=["nothing"])
    assert outcome.state == "failed" and "there is no such file" in outcome.reason


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
async def test_a_service(board: Board, verb: str) -> None:
    calls = board.systemctl()
    assert await board.run(f"service.{verb}", unit="nginx") == Outcome("succeeded", exit_code=0)
    assert lines(calls) == ["--no-pager", "--no-ask-password", verb, "--", "nginx.service"]


async def test_what_systemd_says_is_the_reason(board: Board) -> None:
    board.systemctl("echo 'Failed to start x.service: Unit x.service not found.' >&2; exit 5")
    outcome = await board.run("service.start", unit="x")
    assert outcome == Outcome(
        "failed", "systemctl ended with exit code 5: Failed to start x.service: Unit x.service not found.", 5
    )


async def test_the_status_of_a_service(board: Board) -> None:
    said = "Id=nginx.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\nStateChangeTimestamp=Mon\\nMainPID=7\\n"
    board.systemctl(f"printf '{said}'")
    outcome = await board.run("service.status", unit="nginx")
    assert outcome.state == "succeeded"
    assert outcome.value["unit"] == "nginx.service" and outcome.value["active"] == "active" and outcome.value["pid"] == "7"
    assert board.written == b"nginx.service: active (running) since Mon\n"


async def test_the_status_of_a_service_that_there_is_not(board: Board) -> None:
    board.systemctl("echo LoadState=not-found")
    assert (await board.run("service.status", unit="x")).reason == "there is no unit x.service"


async def test_logs(board: Board) -> None:
    board.program("/usr/bin/journalctl", 'printf "%s\\n" "$@"')
    assert (await board.run("logs", unit="edgeagent", lines=3)).state == "succeeded"
    words = ["--no-pager", "--quiet", "--output=short-iso", "--lines=3", "--unit=edgeagent.service"]
    assert board.written.decode().splitlines() == words


async def test_a_unit_that_has_written_nothing_is_told(board: Board) -> None:
    board.program("/usr/bin/journalctl", "true")
    found = await board.run("logs", unit="nginx")
    assert (found.state, found.reason) == ("succeeded", "the journal has no line of nginx.service")
    assert (await board.run("logs", unit="nginx", lines=0)).reason == ""


async def test_logs_are_followed_until_they_are_not_wanted(board: Board) -> None:
    board.program("/usr/bin/journalctl", 'printf "%s\\n" "$@"; exec sleep 1000')
    running = asyncio.create_task(board.run("logs", unit="edgeagent", follow=True))
    await until(lambda: board.written.endswith(b"--follow\n"), "it follows")
    board.cancelled.set()
    assert (await running).state == "cancelled"


@pytest.mark.parametrize(("name", "verb"), [("reboot", "reboot"), ("shutdown", "poweroff")])
async def test_the_machine_goes_down_under_the_action(
    board: Board, name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only another boot says that it succeeded: who cancels it meanwhile comes too late, and nobody knows."""
    assert _power.CANCELLED_SECONDS < commandrun.GRACE_SECONDS
    monkeypatch.setattr(_power, "CANCELLED_SECONDS", 0.1)
    calls = board.systemctl("echo >> $0.done")
    running = asyncio.create_task(board.run(name))
    await until(lambda: (calls.parent / "root" / "usr" / "bin" / "systemctl.done").exists(), "systemd was asked")
    assert lines(calls) == ["--no-ask-password", verb] and not running.done()
    board.cancelled.set()
    outcome = await running
    assert outcome.state == "unknown" and "it may yet go down" in outcome.reason


@pytest.mark.parametrize("name", ["reboot", "shutdown"])
def test_another_boot_is_the_proof(board: Board, name: str) -> None:
    found = actions.find(name)
    assert found is not None
    assert found.recover(board.context, None, "boot-0") == Outcome("succeeded", value={"boot": "boot-1"})
    assert found.recover(board.context, None, "boot-1") is None
    assert found.recover(board.context, None, "") is None


async def test_three_reboots_an_hour(board: Board) -> None:
    calls, now = board.systemctl(), time.time()
    file = board.settings.state_folder / "reboots.json"
    file.write_bytes(msgspec.json.encode([now - 3500, now - 60, now - 5]))
    outcome = await board.run("reboot")
    assert outcome.state == "refused" and "3 times within an hour" in outcome.reason
    assert lines(calls) == []


async def test_a_reboot_is_noted_before_systemd_is_asked(board: Board) -> None:
    file = board.settings.state_folder / "reboots.json"
    board.systemctl(f"cp {file} {file}.then; exit 1")
    assert (await board.run("reboot")).state == "failed"
    assert len(msgspec.json.decode(Path(f"{file}.then").read_bytes())) == 1
    assert msgspec.json.decode(file.read_bytes()) == [], "one that systemd refused does not count"


@pytest.mark.parametrize(
    ("content", "count"),
    [(b"[1000.0, 5000.0, 5001.0, 8500.0, 9000.0]", 3), (b"[5001", 0), (b'"x"', 0), (b"\xff", 0), (b"", 0)],
    ids=["times", "half-written", "no-list", "no-text", "empty"],
)
def test_which_reboots_count(tmp_path: Path, content: bytes, count: int) -> None:
    (tmp_path / "reboots.json").write_bytes(content)
    assert len(recent(tmp_path / "reboots.json", 5000.0)) == count
    assert recent(tmp_path / "none.json", 5000.0) == []


async def test_the_agent_ends_itself_where_systemd_starts_it_again(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert (await board.run("agent.restart")).state == "refused"
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    running = asyncio.create_task(board.run("agent.restart"))
    try:
        await until(told.is_set, "it is told to stop")
        assert not running.done()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        running.cancel()
    found = actions.find("agent.restart")
    assert found is not None and found.recover(board.context, None, "boot-1") == Outcome("succeeded")


def plugin(board: Board, script: str, manifest: str = "", interpreter: str = "/bin/sh") -> Path:
    """The plugin ``mine``, registered."""
    board.put(f"{FOLDER}/mine.toml", f'description = "Mine."\n{manifest}')
    file = board.program(f"{FOLDER}/mine", script, interpreter)
    assert load_folder(board.machine) == {}
    return file


async def test_a_plugin_in_any_language(board: Board) -> None:
    script = (
        "import json, sys\nasked = json.load(sys.stdin)\nprint('working', file=sys.stderr)\nprint(json.dumps({'value': asked}))"
    )
    manifest = "dangerous = true\n[arguments.what]\ntype = 'string'\n[arguments.times]\ntype = 'integer'\ndefault = 2"
    plugin(board, script, manifest, sys.executable)
    outcome = await board.run("plugin.mine", what="--help")
    asked = {"id": "01J0", "device": "pi-1", "action": "plugin.mine", "args": {"what": "--help", "times": 2}, "v": 1}
    assert outcome == Outcome("succeeded", exit_code=0, value=asked)
    assert board.written == b"working\n"
    found = actions.find("plugin.mine")
    assert found is not None and found.dangerous and found in actions.every()


ANSWERS: dict[str, tuple[str, str, str]] = {
    "nothing": ("true", "succeeded", ""),
    "a-reason": ("""echo '{"state":"failed","reason":"no paper"}'""", "failed", "no paper"),
    "exit-code": ("echo broken >&2; exit 7", "failed", "mine ended with exit code 7: broken"),
    "exit-code-and-reason": ("""echo '{"reason":"no paper"}'; exit 1""", "failed", "no paper"),
    "exit-code-and-success": ("""echo '{"state":"succeeded"}'; exit 1""", "failed", "mine says no more"),
    "refused": ("""echo '{"state":"refused","reason":"not now"}'""", "refused", "not now"),
    "rubbish": ("echo hello", "failed", "can't be used"),
    "not-text": ("printf '\\377\\376'", "failed", "can't be used"),
    "a-list": ("echo '[]'", "failed", "can't be used"),
    "another-state": ("""echo '{"state":"unknown"}'""", "failed", "can't be used"),
    "two-answers": ("echo '{}'; echo '{}'", "failed", "can't be used"),
    "too-deep": ("printf '{\"value\":'; head -c 5000 /dev/zero | tr '\\0' '['", "failed", "can't be used"),
    "deep": ("""echo '{"value":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}'""", "failed", "nested deeper"),
    "flood": ("head -c 3000000 /dev/zero | tr '\\0' ' '; echo '{}'", "failed", "larger than"),
    "large": ("""printf '{"value":"'; head -c 70000 /dev/zero | tr '\\0' x; printf '"}'""", "failed", "larger than"),
    "not-a-number": ("""echo '{"value":NaN}'""", "failed", "can't be used"),
    "escapes": ("""printf '{"state":"failed","reason":"\\\\u001b[2J\\\\n"}'""", "failed", "\\x1b[2J\\n"),
    "killed": ("kill -9 $$", "failed", "mine was ended by SIGKILL"),
}


@pytest.mark.parametrize(("script", "state", "reason"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_what_a_plugin_answers(board: Board, script: str, state: str, reason: str) -> None:
    plugin(board, script)
    outcome = await board.run("plugin.mine")
    assert outcome.state == state
    assert reason in outcome.reason and len(outcome.reason) <= 500


async def test_a_plugin_that_never_answers(board: Board) -> None:
    plugin(board, f"echo $$ > {board.folder}/pid; exec sleep 1000", "timeout_seconds = 0.5")
    outcome = await board.run("plugin.mine")
    assert outcome.state == "timed_out"
    assert not is_alive(int((board.folder / "pid").read_text()))


async def test_a_plugin_that_is_cancelled_may_flood(board: Board) -> None:
    plugin(board, "yes >&2 & exec yes")
    running = asyncio.create_task(board.run("plugin.mine"))
    await until(lambda: len(board.written) > 1 << 20, "it floods")
    board.cancelled.set()
    assert (await running).state == "cancelled"


async def test_a_plugin_gets_nothing_of_the_agents_environment(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/tmp/evil.so")
    plugin(board, "env >&2")
    await board.run("plugin.mine")
    names = {line.partition("=")[0] for line in board.written.decode().splitlines()}
    assert {"EDGEAGENT_COMMAND", "EDGEAGENT_DEVICE"} <= names and "LD_PRELOAD" not in names


@pytest.mark.parametrize("which", ["program", "folder"])
async def test_a_plugin_that_others_may_change(board: Board, which: str) -> None:
    file = plugin(board, f"touch {board.folder}/ran")
    (file if which == "program" else file.parent).chmod(0o777)
    outcome = await board.run("plugin.mine")
    assert outcome.state == "failed" and "everybody may write" in outcome.reason
    assert not (board.folder / "ran").exists()
    assert "everybody may write" in load_folder(board.machine)["mine"]


PROBLEMS: dict[str, tuple[str, str, str]] = {
    "no-toml": ("mine", "description = ", "use the manifest"),
    "no-description": ("mine", "", "description"),
    "misspelt": ("mine", 'description = "x"\ntimeout = 5', "timeout"),
    "argument-of-no-type": ("mine", 'description = "x"\n[arguments.a]\ntype = "path"', "path"),
    "bad-default": ("mine", 'description = "x"\n[arguments.a]\ntype = "integer"\ndefault = "x"', "arguments.a.default"),
    "bad-default-of-a-choice": (
        "mine",
        'description = "x"\n[arguments.a]\ntype = "string"\nchoices = ["b"]\ndefault = "c"',
        "default",
    ),
    "choice-of-fractions": ("mine", 'description = "x"\n[arguments.a]\ntype = "number"\nchoices = [1.5]', "1.5"),
    "endless-bound": ("mine", 'description = "x"\n[arguments.a]\ntype = "integer"\nminimum = inf', "infinity"),
    "keyword": ("mine", 'description = "x"\n[arguments.class]\ntype = "integer"', "choose another word"),
    "bad-name": ("Mine", 'description = "x"', "its name must be"),
    "expiry": ("mine", 'description = "x"\ndefault_expiry_seconds = 9\nmax_expiry_seconds = 5', "impossible expiry"),
}


@pytest.mark.parametrize(("name", "manifest", "why"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_plugin_that_cannot_be_used_costs_itself(board: Board, name: str, manifest: str, why: str) -> None:
    board.program(f"{FOLDER}/{name}", "true")
    board.put(f"{FOLDER}/{name}.toml", manifest)
    board.program(f"{FOLDER}/other", "true")
    board.put(f"{FOLDER}/other.toml", 'description = "Another."')
    failures = load_folder(board.machine)
    assert list(failures) == [name] and why in failures[name]
    assert actions.find("plugin.other") in actions.every()


def test_a_manifest_without_its_program(board: Board) -> None:
    board.put(f"{FOLDER}/mine.toml", 'description = "x"')
    assert "there is no such file" in load_folder(board.machine)["mine"]


async def test_a_plugin_that_is_not_there(board: Board) -> None:
    outcome = await board.run("plugin.nothing", a=1)
    assert outcome.state == "refused" and FOLDER in outcome.reason
    found = actions.find("plugin.nothing")
    assert found is not None and found.dangerous, "who sends it can't know what it does"


def answering(board: Board, answer: Callable[[], Awaitable[bytes]]) -> None:
    board.answer = answer  # type: ignore[method-assign]


async def told(body: bytes) -> bytes:
    return body


async def test_a_program_is_asked(board: Board) -> None:
    answering(board, lambda: told(b'{"value":{"open":true}}'))
    assert await board.run("app.doors.open", door="3") == Outcome("succeeded", value={"open": True})
    asked = {"id": "01J0", "device": "pi-1", "action": "open", "args": {"door": "3"}, "v": 1}
    assert board.asked == [("local.action.doors.open", asked)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"rubbish", "can't be used"), (b'{"state":"failed","reason":"stuck"}', "stuck"), (b"x" * 70_000, "larger than")],
    ids=["rubbish", "failed", "large"],
)
async def test_a_program_that_fails(board: Board, body: bytes, reason: str) -> None:
    answering(board, lambda: told(body))
    outcome = await board.run("app.doors.open")
    assert outcome.state == "failed" and reason in outcome.reason


async def test_a_program_that_is_not_there(board: Board) -> None:
    async def nobody() -> bytes:
        raise Unreachable("ask doors", "nobody listens")

    answering(board, nobody)
    assert await board.run("app.doors.open") == Outcome("failed", "cannot ask doors: nobody listens")


async def never() -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("it never answers")


async def test_a_program_that_never_answers(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(board, never)
    monkeypatch.setattr(app, "TIMEOUT_SECONDS", 0.1)
    assert await board.run("app.doors.open") == Outcome("timed_out", "doors did not answer within 0.1 s")


async def test_waiting_for_a_program_ends_when_it_is_cancelled(board: Board) -> None:
    answering(board, never)
    running = asyncio.create_task(board.run("app.doors.open"))
    await until(lambda: bool(board.asked), "it is asked")
    board.cancelled.set()
    assert (await running).state == "cancelled"
