from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from edgeagent.enrolment import Claim
from edgeagent.errors import Refused, UsageProblem
from edgeagent.hub import tokens
from edgeagent.hub.tokenoffice import _fitting
from edgeagent.tokens import Board, Token, TokenMade, TokenRow, TokenWanted

NOW = 1_000_000.0
TOKEN = Token(id="abcdefghij23", created_at=0, expires_at=2_000_000)
BOARDS = [Board(id="pi-1", serial="a1"), Board(id="pi-2", serial="a2")]


def token(**values: Any) -> Token:
    return msgspec.structs.replace(TOKEN, **values)


def claim(key: str = "K", device: str = "", serial: str = "") -> Claim:
    return Claim(key=key, proof="", device=device, serial=serial)


def refusal(of: Token | None, by: Claim, boards: list[Board] | None = None, now: float = NOW) -> str:
    with pytest.raises(Refused) as caught:
        tokens.place(of, by, boards or [], now)
    return caught.value.why


# ---- making -----------------------------------------------------------------------------------------------------------------


def test_an_id_is_twelve_letters_that_nobody_guesses() -> None:
    made = {tokens.new_id() for _ in range(100)}
    assert len(made) == 100 and all(re.fullmatch("[a-z2-7]{12}", one) and tokens.is_token_id(one) for one in made)
    for text in ("", "*", ">", "abcdefghij2", "abcdefghij234", "ABCDEFGHIJ23", "abcdefghij2\n", "abcdef.hij23"):
        assert not tokens.is_token_id(text)


def test_a_token_is_made_as_wanted() -> None:
    wanted = TokenWanted(expires_in_seconds=3600, uses=5, groups=["b", "a", "b"], labels={"x": "1"}, note="shop")
    assert tokens.made("i", wanted, "olga", NOW + 0.7) == Token(
        id="i",
        created_at=1_000_000,
        expires_at=1_003_600,
        created_by="olga",
        note="shop",
        uses=5,
        groups=["b", "a"],
        labels={"x": "1"},
    )
    listed = tokens.made("i", TokenWanted(expires_in_seconds=60, boards=BOARDS), "olga", NOW)
    assert (listed.uses, listed.boards) == (2, 2)
    both = tokens.made("i", TokenWanted(expires_in_seconds=60, device="pi-1", replaces="pi-1"), "olga", NOW)
    assert (both.device, both.replaces) == ("", "pi-1")


GOOD: list[dict[str, Any]] = [
    {},
    {"uses": tokens.MAX_USES, "groups": ["a"], "labels": {"site": "x"}},
    {"device": "pi-1", "groups": ["a"]},
    {"replaces": "pi-1", "device": "pi-1"},
    {"boards": BOARDS, "groups": ["a"]},
    {"expires_in_seconds": tokens.MAX_SECONDS, "note": "für die Küche"},
]


@pytest.mark.parametrize("values", GOOD)
def test_what_can_be_meant(values: dict[str, Any]) -> None:
    tokens.check_wanted(TokenWanted(**{"expires_in_seconds": 60.0, **values}))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"uses": 0}, "1 to 1000 times"),
        ({"uses": 1001}, "1 to 1000 times"),
        ({"expires_in_seconds": 59}, "a minute to a year"),
        ({"expires_in_seconds": 1e9}, "a minute to a year"),
        ({"expires_in_seconds": float("nan")}, "a minute to a year"),
        ({"groups": [f"g{n}" for n in range(33)]}, "32 groups"),
        ({"labels": {f"l{n}": "" for n in range(33)}}, "32 labels"),
        ({"labels": {"X": ""}}, "no name of a label"),
        ({"labels": {"x": "y" * 257}}, "longer than 256"),
        ({"groups": ["*"]}, "no group name"),
        ({"device": "a.b"}, "no device id"),
        ({"device": "hub"}, "called hub"),
        ({"replaces": "hub"}, "called hub"),
        ({"device": "a", "uses": 2}, "used once"),
        ({"replaces": "a", "uses": 2}, "used once"),
        ({"replaces": "a", "device": "b"}, "gets its id"),
        ({"replaces": "a", "groups": ["b"]}, "gets its groups"),
        ({"replaces": "a", "labels": {"b": ""}}, "gets its groups"),
        ({"boards": BOARDS, "device": "a"}, "says itself which"),
        ({"boards": BOARDS, "uses": 2}, "says itself which"),
        ({"boards": [BOARDS[0], BOARDS[0]]}, "board 2: id pi-1 is on the list before (board 1)"),
        ({"note": "two\nlines"}, "one line"),
        ({"note": "x" * 201}, "one line"),
    ],
)
def test_what_cannot_be_meant(values: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageProblem, match=re.escape(why)):
        tokens.check_wanted(TokenWanted(**{"expires_in_seconds": 60.0, **values}))


# ---- using ------------------------------------------------------------------------------------------------------------------


