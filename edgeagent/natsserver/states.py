"""The states of a supervised process and how they follow each other; pure."""

from __future__ import annotations

from enum import Enum

__all__ = ["Event", "State", "next_state"]


class State(str, Enum):
    """stopped: not wanted, or not yet. starting: begun, not ready. running: ready. backing_off: ended, waits for the next start.
    stopping: asked to end. failed: ended, and starting it again is hopeless until a person changes something."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    STOPPING = "stopping"
    FAILED = "failed"


class Event(str, Enum):
    """start, restart, stop: somebody wants it. ready, ended: it happened. hopeless: it ended for good. retry: the pause is over."""

    START = "start"
    READY = "ready"
    ENDED = "ended"
    HOPELESS = "hopeless"
    RETRY = "retry"
    RESTART = "restart"
    STOP = "stop"


_TABLE: dict[tuple[State, Event], State] = {
    (State.STOPPED, Event.START): State.STARTING,
    (State.STARTING, Event.READY): State.RUNNING,
    (State.STARTING, Event.ENDED): State.BACKING_OFF,
    (State.STARTING, Event.HOPELESS): State.FAILED,
    (State.STARTING, Event.RESTART): State.STARTING,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.ENDED): State.BACKING_OFF,
    (State.RUNNING, Event.HOPELESS): State.FAILED,
    (State.RUNNING, Event.RESTART): State.STARTING,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.BACKING_OFF, Event.RETRY): State.STARTING,
    (State.BACKING_OFF, Event.RESTART): State.STARTING,
    (State.BACKING_OFF, Event.STOP): State.STOPPING,
    (State.FAILED, Event.RESTART): State.STARTING,
    (State.FAILED, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.ENDED): State.STOPPED,
}


def next_state(state: State, event: Event) -> State:
    """The state that follows; raise ValueError for an event that cannot happen in this state."""
    try:
        return _TABLE[state, event]
    except KeyError:
        raise ValueError(f"{event.value} cannot happen to a process that is {state.value}") from None
