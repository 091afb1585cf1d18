"""A run as tables for people. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.soak import judging
from tests.soak.run import KINDS, Ended
from tests.support.chaosjudge import meant

__all__ = ["calls", "report"]


def report(ended: Ended) -> str:
    """Everything that was judged."""
    parts = [_plan(ended), *([_rounds(ended)] if ended.rounds else []), _kinds(ended), _numbers(ended), _commands(ended)]
    return "\n\n".join("\n".join(part) for part in parts)


def calls(ended: Ended, begun: float) -> str:
    """Every call, a JSON object a line. begun: the monotonic time from which theirs count."""
    rows = [
        {"at": round(call.begun - begun, 1), "seconds": round(call.ended - call.begun, 1), "kind": call.kind, "error": call.error}
        for call in ended.calls
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of columns; the first one is text, the others are figures."""
    cells = [list(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *others]).rstrip() if first else ""


def _plan(ended: Ended) -> Iterator[str]:
    plan = ended.plan
    servers = f"{plan.servers} servers, " if ended.rounds else ""
    yield f"{servers}{plan.devices} devices, {plan.seconds:g} s, seed {plan.seed}"


def _rounds(ended: Ended) -> Iterator[str]:
    rows = []
    for number, one in enumerate(ended.rounds, 1):
        kills = Counter(what.split()[0] for what, _ in one.blows)
        longest = max((seconds for _, seconds in one.blows), default=0.0)
        spread = ", ".join(str(count) for count in one.leafs.values())
        rows.append([number, kills["server"], kills["hub"], kills["both"], f"{longest:.1f}", f"{one.rolling:.1f}", spread])
    heads = ["round", "kill -9 server", "hub", "both", "whole after, s", "rolling restart, s", "devices per server"]
    yield from table(heads, rows)
    yield f"devices per server once they had time to spread: {', '.join(map(str, ended.spread.values())) or '-'}"


def _kinds(ended: Ended) -> Iterator[str]:
    kinds = judging.kinds(ended.calls)
    rows = [[each.name, each.calls, each.failed, f"{each.usual:.2f}", f"{each.longest:.1f}"] for each in kinds]
    yield from table(["call", "made", "failed", "median, s", "longest until done, s"], rows)
    yield f"a device was without an answer for {max(ended.absent.values(), default=0):.1f} s at the longest"


def _numbers(ended: Ended) -> Iterator[str]:
    rows = [_row(ended, hub, kind.name) for kind in KINDS for hub in ended.stored]
    yield from table(["of programs, at", "published", "wanted", "stored", "lost", "twice"], rows)
    yield f"all had come through {ended.healing:.1f} s after the last blow"


def _row(ended: Ended, hub: str, kind: str) -> list[object]:
    lines = {key: line for key, line in ended.lines.items() if key[1] == kind}
    found = {key: ended.stored[hub].get(key, []) for key in lines}
    published = sum(line.published for line in lines.values())
    wanted = ended.wanted.get(hub) or {key: line.acknowledged for key, line in lines.items()}
    wanted_there = sum(len(wanted[key]) for key in lines)
    lost = sum(len(wanted[key] - set(found[key])) for key in lines)
    twice = sum(len(each) - len(set(each)) for each in found.values())
    return [f"{hub} {kind}", published, wanted_there, sum(map(len, found.values())), lost, twice]


def _commands(ended: Ended) -> Iterator[str]:
    record = ended.record
    wanted = sum(len(meant(record, name)) for name in record.devices)
    states = Counter(results[-1].state for device in record.devices.values() for results in device.results.values())
    written = Counter(line for device in record.devices.values() for line in Counter(device.lines).items())
    twice = sum(count for (_, times), count in written.items() if times > 1)
    failed = sum(bool(sent.error) for sent in record.sent)
    yield f"commands: {len(record.sent)} sent, {failed} of them not acknowledged; {wanted} ends on devices wanted"
    yield f"  {', '.join(f'{count} {state}' for state, count in states.most_common())}; {twice} effects more than once"
    changes = [acknowledged for notes in ended.notes.values() for acknowledged in notes.values()]
    refused = sum(not acknowledged for acknowledged in changes)
    yield f"config: {len(changes)} changes, {refused} of them not acknowledged"
