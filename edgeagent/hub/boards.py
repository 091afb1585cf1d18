"""devices.csv: which board becomes which device. Pure.

    serial,mac,id,groups,labels
    10000000a1b2c3d4,,shop-07,berlin;shops,site=berlin;rack=2
    ,dc:a6:32:01:02:03,shop-08,berlin,

A board states its own serial and MACs, and nobody can check them: who has the token can pass for any board of the list. The list
keeps honest boards apart; the number of uses and the expiry bound the rest.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edgeagent import subjects
from edgeagent.errors import Refused, SettingsProblem
from edgeagent.schema import LABEL_KEY, LABEL_KEY_RULE
from edgeagent.tokens import Board

__all__ = ["MAX_BOARDS", "MAX_BYTES", "board_of", "label_problems", "mac_of", "parse", "problems_of", "read_labels", "serial_of"]

#: A list is one message of the hub's store.
MAX_BOARDS = 1000
MAX_BYTES = 200_000

MAX_LABEL_CHARACTERS = 256
#: All labels of a device as JSON, so that its record in the register stays far below what the store takes, whatever their characters.
MAX_LABELS_BYTES = 4 << 10
_COLUMNS = ("serial", "mac", "id", "groups", "labels")
_SERIAL = re.compile(r"[0-9a-z][0-9a-z-]{0,63}\Z")
_HEX_12 = re.compile(r"[0-9a-f]{12}\Z")


def serial_of(text: str) -> str:
    """The serial in small letters without leading zeros, which some tools print and others do not; all zeros are none."""
    return text.strip().lower().lstrip("0")


def mac_of(text: str) -> str:
    """``dc:a6:32:01:02:03`` of any usual way to write it. Raises ValueError for what is no MAC."""
    digits = re.sub(r"[:.-]", "", text.strip().lower())
    if not _HEX_12.match(digits):
        raise ValueError(f"{text.strip()!r} is no MAC address")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def read_labels(texts: Iterable[str]) -> dict[str, str]:
    """``k=v`` each. Raises ValueError for what is none."""
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is no label: write key=value")
        labels[key.strip()] = value.strip()
    for problem in label_problems(labels):
        raise ValueError(problem)
    return labels


def parse(text: str, name: str) -> list[Board]:
    """Read the file's text. name: what it is called in errors. Raises SettingsProblem with every problem, each with its line."""
    what = f"read {name}"
    lines = csv.reader(text.removeprefix("\ufeff").splitlines(), skipinitialspace=True, strict=True)
    try:
        rows = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SettingsProblem(what, [f"line {lines.line_num}: {error}"]) from None
    if not rows:
        raise SettingsProblem(what, ["there is nothing in it"], f"its first line is {','.join(_COLUMNS)}")
    header = [cell.strip().lower() for cell in rows[0][1]]
    problems = list(_header_problems(header))
    if problems:
        raise SettingsProblem(what, [f"line {rows[0][0]}: {problem}" for problem in problems])
    boards: list[tuple[str, Board]] = []
    for line, row in rows[1:]:
        try:
            boards.append((f"line {line}: ", _board(dict(zip(header, row, strict=False)), len(row) > len(header))))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    problems += problems_of(boards)
    if problems:
        raise SettingsProblem(what, sorted(problems, key=_line_of))
    return [board for _, board in boards]


def _line_of(problem: str) -> int:
    found = re.match(r"line (\d+)", problem)
    return int(found[1]) if found else 0


def _header_problems(header: Sequence[str]) -> Iterator[str]:
    for column in dict.fromkeys(header):
        if column not in _COLUMNS:
            yield f"there is no column {column!r}; the columns are {', '.join(_COLUMNS)}"
        elif header.count(column) > 1:
            yield f"the column {column!r} is there twice"
    if "id" not in header:
        yield "the column 'id' is missing"
    if "serial" not in header and "mac" not in header:
        yield "a column 'serial' or 'mac' is missing"


