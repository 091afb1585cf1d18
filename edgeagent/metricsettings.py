"""What is measured on the device and how it travels: sections of agent.toml that configuration may change (:mod:`edgeagent.schema`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgeagent.sections import Section

__all__ = ["ForwardSettings", "SamplingSettings"]

#: ``schema.LIVE``, which imports this module.
_LIVE = {"config": "live"}


class SamplingSettings(Section, frozen=True, kw_only=True):
    interval_seconds: Annotated[
        float, Meta(description="How often the agent's own collectors measure.", ge=1, le=86400, extra=_LIVE)
    ] = 30.0
    flush_seconds: Annotated[
        float,
        Meta(
            description="How often what they measured is written to the store, as one message. A power cut loses at most so much, and what the leaf has not yet synchronised (`leaf.sync_seconds`).",
            ge=1,
            le=86400,
            extra=_LIVE,
        ),
    ] = 10.0


class ForwardSettings(Section, frozen=True, kw_only=True):
    seconds: Annotated[
        float,
        Meta(
            description="How long a sample or message may wait for others before it is sent to the hub with them; 500 samples go at once.",
            ge=0.1,
            le=86400,
            extra=_LIVE,
        ),
    ] = 60.0
    bytes_per_second: Annotated[
        int,
        Meta(
            description="The most that forwarding may take of the link, in bytes a second. 0: no bound.",
            ge=0,
            le=1 << 30,
            extra=_LIVE,
        ),
    ] = 0
