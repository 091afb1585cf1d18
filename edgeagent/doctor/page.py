"""Writes docs/doctor.md from the declarations of the checks: ``make docs``. A test fails when the page is stale."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeagent.doctor.check import Case, Check
from edgeagent.doctor.examine import CHECKS, LIMIT_SECONDS, SLOW, UNABLE
from edgeagent.errors import as_sentence

__all__ = ["page"]

_HEAD = f"""\
# The doctor

This page is generated from the code (`make docs`).

`edgeagent doctor` looks for what is wrong with the agent of this machine, or soon will be, and says what to do about each thing. It works
while the agent is down, and where none is installed. It changes nothing: all that it sends is the agent's last heartbeat once more, to try
the link. It takes {LIMIT_SECONDS:g} seconds at most. `--json` is for programs.

```console
$ sudo edgeagent doctor
```

| it says | that is |
|---|---|
| `ok` | as it should be |
| `WARN` | it works, and will not for ever, or not for everybody |
| `WRONG` | it does not work, or is not safe; the exit code is 1 |
| `?` | not known: whoever asks may not look at it. Without `sudo` much is so; nothing is called good or bad unseen |

What is wrong further up is often why something is wrong further down. A check has no line where it makes no sense: `power` on a machine
that is no Raspberry Pi, `tls` where the hub can't be reached. `edgeagent status` shows what the agent says of itself, `edgeagent check`
tries an agent.toml before it is used, and [`edgeagent hub doctor`](monitoring.md) is the hub's.
"""

_WORDS = {"warn": "WARN", "wrong": "WRONG", "unknown": "?"}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for check in CHECKS for line in _section(check)), *_any()])


def _section(check: Check) -> Iterator[str]:
    yield f"## {check.name}\n\n{check.about}\n"
    yield from _table([case for case in check.cases if case.level != "good"])


def _any() -> Iterator[str]:
    yield "## Any of them\n"
    yield from _table([SLOW, UNABLE])


def _table(cases: list[Case]) -> Iterator[str]:
    yield "| | it says | what to do |\n|---|---|---|"
    for case in cases:
        means = f" {case.means}" if case.means else ""
        remedy = "What stands with it." if case.remedy == "{remedy}" else f"{as_sentence(_shown(case.remedy))}."
        yield f"| {_WORDS[case.level]} | {_shown(case.shown or case.text)}.{means} | {remedy} |"
    yield ""


def _shown(template: str) -> str:
    """With the names of values in italics; in code they stay capitals, as in a synopsis."""
    parts = re.split(r"(`[^`]*`)", template)
    return "".join(_named(part, "{}" if part.startswith("`") else "*{}*") for part in parts)


def _named(text: str, form: str) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: form.format(found[1].upper() if form == "{}" else found[1]), text)


if __name__ == "__main__":
    print(page(), end="")
