"""Real programs, run and ended: what they get, what is kept of what they say, and that none outlives what ended it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.patterns.processes import started_by
from edgeagent.patterns.programs import MAX_TAIL_BYTES, Program, Tail, check_file
from edgeagent.patterns.runner import Ended, run
from tests.support.servers import is_alive, until

GRACE = 0.3


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Script:
    """Runs shell scripts, and knows the pids that they left in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.heard, self.cancelled = folder, b"", asyncio.Event()

    def program(self, script: str, **more: object) -> Program:
        return Program(**{"argv": ("/bin/sh", "-c", script), "grace_seconds": GRACE, **more})  # type: ignore[arg-type]

    async def run(self, script: str, **more: object) -> Ended:
        return await run(self.program(script, **more), self.hear, self.cancelled)

    def hear(self, data: bytes) -> None:
        self.heard += data

    def pid(self, name: str) -> int | None:
        """The pid that the script wrote to the file ``name``, None before it did."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / name).read_text())
        return None

    async def until_gone(self, name: str) -> None:
        pid = self.pid(name)
        assert pid is not None, f"{name} never ran"
        await until(lambda: not is_alive(pid), f"{name} ({pid}) ends")


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    made = Script(tmp_path)
    yield made
    for file in tmp_path.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)


async def test_its_end_and_its_words(script: Script) -> None:
    ended = await script.run("echo out; echo err >&2; exit 3")
    assert (ended.how, ended.exit_code, ended.signal) == ("ended", 3, "")
    assert ended.output.text == "out\nerr\n" == script.heard.decode()


async def test_a_signal_counts_as_shells_count_it(script: Script) -> None:
    ended = await script.run("kill -SEGV $$")
    assert (ended.exit_code, ended.signal) == (139, "SIGSEGV")


async def test_it_gets_a_clean_environment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "NATS_PASSWORD", "NOTIFY_SOCKET", "PYTHONPATH", "BASH_ENV", "ENV"):
        monkeypatch.setenv(name, "/tmp/evil")
    ended = await run(Program(argv=("/usr/bin/env",), environment={"MINE": "1"}), script.hear, script.cancelled)
    words = dict(line.split("=", 1) for line in ended.output.text.splitlines())
    assert set(words) == {"PATH", "LANG", "SHELL", "HOME", "USER", "LOGNAME", "EDGEAGENT_RUN", "MINE"}
    assert words["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def test_where_and_how_it_stands(script: Script) -> None:
    ended = await script.run("pwd; umask; ps -o sid= -p $$ | tr -d ' '; echo $$; ls /proc/self/fd | wc -l")
    folder, umask, session, pid, descriptors = ended.output.text.split()
    assert (folder, umask, session) == ("/", "0022", pid)
    assert int(descriptors) == 4, "its three, and the one that ls reads the folder with"


async def test_nothing_of_its_words_is_for_a_shell(script: Script) -> None:
    argv = ("/bin/echo", "$(id)", "`id`", ";id", "a b", "*", "--")
    ended = await run(Program(argv=argv), script.hear, script.cancelled)
    assert ended.output.text == "$(id) `id` ;id a b * --\n"


async def test_it_reads_what_it_is_given_and_answers_apart(script: Script) -> None:
    question = os.urandom(200_000).hex().encode()
    ended = await script.run("cat; echo shown >&2", stdin=question, answer_bytes=1 << 20)
    assert ended.answer == question and ended.answer_is_whole
    assert script.heard == b"shown\n"


async def test_an_answer_that_is_too_long_is_cut(script: Script) -> None:
    ended = await script.run("head -c 300000 /dev/zero", answer_bytes=1000)
    assert len(ended.answer) == 1000 and not ended.answer_is_whole


async def test_nothing_to_read_is_the_end_of_a_file(script: Script) -> None:
    assert (await script.run("cat; echo done")).output.text == "done\n"


async def test_a_flood_is_heard_to_its_end_and_only_the_end_is_kept(script: Script) -> None:
    ended = await script.run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert ended.output.total == len(script.heard) == 3_000_006
    assert len(ended.output.data) == MAX_TAIL_BYTES and ended.output.text.endswith("x\nlast\n")


async def test_an_endless_flood_does_not_hold_up_the_loop(script: Script) -> None:
    running = asyncio.create_task(script.run("exec yes"))
    await until(lambda: len(script.heard) > 1 << 20, "it floods")
    script.cancelled.set()
    ended = await running
    assert (ended.how, ended.signal) == ("cancelled", "SIGTERM")


async def test_what_takes_too_long_is_ended(script: Script) -> None:
    ended = await script.run(f"echo $$ > {script.folder}/main.pid; exec sleep 1000", timeout_seconds=0.5)
    assert (ended.how, ended.signal) == ("timed_out", "SIGTERM")
    await script.until_gone("main.pid")


async def test_what_is_asked_to_end_may_say_something_first(script: Script) -> None:
    text = f"trap 'echo tidied; exit 0' TERM; echo $$ > {script.folder}/main.pid; while :; do sleep 0.05; done"
    running = asyncio.create_task(script.run(text, grace_seconds=20))
    await until(lambda: script.pid("main.pid") is not None, "it runs")
    script.cancelled.set()
    ended = await running
    assert (ended.how, ended.exit_code) == ("cancelled", 0)
    assert ended.output.text.endswith("tidied\n")


async def test_what_was_stopped_may_tidy_up_too(script: Script) -> None:
    text = f"trap 'echo tidied; exit 0' TERM; echo $$ > {script.folder}/main.pid; kill -STOP $$"
    running = asyncio.create_task(script.run(text, grace_seconds=20))
    await until(lambda: "T" in state_of(script.pid("main.pid")), "it is stopped")
    script.cancelled.set()
    assert ((await running).output.text) == "tidied\n"


def state_of(pid: int | None) -> str:
    """The letter of proc(5), empty while there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


