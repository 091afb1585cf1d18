"""What a value has to be: each check returns the value to use, or raises ValueError with what is wrong. Pure."""

import json

NEEDED = object()  # the default of what has to be given
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = _LETTERS + "0123456789_"


def shown(value):
    """A value in an error: short, in ASCII."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = str(value)
    text = "".join(each if " " <= each <= "~" else "?" for each in text[:41])
    return text if len(text) < 41 else text[:37] + "..."


def flag(value):
    if value in (True, False):  # 1 and 0 too
        return bool(value)
    raise ValueError(f"it is true (1) or false (0), and not {shown(value)}")


def number(least, most):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"it is a number from {least} to {most}, and not {shown(value)}")
        return value

    return check


def whole(least, most):
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"it is a whole number from {least} to {most}, and not {shown(value)}")
        return value

    return check


def text(most, least=1):
    def check(value):
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise ValueError(f"it is a text of {least} to {most} characters")  # it may be a password: not shown
        return value

    return check


def one_of(*choices):
    def check(value):
        if value not in choices or isinstance(value, bool):
            raise ValueError(f"it is one of {', '.join(str(each) for each in choices)}, and not {shown(value)}")
        return value

    return check


def word(value):
    """The name of a sensor, a kind or an output: it is a part of names of metrics, commands and modules."""
    if not isinstance(value, str) or not 0 < len(value) <= 24 or value[0] not in _LETTERS or any(c not in _WORD for c in value):
        raise ValueError(f"a name is 1 to 24 of a-z, 0-9 and _, a letter first, and not {shown(value)}")
    return value


def mcu_id(value):
    """As the agent wants it."""
    allowed = _LETTERS + "0123456789-"
    if not isinstance(value, str) or not 0 < len(value) <= 63 or any(each not in allowed for each in value):
        raise ValueError(f"an id is 1 to 63 of a-z, 0-9 and -, and not {shown(value)}")
    return value


def fields(wanted, given, where=""):
    """``given`` against ``wanted``, {key: (check, default)}: what to use, and all that is wrong with it.

    A bad value is replaced by its default; when there is none (NEEDED) the first of the two is None.
    """
    if not isinstance(given, dict):
        return None, [f"{where[:-1]}: it is a table, and not {shown(given)}"]
    problems = [f"{where}{shown(key)[1:-1]} is not known" for key in given if key not in wanted]
    found, is_whole = {}, True
    for key, (check, default) in wanted.items():
        value = given.get(key)
        if value is not None:
            try:
                found[key] = check(value)
                continue
            except ValueError as error:
                problems.append(f"{where}{key}: {error}")
        elif default is NEEDED:
            problems.append(f"{where}{key} is missing")
        is_whole = is_whole and default is not NEEDED
        found[key] = default
    return (found if is_whole else None), problems
