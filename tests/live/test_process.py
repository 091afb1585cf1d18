"""Children that outlive us, with real processes."""

import asyncio
import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.errors import Closed, EdgeError, Refused, Unreachable
from edgeagent.natsserver import binary, ports, process, server
from edgeagent.natsserver.failures import Diagnosis, StartFailed
from edgeagent.natsserver.process import Child, Launch
from edgeagent.natsserver.supervisor import State, Supervisor, Timing
from tests.support.servers import is_alive, kill, kill_leftovers, until

QUICK = Timing(first_seconds=0.05, cap_seconds=0.1, good_seconds=60, grace_seconds=10)

#: A small program that says when it is ready; its first argument, the folder, makes it recognisable.
PROGRAM = """
import signal, sys, time
mode = sys.argv[2]
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "broken":
    print("no way", flush=True)
    sys.exit(3)
if mode != "mute":
    print("ready", flush=True)
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def leave_nothing(tmp_path: Path) -> Iterator[None]:
    yield
    kill_leftovers(tmp_path)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return program(tmp_path, "good")


def program(folder: Path, mode: str) -> Launch:
    return Launch(
        name="the program",
        argv=(sys.executable, "-c", PROGRAM, str(folder), mode),
        output=folder / "program.out",
        pid_file=folder / "program.pid",
        ready=lambda child: "ready" in child.new_text(),
    )


def nats(folder: Path, text: str, **more: object) -> Launch:
    config = folder / "nats.conf"
    config.write_text(f'{text}\nports_file_dir: "{folder}"\nlogfile: "{folder}/nats.log"\n')
    return server.launch(
        binary.find().path,
        config,
        name="the server",
        log=folder / "nats.log",
        ports_folder=folder,
        **more,  # type: ignore[arg-type]  # passed on
    )


@contextlib.asynccontextmanager
async def running(launch: Launch) -> AsyncIterator[Child]:
    child = process.start(launch)
    try:
        await child.until_ready()
        yield child
    finally:
        await child.terminate()


def supervisor(launch: Launch, states: list[State] | None = None) -> Supervisor:
    async def prepare(problem: EdgeError | None) -> Launch:
        return launch

    def on_change(state: State, detail: str) -> None:
        if states is not None:
            states.append(state)

    return Supervisor(launch.name, prepare, timing=QUICK, on_change=on_change)


async def test_nats_server_is_ready_when_we_say_so(tmp_path: Path) -> None:
    port = ports.pick()
    async with running(nats(tmp_path, f'listen: "127.0.0.1:{port}"')) as child:
        assert (await ports.banner(port) or {})["version"] == binary.find().version
        opened = {"nats": [f"nats://127.0.0.1:{port}"]}  # it says that it is ready a moment before it writes this down
        await until(lambda: ports.read(tmp_path, child.pid) == opened, "it has written down where it listens")
        assert process.program_of(child.pid) == binary.find().path.resolve()
        assert child.launch.pid_file.read_text() == f"{child.pid}\n"
        assert os.getsid(child.pid) == child.pid
    assert child.exit_status == 0 and child.has_ended


async def test_environment_reaches_it_but_not_systemds_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    async with running(replace(program(tmp_path, "good"), environment={"GOMEMLIMIT": "24MiB"})) as child:
        environment = Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
    assert b"GOMEMLIMIT=24MiB" in environment
    assert not any(entry.startswith(b"NOTIFY_SOCKET") for entry in environment)


async def failing(launch: Launch) -> StartFailed:
    child = process.start(launch)
    with pytest.raises(StartFailed) as caught:
        await child.until_ready()
    assert child.has_ended
    return caught.value


async def test_a_port_in_use(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    problem = await failing(nats(tmp_path, f'listen: "127.0.0.1:{port}"'))
    taken.close()
    assert (problem.kind, problem.hopeless) == ("address_in_use", False)
    assert str(problem).startswith(f"cannot run the server: another program uses 127.0.0.1:{port}. Choose another port")


async def test_a_bad_configuration_is_hopeless(tmp_path: Path) -> None:
    problem = await failing(nats(tmp_path, 'listen: "127.0.0.1:-1"\nleafnodes { nonsense: 1 }'))
    assert (problem.kind, problem.hopeless) == ("config", True)
    assert 'unknown field "nonsense"' in str(problem)


async def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    problem = await failing(nats(tmp_path, f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{tmp_path}/store" }}'))
    assert problem.kind == "store"
    assert "its store cannot be used" in str(problem) and f"`store_dir` in {tmp_path}/nats.conf" in str(problem)


async def test_an_unknown_failure_shows_the_last_words(tmp_path: Path) -> None:
    problem = await failing(program(tmp_path, "broken"))
    assert problem.log_lines == ["no way"]
    assert str(problem) == "cannot run the program: it ended with exit status 3. It said last:\n  | no way"


async def test_what_it_says_before_we_look_at_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = replace(program(tmp_path, "broken"), explain=lambda text, status: Diagnosis(why=text.strip()))
    watch = os.pidfd_open

    def late(pid: int) -> int:
        while not launch.output.read_bytes():
            time.sleep(0.01)
        return watch(pid)

    monkeypatch.setattr(os, "pidfd_open", late)
    assert (await failing(launch)).why == "no way"


async def test_a_program_that_never_gets_ready(tmp_path: Path) -> None:
    child = process.start(replace(program(tmp_path, "mute"), ready_seconds=0.1))
    with pytest.raises(StartFailed, match=r"not ready after 0\.1 s"):
        await child.until_ready()
    await child.terminate()


def test_a_missing_program_is_hopeless(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="there is no such file") as caught:
        process.start(replace(program(tmp_path, "good"), argv=("/nonexistent/program", "x")))
    assert caught.value.hopeless


async def test_one_that_ignores_sigterm_is_killed_and_we_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = process.start(program(tmp_path, "stubborn"))
    await child.until_ready()
    assert await child.terminate(grace_seconds=0.1)
    assert await child.wait() == -signal.SIGKILL
    assert "was killed" in caplog.text


async def test_reload_is_acknowledged_or_refused(tmp_path: Path) -> None:
    port, other = ports.pick(), ports.pick()
    async with running(nats(tmp_path, f'listen: "127.0.0.1:{port}"')) as child:
        nats(tmp_path, f'listen: "127.0.0.1:{port}"\nmax_payload: 4096')
        await server.reload(child)
        assert (await ports.banner(port) or {})["max_payload"] == 4096
        nats(tmp_path, f'listen: "127.0.0.1:{other}"')
        with pytest.raises(Refused, match="config reload not supported for Port"):
            await server.reload(child)


async def test_a_recycled_pid_is_not_trusted_and_a_lost_one_is_found(launch: Launch) -> None:
    launch.pid_file.write_text(f"{os.getpid()}\n")
    assert process.adopt(launch) is None
    async with running(launch) as child:
        launch.pid_file.write_text(f"{os.getpid()}\n")
        assert process.find_pid(launch) == child.pid
        launch.pid_file.unlink()
        assert process.find_pid(launch) == child.pid
    assert process.find_pid(launch) is None


async def test_killed_is_started_again(launch: Launch) -> None:
    states: list[State] = []
    watched = supervisor(launch, states)
    watched.start()
    first = (await watched.ready(30)).pid
    kill(first)
    await until(lambda: watched.restarts == 1, "the end is seen")
    second = (await watched.ready(30)).pid
    assert second != first and is_alive(second) and not is_alive(first)
    assert "SIGKILL" in str(watched.last_problem)
    assert watched.restarts == 1
    await watched.stop()
    assert not is_alive(second)
    assert states == [
        State.STARTING,
        State.RUNNING,
        State.BACKING_OFF,
        State.STARTING,
        State.RUNNING,
        State.STOPPING,
        State.STOPPED,
    ]


async def test_released_it_runs_on_and_the_next_supervisor_takes_it_over(launch: Launch) -> None:
    launch = replace(launch, ready=lambda child: child.adopted or "ready" in child.new_text())
    first = supervisor(launch)
    first.start()
    pid = (await first.ready(30)).pid
    await first.release()
    assert is_alive(pid)
    second = supervisor(launch)
    second.start()
    child = await second.ready(30)
    assert (child.pid, child.adopted) == (pid, True)
    await second.stop()
    assert not is_alive(pid)


async def test_replace_ends_the_old_one(launch: Launch) -> None:
    old = process.start(launch)
    old.release()
    second = supervisor(replace(launch, replace=True))
    second.start()
    assert (await second.ready(30)).pid != old.pid
    assert not is_alive(old.pid)
    await second.stop()


async def test_restart_gives_a_new_process_without_counting_as_a_failure(launch: Launch) -> None:
    watched = supervisor(launch)
    watched.start()
    first = (await watched.ready(30)).pid
    watched.restart()
    assert (await watched.ready(30)).pid != first
    assert not is_alive(first)
    assert watched.restarts == 0 and watched.last_problem is None
    await watched.stop()


async def test_one_that_keeps_ending_backs_off_and_tells_why(tmp_path: Path) -> None:
    watched = supervisor(program(tmp_path, "broken"))
    watched.start()
    await until(lambda: watched.restarts >= 2, "it is tried again")
    with pytest.raises(Unreachable, match="exit status 3"):
        await watched.ready(0.01)
    assert isinstance(watched.last_problem, StartFailed) and watched.last_problem.log_lines[-1:] == ["no way"]
    await watched.stop()
    assert watched.state is State.STOPPED


async def test_hopeless_waits_for_a_person(tmp_path: Path) -> None:
    launches = [replace(program(tmp_path, "good"), argv=("/nonexistent", "x")), program(tmp_path, "good")]

    async def prepare(problem: EdgeError | None) -> Launch:
        return launches[0]

    watched = Supervisor("the program", prepare, timing=QUICK)
    watched.start()
    with pytest.raises(StartFailed, match="/nonexistent"):
        await watched.ready(30)
    assert watched.state is State.FAILED
    launches.pop(0)
    watched.restart()
    assert is_alive((await watched.ready(30)).pid)
    await watched.stop()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """While the block runs this process can open nothing: EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_a_life_fails_and_the_next_one_is_good(launch: Launch) -> None:
    states: list[State] = []
    watched = supervisor(launch, states)
    with no_descriptors():
        watched.start()
        await until(lambda: watched.last_problem is not None, "the first life failed")
        assert "many open files" in str(watched.last_problem)
    assert is_alive((await watched.ready(30)).pid)
    assert states[:2] == [State.STARTING, State.BACKING_OFF]
    await watched.stop()