#: Each writes its pids before it goes on for ever.
STUBBORN: dict[str, tuple[str, list[str]]] = {
    "ignores-sigterm": ("trap '' TERM; echo $$ > main.pid; while :; do sleep 0.1; done", ["main.pid"]),
    "stopped": ("echo $$ > main.pid; kill -STOP $$", ["main.pid"]),
    "child": ("trap '' TERM; sleep 1000 & echo $! > child.pid; echo $$ > main.pid; wait", ["main.pid", "child.pid"]),
    "forks-away": (
        "setsid sh -c 'trap \"\" TERM; echo $$ > away.pid; sleep 1000; :' & echo $$ > main.pid; wait",
        ["main.pid", "away.pid"],
    ),
    "double-fork": (
        "(setsid sh -c 'echo $$ > away.pid; exec sleep 1000' &) ; echo $$ > main.pid; exec sleep 1000",
        ["main.pid", "away.pid"],
    ),
}


@pytest.mark.parametrize(("text", "pids"), STUBBORN.values(), ids=STUBBORN.keys())
async def test_nothing_outlives_a_cancellation(script: Script, text: str, pids: list[str]) -> None:
    running = asyncio.create_task(script.run(f"cd {script.folder}; {text}"))
    await until(lambda: all(script.pid(name) for name in pids), "all of it runs")
    script.cancelled.set()
    assert (await running).how == "cancelled"
    for name in pids:
        await script.until_gone(name)


async def test_what_it_leaves_in_its_session_ends_with_it(script: Script) -> None:
    ended = await script.run(f"sleep 1000 & echo $! > {script.folder}/child.pid; echo done")
    assert (ended.how, ended.exit_code, ended.output.text) == ("ended", 0, "done\n")
    await script.until_gone("child.pid")


async def test_a_daemon_that_it_started_goes_on_and_is_not_waited_for(script: Script) -> None:
    """It even keeps the output open."""
    file = script.folder / "daemon.pid"
    ended = await script.run(f"setsid sh -c 'echo $$ > {file}; exec sleep 1000' & while ! test -s {file}; do sleep 0.05; done")
    assert ended.exit_code == 0
    pid = script.pid("daemon.pid")
    assert pid is not None and is_alive(pid)


