"""What travels when a device is commanded, and what a device makes of it without a hub."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent import wire
from edgeagent.command import (
    FINAL,
    MAX_OUTPUT_BYTES,
    STATES,
    Entry,
    Result,
    digest,
    entry_of,
    is_final,
    is_former,
    is_made_by,
    new_id,
    renewed,
)
from edgeagent.errors import Failed
from edgeagent.patterns.commandjudge import is_id
from edgeagent.patterns.commandqueue import part_of
from edgeagent.patterns.commandresults import MAX_BYTES, Found, conflict, fitted
from edgeagent.patterns.commandrun import Output


def test_an_entry_is_read_back_and_what_a_later_version_adds_is_left_out() -> None:
    entry = Entry(id="A", action="ping", log="l", floor=1, not_after=5)
    assert entry_of(b'{"later": 1, ' + wire.encode(entry)[1:]) == entry


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"\xff", b"{}", b'{"id":1,"action":"a","log":"l","floor":1,"not_after":1}', b"[" * 100_000],
    ids=["empty", "a list", "no text", "nothing in it", "a wrong type", "deep"],
)
def test_what_is_no_entry_is_refused(body: bytes) -> None:
    with pytest.raises(Failed, match="cannot read a command"):
        entry_of(body)


def test_arguments_have_a_depth() -> None:
    deep: Any = {}
    for _ in range(20):
        deep = {"a": deep}
    body = {"id": "A", "action": "a", "log": "l", "floor": 1, "not_after": 1, "args": deep}
    with pytest.raises(Failed, match="nested deeper"):
        entry_of(json.dumps(body).encode())


def test_ids_sort_by_time_and_can_be_ids() -> None:
    ids = [new_id(moment, "U1") for moment in (1.0, 1.5, 1_800_000_000.0)]
    assert ids == sorted(ids) and len(set(ids)) == 3 and all(is_id(each) for each in ids)
    assert all(is_made_by(each, "U1") and not is_made_by(each, "U2") for each in ids)
    assert not is_made_by("Z" * 26, "U1") and not is_made_by("!", "U1")
    assert not any(is_id(bad) for bad in ("", "*", ids[0].lower(), ids[0] + "0", ids[0] + "\n", "a.b", None, 7))


def test_states() -> None:
    assert {state for state in STATES if not is_final(state)} == {"accepted", "running"} and len(FINAL) == len(STATES) - 2
    assert digest(b"a") != digest(b"b")


MINE = Result(id="A", state="accepted", nonce="n")
OURS, OTHERS = {"nonce": "n"}, {"nonce": "m"}


def test_a_nonce_tells_a_copy_from_what_became_of_it() -> None:
    copied = renewed("n")
    went_on, put_back = renewed(copied), renewed(copied)
    assert is_former("n", "n") and is_former("n", copied) and is_former(copied, went_on) and is_former(went_on, renewed(went_on))
    assert not is_former(went_on, put_back) and not is_former(renewed(went_on), put_back) and not is_former(copied, "n")
    assert not is_former("m", copied) and not is_former("", copied) and not is_former("n-" + "9" * 5000, copied)


@pytest.mark.parametrize(
    ("mine", "there", "began", "idempotent", "wanted"),
    [
        pytest.param("accepted", None, False, False, "go on", id="the hub lost it"),
        pytest.param("accepted", ("accepted", OURS), False, False, "go on", id="our acknowledgement was lost"),
        pytest.param("accepted", ("running", OURS), False, False, "unknown", id="it ran, and our store was put back"),
        pytest.param("accepted", ("running", OURS), False, True, "go on", id="it ran, and may run again"),
        pytest.param("accepted", ("succeeded", OURS), False, False, "adopt", id="it ended, and our store was put back"),
        pytest.param("accepted", ("accepted", OTHERS), False, False, "unknown", id="a former life accepted it"),
        pytest.param(
            "accepted", ("accepted", {"nonce": "n-1-a"}), False, False, "unknown", id="a life after this copy accepted it"
        ),
        pytest.param("accepted", ("accepted", OTHERS), False, True, "go on", id="a former life accepted what may run again"),
        pytest.param("accepted", ("failed", OTHERS), False, True, "adopt", id="a former life ended it"),
        pytest.param("expired", ("accepted", OURS), False, False, "go on", id="it expired"),
        pytest.param("refused", ("running", OTHERS), False, True, "unknown", id="a former life ran what is refused now"),
        pytest.param("refused", ("succeeded", OTHERS), False, False, "adopt", id="a former life ended what is refused now"),
        pytest.param("succeeded", ("running", OURS), True, False, "go on", id="an outcome"),
        pytest.param("succeeded", ("succeeded", OURS), True, False, "adopt", id="an outcome that was stored"),
        pytest.param("succeeded", ("accepted", OTHERS), True, False, "go on", id="an outcome over another life's"),
        pytest.param("accepted", ("rubbish", {}), False, False, "unknown", id="what makes no sense"),
    ],
)
def test_what_is_done_about_another_result(mine: Any, there: Any, began: bool, idempotent: bool, wanted: str) -> None:
    found = Found() if there is None else Found(7, None if there[0] == "rubbish" else Result(id="A", state=there[0], **there[1]))
    said = Result(id="A", state=mine, nonce="n")
    assert conflict(said, found, began=began, idempotent=idempotent) == wanted


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"output": "x" * MAX_OUTPUT_BYTES}, "output"),
        ({"output": "\x00" * MAX_OUTPUT_BYTES + "end"}, "output"),
        ({"output": "\ufffd" * 300_000}, "output"),
        ({"value": "x" * 1_000_000}, "reason"),
        ({"value": {1, 2}, "reason": "why"}, "reason"),
        ({"value": object()}, "reason"),
        ({"reason": "\udc80"}, "reason"),
        ({"value": 1 << 70}, "id"),
    ],
    ids=["text", "NUL", "replaced", "a large value", "a set", "an object", "no text", "a large number"],
)
def test_every_result_can_be_stored(more: dict[str, Any], kept: str) -> None:
    data = fitted(Result(id="A", state="succeeded", **more))
    assert len(data) <= MAX_BYTES and json.loads(data)["id"] == "A" and json.loads(data).get(kept)


def test_the_end_of_the_output_stays() -> None:
    assert json.loads(fitted(Result(id="A", state="failed", output="\x01" * 100_000 + "end")))["output"].endswith("end")


def test_output_is_bounded_and_counted() -> None:
    output = Output()
    for number in range(30_000):
        output.write(f"{number}\n".encode())
    assert output.text.endswith("29998\n29999\n") and len(output.text) == MAX_OUTPUT_BYTES
    assert output.size == sum(len(f"{number}\n") for number in range(30_000))
    output.write(("ä" * MAX_OUTPUT_BYTES).encode())
    output.write(b"!")
    assert set(output.text) == {"ä", "!"}
    output.write(b"\xff\xfe")
    assert output.text.endswith("!\ufffd\ufffd")


def test_each_device_waits_its_own_part() -> None:
    parts = [part_of(f"pi-{number}", "A", 600.0) for number in range(1000)]
    assert 0 <= min(parts) < 60 and 540 < max(parts) < 600 and parts[0] == part_of("pi-0", "A", 600.0)
    assert part_of("pi-0", "B", 600.0) != parts[0] and part_of("pi-0", "A", 0.0) == 0
