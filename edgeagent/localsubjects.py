"""The subjects that live on a device's leaf only and never cross the link, and the leaf's streams. docs/wire.md describes them."""

from __future__ import annotations

__all__ = [
    "AGENT_SOURCE",
    "LOCAL_DATA",
    "LOCAL_METRICS",
    "OWN_SOURCES",
    "local_action",
    "local_config",
    "local_data",
    "local_inbox",
    "local_metric",
]

#: The leaf's streams, which keep samples and messages until the forwarder has sent them, and after.
LOCAL_METRICS, LOCAL_DATA = "LOCAL_METRIC", "LOCAL_DATA"
#: Whose the agent's own samples are.
AGENT_SOURCE = "agent"
#: Whose samples the agent alone writes: its own, of microcontrollers, of brokers that it listens to, and of pins.
OWN_SOURCES = (AGENT_SOURCE, "mcu", "mqtt", "gpio")


def local_config(app: str = "*") -> str:
    """a request is answered with what the configuration has for the program ``app``; a change is published there."""
    return f"local.config.{app}"


def local_metric(source: str = ">") -> str:
    """samples of the program ``source``; more tokens may follow. An acknowledged message is on disk."""
    return f"local.metric.{source}"


def local_data(topic: str = ">") -> str:
    """any bytes of a program, for the hub. topic: one or more tokens, the first one the program's name."""
    return f"local.data.{topic}"


def local_action(app: str, what: str) -> str:
    """where the program ``app`` is asked for its action ``what``."""
    return f"local.action.{app}.{what}"


def local_inbox(token: str) -> str:
    """where the leaf's store answers the agent. token: as good as impossible to guess. The hub would be told of an inbox of another kind."""
    return f"local.inbox.{token}"
