from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from edgeagent.cel import Evaluator, Limits, Verdict
from edgeagent.cel.expressions import FUNCTIONS
from edgeagent.errors import Closed, Refused, UsageProblem

pytestmark = pytest.mark.skipif(importlib.util.find_spec("cel") is None, reason="the CEL engine is not made for this Python")

MATCH, NO_MATCH, MISSING = Verdict(matched=True), Verdict(matched=False), Verdict(matched=False, missing=True)

FACTS: dict[str, Any] = {
    "memory": {"utilization": 0.5, "total_bytes": 2**33, "swap": None},
    "cpu": {"count": 4},
    "labels": {"site": "berlin", "my-key": "x"},
    "versions": {"agent": "1.9.3"},
    "mcus": [{"id": "a", "firmware": "1"}, {"id": "b"}],
    "boot": {"time": "2024-06-01T12:00:00Z"},
    "on": True,
    "huge": 2**64,
    "nothing": None,
}
VERDICTS = {
    "memory.utilization > 0": MATCH,
    "memory.utilization < 1 && cpu.count > 2.5 && cpu.count == 4.0 && cpu.count in [4.0]": MATCH,
    "memory.total_bytes > 4294967296.0 && huge > 1": MATCH,
    "on": MATCH,
    "labels.site == 'hamburg'": NO_MATCH,
    "labels.site == 3": NO_MATCH,
    # missing: key, top level, null, index, inside a macro, negated
    "labels.nope == 'x'": MISSING,
    "labels['nope'] != 'x'": MISSING,
    "!(labels.nope == 'x')": MISSING,
    "nope > 1": MISSING,
    "nope.deep.er > 1": MISSING,
    "size(nope) == 0": MISSING,
    "nope.startsWith('a')": MISSING,
    "memory.swap < 1": MISSING,
    "memory.swap == null": MISSING,
    "nothing": MISSING,
    "mcus[7].id == 'a'": MISSING,
    "mcus.exists(x, x.firmware == '2')": MISSING,
    "semver(versions.nope) < semver('1.0.0')": MISSING,
    # missing, but it does not matter
    "nope > 1 || on": MATCH,
    "nope > 1 && !on": NO_MATCH,
    "mcus.exists(x, x.firmware == '1')": MATCH,
    "mcus.exists(x, has(x.firmware) && x.firmware == '2')": NO_MATCH,
    "has(labels.site) && !has(labels.nope) && !has(nope.at.all) && !has(memory.swap)": MATCH,
    "has(nope.x)": NO_MATCH,
    "'site' in labels && !('nope' in labels)": MATCH,
    # versions
    "semver(versions.agent) < semver('1.10.0') && semver('1.10.0-rc.1') <= semver('1.10.0')": MATCH,
    "semver(versions.agent) == semver('v1.9.3+build') && semver('2.15') >= semver('2.15.0') && semver('2') > semver('1.99')": MATCH,
    "semver(versions.agent) > semver('1.10.0')": NO_MATCH,
    "timestamp(boot.time) < timestamp('2025-01-01T00:00:00Z')": MATCH,
}
PROBLEMS = {
    "labels.site < 3": "different types",
    "cpu.count + 0.5 > 1": "different types",
    "on && labels.site": "different types",
    "semver(versions.agent) < '2.0.0'": "different types",
    "cpu.count / 0 > 1": "divides by zero",
    "memory.total_bytes * memory.total_bytes > 0": "64 bits",
    "cpu.count": "its result is a number, not true or false",
    "mcus.map(x, x.id)": "its result is a list",
    "semver(labels.site) > semver('1')": "'berlin' is not a version",
    "semver(cpu.count) > semver('1')": "4 is not a version",
    "int(labels.site) > 1": "int",
    "frobnicate(cpu.count) > 1": "there is no function frobnicate",
    "on.on()": "there is no function on for",
    "labels.site.frobnicate()": "there is no function frobnicate",
    "cpu.count.size() > 1": "there is no function size",
    "labels.site.matches('(')": "not a valid regex",
}
PARTS_OF_A_TIMESTAMP = (
    *("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear"),
    *("Hours", "Minutes", "Seconds", "Milliseconds"),
)
#: One true use of every function that `check` lets through.
USES = {
    "all": "[1].all(x, x > 0)",
    "exists": "[1].exists(x, x > 0)",
    "exists_one": "[1].exists_one(x, x > 0)",
    "existsOne": "[1].existsOne(x, x > 0)",
    "filter": "[1].filter(x, x > 0) == [1]",
    "map": "[1].map(x, x + 1) == [2]",
    "has": "has({'a': 1}.a)",
    "bytes": "bytes('a') == b'a'",
    "contains": "'abc'.contains('b')",
    "double": "double(1) / 2.0 == 0.5",
    "duration": "duration('1h') > duration('1m')",
    "dyn": "dyn(1) == 1",
    "endsWith": "'ab'.endsWith('b')",
    "startsWith": "'ab'.startsWith('a')",
    "matches": "'ab'.matches('^a')",
    "size": "size([1]) == 1",
    "int": "int('1') == 1",
    "uint": "uint(1) == 1u",
    "string": "string(1) == '1'",
    "timestamp": "timestamp('2024-01-01T00:00:00Z') > timestamp('2023-01-01T00:00:00Z')",
    "type": "type(1) == int",
    "semver": "semver('1') < semver('2')",
    **{f"get{part}": f"timestamp('2024-01-01T00:00:00Z').get{part}() >= 0" for part in PARTS_OF_A_TIMESTAMP},
}
TWENTY = "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]"
BOMB = "".join(f"{TWENTY}.map({name}, " for name in "abcdef") + "a + b + c + d + e + f" + ")" * 6 + ".size() > 0"
MEMORY_BOMB = "['0123456789']" + ".map(x, x + x)" * 40 + ".size() > 0"


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    made = Evaluator()
    yield made
    await made.close()


