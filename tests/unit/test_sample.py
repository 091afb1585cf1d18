"""What programs may write as samples, and what they are told when it is none."""

from __future__ import annotations

import pytest

from edgeagent.errors import UsageProblem
from edgeagent.sample import Sample, encode_samples, parse

KITCHEN = "local.metric.kitchen"


@pytest.mark.parametrize(
    ("subject", "payload", "wanted"),
    [
        (KITCHEN, b"21.5", [Sample("kitchen", 21.5)]),
        (KITCHEN, b" -3\n", [Sample("kitchen", -3)]),
        (KITCHEN, b"true", [Sample("kitchen", 1)]),
        (f"{KITCHEN}.oven.door", b"0", [Sample("kitchen.oven.door", 0)]),
        (KITCHEN, b'{"a": 1, "b": 2.5, "ok": false}', [Sample("kitchen.a", 1), Sample("kitchen.b", 2.5), Sample("kitchen.ok", 0)]),
        (KITCHEN, b'{"a": 1, "room": "x", "none": null}', [Sample("kitchen.a", 1, {"room": "x"})]),
        (KITCHEN, b'{"a": 1, "time": 1700000000.5}', [Sample("kitchen.a", 1, {}, 1700000000.5)]),
        (KITCHEN, b'{"a": 1, "time": "2023-11-14T22:13:20Z"}', [Sample("kitchen.a", 1, {}, 1700000000.0)]),
        (
            KITCHEN,
            b"# oven\noven,side=left temp=180,on=true,name=\"x\" 1700000000000000000\n\nfan value=3i\n",
            [
                Sample("oven.on", 1, {"side": "left"}, 1700000000.0),
                Sample("oven.temp", 180.0, {"side": "left"}, 1700000000.0),
                Sample("fan", 3),
            ],
        ),
    ],
    ids=["number", "spaces", "boolean", "deep", "object", "attributes", "unix-time", "rfc3339", "line-protocol"],
)  # fmt: skip
def test_what_is_read(subject: str, payload: bytes, wanted: list[Sample]) -> None:
    assert parse(subject, payload) == wanted


def test_a_batch_comes_back_as_it_was() -> None:
    samples = [
        Sample("system.cpu.utilization", 0.25, {"cpu": "0"}, 1700000000.25, "1"),
        Sample("system.uptime", 9, unit="s", kind="counter"),
    ]
    assert parse("local.metric.agent", encode_samples(samples)) == samples


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "no number in it"),
        (b"{}", "no number in it"),
        (b'"text"', "line 1 is no line protocol"),
        (b"NaN", "line 1 is no line protocol"),
        (b"[1, 2]", "line 1 is no line protocol"),
        (b"{", "truncated"),
        (b'{"a": {"b": 1}}', "a is neither a number nor a text"),
        (b'{"a": 1, "time": true}', "time is neither Unix time"),
        (b'{"a": 1, "time": 1e300}', "which is none"),
        (b'{"a b": 1}', "no name of a metric"),
        (b'{"samples": [{"metric": "a", "value": true}]}', "samples[0].value"),
        (b'{"samples": [{"value": 1}]}', "metric"),
        (b"\xff", "utf-8"),
        (b"9" * 400, "no number that can be stored"),
        (b"x" * 40_000, "too many"),
        (b'{"a": 1, "time": 1' + b"0" * 400 + b"}", "too large"),
        (b'{"samples": [{"metric": "a", "value": 1, "time": 1' + b"0" * 400 + b"}]}", "time"),
        (b'{"samples": [{"metric": "a", "value": 1, "unit": "' + b"x" * 64 + b'"}]}', "unit of more than 63"),
        (b'{"samples": [{"metric": "a", "value": 1, "kind": "histogram"}]}', "of the kind 'histogram'"),
    ],
    ids=[
        *("empty", "empty-object", "text", "nan", "list", "cut-off", "nested", "time-true", "far-time", "bad-name"),
        *("batch-boolean", "batch-nameless", "no-utf8", "huge", "too-long"),
        *("time-beyond-floats", "batch-time-beyond-floats", "long-unit", "unknown-kind"),
    ],
)
def test_what_is_refused_with_the_reason(payload: bytes, words: str) -> None:
    with pytest.raises(UsageProblem, match="cannot read samples") as caught:
        parse(KITCHEN, payload)
    assert words in str(caught.value)


def test_only_subjects_of_samples() -> None:
    with pytest.raises(UsageProblem, match="no subject of samples"):
        parse("local.data.kitchen", b"1")
