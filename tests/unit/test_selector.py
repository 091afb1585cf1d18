from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeagent import wire
from edgeagent.cel import Evaluator
from edgeagent.errors import UsageProblem
from edgeagent.fleet import Fleet
from edgeagent.fleet.selector import Selector
from edgeagent.fleet.states import Known
from edgeagent.subjects import Scope
from edgeagent.trust import jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from tests.support.cel import needs_engine


@pytest_asyncio.fixture
async def cel() -> AsyncIterator[Evaluator]:
    evaluator = Evaluator()
    yield evaluator
    await evaluator.close()


HARD = [
    "berlin",
    "",
    " ",
    'say "hi"',
    "it's",
    "a\\b",
    "\\",
    '\\"',
    "a=b=c",
    "küche €😀",
    "line\nbreak\tand\x07bell",
    "\u2028\x7f",
    '" || true || "',
    "//no comment",
    "\\u0041",
    '"""',
]


@needs_engine
async def test_label_values_of_any_kind_match_themselves_and_nothing_else(cel: Evaluator) -> None:
    for value in HARD:
        expression = Selector.of(labels=(f"site={value}",)).expression
        facts = [{"labels": {"site": other}} for other in HARD]
        verdicts = await cel.evaluate_many(expression, facts)
        assert [verdict.matched for verdict in verdicts] == [other == value for other in HARD], expression


@needs_engine
async def test_labels_and_filter_must_all_hold(cel: Evaluator) -> None:
    expression = Selector.of(labels=("site=berlin", "floor=2"), where=" a == 1 || b == 1 // either\n").expression
    both = {"site": "berlin", "floor": "2"}
    verdicts = await cel.evaluate_many(
        expression,
        [
            {"labels": both, "a": 1, "b": 0},
            {"labels": both, "a": 0, "b": 1},
            {"labels": both, "a": 0, "b": 0},
            {"labels": {**both, "floor": "3"}, "a": 1, "b": 1},
            {"labels": {"floor": "2"}, "a": 1, "b": 1},
        ],
    )
    assert [verdict.matched for verdict in verdicts] == [True, True, False, False, False]


@needs_engine
@pytest.mark.parametrize("key", ["_x", "for", "size", "a2", "all"])
async def test_every_key_that_is_taken_can_be_evaluated(cel: Evaluator, key: str) -> None:
    expression = Selector.of(labels=(f"{key}=1",)).expression
    assert (await cel.evaluate(expression, {"labels": {key: "1"}})).matched


def test_without_labels_the_filter_stays_as_it_was_typed() -> None:
    assert Selector.of(where="  a > 1 ").expression == "a > 1"
    assert Selector.of().expression == ""


@pytest.mark.parametrize("text", ["site", "=berlin", "Site=x", "a.b=x", "a b=x", "a\n=x", "in=x", "true=x", ""])
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(UsageProblem, match="a label is written key=value"):
        Selector.of(labels=(text,))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"devices": ("pi-01", "Pi 2")}, "'Pi 2' is no device id"),
        ({"groups": ("berlin", "*")}, "'\\*' is no group name"),
        ({"groups": (">",)}, "is no group name"),
        ({"labels": ("site=\udcff",)}, "not valid UTF-8"),
        ({"where": "a == '\udcff'"}, "not valid UTF-8"),
        ({"where": "a == '" + "x" * 1018 + "'"}, "1025 bytes of CEL, the limit is 1024"),
        ({"labels": ("site=" + "ü" * 300,), "where": "a == '" + "x" * 500 + "'"}, "bytes of CEL, the limit is 1024"),
    ],
)
def test_what_cannot_be_meant(words: dict[str, tuple[str, ...]], why: str) -> None:
    with pytest.raises(UsageProblem, match=f"cannot select devices: .*{why}"):
        Selector.of(**words)  # type: ignore[arg-type]  # one of them is a text


def test_the_longest_filter_that_devices_take() -> None:
    where = "a == '" + "x" * (wire.MAX_EXPRESSION_BYTES - 7) + "'"
    assert len(Selector.of(where=where).expression) == wire.MAX_EXPRESSION_BYTES


def test_scopes_are_the_union_of_what_was_named() -> None:
    chosen = Selector.of(devices=("pi-01", "pi-02"), groups=("berlin", "kitchen"))
    assert chosen.scopes == [
        Scope("group", "berlin"),
        Scope("group", "kitchen"),
        Scope("device", "pi-01"),
        Scope("device", "pi-02"),
    ]
    assert Selector.of(labels=("a=b",)).scopes == [Scope("fleet", "all")]


@pytest.mark.parametrize(
    ("selector", "covered"),
    [
        (Selector(), ["pi-01", "pi-02", "pi-03"]),
        (Selector(groups=("berlin",)), ["pi-01", "pi-02"]),
        (Selector(groups=("kitchen", "nobody")), ["pi-02"]),
        (Selector(groups=("kitchen",), devices=("pi-03",)), ["pi-02", "pi-03"]),
        (Selector(devices=("pi-09",)), []),
    ],
)
def test_whom_a_selection_covers(selector: Selector, covered: list[str]) -> None:
    fleet = {"pi-01": ["berlin"], "pi-02": ["berlin", "kitchen"], "pi-03": []}
    known = [Known(name, record=wire.DeviceRecord(id=name, groups=groups)) for name, groups in fleet.items()]
    assert [device.id for device in known if selector.covers(device)] == covered


def test_a_limited_login_asks_its_groups_and_is_told_about_others(tmp_path: Path) -> None:
    key, role = KeyPair.generate("user"), KeyPair.generate("account")
    token = jwt.scoped_user(role, subject=key.public, name="vic", account="A", issued_at=1, tags=["group:kitchen", "group:shop"])
    fleet = Fleet(url="nats://127.0.0.1", credentials=tmp_path / "vic.creds")
    fleet.login = Credentials(token, key.seed)
    assert fleet._allowed((), ()) == ((), ("kitchen", "shop"))
    assert fleet._allowed((), ("shop",)) == ((), ("shop",))
    for devices, groups in ((("pi-1",), ()), ((), ("shop", "berlin")), (("pi-1",), ("shop",))):
        with pytest.raises(UsageProblem, match="limited to the groups kitchen, shop"):
            fleet._allowed(devices, groups)
    fleet.login = Credentials(jwt.scoped_user(role, subject=key.public, name="olga", account="A", issued_at=1), key.seed)
    assert fleet._allowed(("pi-1",), ()) == (("pi-1",), ())