@pytest.fixture
async def patient() -> AsyncIterator[Evaluator]:
    """So patient that only the test itself ends anything."""
    made = Evaluator(Limits(cpu_seconds=100, wall_seconds=100))
    yield made
    await made.close()


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends just now
            found += [child] if any(word.endswith("worker.py") for word in child.cmdline()) else []
    return found


async def started(evaluator: Evaluator) -> psutil.Process:
    assert await evaluator.evaluate("true", {}) == MATCH
    [worker] = workers()
    return worker


async def gone(pid: int) -> None:
    """Wait until the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


async def under_way(evaluator: Evaluator, expression: str, facts: dict[str, Any]) -> asyncio.Task[Verdict]:
    """A call that has taken its place."""
    task = asyncio.ensure_future(evaluator.evaluate(expression, facts))
    await asyncio.sleep(0)
    return task


async def test_verdicts(evaluator: Evaluator) -> None:
    assert {expression: await evaluator.evaluate(expression, FACTS) for expression in VERDICTS} == VERDICTS


async def test_problems(evaluator: Evaluator) -> None:
    for expression, words in PROBLEMS.items():
        with pytest.raises(UsageProblem) as problem:
            await evaluator.evaluate(expression, FACTS)
        assert words in problem.value.why, expression


async def test_every_function_is_there(evaluator: Evaluator) -> None:
    assert set(USES) == FUNCTIONS
    assert [name for name, use in USES.items() if await evaluator.evaluate(use, {}) != MATCH] == []


async def test_syntax(evaluator: Evaluator) -> None:
    whys = {
        "memory.": "it ends too early",
        "memory.utilization >": "it ends too early",
        "(1": "missing ')' at character 3",
        '"abc': "the text that begins at character 1 has no closing quote",
        "on and on": "'and' is not expected at character 4",
        "on ? 1": "it is not complete",
        "a\n b": "'b' is not expected at character 4",
        "": "it is empty",
    }
    for expression, why in whys.items():
        with pytest.raises(UsageProblem) as problem:
            await evaluator.evaluate(expression, FACTS)
        assert problem.value.why == why


async def test_check(evaluator: Evaluator) -> None:
    await evaluator.check("memory.utilization > 0.8 && has(labels.x)", ["memory.utilization"], open_prefixes=("labels",))
    for bad in ("memory.utilisation > 0.8", "memory.utilization >", "labels.x.startWith('a')"):
        with pytest.raises(UsageProblem):
            await evaluator.check(bad, ["memory.utilization"], open_prefixes=("labels",))


async def test_a_batch(evaluator: Evaluator) -> None:
    many: list[dict[str, Any]] = [{"n": number} for number in range(999)]
    many[7], many[8] = {}, {"n": "text"}
    verdicts = await evaluator.evaluate_many("n >= 500", many)
    assert [verdict.matched for verdict in verdicts] == [number >= 500 for number in range(999)]
    assert verdicts[7] == MISSING
    assert [index for index, verdict in enumerate(verdicts) if verdict.problem] == [8]
    assert await evaluator.evaluate_many("true", []) == []


async def test_a_bomb_is_killed_and_does_not_hold_up_others(evaluator: Evaluator) -> None:
    calls = [evaluator.evaluate("n == 1", {"n": n % 2}) for n in range(5)]
    calls.insert(2, evaluator.evaluate(BOMB, {}))
    *answers, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[2], Refused) and "more than 100 ms" in answers[2].why
    assert [*answers[:2], *answers[3:], last] == [NO_MATCH, MATCH, NO_MATCH, MATCH, NO_MATCH]
    assert len(workers()) == 1


async def test_a_bomb_in_a_batch(evaluator: Evaluator) -> None:
    with pytest.raises(Refused, match="100 ms"):
        await evaluator.evaluate_many(f"n == 1 || {BOMB}", [{"n": 1}, {"n": 1}, {"n": 2}])


async def test_memory_is_bounded(patient: Evaluator) -> None:
    with pytest.raises(Refused, match="64 MiB of memory"):
        await patient.evaluate(MEMORY_BOMB, {})
    assert await patient.evaluate("true", {}) == MATCH


async def test_the_clock_is_the_backstop() -> None:
    evaluator = Evaluator(Limits(cpu_seconds=100, wall_seconds=0.2))
    with pytest.raises(Refused, match=r"more than 0\.2 s"):
        await evaluator.evaluate(BOMB, {})
    await evaluator.close()
    assert workers() == []


async def test_a_worker_that_is_killed_while_it_works_is_replaced(patient: Evaluator) -> None:
    worker = await started(patient)
    worker.send_signal(signal.SIGSTOP)
    task = await under_way(patient, "n == 1", {"n": 1})
    worker.kill()
    assert await task == MATCH
    assert worker not in workers()


async def test_what_kills_every_worker_is_refused(patient: Evaluator) -> None:
    task = await under_way(patient, BOMB, {})
    killed: set[int] = set()
    while not task.done():
        for worker in workers():
            killed.add(worker.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        await asyncio.sleep(0.01)
    with pytest.raises(Refused, match="died twice"):
        await task
    assert len(killed) == 2
    assert await patient.evaluate("true", {}) == MATCH


async def test_too_many_are_refused() -> None:
    evaluator = Evaluator(Limits(waiting=2, wall_seconds=100))
    worker = await started(evaluator)
    worker.send_signal(signal.SIGSTOP)
    tasks = [await under_way(evaluator, "n == 1", {"n": n}) for n in (1, 2)]
    with pytest.raises(Refused, match="busy"):
        await evaluator.evaluate("true", {})
    worker.send_signal(signal.SIGCONT)
    assert await asyncio.gather(*tasks) == [MATCH, NO_MATCH]
    await evaluator.close()


async def test_a_cancelled_call_leaves_no_answer_behind(patient: Evaluator) -> None:
    worker = await started(patient)
    worker.send_signal(signal.SIGSTOP)
    task = await under_way(patient, "true", {})
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await patient.evaluate("false", {}) == NO_MATCH


async def test_an_idle_worker_ends() -> None:
    evaluator = Evaluator(Limits(idle_seconds=0.01))
    assert await evaluator.evaluate("true", {}) == MATCH
    for worker in workers():
        await gone(worker.pid)
    assert await evaluator.evaluate("true", {}) == MATCH
    await evaluator.close()


async def test_ctrl_c_in_a_terminal_does_not_reach_the_worker(evaluator: Evaluator) -> None:
    assert os.getpgid((await started(evaluator)).pid) != os.getpgid(0)


async def test_close_is_a_latch(patient: Evaluator) -> None:
    worker = await started(patient)
    worker.send_signal(signal.SIGSTOP)
    tasks = [await under_way(patient, "true", {}) for _ in range(3)]
    await patient.close()
    assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [Closed] * 3
    assert workers() == []
    await patient.close()
    with pytest.raises(Closed):
        await patient.evaluate("true", {})


async def test_close_while_the_worker_starts() -> None:
    evaluator = Evaluator()
    task = await under_way(evaluator, "true", {})
    await evaluator.close()
    with pytest.raises(Closed):
        await task
    assert workers() == []


async def test_without_the_engine(monkeypatch: pytest.MonkeyPatch, evaluator: Evaluator) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not place.endswith("-packages")])
    with pytest.raises(Refused, match="not installed here") as problem:
        await evaluator.evaluate("true", {})
    assert "install common-expression-language" in problem.value.remedy
