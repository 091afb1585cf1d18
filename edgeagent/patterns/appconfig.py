"""The configuration of the user's own programs on the device: a program asks on the leaf for its table, and is told when it changes.

docs/apps.md says how a program uses it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import nats.errors

from edgeagent import localsubjects
from edgeagent.config import APP, Value, nested
from edgeagent.leaf.apps import may_answer
from edgeagent.link import Client

__all__ = ["AppConfig", "tables_of"]

log = logging.getLogger(__name__)

#: Questions that may wait unread, and their bytes; more are dropped, and the programs ask again. It takes a program that floods.
MAX_UNREAD, MAX_UNREAD_BYTES = 1024, 4 << 20

#: What a program has for which there is no configuration.
_NOTHING = b"{}"

_encoder = msgspec.json.Encoder(order="deterministic")


def tables_of(values: Mapping[str, Value], word: str = APP) -> dict[str, dict[str, Any]]:
    """The table of each program by its name, out of what :func:`edgeagent.config.merged` found. values must be valid. word: ``app``, or
    ``mcu`` for the tables of microcontrollers."""
    found: dict[str, dict[str, Any]] = nested(
        {name: value.value for name, value in values.items() if name.startswith(f"{word}.")}
    )
    return found.get(word, {})


class AppConfig:
    """Answers programs on ``local.config.<name>`` over ``client``, the agent's connection to the account of the programs, and tells them of changes there.

    Whoever listens there hears questions too; they have a reply, and changes have none.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tables: dict[str, bytes] = {}

    async def start(self) -> None:
        """Answer from now on, until the connection is closed."""
        await self._client.subscribe(
            localsubjects.local_config(), cb=self._asked, pending_msgs_limit=MAX_UNREAD, pending_bytes_limit=MAX_UNREAD_BYTES
        )

    async def set(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """What the programs have from now on, by their names; each of them whose table is another than before is told.

        At the first time every program is told: the agent before us may have been killed before it could tell them.
        """
        before, self._tables = self._tables, {name: _encoder.encode(table) for name, table in tables.items()}
        for name in sorted({*before, *self._tables}):
            if self._table(name) != before.get(name, _NOTHING):
                await self._say(localsubjects.local_config(name), self._table(name), logging.WARNING)

    def _table(self, name: str) -> bytes:
        return self._tables.get(name, _NOTHING)

    async def _asked(self, message: Any) -> None:
        if may_answer(message.reply):
            await self._say(message.reply, self._table(message.subject.rpartition(".")[2]), logging.DEBUG)

    async def _say(self, subject: str, table: bytes, level: int) -> None:
        try:
            await self._client.publish(subject, table)
        except nats.errors.Error as error:  # too large for one message, or the connection is gone: the programs ask again
            log.log(level, "no configuration was sent to %s (%d bytes): %s", subject, len(table), error)
