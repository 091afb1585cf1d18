from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cel import worker as worker_module
from edgeagent.cel.process import engine_path

pytestmark = pytest.mark.skipif(importlib.util.find_spec("cel") is None, reason="the CEL engine is not made for this Python")

#: Starts a worker, says its process id and stays.
PARENT = """
import asyncio, psutil
from edgeagent.cel import Evaluator
async def main():
    evaluator = Evaluator()
    await evaluator.evaluate("true", {})
    print(psutil.Process().children()[0].pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", str(Path(worker_module.__file__)), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.read(int.from_bytes(process.stdout.read(4), "big"))))


def ask(process: subprocess.Popen[bytes], expression: str, *facts: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    body = json.dumps({"expression": expression, "facts": facts}).encode()
    process.stdin.write(len(body).to_bytes(4, "big") + body)
    process.stdin.flush()
    return receive(process)


def test_what_it_says() -> None:
    with start(engine_path(), "0.1", str(64 << 20)) as process:
        assert receive(process) == {"ready": True}
        assert ask(process, "a > 1", {"a": 2}, {"a": 1}, {}, {"a": 2.5}) == {"verdicts": [True, False, None, True]}
        assert ask(process, "a / 0 > 1", {"a": 1}) == {"verdicts": ["it divides by zero"]}
        assert "Syntax error" in ask(process, "a >")["syntax"]
        assert ask(process, "a > 1", {"a": 2}) == {"verdicts": [True]}
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max open files")] == [["3", "3"]]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_an_engine_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "cel.so"
    broken.write_bytes(b"no library")
    with start(str(broken), "0.1", str(64 << 20)) as process:
        assert "cel.so" in receive(process)["absent"]
        assert process.wait(10) == 0


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent:
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([handle], [], [], 20)
    os.close(handle)
    assert ended
