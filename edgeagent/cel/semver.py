"""``semver()`` in filters: a version as bytes that sort by precedence (semver.org 2.0.0, section 11). Imports nothing.

CEL compares bytes with <, <=, ==, >= and >, byte by byte. Bytes and not text, so that ``semver(a) < "1.10.0"`` is an error
and no wrong answer.
"""

from __future__ import annotations

__all__ = ["precedence_key"]

MAX_LENGTH = 128

# What follows in the key: 1.0.0-rc.1 < 1.0.0 < 1.0.0.1, and the shorter of two pre-releases comes first.
_END, _PRERELEASE, _RELEASE, _NUMBER = b"\0", b"\1", b"\2", b"\3"
_NUMERIC, _TEXT = b"\1", b"\2"

#: Pre-releases as Python packages write them (PEP 440): mark -> the identifiers it stands for, in PEP 440's order.
_PEP440 = ((".dev", "0"), ("a", "a"), ("b", "b"), ("rc", "rc"))


def precedence_key(version: object) -> bytes:
    """Bytes that compare as the versions do; equal for versions of equal precedence, such as with other build metadata.

    Beyond semver.org these are understood: a leading ``v``, any count of numbers (2.15 is 2.15.0), Debian's epoch (ignored) and
    ``~`` (as ``-``), and PEP 440's pre-releases (1.10.0rc1). ``1.22.1-9`` is a pre-release of 1.22.1, as semver.org has it, also
    where Debian means its ninth package of it. Raises ValueError for everything else.
    """
    if not isinstance(version, str):
        raise ValueError(f"{version!r} is not a version: versions are texts")
    try:
        core, prerelease = _split(version)
        return b"".join(_NUMBER + _digits(number) for number in core) + _tail(prerelease)
    except ValueError:
        raise ValueError(f"{version[:MAX_LENGTH]!r} is not a version") from None


def _split(version: str) -> tuple[list[str], str | None]:
    """The numbers without trailing zeros, and the pre-release, None if it is a release."""
    if len(version) > MAX_LENGTH:
        raise ValueError(version)
    text = version.strip()
    epoch, colon, upstream = text.partition(":")
    text = upstream if colon and _is_number(epoch) else text
    text = text[1:] if text[:1] in ("v", "V") else text
    text = text.partition("+")[0]
    cut = min((at for at in (text.find("-"), text.find("~")) if at >= 0), default=len(text))
    core, prerelease = (text[:cut], text[cut + 1 :]) if cut < len(text) else _pep440(text)
    return _numbers(core), prerelease


def _pep440(text: str) -> tuple[str, str | None]:
    for mark, identifier in _PEP440:
        core, found, number = text.partition(mark)
        if found and _is_number(number):
            return core, f"{identifier}.{number}"
    return text, None


def _numbers(core: str) -> list[str]:
    numbers = core.split(".")
    if not all(_is_number(number) for number in numbers):
        raise ValueError(core)
    while numbers and not numbers[-1].strip("0"):
        numbers.pop()
    return numbers


def _tail(prerelease: str | None) -> bytes:
    if prerelease is None:
        return _RELEASE
    return _PRERELEASE + b"".join(_identifier(part) for part in prerelease.split(".")) + _END


def _identifier(part: str) -> bytes:
    if not part or "\0" in part:
        raise ValueError(part)
    return _NUMERIC + _digits(part) if _is_number(part) else _TEXT + part.encode() + _END


def _digits(number: str) -> bytes:
    """Length first: of two numbers without leading zeros, the longer is the larger."""
    digits = number.lstrip("0").encode()
    return bytes([len(digits)]) + digits


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
