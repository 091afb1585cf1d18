"""How a unit's end becomes an outcome."""

from __future__ import annotations

import msgspec
import pytest

from edgeagent.actions import Outcome
from edgeagent.commandsettings import ActionLimits
from edgeagent.patterns.unitend import End, end_of, outcome_of
from edgeagent.patterns.unitrequests import told_of

FAILED = Outcome("failed", "backup ended with exit code 3", 3, {"files": 7})
DONE = Outcome("succeeded", exit_code=0)
LIMITS = ActionLimits(memory_max="200M", timeout_seconds=90)

ENDS: dict[str, tuple[str, Outcome | None, Outcome]] = {
    "its-own-word": ("success exited 0", FAILED, FAILED),
    "its-own-word-though-it-was-stopped": ("signal killed TERM", FAILED, FAILED),
    "memory": (
        "oom-kill killed KILL",
        None,
        Outcome("failed", "the kernel ended it for want of memory; agent.toml gives it `memory_max = 200M`", 137),
    ),
    "memory-of-a-program": (
        "oom-kill exited 0",
        FAILED,
        Outcome("failed", "the kernel ended it for want of memory; agent.toml gives it `memory_max = 200M`", 137),
    ),
    "memory-of-a-helper-that-it-could-do-without": ("oom-kill exited 0", DONE, DONE),
    "time": ("timeout exited 0", FAILED, Outcome("timed_out", "exec took too long and was ended; agent.toml gives it 1m 30s")),
    "just-in-time": ("timeout exited 0", DONE, DONE),
    "killed": ("signal killed KILL", None, Outcome("failed", "it was ended by SIGKILL", 137)),
    "crashed": ("core-dump dumped SEGV", None, Outcome("failed", "it was ended by SIGSEGV", 139)),
    "not-started": (
        "exit-code exited 226",
        None,
        Outcome("failed", "systemd could not start its unit (exit code 226): its journal says why"),
    ),
    "broken": (
        "exit-code exited 1",
        None,
        Outcome("failed", "it ended without saying how (exit-code exited 1): its unit's journal may", 1),
    ),
    "never-ran": ("resources", None, Outcome("failed", "it ended without saying how (resources  ): its unit's journal may")),
}


@pytest.mark.parametrize(("end", "told", "outcome"), ENDS.values(), ids=ENDS.keys())
def test_an_end(end: str, told: Outcome | None, outcome: Outcome) -> None:
    body = msgspec.json.encode(told_of(told)) if told else b""
    assert outcome_of(end_of(f"{end}\n".encode()), body, "exec", LIMITS) == outcome


@pytest.mark.parametrize("told", [b"{", b'{"state": "running"}', b'{"state": 7}', b"\xff" * 9, b"[" * 100_000], ids=len)
def test_what_makes_no_sense_is_a_failure(told: bytes) -> None:
    assert outcome_of(End("success", "exited", "0"), told, "exec", LIMITS).state == "failed"


def test_whatever_stands_in_the_file() -> None:
    for line in (b"", b"\xff\xff", b"a b c d e f", b"signal killed NO-SUCH"):
        assert outcome_of(end_of(line), b"", "exec", LIMITS).state == "failed"


def test_what_is_stopped_before_it_listens_was_cancelled() -> None:
    early = End("success", "killed", "TERM")
    assert outcome_of(early, b"", "exec", LIMITS, stopped=True).state == "cancelled"
    assert outcome_of(early, b"", "exec", LIMITS).state == "failed", "somebody else's signal"
    assert outcome_of(End("signal", "killed", "KILL"), b"", "exec", LIMITS, stopped=True).state == "failed"
