"""Names of metrics and of who measures them, for the shell, from the newest values on the hub or the collectors of this device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from edgeagent.cli import completion

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.metricnewest import Newest

__all__ = ["collectors", "metrics", "sources"]


def metrics(context: typer.Context, incomplete: str) -> list[str]:
    """Metrics that were sent lately, by the devices that the line names so far; none when the hub does not answer at once."""
    newest = _newest(context)
    return completion.begun((found.name for found in newest.metrics()) if newest else (), incomplete)


def sources(context: typer.Context, incomplete: str) -> list[str]:
    """Who measures, of the same."""
    newest = _newest(context)
    return completion.begun({point.series.source for point in newest.series()} if newest else (), incomplete)


def collectors(incomplete: str) -> list[str]:
    """The collectors of this device."""
    import contextlib

    from edgeagent import settings
    from edgeagent.errors import EdgeError

    names: list[str] = []
    with contextlib.suppress(EdgeError, OSError):
        from edgeagent.assembly.localcollectors import listed

        names = [str(row["name"]) for row in listed(settings.load(None), ())]
    return completion.begun(names, incomplete)


def _newest(context: typer.Context) -> Newest | None:
    from edgeagent.fleet.chosen import Whose

    whose = Whose(devices=_named(context.params.get("device")), groups=_named(context.params.get("groups")))
    more = Whose(devices=_named(context.params.get("devices"))) if context.params.get("devices") else whose

    async def read(fleet: Fleet) -> Newest:
        return await fleet.metrics.newest(more)

    return completion.asked(context, read)


def _named(given: Any) -> Iterable[str]:
    return [given] if isinstance(given, str) else given or ()
