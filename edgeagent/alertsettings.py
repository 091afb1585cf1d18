"""What a device tells of its own samples: the section ``[alert]``, a table of rules by any names (:mod:`edgeagent.schema`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgeagent.alertrules import MAX_RULE, parse

__all__ = ["MAX_ALERTS", "NAME", "AlertSettings"]

#: So that what they cost a sample stays small.
MAX_ALERTS = 64
#: What an alert may be called.
NAME = r"^[a-z][a-z0-9_-]{0,62}\Z"


def _check(rule: str) -> None:
    if rule.strip():
        parse(rule)


_Name = Annotated[str, Meta(pattern=NAME, extra={"form": "1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter"})]
_Rule = Annotated[str, Meta(max_length=MAX_RULE, extra={"rule": _check})]
AlertSettings = Annotated[
    dict[_Name, _Rule],
    Meta(
        description='Alerts by any name: `hot = "hw.temperature > 80 for 2m clear < 75"`. The device watches them itself, with or without a link. An empty text switches one off. [metrics.md](metrics.md)',
        max_length=MAX_ALERTS,
        extra={"config": "live"},
    ),
]
