"""`edgeagent put`, as far as it comes without a leaf: what its words mean, and what nobody could read."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from edgeagent.assembly.put import AHEAD_SECONDS, MAX_DATA_BYTES, ahead, data_subject, joined, payload_of, sample_subject
from edgeagent.cli import app
from edgeagent.errors import EdgeError
from edgeagent.sample import MAX_PAYLOAD_BYTES, parse


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        pytest.param(["21.5"], b"21.5", id="a number"),
        pytest.param(['{"a":"b=c"}'], b'{"a":"b=c"}', id="JSON"),
        pytest.param(["a=1", "b=true", "c=1e3"], b'{"a":1,"b":true,"c":1000.0}', id="samples"),
        pytest.param(["a=1", "b=x=y", "c=", "d=null", "e=[1]"], b'{"a":1,"b":"x=y","c":"","d":"null","e":"[1]"}', id="texts"),
        pytest.param(["a=1", "time=1800000000"], b'{"a":1,"time":1800000000}', id="time"),
    ],
)
def test_what_the_words_mean(words: list[str], payload: bytes) -> None:
    assert payload_of(words) == payload


def test_key_and_value_become_samples_and_attributes() -> None:
    found = parse(sample_subject("doors"), payload_of(["open=3", "wide=true", "side=north", "time=2027-01-01T00:00:00Z"]))
    assert [(each.metric, each.value) for each in found] == [("doors.open", 3), ("doors.wide", 1)]
    assert all(each.attributes == {"side": "north"} and each.time == 1798761600.0 for each in found)
    assert data_subject("doors.photo") == "local.data.doors.photo"


@pytest.mark.parametrize(
    ("words", "given", "why"),
    [
        pytest.param(["water"], b"", "there is no value", id="nothing"),
        pytest.param(["water", "-"], b"", "there is no number in it", id="nothing on standard input"),
        pytest.param(["water", "high"], b"", "'high' is no number", id="a word"),
        pytest.param(["water", "nan"], b"", "'nan' is no number", id="not a number"),
        pytest.param(["water", "--level"], b"", "'--level' is no number", id="an option that there is not"),
        pytest.param(["water", "side=north"], b"", "there is no number in it", id="only attributes"),
        pytest.param(["water", "1,5"], b"", "'1,5' is no number", id="a comma"),
        pytest.param(["water", "open=yes"], b"", "true, or false", id="a text for a truth value"),
        pytest.param(["water", "-"], b'{"a": 1}\n{"a": ', "truncated", id="a line that is no JSON"),
        pytest.param(["water", "a=1", "time=yesterday"], b"", "time = 'yesterday' is neither Unix time", id="a word for a time"),
        pytest.param(["water", "a=1", "b"], b"", "'b' is no key=value", id="no pair"),
        pytest.param(["water", "a=1", "a=2"], b"", "a is there twice", id="twice"),
        pytest.param(["wa ter", "1"], b"", "is no name", id="a name with a blank"),
        pytest.param(["agent.load", "1"], b"", "the agent's own", id="as the agent"),
        pytest.param(["water.>", "1"], b"", "is no name", id="a wildcard"),
        pytest.param(["water", "-"], b"1" * (MAX_PAYLOAD_BYTES + 1), "are too many", id="too many samples"),
        pytest.param(["--data", "water", "-"], bytes(MAX_DATA_BYTES + 1), "are too many", id="too large a message"),
        pytest.param(["--data", "water", "two", "words"], b"", "a message is one text", id="two messages"),
    ],
)
def test_what_nobody_could_read_is_not_sent(words: list[str], given: bytes, why: str) -> None:
    """Nothing listens there, which would be said otherwise."""
    result = CliRunner().invoke(app, ["put", *words], input=given, env={"NATS_URL": "nats://127.0.0.1:1"})
    assert isinstance(result.exception, EdgeError), result.output
    assert result.exception.exit_code == 2 and why in str(result.exception)


def test_objects_one_a_line_become_one_payload() -> None:
    subject = sample_subject("doors")
    given = b'{"open": 1, "side": "north"}\n\n{"open": 2, "time": 1800000000}\n'
    found = parse(subject, joined(subject, given))
    assert [(each.metric, each.value, each.attributes, each.time) for each in found] == [
        ("doors.open", 1, {"side": "north"}, 0.0),
        ("doors.open", 2, {}, 1_800_000_000.0),
    ]
    for one in (b'{"samples": [\n{"metric": "a", "value": 1}]}', b'{\n"open": 1\n}', b"a b=1\nc d=2", b"7"):
        assert joined(subject, one) == one


def test_what_the_hubs_readers_leave_out_is_noticed() -> None:
    subject, now = sample_subject("doors"), 1_800_000_000.0
    for seconds, count in ((0, 0), (AHEAD_SECONDS, 0), (AHEAD_SECONDS + 1, 2)):
        assert ahead(subject, payload_of(["open=3", "wide=1", f"time={now + seconds:.0f}"]), now) == count
    assert ahead(subject, b"7", now) == 0
