"""How long another version of edgeagent is on trial: a section of agent.toml that the hub can't change (:mod:`edgeagent.schema`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgeagent.sections import Section

__all__ = ["UpgradeSettings"]


class UpgradeSettings(Section, frozen=True, kw_only=True):
    trial_seconds: Annotated[
        float,
        Meta(
            description="How long the agent must go on as one process, and have reached the hub, before another version stays. [upgrade.md](upgrade.md)",
            ge=1,
            le=86400,
        ),
    ] = 300.0
    link_seconds: Annotated[
        float,
        Meta(
            description="How long it may take to reach the hub; then the device goes back to the version before.", ge=1, le=86400
        ),
    ] = 600.0
