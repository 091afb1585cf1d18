from __future__ import annotations

import pytest

from edgeagent.errors import Refused, SettingsProblem
from edgeagent.hub.boards import MAX_BOARDS, MAX_BYTES, board_of, mac_of, parse, problems_of, read_labels, serial_of
from edgeagent.tokens import Board

FILE = """\
serial,mac,id,groups,labels
10000000A1B2C3D4,,shop-07,berlin;shops,site=berlin; rack=2

,DC-A6-32-01-02-03,shop-08,berlin kitchen,
00000000e5f60718,dca632010204,shop-09,,
"""


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsProblem) as caught:
        parse(text, "devices.csv")
    return caught.value.problems


def test_a_list_is_read() -> None:
    assert parse(FILE, "devices.csv") == [
        Board(id="shop-07", serial="10000000a1b2c3d4", groups=["berlin", "shops"], labels={"site": "berlin", "rack": "2"}),
        Board(id="shop-08", mac="dc:a6:32:01:02:03", groups=["berlin", "kitchen"]),
        Board(id="shop-09", serial="e5f60718", mac="dc:a6:32:01:02:04"),
    ]


def test_columns_come_in_any_order_and_as_spreadsheets_write_them() -> None:
    text = '\ufeffID, Serial ,labels\r\n"pi-1", 0a ,"site=a, b;x=1"\r\n,,\r\n'
    assert parse(text, "x") == [Board(id="pi-1", serial="a", labels={"site": "a, b", "x": "1"})]


def test_every_problem_is_said_at_once_with_its_line() -> None:
    found = problems(
        "serial,mac,id,groups,labels\n"
        "a1,,Shop,,\n"
        "\n"
        ",,shop-1,,\n"
        "1.0E+15,,shop-2,,\n"
        ",zz,shop-3,,\n"
        "a1,,hub,,\n"
        "a2,,shop-1,Berlin,\n"
        "a3,,shop-4,,site\n"
        "a4,,shop-5,,Site=x\n"
        "a5,,,,,,\n"
        f"a6,,shop-6,,site={'x' * 300}\n"
    )
    assert [(line.split(":")[0], part in line) for line, part in zip(found, SAID, strict=True)] == [
        (f"line {number}", True) for number in (2, 4, 5, 6, 7, 7, 8, 8, 9, 10, 11, 12)
    ], found


SAID = [
    "'Shop' is no device id",
    "serial or mac is needed",
    "'1.0e+15' is no serial number (has a spreadsheet",
    "'zz' is no MAC address",
    "no device may be called hub",
    "serial a1 is on the list before (line 2)",
    "'Berlin' is no group name",
    "id shop-1 is on the list before (line 4)",
    "'site' is no label: write key=value",
    "'Site' is no name of a label",
    "it has more cells than the header",
    "the label site is longer than 256 characters",
]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is nothing in it"),
        ("\n \n", "there is nothing in it"),
        ("id,serial\n", "it lists no board"),
        ("id,groups\nx,a\n", "line 1: a column 'serial' or 'mac' is missing"),
        ("serial\nx\n", "line 1: the column 'id' is missing"),
        ("id,serial,colour\n", "line 1: there is no column 'colour'; the columns are serial, mac, id, groups, labels"),
        ("id,serial,ID\n", "line 1: the column 'id' is there twice"),
        ("id,serial\n" + "".join(f"pi-{n},a{n}\n" for n in range(MAX_BOARDS + 1)), "it lists 1001 boards, 1000 at most"),
        (
            "id,serial,labels\n" + "".join(f"pi-{n},a{n},x={'y' * 250}\n" for n in range(MAX_BYTES // 250)),
            "at most fit in one token",
        ),
        ('id,serial\n"pi-1,a1\n', "unexpected end of data"),
    ],
)
def test_a_file_that_is_no_list(text: str, problem: str) -> None:
    assert any(problem in found for found in problems(text))


def test_a_board_of_a_request_is_checked_like_one_of_a_file() -> None:
    # An administrator's program may send what no file of ours could hold.
    bad = Board(id="x", serial="00A1", mac="DC-A6-32-01-02-03", groups=["*"])
    assert [problem.split(": ", 1)[1][:20] for problem in problems_of([("board 1: ", bad)])] == [
        "'00A1' is no serial ",
        "'DC-A6-32-01-02-03' ",
        "'*' is no group name",
    ]


@pytest.mark.parametrize(
    ("text", "normal"), [("10000000A1B2C3D4 ", "10000000a1b2c3d4"), ("00000000a1b2", "a1b2"), ("0000000000000000", ""), ("", "")]
)
def test_serials_are_compared_without_case_and_leading_zeros(text: str, normal: str) -> None:
    assert serial_of(text) == normal


@pytest.mark.parametrize("text", ["dc:a6:32:01:02:03", "DC-A6-32-01-02-03", "dca6.3201.0203", " dca632010203"])
def test_macs_are_written_in_many_ways(text: str) -> None:
    assert mac_of(text) == "dc:a6:32:01:02:03"


@pytest.mark.parametrize("text", ["", "dc:a6:32:01:02", "dc:a6:32:01:02:03:04", "gc:a6:32:01:02:03"])
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="no MAC address"):
        mac_of(text)


def test_a_board_is_found_by_all_that_its_line_says() -> None:
    boards = [
        Board(id="a", serial="a1"),
        Board(id="b", mac="dc:a6:32:01:02:03"),
        Board(id="c", serial="c1", mac="dc:a6:32:01:02:04"),
    ]

    def found(serial: str, *macs: str) -> str:
        return board_of(boards, serial, macs, "enrol this device").id

    assert found("00A1") == "a" and found("A1", "nonsense", "dc:a6:32:99:99:99") == "a"
    assert found("x", "DC-A6-32-01-02-03") == "b" and found("c1", "dca632010204") == "c"
    for serial, macs in (("c1", ()), ("", ("dca632010204",)), ("", ()), ("0000", ()), ("c1", ("dca632010299",))):
        with pytest.raises(Refused, match=r"cannot enrol this device: this board is not on the token's list"):
            found(serial, *macs)
    with pytest.raises(Refused, match="two lines of the token's list are of this board"):
        found("a1", "dc:a6:32:01:02:03")


def test_labels_are_read() -> None:
    assert read_labels(["site=a=b", "rack ="]) == {"site": "a=b", "rack": ""}
    with pytest.raises(ValueError, match="write key=value"):
        read_labels(["site"])


def test_groups_take_any_separator_and_labels_that_run_together_are_a_mistake() -> None:
    text = 'mac,id,groups,labels\ndc:a6:32:01:02:03,pi-1,"munich, shops",site=munich\n'
    assert parse(text, "x")[0].groups == ["munich", "shops"]
    for labels in ("site=munich floor=2", "site=munich,floor=2"):
        assert any(
            "put ';' between them" in problem for problem in problems(f'mac,id,labels\ndc:a6:32:01:02:03,pi-1,"{labels}"\n')
        )