async def test_an_agent_that_stops_takes_its_programs_along(script: Script) -> None:
    text = f"trap 'echo x > {script.folder}/asked; exit' TERM; echo $$ > {script.folder}/main.pid; while :; do sleep 0.05; done"
    running = asyncio.create_task(script.run(text, grace_seconds=20))
    await until(lambda: script.pid("main.pid") is not None, "it runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (script.folder / "asked").exists(), "it was asked first"
    await script.until_gone("main.pid")


async def test_an_agent_that_is_stopped_twice_waits_no_longer(script: Script) -> None:
    running = asyncio.create_task(script.run(f"cd {script.folder}; {STUBBORN['ignores-sigterm'][0]}", grace_seconds=1000))
    await until(lambda: script.pid("main.pid") is not None, "it runs")
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await script.until_gone("main.pid")


async def test_an_agent_that_is_killed_takes_its_program_along(script: Script) -> None:
    """What runs again after a crash must not find its former self."""
    agent = (
        "import asyncio\nfrom edgeagent.patterns.programs import Program\nfrom edgeagent.patterns.runner import run\n"
        f"program = Program(argv=('/bin/sh', '-c', 'echo $$ > {script.folder}/main.pid; exec sleep 1000'))\n"
        "asyncio.run(run(program, print, asyncio.Event()))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", agent)
    await until(lambda: script.pid("main.pid") is not None, "it runs")
    process.kill()
    await process.wait()
    await script.until_gone("main.pid")


NOT_STARTED: dict[str, tuple[tuple[str, ...], str]] = {
    "missing": (("/no/such/program",), "there is no such file"),
    "no-program": (("/etc/passwd",), "permission denied"),
    "folder": (("/etc",), "permission denied"),
    "nul": (("/bin/echo", "a\0b"), "null byte"),
    "too-long": (("/bin/echo", "x" * (4 << 20)), "too long"),
}


@pytest.mark.parametrize(("argv", "why"), NOT_STARTED.values(), ids=NOT_STARTED.keys())
async def test_what_cannot_be_started_leaves_nothing_open(script: Script, argv: tuple[str, ...], why: str) -> None:
    await script.run("true")  # what is opened once, for good
    before = open_descriptors()
    with pytest.raises(EdgeError, match=f"(?i){why}"):
        await run(Program(argv=argv), script.hear, script.cancelled)
    await until(lambda: open_descriptors() <= before, "nothing is left open")


async def test_a_run_leaves_nothing_open(script: Script) -> None:
    await script.run("true")  # what is opened once, for good
    before = open_descriptors()
    for _ in range(5):
        await script.run("sleep 1000 & echo a", answer_bytes=10, stdin=b"x")
    await until(lambda: open_descriptors() <= before, "nothing is left open")


async def test_another_user_is_root_s_to_choose(script: Script) -> None:
    program = Program(argv=("/usr/bin/id",), user="nobody")
    if os.geteuid() == 0:
        ended = await run(program, script.hear, script.cancelled)
        assert "uid=65534" in ended.output.text and "(root)" not in ended.output.text
    else:
        with pytest.raises(Refused, match="the agent is not root"):
            await run(program, script.hear, script.cancelled)


async def test_a_user_that_is_not_there(script: Script) -> None:
    with pytest.raises(Failed, match="there is no such user"):
        await run(Program(argv=("/usr/bin/id",), user="no-such-user"), script.hear, script.cancelled)


def test_who_belongs_to_a_session() -> None:
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={"EDGEAGENT_RUN": "abc"}) as process:
        try:
            assert list(started_by(process.pid)) == [process.pid]
            assert process.pid in started_by(1 << 30, "abc")
            assert list(started_by(1 << 30)) == []
        finally:
            process.kill()
    assert list(started_by(process.pid, "abc")) == []


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "bin" / "tool"
    file.parent.mkdir(mode=0o755)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def world_writable(file: Path) -> None:
    file.chmod(0o757)


def in_an_open_folder(file: Path) -> None:
    file.parent.chmod(0o777)


def in_a_folder_like_tmp(file: Path) -> None:
    file.parent.chmod(0o1777)


def leads_to_an_open_file(file: Path) -> None:
    target = file.parent.parent / "elsewhere"
    file.rename(target)
    file.symlink_to(target)
    target.chmod(0o777)


def leads_to_an_open_folder(file: Path) -> None:
    folder = file.parent.parent / "open"
    folder.mkdir()
    file.rename(folder / "tool")
    file.symlink_to(folder / "tool")
    folder.chmod(0o777)


def no_right_to_run(file: Path) -> None:
    file.chmod(0o644)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def leads_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def leads_in_a_circle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


TRICKS: list[Callable[[Path], None]] = [
    world_writable,
    in_an_open_folder,
    in_a_folder_like_tmp,
    leads_to_an_open_file,
    leads_to_an_open_folder,
    no_right_to_run,
    a_folder,
    leads_nowhere,
    leads_in_a_circle,
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda each: each.__name__)
def test_a_program_that_others_may_change_is_not_run(program: Path, trick: Callable[[Path], None]) -> None:
    check_file(program)
    trick(program)
    with pytest.raises(EdgeError, match="cannot run"):
        check_file(program)


def test_a_link_to_a_program_that_nobody_else_may_change_is_fine(program: Path) -> None:
    link = program.parent / "alternative"
    link.symlink_to(program)
    check_file(link, {os.geteuid()})


def test_a_program_of_somebody_else(program: Path) -> None:
    check_file(program)
    with pytest.raises(Refused, match="is not root's alone"):
        check_file(program, {os.geteuid() + 1})


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"abc"], "abc"),
        ([b"abcdefgh"], "efgh"),
        ([b"abcd", b"efgh", b"ij"], "ghij"),
        ([b"a\xc3\xbcbc\xc3"], "c\ufffd"),
        ([b"xx\xc3\xbcbc"], "übc"),
        ([b"xx\xc3\xbcbcd"], "bcd"),
        ([b""], ""),
    ],
    ids=["short", "long", "pieces", "cut-at-the-end", "letter", "cut-letter", "nothing"],
)
def test_the_end_of_what_was_said(pieces: list[bytes], text: str) -> None:
    tail = Tail(4)
    for piece in pieces:
        tail.add(piece)
    assert tail.text == text and len(tail.text.encode()) <= 4
    assert tail.total == sum(map(len, pieces))
