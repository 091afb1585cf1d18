"""Run the few tests that failed beside others once more, with the machine to themselves, and name them: ``python -m tests.again``.

Our tests run some hundred real servers, three files at a time, and a machine that stands still for many seconds fails one that asks
nothing of the clock. A fault fails again; what does not is printed, for it is a race that somebody has to find.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

#: More than these have no such excuse.
MOST = 4
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """0 when all of them pass now; else 1."""
    try:
        failed = sorted(json.loads(FAILED.read_text()))
    except (OSError, ValueError) as error:
        print(f"cannot run again what failed: {error}", file=sys.stderr)
        return 1
    if not 0 < len(failed) <= MOST:
        print(f"{len(failed)} failed: too many to be run again ({MOST} at most)", file=sys.stderr)
        return 1
    print(f"run again, with nothing beside it: {', '.join(failed)}", flush=True)
    if code := pytest.main(["-p", "no:xdist", "-p", "no:cacheprovider", "-v", *failed]):
        return int(code)
    print("FLAKY: failed beside others, passed alone:", *failed, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
