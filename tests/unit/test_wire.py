from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import wire
from edgeagent.errors import Failed

PAGE = Path(__file__).parents[2] / "docs" / "wire.md"
SHAPES: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (wire.Query, {"token": "t0", "where": "a == 1", "select": ["a"], "timeout_ms": 5, "matches_only": True}),
    (wire.Answer, {"state": "match", "facts": {"a": {"b": [1, 2.5, None, "ü"]}}}),
    (wire.Report, {"id": "pi-01", "facts": {"model": "Pi"}, "boot": "b", "instance": "i", "heartbeat_seconds": 5.0}),
    (wire.Heartbeat, {"heartbeat_seconds": 5.0}),
    (wire.Presence, {"online": True, "since": "2026-01-01T00:00:00Z", "connection": "S:1"}),
    (wire.DeviceRecord, {"id": "pi-01", "groups": ["b", "a"], "key": "U", "issued_at": 1, "expires_at": 2, "revoked": True}),
]


@pytest.mark.parametrize(("shape", "values"), SHAPES)
def test_each_shape_survives_the_way(shape: type[msgspec.Struct], values: dict[str, Any]) -> None:
    message = shape(**values)
    assert wire.decode(wire.encode(message), shape) == message
    assert json.loads(wire.encode(message)) == values  # defaults, the version among them, are left out


@pytest.mark.parametrize(("shape", "values"), SHAPES)
def test_newer_messages_with_more_fields_are_read(shape: type[msgspec.Struct], values: dict[str, Any]) -> None:
    newer = json.dumps({**values, "v": 7, "colour": {"deep": []}}).encode()
    assert wire.decode(newer, shape) == shape(**values, v=7)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{", "truncated"),
        (b"{}", "missing required field `token`"),
        (b'{"token":1}', "Expected `str`"),
        (b'{"token":"\xff"}', "utf-8"),
        (b'{"token":"t","select":"all"}', "Expected `array`"),
        (b'{"token":"t","timeout_ms":1e999}', "."),
        (b"[" * 100_000, "."),
    ],
)
def test_what_is_no_query_is_refused_in_our_words(data: bytes, why: str) -> None:
    with pytest.raises(Failed, match=rf"cannot read a query: .*{why}"):
        wire.decode(data, wire.Query)


@pytest.mark.parametrize("depth", [wire.MAX_FACTS_DEPTH, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_facts_nested_too_deep_cost_their_own_message_only(depth: int, opening: bytes, closing: bytes) -> None:
    def facts(levels: int) -> bytes:
        return b'{"state":"match","facts":{"a":' + opening * levels + b"1" + closing * levels + b"}}"

    assert wire.decode(facts(wire.MAX_FACTS_DEPTH - 1), wire.Answer).state == "match"
    with pytest.raises(Failed, match="cannot read an answer: "):
        wire.decode(facts(depth), wire.Answer)


@pytest.mark.parametrize("shape", [shape for shape, _ in SHAPES])
def test_the_page_about_the_wire_names_every_field(shape: type[msgspec.Struct]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [
        field.name for field in msgspec.structs.fields(shape) if f'"{field.name}"' not in text and f"`{field.name}`" not in text
    ]
    assert not missing


def test_text_without_utf8_loses_just_those_characters():
    found = wire.encode(wire.Report(id="pi-1", facts={"mount\udcff": ["/media/\udcfe", {"x": 1}]}))
    assert wire.decode(found, wire.Report).facts == {"mount?": ["/media/?", {"x": 1}]}