async def test_what_cannot_be_watched_does_not_run(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(EdgeError, match="cannot watch the program"):
        process.start(launch)
    assert process.find_pid(launch) is None
    with pytest.raises(EdgeError, match="cannot look for the program"):
        process.adopt(launch)


async def test_a_life_that_ends_for_good_is_told_to_the_owner(tmp_path: Path) -> None:
    launches = [program(tmp_path, "good")]

    async def prepare(problem: EdgeError | None) -> Launch:
        return launches[0]

    told = asyncio.Event()
    watched = Supervisor(
        "the program", prepare, timing=QUICK, on_change=lambda state, detail: told.set() if state is State.FAILED else None
    )
    watched.start()
    pid = (await watched.ready(30)).pid
    launches[0] = replace(launches[0], argv=("/nonexistent", "x"))
    kill(pid)
    await asyncio.wait_for(told.wait(), 30)
    assert watched.state is State.FAILED and "/nonexistent" in str(watched.last_problem)
    await watched.stop()


async def test_who_listens_on_a_port(tmp_path: Path) -> None:
    port, other = ports.pick(), ports.pick()
    assert not ports.listens(os.getpid(), port)
    async with running(nats(tmp_path, f'listen: "127.0.0.1:{port}"')) as child:
        assert ports.listens(child.pid, port)
        assert not ports.listens(child.pid, other) and not ports.listens(os.getpid(), port)
    assert not ports.listens(child.pid, port)


async def test_nats_server_is_ready_also_where_it_can_say_so_nowhere(tmp_path: Path) -> None:
    """As on a full disk: no ports file, and a log that takes nothing."""
    port = ports.pick()
    (tmp_path / "nats.log").symlink_to("/dev/null")
    launch = nats(tmp_path, f'listen: "127.0.0.1:{port}"', port=port)
    config = tmp_path / "nats.conf"
    config.write_text(config.read_text().replace(f'ports_file_dir: "{tmp_path}"', ""))
    async with running(launch) as child:
        assert "Server is ready" not in child.new_text() and list(tmp_path.glob("*.ports")) == []
        assert await ports.banner(port)


async def test_stop_interrupts_a_start_and_is_for_good(tmp_path: Path) -> None:
    watched = supervisor(program(tmp_path, "mute"))
    watched.start()
    await until(lambda: watched.child is not None, "it is starting")
    assert watched.child is not None
    pid = watched.child.pid
    await asyncio.gather(watched.stop(), watched.stop())
    assert not is_alive(pid) and watched.state is State.STOPPED
    for again in (watched.start, watched.restart):
        with pytest.raises(Closed):
            again()
    with pytest.raises(Closed):
        await watched.ready(30)


async def test_stopped_before_it_began_it_never_begins(launch: Launch) -> None:
    watched = supervisor(launch)
    await watched.stop()
    with pytest.raises(Closed):
        watched.start()
    assert process.find_pid(launch) is None


async def test_cancelling_a_stop_does_not_undo_it(launch: Launch) -> None:
    watched = supervisor(launch)
    watched.start()
    pid = (await watched.ready(30)).pid
    stopping = asyncio.create_task(watched.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await watched.stop()
    assert not is_alive(pid)


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.live.test_process import nats, supervisor

async def main():
    watched = supervisor(nats(Path(sys.argv[1]), sys.argv[2]))
    watched.start()
    print((await watched.ready(30)).pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_it_survives_kill_9_of_its_parent_and_is_taken_over(tmp_path: Path) -> None:
    text = f'listen: "127.0.0.1:{ports.pick()}"'
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), text, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    assert is_alive(pid)
    watched = supervisor(nats(tmp_path, text))
    watched.start()
    child = await watched.ready(30)
    assert (child.pid, child.adopted) == (pid, True)
    kill(pid)
    await until(lambda: watched.restarts == 1, "the end of a process that is not our child is seen too")
    assert (await watched.ready(30)).pid != pid
    await watched.stop()
