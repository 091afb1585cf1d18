"""Whom a question or command is for: ``-d id``, ``-g group``, ``-l key=value``, ``--where CEL``. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from edgeagent import subjects
from edgeagent.errors import UsageProblem
from edgeagent.fleet.states import Known
from edgeagent.schema import LABEL_KEY, LABEL_KEY_RULE
from edgeagent.subjects import FLEET_ALL, Scope
from edgeagent.wire import MAX_EXPRESSION_BYTES

__all__ = ["Selector"]


@dataclass(frozen=True, kw_only=True)
class Selector:
    """devices and groups say through which scopes to ask (their union; none: the whole fleet); labels and where must all hold."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    where: str = ""

    @classmethod
    def of(
        cls, *, devices: tuple[str, ...] = (), groups: tuple[str, ...] = (), labels: tuple[str, ...] = (), where: str = ""
    ) -> Selector:
        """Read the words of a command line. Raises UsageProblem for a word that cannot be meant."""
        try:
            for name in devices:
                subjects.check_id(name)
            for name in groups:
                subjects.check_group(name)
        except ValueError as error:
            raise UsageProblem("select devices", str(error)) from None
        chosen = cls(devices=devices, groups=groups, labels=tuple(_label(text) for text in labels), where=where.strip())
        _check(chosen.expression)
        return chosen

    @property
    def scopes(self) -> list[Scope]:
        named = [Scope.group(name) for name in self.groups] + [Scope.device(name) for name in self.devices]
        return named or [FLEET_ALL]

    @property
    def expression(self) -> str:
        """Labels and filter as one CEL expression, empty if there are none."""
        parts = [f"labels.{key} == {json.dumps(value, ensure_ascii=False)}" for key, value in self.labels]
        if self.where:
            # On a line of its own: the filter may end in a comment, which must not swallow the bracket.
            parts.append(f"({self.where}\n)" if parts else self.where)
        return " && ".join(parts)

    def covers(self, known: Known) -> bool:
        """Whether the device is in one of the scopes."""
        if not self.devices and not self.groups:
            return True
        return known.id in self.devices or any(group in self.groups for group in known.groups)


def _check(expression: str) -> None:
    """Raise UsageProblem for what cannot be sent at all, or what every device would refuse."""
    try:
        size = len(expression.encode())
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8 arrive as lone surrogates
        raise UsageProblem("select devices", "the filter or a label is not valid UTF-8", "check the terminal's locale") from None
    if size > MAX_EXPRESSION_BYTES:
        raise UsageProblem(
            "select devices",
            f"labels and filter together are {size} bytes of CEL, the limit is {MAX_EXPRESSION_BYTES}",
            "make them shorter, or ask by group",
        )


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.match(LABEL_KEY, key):
        raise UsageProblem(
            f"select devices by {text!r}",
            f"a label is written key=value, the key {LABEL_KEY_RULE}",
            "for example `-l site=berlin`",
        )
    return key, value
