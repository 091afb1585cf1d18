"""Work that is cut short at any of its steps, as by a power cut."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from edgeagent import files, lastgood

__all__ = ["killed_at"]

#: Where the steps are.
_FILES = {lastgood.__file__, files.__file__}


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that SIGKILL ends right before its so-many-th line of code that keeps something; whether it was."""
    pid = os.fork()
    if pid == 0:
        left = step

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in _FILES:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            threading.settrace(trace)
            sys.settrace(trace)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0