def test_a_device_chooses_its_id_unless_the_token_does() -> None:
    assert tokens.place(token(groups=["a"], labels={"x": "1"}), claim(device="pi-9"), [], NOW) == tokens.Place(
        "pi-9", ["a"], {"x": "1"}, again=False, settled=False
    )
    for fixed in (token(device="pi-1"), token(replaces="pi-1")):
        assert tokens.place(fixed, claim(), [], NOW).device == "pi-1"
        assert tokens.place(fixed, claim(device="pi-1"), [], NOW).device == "pi-1"
        assert refusal(fixed, claim(device="pi-2")) == "wrong id: the token is for pi-1, not for pi-2"


@pytest.mark.parametrize(
    ("wish", "why"),
    [("", "says no id"), ("hub", "called hub"), ("PI", "no device id"), ("a.b", "no device id"), ("*", "no device id")],
)
def test_ids_that_no_device_may_have(wish: str, why: str) -> None:
    assert why in refusal(token(), claim(device=wish))


def test_a_board_on_the_list_gets_its_id_once() -> None:
    listed = token(boards=2, uses=2, groups=["a"], labels={"x": "1"})
    boards = [Board(id="pi-1", serial="a1", groups=["b", "a"], labels={"x": "2"}), BOARDS[1]]
    assert tokens.place(listed, claim(serial="A1"), boards, NOW)[:3] == ("pi-1", ["a", "b"], {"x": "2"})
    assert tokens.place(listed, claim(serial="A2", device="pi-2"), boards, NOW)[:3] == ("pi-2", ["a"], {"x": "1"})
    assert "wrong id" in refusal(listed, claim(serial="a1", device="pi-2"), boards)
    assert "not on the token's list" in refusal(listed, claim(serial="a3"), boards)
    once = tokens.counted(listed, "K", "pi-1")
    assert refusal(once, claim("L", serial="a1"), boards) == "the token was used for pi-1 before"
    assert tokens.place(once, claim("K", serial="a1"), boards, NOW).again
    assert tokens.place(once, claim("L", serial="a2"), boards, NOW).device == "pi-2"


def test_a_token_that_is_no_longer_good_says_only_that() -> None:
    full = token(used={"A": "pi-1"}, device="pi-1")
    for wish in ("", "pi-1", "pi-2", "hub", "*"):
        assert refusal(None, claim(device=wish)) == "the hub does not know this token"
        assert refusal(full, claim(device=wish)) == "this token is used up"
        assert refusal(token(revoked=True, device="pi-1"), claim(device=wish)) == "this token was revoked"
        assert refusal(token(device="pi-1"), claim(device=wish), now=TOKEN.expires_at) == "this token has expired"
    assert tokens.place(token(device="pi-1"), claim(), [], TOKEN.expires_at - 1).device == "pi-1"


def test_the_same_key_is_answered_as_before() -> None:
    counted = tokens.counted(token(), "K", "pi-1")
    assert (counted.used, counted.pending) == ({"K": "pi-1"}, ["K"])
    settled = tokens.settled(counted, "K")
    for wish in ("", "pi-1"):
        for now in (NOW, TOKEN.expires_at + 1.0):
            assert tokens.place(counted, claim("K", wish), [], now) == ("pi-1", [], {}, True, False)
            assert tokens.place(settled, claim("K", wish), [], now) == ("pi-1", [], {}, True, True)
    assert refusal(settled, claim("K", "pi-2")) == "it was enrolled with this token as pi-1 before"
    assert refusal(msgspec.structs.replace(settled, revoked=True), claim("K")) == "this token was revoked"


def test_a_use_is_given_back() -> None:
    two = tokens.counted(tokens.counted(token(uses=2), "K", "pi-1"), "L", "pi-2")
    assert tokens.released(two, "K") == tokens.counted(token(uses=2), "L", "pi-2")
    assert tokens.settled(two, "L").pending == ["K"] and tokens.settled(two, "M") == two


def test_the_state_that_is_listed() -> None:
    made = token(uses=3, used={"A": "pi-1"}, created_by="olga", groups=["a"])
    row = tokens.row(made, NOW)
    assert (row.state, row.used, row.left, row.created_by, row.groups) == ("ready", 1, 2, "olga", ["a"])
    assert tokens.state(made, made.expires_at) == "expired"
    assert tokens.state(token(used={"A": "pi-1"}), made.expires_at) == "used up"
    assert tokens.state(token(used={"A": "pi-1"}, revoked=True), NOW) == "revoked"
    assert not hasattr(row, "boards_of") and "pi-1" not in repr(row)


def test_a_list_that_is_too_long_says_how_much_is_left_out() -> None:
    row = TokenRow(id="x", state="ready", used=0, left=1, created_at=0, expires_at=0, note="y" * 1000)
    fitting = _fitting([row] * 1000)
    assert 300 < len(fitting.tokens) < 500 and len(fitting.tokens) + fitting.omitted == 1000
    assert _fitting([row]).omitted == 0


def test_the_secret_is_not_in_a_repr() -> None:
    made = TokenMade(id="abc", token="secret~secret", expires_at=1)
    assert "secret" not in repr(made) and "secret" not in f"{made}" and "abc" in repr(made)
