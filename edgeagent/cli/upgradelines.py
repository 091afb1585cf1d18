"""What `edgeagent status` says of upgrades: which version is on trial, and which did not stay."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from edgeagent.cli.table import plain
from edgeagent.times import age, parse_rfc3339

if TYPE_CHECKING:
    from edgeagent.upgrade.places import Standing, Trial

__all__ = ["lines"]


def lines(standing: Standing, trial: Trial | None, now: datetime) -> list[str]:
    """None where there is nothing to say."""
    found = [f"  upgrade  {plain(trial.version)} is being tried ({trial.phase})"] if trial else []
    failed = standing.failed
    if failed is None:
        return found
    when = age(parse_rfc3339(failed.at), now)
    return [*found, f"  {'' if found else 'upgrade':<8} {plain(failed.version)} did not stay, {when}: {plain(failed.why)}"]
