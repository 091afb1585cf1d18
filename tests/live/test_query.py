"""Live queries: devices filter themselves, refuse what is too much, and everybody of the selection is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from edgeagent import subjects
from edgeagent.errors import Refused, UsageProblem
from edgeagent.fleet import Fleet, Row
from edgeagent.link import settle
from tests.support.fleet import CONTEXT_USER, PATIENCE_SECONDS, LiveFleet, Said, cli, everybody_answered, online
from tests.support.servers import until

#: Valid CEL of a few bytes that would run for a very long time.
NUMBERS = str(list(range(1, 11)))
BOMB = f"{'.'.join([NUMBERS, *[f'map(v{depth}, {NUMBERS}' for depth in range(7)]])}{')' * 7}.size() > 0"


async def test_a_label_that_a_device_lacks_does_not_match_and_is_counted(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        outcome = await operator.query("labels.floor == '1'", select=["labels"], timeout=PATIENCE_SECONDS)
        opposite = await operator.query("labels.floor != '1'", timeout=PATIENCE_SECONDS)
    assert online(outcome) == ["pi-01"] and outcome.answered[0].facts == {"labels": {"site": "berlin", "floor": "1"}}
    assert (outcome.no_match, outcome.missing) == (["pi-02", "pi-03"], 1), "pi-02 has no floor"
    assert (online(opposite), opposite.no_match, opposite.missing) == (["pi-03"], ["pi-01", "pi-02"], 1)
    assert everybody_answered(outcome) and everybody_answered(opposite)


async def test_a_bomb_is_refused_and_the_next_question_answered(fleet: LiveFleet) -> None:
    agents = [fleet.pid(device) for device in fleet.ids]
    async with Fleet() as operator:
        outcome = await operator.query(BOMB, timeout=PATIENCE_SECONDS)
        again = await operator.query("cpu.count > 0", timeout=PATIENCE_SECONDS)
    assert [row.id for row in outcome.refused] == fleet.ids and outcome.silent == []
    assert {row.reason for row in outcome.refused} == {"it took more than 100 ms"}
    assert online(again) == fleet.ids
    assert [fleet.pid(device) for device in fleet.ids] == agents


async def test_a_filter_of_the_wrong_type_is_refused_with_the_reason(fleet: LiveFleet) -> None:
    fleet.cut_and_known("pi-02")
    async with Fleet() as operator:
        outcome = await operator.query("labels.site > 3", timeout=PATIENCE_SECONDS)
    assert [row.id for row in outcome.refused] == ["pi-01", "pi-03"] and all(row.reason for row in outcome.refused)
    assert [(row.id, row.matched) for row in outcome.offline] == [("pi-02", None)], "nobody can tell whether it would match"


async def test_the_filter_is_tried_on_the_last_report_of_who_is_away(fleet: LiveFleet) -> None:
    fleet.cut_and_known("pi-02")
    async with Fleet() as operator:
        matched = {
            where: (await operator.query(where, timeout=PATIENCE_SECONDS)).offline[0].matched
            for where in ("labels.site == 'munich'", "labels.site == 'berlin'", "memory.utilization > 0.0")
        }
    # The last one changes by itself, so no report has it.
    assert list(matched.values()) == [True, False, None]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ({"devices": ["pi-03", "pi-01"]}, ["pi-01", "pi-03"]),
        ({"groups": ["kitchen"]}, ["pi-01", "pi-03"]),
        ({"groups": ["munich", "hamburg"]}, ["pi-02", "pi-03"]),
        ({"groups": ["office"], "devices": ["pi-01"]}, ["pi-01", "pi-02"]),
        ({"groups": ["kitchen"], "devices": ["pi-01"]}, ["pi-01", "pi-03"]),
        ({"labels": ["site=hamburg"]}, ["pi-03"]),
        ({"labels": ["site=berlin", "floor=1"]}, ["pi-01"]),
        ({"labels": ["site=berlin", "floor=2"]}, []),
        ({"groups": ["kitchen"], "labels": ["floor=3"]}, ["pi-03"]),
        ({"where": "labels.site in ['berlin', 'munich']", "labels": ["floor=1"]}, ["pi-01"]),
        ({"where": "labels.site == 'berlin' || labels.site == 'munich'", "groups": ["office"]}, ["pi-02"]),
    ],
)
async def test_whom_a_question_reaches(fleet: LiveFleet, selection: dict[str, Any], wanted: list[str]) -> None:
    async with Fleet() as operator:
        outcome = await operator.query(**selection, timeout=PATIENCE_SECONDS)
    assert online(outcome) == wanted and everybody_answered(outcome)


async def test_first_ends_at_the_first_match(fleet: LiveFleet) -> None:
    fleet.cut("pi-02", silent=True)
    async with Fleet() as operator:
        outcome = await operator.query("labels.site == 'hamburg'", first=True, timeout=PATIENCE_SECONDS)
    assert online(outcome) == ["pi-03"] and outcome.elapsed_seconds < PATIENCE_SECONDS / 2


async def test_matches_only_keeps_the_others_silent(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        outcome = await operator.query("labels.site == 'munich'", matches_only=True, timeout=0.5)
        again = await operator.query(timeout=PATIENCE_SECONDS)
    assert online(outcome) == ["pi-02"] and outcome.no_match == ["pi-01", "pi-03"], "they were told to say nothing"
    assert outcome.elapsed_seconds >= 0.5, "nobody can know whether more would come"
    assert outcome.waited_for == [] and online(again) == fleet.ids, "who stayed silent as asked is no suspect"


@contextlib.asynccontextmanager
async def nobody_woken(operator: Fleet, devices: list[str]) -> AsyncIterator[None]:
    """Fail if a device answers anything that was asked by ``operator`` within the block."""
    heard: list[str] = []
    asked = itertools.count()

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    async with Fleet() as listener:
        await listener.client.subscribe(subjects.replies_to(CONTEXT_USER), cb=hear)
        await settle(listener.client, what="listen")
        yield

        async def all_answer() -> bool:
            """Each device evaluates filters in order, so whatever it was asked before this question it has answered before it."""
            next(asked)
            return online(await operator.query("true", timeout=5.0)) == devices

        await until(all_answer, "every device answers one last question", PATIENCE_SECONDS)
        await until(lambda: {*map(subjects.device_of, heard)} == {*devices}, "these answers are heard")
    answers = Counter(map(subjects.device_of, heard))
    assert max(answers.values()) <= next(asked), f"they answered more than they were asked: {answers}"


async def test_cached_wakes_nobody(fleet: LiveFleet) -> None:
    async with Fleet() as operator, nobody_woken(operator, fleet.ids):
        outcome = await operator.query("labels.site != 'munich'", select=["kernel"], cached=True)
        unknown = await operator.query("memory.utilization > 0.0", cached=True)
    assert online(outcome) == ["pi-01", "pi-03"] and outcome.no_match == ["pi-02"]
    assert all(row.as_of and row.facts and list(row.facts) == ["kernel"] for row in outcome.answered)
    assert (unknown.answered, unknown.no_match, unknown.missing) == ([], fleet.ids, 3), "no report has what changes by itself"


async def test_a_bomb_is_refused_here_too_when_nobody_is_woken(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        with pytest.raises(Refused, match="more than 100 ms"):
            await operator.query(BOMB, cached=True)


async def test_answers_are_told_as_they_come(fleet: LiveFleet) -> None:
    told: list[Row] = []
    async with Fleet() as operator:
        outcome = await operator.query(
            "labels.floor == '1' || labels.site == 'munich'", timeout=PATIENCE_SECONDS, on_answer=told.append
        )
    assert sorted(row.id for row in told) == online(outcome) == ["pi-01", "pi-02"]


async def test_many_questions_at_once(fleet: LiveFleet) -> None:
    async with Fleet() as operator:
        outcomes = await asyncio.gather(*(operator.query(devices=[device]) for device in fleet.ids * 5))
    assert [online(outcome) for outcome in outcomes] == [[device] for device in fleet.ids * 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": "labels.site =="}, "cannot"),
        ({"where": "memory.utilisation > 0.5"}, "Did you mean memory.utilization"),
        ({"select": ["memory.utilisation"]}, "Did you mean 'memory.utilization'"),
        ({"devices": ["pi-1"]}, "the hub knows no such device. Did you mean 'pi-01'"),
        ({"devices": ["Pi_01"]}, "1 to 63 of a-z"),
        ({"groups": ["berln"]}, "no device is in such a group. Did you mean 'berlin'"),
        ({"labels": ["site"]}, "key=value"),
        ({"where": " || ".join(["labels.site == 'berlin'"] * 60)}, "bytes"),
    ],
)
async def test_what_cannot_be_meant_wakes_nobody(fleet: LiveFleet, options: dict[str, Any], words: str) -> None:
    async with Fleet() as operator, nobody_woken(operator, fleet.ids):
        with pytest.raises(UsageProblem) as caught:
            await operator.query(**options)
    assert words in str(caught.value)


# ---- on the command line ---------------------------------------------------------------------------------------------------


def parts(said: Said) -> dict[str, list[str]]:
    found = json.loads(said.out)
    return {name: [row["id"] for row in found[name]] for name in ("answered", "refused", "silent", "offline")}


def test_json_has_all_parts_with_ids(fleet: LiveFleet) -> None:
    fleet.cut_and_known("pi-02")
    said = cli("fleet", "query", "labels.floor == '1'", "--select", "labels.site,cpu.count", "--json", "--timeout", "60")
    found = json.loads(said.out)
    assert said.code == 0 and parts(said) == {"answered": ["pi-01"], "refused": [], "silent": [], "offline": ["pi-02"]}
    assert found["no_match"] == ["pi-03"] and found["missing"] == 0
    assert found["answered"][0]["facts"]["labels"] == {"site": "berlin"} and found["answered"][0]["facts"]["cpu"]["count"] > 0
    assert found["offline"][0]["state"] == "offline" and found["offline"][0]["last_seen"]


def test_strict_wants_an_answer_of_everybody(fleet: LiveFleet) -> None:
    lenient, strict = (cli("fleet", "query", BOMB, "--json", "--timeout", "60", *more) for more in ([], ["--strict"]))
    assert (lenient.code, strict.code) == (0, 3)
    assert parts(strict)["refused"] == fleet.ids and "pi-01, pi-02, pi-03" in strict.err
    good = cli("fleet", "query", "cpu.count > 0", "--json", "--strict", "--timeout", "60")
    assert good.code == 0 and parts(good)["answered"] == fleet.ids


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["ls", "-d", "pi-01", "-d", "pi-02"], ["pi-01", "pi-02"]),
        (["ls", "-g", "kitchen"], ["pi-01", "pi-03"]),
        (["ls", "-l", "site=berlin"], ["pi-01"]),
        (["ls", "--where", "labels.site == 'munich'"], ["pi-02"]),
        (["ls", "--cached", "-l", "site=berlin"], ["pi-01"]),
        (["query", "labels.floor == '3'", "--first"], ["pi-03"]),
        (["query", "labels.floor == '3'", "--stream"], ["pi-03"]),
        (["get", "kernel", "-g", "office", "--where", "cpu.count > 0"], ["pi-02"]),
    ],
)
def test_selections(fleet: LiveFleet, words: list[str], wanted: list[str]) -> None:
    said = cli("fleet", *words, "-o", "name", "--timeout", "30")
    assert (said.code, said.out.split(), said.err) == (0, wanted, "")


def test_a_table_of_answers_accounts_for_the_rest(fleet: LiveFleet) -> None:
    said = cli("fleet", "query", "labels.floor == '1'", "--select", "labels.floor", "--timeout", "60")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0][:3] == ["ID", "STATE", "LABELS.FLOOR"] and [line[:3] for line in lines[1:]] == [["pi-01", "online", "1"]]
    assert "1 answered · 2 did not match, 1 of them for lack of the field" in said.err