def _label_parts(text: str) -> list[str]:
    """``k=v;k=v``. A value may hold blanks, but what looks like two labels with a blank between them is a mistake. Raises ValueError."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    for part in parts:
        if part.count("=") > 1 and re.search(r"[\s,][a-z_][a-z0-9_]*=", part):
            raise ValueError(f"{part!r} looks like several labels: put ';' between them")
    return parts


def _board(cells: dict[str, str], too_long: bool) -> Board:
    """Raises ValueError."""
    if too_long:
        raise ValueError("it has more cells than the header")
    values = {column: (cells.get(column) or "").strip() for column in _COLUMNS}
    return Board(
        id=values["id"],
        serial=serial_of(values["serial"]),
        mac=mac_of(values["mac"]) if values["mac"] else "",
        groups=[group for group in re.split(r"[;,\s]+", values["groups"]) if group],
        labels=read_labels(part for part in _label_parts(values["labels"])),
    )


def problems_of(boards: Sequence[tuple[str, Board]]) -> list[str]:
    """All that is wrong in a list. Each board comes with what is put before a problem of it (``"line 3: "``)."""
    found = [f"{where}{problem}" for where, board in boards for problem in _board_problems(board)]
    for kind in ("id", "serial", "mac"):
        first: dict[str, str] = {}
        for where, board in boards:
            value = getattr(board, kind)
            if value and value in first:
                found.append(f"{where}{kind} {value} is on the list before{f' ({first[value][:-2]})' if first[value] else ''}")
            first.setdefault(value, where)
    if not boards:
        found.append("it lists no board")
    if len(boards) > MAX_BOARDS:
        found.append(f"it lists {len(boards)} boards, {MAX_BOARDS} at most fit in one token")
    elif (size := len(msgspec.json.encode([board for _, board in boards]))) > MAX_BYTES:
        found.append(f"the list is {size} bytes long, {MAX_BYTES} at most fit in one token")
    return found


def _board_problems(board: Board) -> Iterator[str]:
    if not subjects.is_id(board.id):
        yield f"{board.id!r} is no device id: {subjects.ID_RULE}" if board.id else "the id is missing"
    elif board.id == subjects.HUB:
        yield "no device may be called hub"
    if not board.serial and not board.mac:
        yield "serial or mac is needed"
    if board.serial and (not _SERIAL.match(board.serial) or serial_of(board.serial) != board.serial):
        yield f"{board.serial!r} is no serial number (has a spreadsheet made a rounded number of it?)"
    if board.mac and not _is_mac(board.mac):
        yield f"{board.mac!r} is no MAC address"
    yield from (f"{group!r} is no group name: {subjects.ID_RULE}" for group in board.groups if not subjects.is_id(group))
    yield from label_problems(board.labels)


def _is_mac(text: str) -> bool:
    try:
        return mac_of(text) == text
    except ValueError:
        return False


def label_problems(labels: dict[str, str]) -> Iterator[str]:
    """What is wrong with labels that the hub gives, one sentence each."""
    for key, value in labels.items():
        if not re.match(LABEL_KEY, key):
            yield f"{key!r} is no name of a label: {LABEL_KEY_RULE}"
        elif len(value) > MAX_LABEL_CHARACTERS:
            yield f"the label {key} is longer than {MAX_LABEL_CHARACTERS} characters"
    if (size := len(msgspec.json.encode(labels))) > MAX_LABELS_BYTES:
        yield f"all labels together are {size} bytes long, {MAX_LABELS_BYTES} are the most"


def board_of(boards: Iterable[Board], serial: str, macs: Iterable[str], what: str) -> Board:
    """The board of the list with this serial and these MACs: all that its line says must hold. Raises Refused with ``what``."""
    own_serial, own_macs = serial_of(serial), set(_macs(macs))
    found = [
        board for board in boards if (not board.serial or board.serial == own_serial) and (not board.mac or board.mac in own_macs)
    ]
    if len(found) == 1:
        return found[0]
    named = f"serial {serial or 'unknown'}, MAC {', '.join(sorted(own_macs)) or 'unknown'}"
    if found:
        raise Refused(what, f"two lines of the token's list are of this board ({named})", "mend the list and make another token")
    raise Refused(what, f"this board is not on the token's list ({named})", "add it to the list and make another token")


def _macs(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        try:
            yield mac_of(text)
        except ValueError:
            continue  # an interface without one, such as a tunnel
