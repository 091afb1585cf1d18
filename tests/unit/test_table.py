"""What the fleet commands print: every form, sorting, and values that nobody expects."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from edgeagent.cel.expressions import WHAT, mark
from edgeagent.cli import rows, show
from edgeagent.cli.harmless import harmless, json_text, told
from edgeagent.cli.table import Column, Form, emit, plain, sort_rows
from edgeagent.errors import Incomplete, Refused, SettingsProblem, UsageProblem
from edgeagent.fleet import Change, Outcome, Row, State

COLUMNS = [Column("id"), Column("state"), Column("uptime", rows._uptime), Column("groups", wide=True), Column("last_seen")]
RECORDS: list[dict[str, Any]] = [
    {"id": "pi-02", "state": "offline", "uptime": None, "groups": [], "last_seen": None},
    {"id": "pi-01", "state": "online", "uptime": 200, "groups": ["berlin", "küche"], "last_seen": "x"},
]
NOW = datetime.now(timezone.utc)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def read(form: Form, records: list[dict[str, Any]] = RECORDS, columns: list[Column] = COLUMNS) -> str:
        emit(records, columns, form)
        return capsys.readouterr().out

    return read


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (12345678, "12345678"),
        (0.123456, "0.1235"),
        (12345.6, "12346"),
        (-0.5, "-0.5"),
        ([], "-"),
        ([1, None, "a"], "1, -, a"),
        ({}, "-"),
        ({"site": "berlin", "n": [1, 2]}, "site=berlin, n=1, 2"),
        ("küche 😀", "küche 😀"),
        ("a\nb\tc\r", "a�b�c�"),
        ("\x1b[31mred\x07", "�[31mred�"),
        ("\u202eevil\u2028", "�evil�"),
        ({"\x1b": "\x9b"}, "�=�"),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    assert plain(value) == cell


def test_a_table_for_people(printed: Any) -> None:
    assert printed(Form.table).splitlines() == [
        "ID     STATE    UPTIME  LAST SEEN",
        "pi-02  offline  -       -",
        "pi-01  online   3m 20s  x",
    ]
    assert printed(Form.wide).splitlines()[0].split() == ["ID", "STATE", "UPTIME", "GROUPS", "LAST", "SEEN"]
    assert "berlin, küche" in printed(Form.wide)


def test_nothing_is_cut_where_there_is_no_terminal(printed: Any) -> None:
    long = "x" * 500
    assert long in printed(Form.table, [{"id": long}], [Column("id")])


def test_json_is_one_list_and_ndjson_one_object_a_line(printed: Any) -> None:
    assert json.loads(printed(Form.json)) == RECORDS
    assert [json.loads(line) for line in printed(Form.ndjson).splitlines()] == RECORDS
    assert "küche" in printed(Form.json) and "küche" in printed(Form.ndjson)
    assert json.loads(printed(Form.json, [])) == [] and printed(Form.ndjson, []) == ""


def test_csv_has_every_column_and_quotes_what_needs_it(printed: Any) -> None:
    records = [{"id": 'a,"b"\nc', "state": True, "uptime": 1.5, "groups": ["küche"], "last_seen": None}]
    text = printed(Form.csv, records)
    assert "\r" not in text
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"id": 'a,"b"\nc', "state": "true", "uptime": "1.5", "groups": '["küche"]', "last_seen": ""}
    ]


EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31m\n\u202e\u2028\ud800\U000e0001 ü"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_character_that_plays_with_a_terminal(printed: Any) -> None:
    for form in (Form.json, Form.ndjson):
        text = printed(form, [{"id": EVIL}])
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2028\ud800\U000e0001")
        assert "ü" in text and text.count("\n") == text.rstrip("\n").count("\n") + 1
        read = json.loads(text)
        assert (read[0] if form is Form.json else read)["id"] == EVIL
    assert json.loads(json_text({EVIL: [EVIL]}, indent=2)) == {EVIL: [EVIL]} and "\x7f" not in json_text("\x7f")


def test_csv_is_harmless_on_a_terminal_and_whole_for_a_program(printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"id": "a\x1b[2J\n\x9b", "groups": ["\x9b"]}
    assert next(csv.DictReader(io.StringIO(printed(Form.csv, [record]))))["id"] == record["id"]
    monkeypatch.setattr("sys.stdout", screen := Terminal())
    emit([record], COLUMNS, Form.csv)
    assert not set(screen.getvalue()) & set("\x1b\x9b") and len(screen.getvalue().splitlines()) == 2


def test_an_error_may_quote_anybody() -> None:
    text = told(Refused("build on it", f"it was signed as {EVIL}\n", f"ask\n{EVIL}"))
    assert text.startswith("cannot build on it: it was signed as �]0;pwned�") and text == harmless(text) and "\n" not in text


def test_only_a_list_of_problems_has_lines_of_its_own() -> None:
    text = told(SettingsProblem("change it", ["a.b: wrong", f"forged\n  - c.d: {EVIL}"], "look\nthere"))
    assert text.splitlines()[0] == "cannot change it:" and text.splitlines()[1] == "  - a.b: wrong"
    assert len(text.splitlines()) == 4 and text.splitlines()[3] == "Look�there"
    assert all(line == harmless(line) for line in text.splitlines())


def test_a_mistake_in_a_filter_is_marked_below_it() -> None:
    text = told(UsageProblem(WHAT, "there is no field x\x1b", f"look at the mark:\n{mark('a.b == x', 7)}"))
    assert text.splitlines()[1:] == ["  a.b == x", "         ^"] and "\x1b" not in text


def test_names_for_other_programs(printed: Any) -> None:
    assert printed(Form.name) == "pi-02\npi-01\n"


def test_a_name_that_several_records_have_is_there_once(capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"id": "b"}, {"id": "a"}, {"id": "b"}], [Column("id")], Form.name)
    assert capsys.readouterr().out == "b\na\n"


def test_an_empty_table_has_its_head(printed: Any) -> None:
    assert printed(Form.table, []).split() == ["ID", "STATE", "UPTIME", "LAST", "SEEN"]


def ids(by: str, values: list[Any]) -> list[str]:
    records = [{"id": str(index), "uptime": value} for index, value in enumerate(values)]
    return [record["id"] for record in sort_rows(records, by, COLUMNS)]


@pytest.mark.parametrize(
    ("by", "values", "order"),
    [
        ("uptime", [3, 1, 2], "120"),
        ("-uptime", [3, 1, 2], "021"),
        ("uptime", [10, 9.5, 100], "102"),
        ("uptime", [None, 2, None, 1], "3102"),
        ("-uptime", [None, 2, None, 1], "1302"),
        ("uptime", ["b", 2, "a", 1], "3120"),
        ("uptime", [[2], {"a": 1}, True, "x"], "2031"),
        ("uptime", [1, 1, 1], "012"),
        ("-uptime", [1, 1, 1], "012"),
    ],
)
def test_sorting(by: str, values: list[Any], order: str) -> None:
    assert "".join(ids(by, values)) == order


@pytest.mark.parametrize("by", ["colour", "-colour", "", "-", "UPTIME"])
def test_a_column_that_is_none_names_those_that_are(by: str) -> None:
    with pytest.raises(UsageProblem, match=r"there is no such column.*The columns are: id, state, uptime, groups, last_seen"):
        sort_rows([], by, COLUMNS)


FACTS = {
    "model": "Pi 4",
    "uptime_seconds": 7500.2,
    "temperature_celsius": 51.26,
    "labels": {"site": "berlin", "os": "mine", "uptime": "label", "floor": "2"},
    "os": {"pretty": "Debian", "id": "debian"},
    "versions": {"agent": "0.1.0"},
}
ANSWERED = Row(id="pi-01", state=State.ONLINE, facts=FACTS, groups=("berlin",), last_seen=NOW, round_trip_ms=3.0)
AWAY = Row(id="pi-02", state=State.OFFLINE, facts={"model": "Pi 3"}, matched=True, last_seen=NOW, since=NOW - timedelta(hours=1))
NEVER = Row(id="pi-03", state=State.NEVER_SEEN, matched=None)
OTHER = Row(id="pi-04", state=State.OFFLINE, facts={}, matched=False)
REFUSED = Row(id="pi-05", state=State.ONLINE, reason="busy \x1b[2J", last_seen=NOW)
SILENT = Row(id="pi-06", state=State.SUSPECT, matched=None)


def outcome(**parts: Any) -> Outcome:
    return Outcome(**{"answered": [ANSWERED], "offline": [NEVER, AWAY, OTHER], "refused": [REFUSED], "silent": [SILENT], **parts})


def test_every_device_is_listed_but_those_that_do_not_match() -> None:
    assert [row.id for row in rows.all_rows(outcome())] == ["pi-01", "pi-02", "pi-03", "pi-05", "pi-06"]


def test_the_records_of_a_listing() -> None:
    columns = rows.listing([])
    found = rows.records(outcome(), columns, Form.json, only_answers=False)
    assert [record["state"] for record in found] == ["online", "offline", "never seen", "refused", "suspect"]
    first, second = found[0], found[1]
    assert (first["site"], first["version"], first["uptime"], first["os"]) == ("berlin", "0.1.0", 7500.2, "Debian")
    assert (first["groups"], first["labels"]["floor"]) == (["berlin"], "2")
    assert (second["model"], second["uptime"], second["site"]) == ("Pi 3", None, None) and "since" in second
    assert json.loads(json.dumps(found)) == found
    assert [record["id"] for record in rows.records(outcome(), columns, Form.name, only_answers=True)] == ["pi-01"]


def test_label_columns_show_labels_also_where_a_column_has_their_name() -> None:
    columns = rows.listing(["floor", "os", "uptime", "site", "floor", "id"])
    names = [column.name for column in columns]
    assert sorted(names) == sorted(set(names)), "a column stands there once"
    record = rows.record(ANSWERED, columns, Form.table)
    assert (record["floor"], record["os"], record["uptime"], record["site"]) == ("2", "mine", "label", "berlin")
    assert record["id"] == "pi-01"


def test_what_is_asked_for_is_what_is_shown() -> None:
    table = rows.fields_of(rows.listing(["floor"]), Form.table)
    assert {"labels.site", "labels.floor", "model", "versions.agent", "uptime_seconds", "temperature_celsius"} == set(table)
    assert {"os.pretty", "architecture", "addresses", "labels", "alerts", "upgrade.failed.version"} == set(
        rows.fields_of(rows.listing([]), Form.csv)
    ) - set(table)


def test_a_selected_group_of_facts_is_shown_whole() -> None:
    record = rows.record(ANSWERED, rows.chosen(["os", "labels.floor", "none.at.all"]), Form.table)
    assert (record["os"], record["labels.floor"], record["none.at.all"]) == (FACTS["os"], "2", None)


@pytest.mark.parametrize("strange", ["soon", [], {"a": 1}, True, None, 1e300])
def test_a_device_that_says_nonsense_does_not_break_the_list(printed: Any, strange: Any) -> None:
    facts = {"uptime_seconds": strange, "temperature_celsius": strange, "labels": strange, "versions": strange, "os": strange}
    row = Row(id="pi-01", state=State.ONLINE, facts=facts, last_seen=NOW)
    columns = rows.listing(["floor"])
    for form in Form:
        assert "pi-01" in printed(form, [rows.record(row, columns, form)], columns)
    sort_rows([rows.record(row, columns, Form.table), rows.record(ANSWERED, columns, Form.table)], "uptime", columns)


@pytest.mark.parametrize(
    ("form", "check"), [(Form.json, json.loads), (Form.ndjson, json.loads), (Form.name, str), (Form.table, str)]
)
def test_streamed_rows_come_one_a_line_and_each_once(capsys: pytest.CaptureFixture[str], form: Form, check: Any) -> None:
    columns = rows.listing([])
    printer = show.Streamer(columns, form)
    printer.print(ANSWERED)
    printer.rest(rows.records(outcome(), columns, form, only_answers=False))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(check(line) for line in lines)
    assert all(name in line for name, line in zip(["pi-01", "pi-02", "pi-03", "pi-05", "pi-06"], lines, strict=True))


def test_streamed_csv_is_csv(capsys: pytest.CaptureFixture[str]) -> None:
    columns = rows.chosen(["model", "os"])
    printer = show.Streamer(columns, Form.csv)
    printer.print(ANSWERED)
    printer.rest(rows.records(outcome(), columns, Form.csv, only_answers=True))
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["id"], row["model"], json.loads(row["os"])) == ("pi-01", "Pi 4", FACTS["os"])


def test_the_footer_accounts_for_every_device(capsys: pytest.CaptureFixture[str]) -> None:
    show.footer(outcome(no_match=["pi-07", "pi-08"], missing=1, elapsed_seconds=0.123), Form.table)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == (
        "1 answered · 1 refused · 1 silent · 2 not online · 3 did not match, 1 of them for lack of the field · 0.12 s"
    )
    assert lines[1:] == [
        "pi-05 refused: busy �[2J",
        "pi-06 is silent (last seen never); it is not waited for again until it speaks",
    ]


@pytest.mark.parametrize("form", [Form.json, Form.ndjson, Form.csv, Form.name])
def test_what_programs_read_has_no_footer(capsys: pytest.CaptureFixture[str], form: Form) -> None:
    show.footer(outcome(), form)
    assert capsys.readouterr() == ("", "")


def test_an_empty_fleet_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show.footer(Outcome(), Form.table)
    assert "`edgeagent token create`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "fails"),
    [
        ({"refused": [], "silent": []}, False),
        ({"refused": []}, True),
        ({"silent": []}, True),
    ],
)
def test_strict(parts: dict[str, Any], fails: bool) -> None:
    show.end(outcome(**parts), strict=False)
    if not fails:
        show.end(outcome(**parts), strict=True)
        return
    with pytest.raises(Incomplete, match=r"no answer from pi-0[56]") as caught:
        show.end(outcome(**parts), strict=True)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], {}),
        ([5.0], {"min_ms": 5.0, "median_ms": 5.0, "p99_ms": 5.0}),
        ([3.0, 1.0, 2.0], {"min_ms": 1.0, "median_ms": 2.0, "p99_ms": 3.0}),
        ([float(number) for number in range(1, 202)], {"min_ms": 1.0, "median_ms": 101.0, "p99_ms": 199.0}),
    ],
)
def test_percentiles(times: list[float], expected: dict[str, float]) -> None:
    answered = [Row(id=str(index), state=State.ONLINE, round_trip_ms=value) for index, value in enumerate(times)]
    assert show.percentiles(Outcome(answered=answered)) == expected


def test_a_change_as_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    gone = Change(NOW, "pi-01", "offline", "Client \x1bClosed")
    show.change(gone, as_json=False)
    show.change(Change(NOW, "pi-01", "report", {"model": "Pi"}), as_json=False)
    show.change(gone, as_json=True)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("  pi-01  offline  (Client �Closed)") and second.endswith("  pi-01  report")
    assert json.loads(third)["detail"] == "Client \x1bClosed"


LAST_SEEN = rows.chosen([])[-1]


def seen(now: datetime, **row: Any) -> str:
    (cell,) = rows.records(Outcome(answered=[Row(id="pi-01", **row)], hub_time=now), [LAST_SEEN], Form.table, only_answers=True)
    return LAST_SEEN.show(cell["last_seen"])


def test_last_seen_is_told_by_the_hubs_clock() -> None:
    then = NOW - timedelta(seconds=5)
    assert seen(NOW, state=State.ONLINE, last_seen=then, round_trip_ms=1.0) == "now"
    assert seen(NOW, state=State.OFFLINE, last_seen=then).startswith("5s ago (")
    assert seen(NOW, state=State.NEVER_SEEN) == "never"


def test_last_seen_says_the_day_when_it_was_another() -> None:
    then = NOW - timedelta(days=3)
    assert seen(NOW, state=State.OFFLINE, last_seen=then) == f"3d ago ({then.astimezone():%Y-%m-%d %H:%M})"
