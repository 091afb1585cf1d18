"""What an update says over the line, checked: each gives one argument, or raises ValueError that says what it has to be."""

import binascii

_WORD = "abcdefghijklmnopqrstuvwxyz0123456789_"


def number(args, key, least, most):
    found = args.get(key)
    if type(found) is not int or not least <= found <= most:
        raise ValueError("%s has to be a whole number from %d to %d" % (key, least, most))
    return found


def sha256(args):
    found = args.get("sha256")
    if not isinstance(found, str) or len(found) != 64 or any(each not in "0123456789abcdef" for each in found):
        raise ValueError("sha256 has to be 64 of 0-9 and a-f")
    return found


def version(args):
    found = args.get("version")
    letters = _WORD + "ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-"
    if not isinstance(found, str) or not 1 <= len(found) <= 32 or any(each not in letters for each in found):
        raise ValueError("version has to be 1 to 32 of letters, digits, '.', '+', '-' and '_'")
    return found


def name(args):
    """A file of Python, in the slot itself or in one folder there: never an absolute path, nor one with ".."."""
    name = args.get("name")
    words = name.split("/") if isinstance(name, str) else []
    ending = words[-1].split(".", 1)[1:] if words else []
    if ending in (["py"], ["mpy"]) and len(words) <= 2:
        words[-1] = words[-1].split(".")[0]
        if all(0 < len(word) <= 32 and all(each in _WORD for each in word) for word in words):
            return name
    raise ValueError("name has to be x.py, x.mpy or folder/x.py in a-z, 0-9 and _")


def piece(args, most):
    try:
        found = binascii.a2b_base64(args["d"])
    except (KeyError, TypeError, ValueError):
        found = b""
    if not 0 < len(found) <= most:
        raise ValueError("d has to be base64 of 1 to %d bytes" % most)
    return found
