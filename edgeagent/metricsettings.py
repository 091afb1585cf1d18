"""What is measured on the device and how it travels: sections of agent.toml that configuration may change (:mod:`edgeagent.schema`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgeagent.sections import LIVE, Section

__all__ = ["ForwardSettings", "SamplingSettings"]

_Process = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f/]+\Z",
        max_length=128,
        extra={"form": "the name of a program, or of a unit with its ending `.service`"},
    ),
]
_Collector = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}\Z", extra={"form": "the name of a collector (`edgeagent collectors ls`)"})
]


class SamplingSettings(Section, frozen=True, kw_only=True):
    interval_seconds: Annotated[
        float,
        Meta(description="How often the agent's own collectors measure.", ge=1, le=86400, extra={**LIVE, "metered": 300.0}),
    ] = 30.0
    flush_seconds: Annotated[
        float,
        Meta(
            description="How often what they measured is written to the store, as one message; alerts do not wait for it. A power cut loses at most so much, and what the leaf has not yet synchronised (`leaf.sync_seconds`).",
            ge=1,
            le=86400,
            extra={**LIVE, "metered": 60.0},
        ),
    ] = 120.0
    disabled: Annotated[
        list[_Collector],
        Meta(
            description='Collectors that do not run, programs in `paths.collectors` too: `["network"]`. [metrics.md](metrics.md)',
            max_length=64,
            extra=LIVE,
        ),
    ] = []
    processes: Annotated[
        list[_Process],
        Meta(
            description='Programs whose memory and processor time are measured, those of one name together, or of all that a systemd unit runs: `["chromium", "shop.service"]`.',
            max_length=32,
            extra=LIVE,
        ),
    ] = []


class ForwardSettings(Section, frozen=True, kw_only=True):
    seconds: Annotated[
        float,
        Meta(
            description="How long a sample or message may wait for others before it is sent to the hub with them; 500 samples go at once, and so does what the agent stores less often than that.",
            ge=0.1,
            le=86400,
            extra={**LIVE, "metered": 1800.0},
        ),
    ] = 60.0
    bytes_per_second: Annotated[
        int,
        Meta(
            description="The most that forwarding may take of the link, in bytes a second. 0: no bound.",
            ge=0,
            le=1 << 30,
            extra=LIVE,
        ),
    ] = 0
