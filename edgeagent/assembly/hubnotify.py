"""`edgeagent hub notify test`: one message to each webhook of hub.toml, once, with no hub running."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from edgeagent.assembly.hubexports import missing
from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.hub.exportsettings import Webhook
from edgeagent.hub.folder import HubFolder
from edgeagent.hub.notify import judged, request_of
from edgeagent.hub.notifyrules import Notice, trial
from edgeagent.hub.sinkspost import Poster, Verdict, why
from edgeagent.times import rfc3339

__all__ = ["Trial", "try_out"]

_WHAT = "send a test message"


class Trial(NamedTuple):
    """said: what the receiver answered, or why it did not."""

    name: str
    taken: bool
    said: str


async def try_out(place: HubFolder, names: Sequence[str]) -> list[Trial]:
    """names: of webhooks; none: all. Raises UsageProblem for names that hub.toml does not have, and when it has none."""
    webhooks = place.exports().notify.webhooks
    if not webhooks:
        raise UsageProblem(_WHAT, f"{place.options_file} names no webhook", "add a section [notify.webhooks.<name>]")
    if unknown := [name for name in names if name not in webhooks]:
        raise UsageProblem(_WHAT, f"there is no webhook {unknown[0]!r}", f"hub.toml has {', '.join(webhooks)}")
    if without := missing():
        raise Failed(_WHAT, without)
    notice = trial(place.options().name, rfc3339(datetime.now(timezone.utc)))
    async with Poster() as poster:
        return [await _one(poster, place, name, webhooks[name], notice) for name in names or webhooks]


async def _one(poster: Poster, place: HubFolder, name: str, webhook: Webhook, notice: Notice) -> Trial:
    try:
        answer = await poster.post(request_of(webhook, place.path, notice))
    except EdgeError as error:
        return Trial(name, False, why(error))
    return Trial(name, judged(webhook, answer) is Verdict.TAKEN, str(answer))
