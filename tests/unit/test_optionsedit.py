"""hub.toml with other values, and everything else as a person left it."""

from __future__ import annotations

from edgeagent.hub.optionsedit import edited, replaced

TEXT = """# mine
[hub]  # this one
name = "berlin"
leaf_port = 7422
 listen = "127.0.0.1"

[cluster]
number = 1
routes = ["a:1"]

[metrics]
listen = "127.0.0.1:9464"  # Prometheus
"""


def test_lines_are_replaced_in_their_section_alone() -> None:
    text = edited(TEXT, "hub", {"listen": "::", "leaf_port": 1})
    assert 'name = "berlin"\nleaf_port = 1\nlisten = "::"\n\n[cluster]' in text
    assert text.startswith("# mine\n[hub]  # this one\n") and 'listen = "127.0.0.1:9464"  # Prometheus\n' in text


def test_what_is_not_there_is_added() -> None:
    assert '[hub]  # this one\nadvertise = "x"\nname' in edited(TEXT, "hub", {"advertise": "x"})
    assert edited(TEXT, "influx", {"url": "u"}).endswith('\n\n[influx]\nurl = "u"\n')
    assert edited(TEXT, "hub", {}) == TEXT


def test_a_section_goes_or_is_another() -> None:
    text = replaced(TEXT, "cluster", {})
    assert "cluster" not in text and "routes" not in text and "[metrics]" in text
    assert replaced(TEXT, "cluster", {"number": 2, "routes": ["a:1", "b:1"]}).endswith(
        '[cluster]\nnumber = 2\nroutes = ["a:1","b:1"]\n'
    )


def test_a_table_of_tables_is_no_part_of_the_section_before_it() -> None:
    text = '[notify.webhooks.x]\nurl = "a"\n[[strange]]\nname = "b"\n[hub]\nname = "c"\n'
    assert edited(text, "hub", {"name": "d"}) == text.replace('"c"', '"d"')
