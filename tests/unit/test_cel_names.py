from __future__ import annotations

import pytest

from edgeagent.cel.names import read_names, tokens


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("memory.utilization > 0.8", ["memory.utilization"]),
        ("cpu.count == 4 && !flag || a.b.c", ["cpu.count", "flag", "a.b.c"]),
        ('labels["my-key"] == "x.y"', ["labels.my-key"]),
        ("labels.site.startsWith('ber')", ["labels.site"]),
        ("mcus.exists(x, x.firmware == agent.version)", ["mcus", "agent.version"]),
        ("a.map(x, b.filter(y, y > x && z)).size() > 0", ["a", "b", "z"]),
        ("a.exists(x, x > 0) && x.y", ["a", "x.y"]),
        ("has(labels.site) ? size(a) : 1e3", ["labels.site", "a"]),
        ("mcus[0].id == disks['/'].free", ["mcus", "disks./.free"]),
        ("type(a) == int && b in ['c', null, true]", ["a", "b"]),
        ('r"a\\" == b // c.d\n || e', ["b", "e"]),
        ('\'it\\\'s a.b\' == """c "d" e"""', []),
        ("int.x == 0x1F && 1.5e3 > .5", ["int.x"]),
        ('"unclosed a', ["unclosed", "a"]),
        (")]} a", ["a"]),
    ],
)
def test_fields(expression: str, fields: list[str]) -> None:
    assert [str(name) for name in read_names(expression).fields] == fields


def test_functions_and_what_has_tests() -> None:
    names = read_names("has(a.b.c) && !has(x.y) && size(a.z) > 1 && d.startsWith('e') && m.exists(q, has(q.r))")
    assert [str(name) for name in names.functions] == ["has", "has", "size", "startsWith", "exists", "has"]
    assert [str(name) for name in names.tested] == ["a.b.c", "x.y"]
    assert {"a", "q", "size", "e"} & names.words == {"a", "q", "size"}


def test_where_a_name_is() -> None:
    [name] = read_names('"é" == \n  labels.x').fields
    assert name.at == 10


def test_every_character_is_some_token() -> None:
    expression = 'a.b>=1&&!c["d"]||e?f:-g%2u'
    assert "".join(token.text for token in tokens(expression)) == expression
