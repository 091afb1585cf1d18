import pytest

from edgeagent.natsserver.failures import explain_nats_server
from edgeagent.natsserver.states import Event, State, next_state

E, S = Event, State


def walk(*events: Event, state: State = S.STOPPED) -> State:
    for event in events:
        state = next_state(state, event)
    return state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([E.START, E.READY], S.RUNNING),
        ([E.START, E.ENDED], S.BACKING_OFF),
        ([E.START, E.READY, E.ENDED, E.RETRY, E.READY], S.RUNNING),
        ([E.START, E.HOPELESS], S.FAILED),
        ([E.START, E.HOPELESS, E.RESTART], S.STARTING),
        ([E.START, E.READY, E.RESTART], S.STARTING),
        ([E.START, E.READY, E.STOP, E.ENDED], S.STOPPED),
        ([E.START, E.ENDED, E.STOP, E.ENDED], S.STOPPED),
    ],
)
def test_paths(events: list[Event], state: State) -> None:
    assert walk(*events) is state


@pytest.mark.parametrize("state", [S.STARTING, S.RUNNING, S.BACKING_OFF, S.FAILED])
def test_a_stop_is_heard_in_every_living_state(state: State) -> None:
    assert walk(E.STOP, E.ENDED, state=state) is S.STOPPED


def test_nothing_leads_out_of_stopping_but_the_end() -> None:
    for event in set(Event) - {E.ENDED}:
        with pytest.raises(ValueError, match="cannot happen"):
            next_state(S.STOPPING, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {next_state(state, event) for state in State for event in Event if _allowed(state, event)}
    left = {state for state in State if any(_allowed(state, event) for event in Event)}
    assert reached == left == set(State)


def _allowed(state: State, event: Event) -> bool:
    try:
        next_state(state, event)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "kind", "hopeless", "part"),
    [
        (
            '[7] 2026/01/01 [FTL] Error listening on port: 127.0.0.1:4222, "listen tcp 127.0.0.1:4222: bind: address already in use"',
            "address_in_use",
            False,
            "127.0.0.1:4222",
        ),
        (
            '[7] x [FTL] Error listening on port, "listen tcp 127.0.0.1:80: bind: permission denied"',
            "config",
            True,
            "127.0.0.1:80",
        ),
        ('nats-server: leaf.conf:2:13: unknown field "foo"\n', "config", True, 'unknown field "foo"'),
        (
            "[7] x [FTL] Can't start JetStream: could not create storage directory - mkdir /x: denied",
            "store",
            False,
            "mkdir /x: denied",
        ),
        ("2026/01/01 04:44:43 error opening file: open /x/y.log: no such file or directory", "log", False, "/x/y.log"),
        ("[7] x [FTL] something new\n[7] x [INF] bye", "exit", False, "something new"),
        ("[7] x [INF] all was well", "exit", False, "exit status 3"),
    ],
)
def test_words_of_nats_server_are_understood(text: str, kind: str, hopeless: bool, part: str) -> None:
    diagnosis = explain_nats_server(text, 3)
    assert (diagnosis.kind, diagnosis.hopeless) == (kind, hopeless)
    assert part in diagnosis.why


@pytest.mark.parametrize(("status", "part"), [(-9, "SIGKILL"), (-11, "signal 11"), (2, "exit status 2"), (None, "it ended")])
def test_an_end_without_words(status: int | None, part: str) -> None:
    assert part in explain_nats_server("", status).why
