"""What is measured and answered, as JSON that the agent takes: names and numbers within its bounds (edgeagent/sample.py)."""

import re

from frames import MAX_PAYLOAD, dumps

#: What one reading may hold: bytes of its values beside everything else in its frame, of these for texts, and numbers.
ROOM = MAX_PAYLOAD - 113
TEXT_ROOM = 400
MAX_VALUES = 48
#: Of texts: how many, and the characters of each.
MAX_TEXTS, MAX_TEXT = 15, 200
#: The characters of a name.
MAX_NAME = 64
#: Integers beyond this are no exact numbers for every reader of JSON.
_MAX_INT = 1 << 53
_name = re.compile(r"^[A-Za-z_][A-Za-z0-9_.:/-]*")


def plain(value, depth=8):
    """``value`` with None for whatever JSON cannot hold, and for what is deeper than ``depth``."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, dict) and depth:
        return {str(key): plain(each, depth - 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and depth:
        return [plain(each, depth - 1) for each in value]
    return None


def _number(value):
    if isinstance(value, int):
        if -_MAX_INT < value < _MAX_INT:
            return value
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if value - value == 0 else None  # neither nan nor infinite


def readings(values):
    """The values of one moment, and how many of them were left out: as JSON, split where they are too long for one reading.

    Texts are attributes of the numbers, so they are in every part; they are cut before a number is left out.
    """
    numbers, texts, left_out = {}, {}, 0
    for name, value in values.items():
        known = plain(value, 0) if _is_name(name) else None
        if known is None or (isinstance(known, str) and len(texts) == MAX_TEXTS):
            left_out += 1
        elif isinstance(known, str):
            texts[name] = known[:MAX_TEXT]
        else:
            numbers[name] = known
    return _parts([_item(*each) for each in numbers.items()], _fitting(texts)), left_out


def _is_name(name):
    if not isinstance(name, str) or len(name) > MAX_NAME:
        return False
    found = _name.match(name)
    return found is not None and found.group(0) == name


def _item(name, value):
    return dumps(name) + b":" + dumps(value)


def _fitting(texts):
    """The texts as items of JSON; the longest is cut until all fit."""
    while True:
        items = [_item(*each) for each in texts.items()]
        if sum(len(each) + 1 for each in items) <= TEXT_ROOM:
            return items
        name = max(texts, key=lambda each: len(dumps(texts[each])))
        if len(texts[name]) > 8:
            texts[name] = texts[name][: len(texts[name]) // 2]
        else:
            del texts[name]


def _parts(items, texts):
    parts, part, size = [], [], 0
    room = ROOM - sum(len(each) + 1 for each in texts)
    for item in items:
        if part and (size + len(item) + 1 > room or len(part) == MAX_VALUES):
            parts.append(_object(part + texts))
            part, size = [], 0
        part.append(item)
        size += len(item) + 1
    if part:
        parts.append(_object(part + texts))
    return parts


def _object(items):
    return b"{" + b",".join(items) + b"}"
