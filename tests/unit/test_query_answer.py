"""A device's answers to live queries, and the operator's side that gathers them, over a real nats-server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pytest

from edgeagent import subjects, wire
from edgeagent.cel import Evaluator, Limits, Verdict
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import ask
from edgeagent.fleet.ask import Asker, Question
from edgeagent.fleet.outcome import Row
from edgeagent.fleet.roster import Roster
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known, State
from edgeagent.fleet.suspects import Suspects
from edgeagent.link import Client, settle
from edgeagent.patterns import query
from edgeagent.patterns.query import QueryResponder
from edgeagent.ratelimit import RateLimits
from tests.support.accounts import AccountsServer, running
from tests.support.cel import needs_engine
from tests.support.servers import PATIENCE_SECONDS, until

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
FACTS = {"id": "pi-01", "model": "Pi 4", "memory": {"utilization": 0.9, "total_bytes": 4}, "labels": {"site": "berlin"}}


class Given:
    """Facts as they are given."""

    def __init__(self, facts: wire.Facts) -> None:
        self.facts = facts

    def current(self, wanted: Iterable[str]) -> wire.Facts:
        return self.facts


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsServer]:
    with running(tmp_path_factory.mktemp("query")) as server:
        yield server


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    evaluator = Evaluator()
    yield evaluator
    await evaluator.close()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (wire.Query(token="t"), wire.Answer(state="match")),
        (wire.Query(token="t", select=["model", "none"]), wire.Answer(state="match", facts={"model": "Pi 4"})),
        (
            wire.Query(token="t", where="a" * 1025),
            wire.Answer(state="refused", code="refused", reason="the filter is longer than 1024 bytes"),
        ),
        (
            wire.Query(token="t", where="ü" * 513),
            wire.Answer(state="refused", code="refused", reason="the filter is longer than 1024 bytes"),
        ),
        (
            wire.Query(token="t", select=["model"] * 65),
            wire.Answer(state="refused", code="refused", reason="more than 64 fields were asked for"),
        ),
        (wire.Query(token="t", select=["model"] * 64), wire.Answer(state="match", facts={"model": "Pi 4"})),
    ],
)
async def test_what_a_device_says(evaluator: Evaluator, asked: wire.Query, expected: wire.Answer) -> None:
    assert await query.answer(asked, Given(FACTS), evaluator) == expected


@needs_engine
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (
            wire.Query(token="t", where="memory.utilization > 0.8", select=["memory.utilization", "labels"]),
            wire.Answer(state="match", facts={"memory": {"utilization": 0.9}, "labels": {"site": "berlin"}}),
        ),
        (wire.Query(token="t", where="memory.utilization > 0.95", select=["model"]), wire.Answer(state="no_match")),
        (wire.Query(token="t", where="labels.floor == '2'"), wire.Answer(state="no_match", missing=True)),
    ],
)
async def test_a_device_filters_itself(evaluator: Evaluator, asked: wire.Query, expected: wire.Answer) -> None:
    assert await query.answer(asked, Given(FACTS), evaluator) == expected


@needs_engine
@pytest.mark.parametrize(
    ("where", "code"), [("1 +", "usage"), ("model", "usage"), ("1 / 0 == 1", "usage"), ("(" * 40 + "true" + ")" * 40, "usage")]
)
async def test_a_filter_that_is_none_is_refused_with_the_reason(evaluator: Evaluator, where: str, code: str) -> None:
    found = await query.answer(wire.Query(token="t", where=where), Given(FACTS), evaluator)
    assert (found.state, found.code, found.facts) == ("refused", code, {}) and found.reason


def test_scopes_of_a_device() -> None:
    assert [str(scope) for scope in subjects.scopes_of("pi-01", ["b", "a"])] == [
        "fleet.all",
        "group.b",
        "group.a",
        "device.pi-01",
    ]


@dataclass
class Device:
    """A responder on a connection of its own."""

    id: str
    client: Client
    responder: QueryResponder
    counted: list[str] = field(default_factory=list)


class Rig:
    """Devices and an operator on one account of one server."""

    def __init__(self, server: AccountsServer, operator: Client, evaluator: Evaluator) -> None:
        self.server, self.operator, self.evaluator = server, operator, evaluator
        self.heard: list[tuple[str, wire.Answer]] = []
        self._clients: list[Client] = []

    async def device(self, name: str, *, groups: Iterable[str] = (), limits: RateLimits | None = None, **facts: object) -> Device:
        client = await self.server.connect("FLEET")
        self._clients.append(client)
        counted: list[str] = []
        responder = QueryResponder(
            client,
            name,
            facts=Given({**FACTS, "id": name, **facts}),
            evaluator=self.evaluator,
            limits=limits or RateLimits(1000, 1000),
            on_answered=counted.append,
        )
        await responder.start(groups)
        await settle(client, what="settle")
        return Device(name, client, responder, counted)

    async def listen(self) -> None:
        async def heard(message: object) -> None:
            self.heard.append((message.subject, wire.decode(message.data, wire.Answer)))  # type: ignore[attr-defined]  # nats-py's message

        await self.operator.subscribe("edge.from.>", cb=heard)
        await settle(self.operator, what="settle")

    async def ask(self, data: wire.Query | bytes, *, to: str = "fleet.all", reply: str = "_INBOX.ops.olga.x") -> None:
        body = data if isinstance(data, bytes) else wire.encode(data)
        await self.operator.publish(f"edge.to.{to}.query", body, reply=reply)

    async def until_heard(self, token: str) -> None:
        await until(lambda: any(subject.endswith(f".{token}") for subject, _ in self.heard), f"{token} was answered")

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@pytest.fixture
async def rig(server: AccountsServer, evaluator: Evaluator) -> AsyncIterator[Rig]:
    operator = await server.connect("FLEET")
    rig = Rig(server, operator, evaluator)
    yield rig
    await rig.close()
    await operator.close()


async def test_answers_go_to_the_devices_own_subject(rig: Rig) -> None:
    device = await rig.device("pi-01")
    await rig.listen()
    await rig.ask(wire.Query(token="t1", select=["model"]))
    await rig.until_heard("t1")
    assert rig.heard == [("edge.from.pi-01.reply.olga.t1", wire.Answer(state="match", facts={"model": "Pi 4"}))]
    assert device.counted == ["match"]


async def test_what_is_not_a_persons_query_is_ignored(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.device("pi-01")
    await rig.listen()
    good = wire.encode(wire.Query(token="bad"))
    with caplog.at_level(logging.WARNING):
        # Injected through the reply subject of a Direct Get: it has no reply, and the mark of where it was stored.
        await rig.operator.publish("edge.to.fleet.all.query", good, headers={"Nats-Subject": "edge.from.pi-66.report"})
        for reply in ("_INBOX.srv.olga.x", "_INBOX.ops.olga", "edge.from.pi-02.report", "_INBOX.ops.*.x"):
            await rig.ask(wire.Query(token="bad"), reply=reply if "*" not in reply else "_INBOX.ops.a+b.x")
        for body in (b"", b"{}", b'{"token":7}', b'{"token":"a.b"}', b'{"token":"*"}', b'{"token":""}'):
            await rig.ask(body)
        await rig.ask(wire.Query(token="last"))
        await rig.until_heard("last")
    assert [subject for subject, _ in rig.heard] == ["edge.from.pi-01.reply.olga.last"]
    assert "ignored a query without a person's inbox (from edge.from.pi-66.report)" in caplog.text
    assert "ignored a query by olga: cannot read a query" in caplog.text


async def test_one_question_through_several_scopes_is_answered_once(rig: Rig) -> None:
    device = await rig.device("pi-01", groups=["berlin", "kitchen"])
    await rig.listen()
    for to in ("group.berlin", "group.kitchen", "device.pi-01", "fleet.all", "group.munich"):
        await rig.ask(wire.Query(token="t1"), to=to)
    await rig.ask(wire.Query(token="last"))
    await rig.until_heard("last")
    assert device.counted == ["match", "match"] and len(rig.heard) == 2


async def test_a_flood_is_refused_and_said(rig: Rig) -> None:
    device = await rig.device("pi-01", limits=RateLimits(0.001, 3))
    await rig.listen()
    for number in range(10):
        await rig.ask(wire.Query(token=f"t{number}"))
    await rig.until_heard("t9")
    assert device.counted == ["match"] * 3 + ["refused"] * 7
    assert {answer.code for _, answer in rig.heard[3:]} == {"busy"} and all(answer.reason for _, answer in rig.heard[3:])


#: Valid CEL of a few bytes that would run for a very long time.
NUMBERS = str(list(range(1, 11)))
BOMB = f"{'.'.join([NUMBERS, *[f'map(v{depth}, {NUMBERS}' for depth in range(7)]])}{')' * 7}.size() > 0"


@pytest.fixture
async def patient() -> AsyncIterator[Evaluator]:
    """One that a busy machine does not hurry: a bomb ends by its processor time alone."""
    evaluator = Evaluator(Limits(wall_seconds=PATIENCE_SECONDS, start_seconds=PATIENCE_SECONDS))
    yield evaluator
    await evaluator.close()


@needs_engine
async def test_bombs_of_one_viewer_hold_up_nobody_else(rig: Rig, patient: Evaluator) -> None:
    rig.evaluator = patient
    device = await rig.device("pi-01", limits=RateLimits(20, 100))
    await rig.listen()
    patience_ms = wire.MAX_TIMEOUT_MS
    async with device.responder._turn:  # while one is evaluated
        for number in range(150):
            await rig.ask(wire.Query(token=f"bomb{number}", where=BOMB, timeout_ms=patience_ms), reply="_INBOX.ops.eve.x")
        await rig.ask(wire.Query(token="filter", where="model == 'Pi 4'", timeout_ms=patience_ms))
        await rig.ask(wire.Query(token="ping", select=["model"]))
        await rig.until_heard("ping")
        assert {answer.code for _, answer in rig.heard} == {"busy", ""}, "no bomb has ended"
    await rig.until_heard("filter")
    answers = {subject.rpartition(".")[2]: answer for subject, answer in rig.heard}
    assert answers["ping"].facts == {"model": "Pi 4"} and answers["filter"].state == "match"
    bombs = [answer.code for token, answer in answers.items() if token.startswith("bomb")]
    assert bombs.count("refused") == query.MAX_WAITING_OF_ONE and bombs.count("busy") == 150 - query.MAX_WAITING_OF_ONE


class Slow:
    """Filters that take as long as the test wants, by a clock of their own."""

    def __init__(self) -> None:
        self.now, self.asked, self.go = 0.0, 0, asyncio.Semaphore(0)

    async def evaluate(self, expression: str, facts: wire.Facts) -> Verdict:
        self.asked += 1
        await self.go.acquire()
        self.now += float(expression)
        return Verdict(matched=True)


def slow(rig: Rig, filters: Slow, limits: RateLimits) -> QueryResponder:
    return QueryResponder(rig.operator, "pi-01", facts=Given(FACTS), evaluator=filters, limits=limits, clock=lambda: filters.now)


async def test_a_question_that_waited_longer_than_the_asker_listens_is_dropped(rig: Rig) -> None:
    filters = Slow()
    responder = slow(rig, filters, RateLimits(1000, 1000))
    await responder.start([])
    await rig.listen()
    for token, where, timeout_ms in (("slow", "61", 3000), ("late", "0", 3000), ("forever", "0", 10**9), ("last", "0", 61_000)):
        await rig.ask(wire.Query(token=token, where=where, timeout_ms=timeout_ms))
    await until(lambda: filters.asked == 1, "the first one is evaluated")
    filters.go.release()
    await rig.until_heard("slow")
    await rig.ask(wire.Query(token="new", where="0"))
    await until(lambda: filters.asked == 2, "the next one is evaluated")
    filters.go.release()
    await rig.until_heard("new")
    assert [subject.rpartition(".")[2] for subject, _ in rig.heard] == ["slow", "new"], "nobody may wait for more than a minute"
    await responder.stop()


async def test_a_filter_costs_by_its_time(rig: Rig) -> None:
    filters = Slow()
    responder = slow(rig, filters, RateLimits(0.001, 10))
    await responder.start([])
    await rig.listen()
    for number, (where, after) in enumerate([("0.03", "match"), ("0", "match"), ("5", "match"), ("0", "refused")]):
        filters.go.release()
        await rig.ask(wire.Query(token=f"t{number}", where=where, timeout_ms=60_000))
        await rig.until_heard(f"t{number}")
        assert rig.heard[-1][1].state == after
    await responder.stop()


async def test_no_more_filters_wait_than_there_are_places_and_closing_drops_them(rig: Rig) -> None:
    filters = Slow()
    responder = slow(rig, filters, RateLimits(1000, 1000))
    await responder.start([])
    await rig.listen()
    for user in ("eve", "mallory", "olga"):
        for number in range(query.MAX_WAITING_OF_ONE):
            await rig.ask(wire.Query(token=f"{user}{number}", where="0"), reply=f"_INBOX.ops.{user}.x")
    await rig.ask(wire.Query(token="ping"))
    await rig.until_heard("ping")
    busy = [subject for subject, answer in rig.heard if answer.code == "busy"]
    assert len(busy) == query.MAX_WAITING_OF_ONE and all(".olga." in subject for subject in busy)
    await responder.stop()
    await responder.close()
    filters.go.release()
    await settle(rig.operator, what="settle")
    assert filters.asked == 1 and len(rig.heard) == len(busy) + 1


@needs_engine
async def test_who_does_not_match_may_be_asked_to_stay_silent(rig: Rig) -> None:
    await rig.device("pi-01")
    await rig.listen()
    await rig.ask(wire.Query(token="t1", where="model == 'x'", matches_only=True))
    await rig.ask(wire.Query(token="t2", where="1 +", matches_only=True))
    await rig.ask(wire.Query(token="t3", where="model == 'Pi 4'", matches_only=True))
    await rig.until_heard("t3")
    assert [(subject.rpartition(".")[2], answer.state) for subject, answer in rig.heard] == [("t2", "refused"), ("t3", "match")]


async def test_a_responder_that_stopped_is_deaf_and_may_start_with_other_groups(rig: Rig) -> None:
    device = await rig.device("pi-01", groups=["berlin"])
    other = await rig.device("pi-02")
    await rig.listen()
    await device.responder.stop()
    await settle(device.client, what="settle")
    await rig.ask(wire.Query(token="t1"))
    await rig.until_heard("t1")
    await device.responder.start(["munich"])
    await settle(device.client, what="settle")
    await rig.ask(wire.Query(token="t2"), to="group.berlin")
    await rig.ask(wire.Query(token="t3"), to="group.munich")
    await rig.until_heard("t3")
    assert (device.counted, other.counted) == (["match"], ["match"])


# The asker.


def roster(**heard: float) -> Roster:
    """``pi_01=5``: heard 5 seconds ago; ten minutes is offline."""
    devices = {}
    for word, seconds in heard.items():
        name = word.replace("_", "-")
        known = Known(name, record=wire.DeviceRecord(id=name, groups=["berlin"]), report=wire.Report(id=name, facts=FACTS))
        devices[name] = known.heard_at(datetime.fromtimestamp(NOW.timestamp() - seconds, timezone.utc), 60)
    return Roster(NOW, devices)


async def told(known: Roster) -> Roster:
    return known


def asker(rig: Rig, suspects: Suspects | None = None) -> Asker:
    return Asker(rig.operator, "olga", judge=rig.evaluator, suspects=suspects or Suspects())


@needs_engine
async def test_it_ends_when_the_last_expected_device_has_answered(rig: Rig) -> None:
    await rig.device("pi-01", model="Pi 5")
    await rig.device("pi-02")
    question = Question(selector=Selector.of(where="model == 'Pi 5'"), select=("model",), timeout_seconds=600)
    seen: list[Row] = []
    outcome = await asker(rig).ask(question, told(roster(pi_01=5, pi_02=5, pi_03=600)), on_answer=seen.append)
    assert [(row.id, row.facts) for row in outcome.answered] == [("pi-01", {"model": "Pi 5"})]
    assert (outcome.no_match, outcome.silent, [row.id for row in seen]) == (["pi-02"], [], ["pi-01"])
    (away,) = outcome.offline
    assert (away.id, away.state, away.matched, away.facts) == ("pi-03", State.OFFLINE, False, {"model": "Pi 4"})


async def test_a_silent_device_is_named_and_not_waited_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FAIR_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(ask, "GRACE_SECONDS", 600)
    await rig.device("pi-01")
    suspects = Suspects()
    known = roster(pi_01=5, pi_02=5)
    hurried = await asker(rig, suspects).ask(Question(timeout_seconds=0.2), told(known))
    assert hurried.waited_for == ["pi-02"] and suspects.get("pi-02") is None  # so short a wait proves nothing
    first = await asker(rig, suspects).ask(Question(timeout_seconds=0.3), told(known))
    assert [row.id for row in first.answered] == ["pi-01"]
    assert ([row.id for row in first.silent], first.waited_for) == (["pi-02"], ["pi-02"])
    second = await asker(rig, suspects).ask(Question(timeout_seconds=600), told(known))
    assert ([row.id for row in second.silent], second.waited_for) == (["pi-02"], [])
    assert [row.state for row in second.silent] == [State.SUSPECT]
    # It speaks again: an answer clears the suspicion at once.
    await rig.device("pi-02")
    alone = Question(selector=Selector.of(devices=("pi-02",)), first=True, timeout_seconds=600)
    third = await asker(rig, suspects).ask(alone, told(known))
    assert [row.id for row in third.answered] == ["pi-02"] and suspects.get("pi-02") is None


async def test_where_all_are_suspect_it_listens_for_a_moment_only(rig: Rig) -> None:
    suspects = Suspects()
    suspects.update(silent={"pi-01": NOW}, spoke=set())
    outcome = await asker(rig, suspects).ask(Question(timeout_seconds=600), told(roster(pi_01=5)))
    assert [(row.id, row.state) for row in outcome.silent] == [("pi-01", State.SUSPECT)] and outcome.waited_for == []


async def test_who_was_told_to_stay_silent_does_not_match(rig: Rig) -> None:
    question = Question(matches_only=True, timeout_seconds=0.05)
    outcome = await asker(rig).ask(question, told(roster(pi_01=5, pi_02=600)))
    assert (outcome.no_match, outcome.silent, [row.id for row in outcome.offline]) == (["pi-01"], [], ["pi-02"])


async def test_the_first_match_ends_it(rig: Rig) -> None:
    await rig.device("pi-01")
    question = Question(first=True, timeout_seconds=600)
    outcome = await asker(rig).ask(question, told(roster(pi_01=5, pi_02=5)))
    assert [row.id for row in outcome.answered] == ["pi-01"] and (outcome.silent, outcome.offline) == ([], [])


async def test_only_those_who_were_asked_are_expected(rig: Rig) -> None:
    await rig.device("pi-01")
    question = Question(selector=Selector.of(devices=("pi-01",)), timeout_seconds=600)
    outcome = await asker(rig).ask(question, told(roster(pi_01=5, pi_02=5)))
    assert [row.id for row in outcome.answered] == ["pi-01"] and outcome.silent == []


async def test_a_refusal_always_has_a_reason(rig: Rig) -> None:
    async def grumpy(message: object) -> None:
        asked = wire.decode(message.data, wire.Query)  # type: ignore[attr-defined]  # nats-py's message
        answers = {
            "pi-01": {"state": "refused"},
            "pi-02": {"state": "sulking", "code": "sulk"},
            "pi-03": {"state": "match", "reason": "x"},
        }
        for name, answer in answers.items():
            await rig.operator.publish(subjects.reply(name, "olga", asked.token), wire.encode(wire.Answer(**answer)))  # type: ignore[arg-type]  # texts

    await rig.operator.subscribe("edge.to.fleet.all.query", cb=grumpy)
    outcome = await asker(rig).ask(Question(timeout_seconds=600), told(roster(pi_01=5, pi_02=5, pi_03=5)))
    assert {row.id: row.reason for row in outcome.refused} == {"pi-01": "it gave no reason", "pi-02": "sulk"}
    assert [(row.id, row.reason) for row in outcome.answered] == [("pi-03", "")]


async def test_a_roster_that_cannot_be_read_ends_the_question(rig: Rig) -> None:
    async def failing() -> Roster:
        raise Refused("read the roster", "no rights")

    question, one = Question(timeout_seconds=600), asker(rig)
    with pytest.raises(Refused):
        await one.ask(question, failing())
    await rig.device("pi-01")
    assert len((await one.ask(question, told(roster(pi_01=5)))).answered) == 1


@needs_engine
async def test_several_questions_at_once_keep_their_answers_apart(rig: Rig) -> None:
    await rig.device("pi-01", model="Pi 5")
    one = asker(rig)

    def about(model: str) -> Awaitable[object]:
        question = Question(selector=Selector.of(where=f"model == '{model}'"), timeout_seconds=600)
        return one.ask(question, told(roster(pi_01=5)))

    outcomes = await asyncio.gather(*(about(model) for model in ("Pi 5", "Pi 4", "Pi 5")))
    assert [len(outcome.answered) for outcome in outcomes] == [1, 0, 1]  # type: ignore[attr-defined]  # gathered


@needs_engine
async def test_cached_wakes_nobody(rig: Rig) -> None:
    device = await rig.device("pi-01")
    question = Question(selector=Selector.of(where="model == 'Pi 4' && memory.utilization > 0.8"))
    known = roster(pi_01=5, pi_02=600)
    known.devices["pi-03"] = Known("pi-03", record=wire.DeviceRecord(id="pi-03"))
    outcome = await asker(rig).cached(question, known)
    assert [row.id for row in outcome.answered] == ["pi-01"]
    assert [(row.id, row.matched) for row in outcome.offline] == [("pi-02", True), ("pi-03", None)]
    assert device.counted == []


@needs_engine
async def test_a_filter_that_is_none_leaves_the_absent_unknown_and_fails_the_cached_answer(rig: Rig) -> None:
    question, known = Question(selector=Selector(where="1 +"), timeout_seconds=600), roster(pi_02=600)
    outcome = await asker(rig).ask(question, told(known))
    assert [(row.id, row.matched) for row in outcome.offline] == [("pi-02", None)]
    with pytest.raises(UsageProblem, match="cannot evaluate the filter"):
        await asker(rig).cached(question, known)
