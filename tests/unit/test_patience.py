"""Asking again while a cluster elects, and only then."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import NoRespondersError

from edgeagent import fenced, patience, services
from edgeagent.administration import Forget
from edgeagent.errors import Failed, Unreachable
from edgeagent.fenced import stored_if
from edgeagent.fleet.admin import Admin
from edgeagent.patience import asked, patiently

CLUSTER, ALONE = {"cluster": "berlin"}, dict[str, Any]()


class Answering:
    """A client whose server gives these answers, one for each request: bytes, or what it raises; and the headers of the last."""

    def __init__(self, info: dict[str, Any], *answers: bytes | Exception | SimpleNamespace) -> None:
        self._server_info, self.is_closed = info, False
        self._answers, self.asked = list(answers), list[str]()

    async def request(self, subject: str, data: bytes, **_: Any) -> Any:
        self.asked.append(subject)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, SimpleNamespace) else SimpleNamespace(data=answer, headers=None)


def error(code: int) -> bytes:
    return json.dumps({"error": {"err_code": code, "description": "so it is"}}).encode()


def message(data: bytes, sequence: int) -> SimpleNamespace:
    headers = {"Nats-Time-Stamp": "2026-01-01T00:00:00Z", "Nats-Sequence": str(sequence), "Nats-Subject": "s", "Nats-Stream": "S"}
    return SimpleNamespace(data=data, headers=headers)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(fenced, "LOOK_SECONDS", 0.001)


async def ask(client: Answering) -> bytes:
    return bytes((await asked(client, "$JS.API.STREAM.INFO.S", what="look")).data)  # type: ignore[arg-type]  # enough of one


async def store(client: Answering) -> int | None:
    return await stored_if(client, "s", b"ours", 4, stream="S", what="store", prefix="$JS.API")  # type: ignore[arg-type]  # as above


async def test_a_cluster_without_a_leader_is_asked_again() -> None:
    client = Answering(CLUSTER, TimeoutError(), error(10008), error(10009), b"{}")
    assert await ask(client) == b"{}"


async def test_what_others_know_as_well_is_asked_of_them() -> None:
    client = Answering(CLUSTER, error(10008), TimeoutError(), b"{}")
    await asked(client, "a", what="look", instead=("b",))  # type: ignore[arg-type]  # enough of one
    assert client.asked == ["a", "b", "a"]


async def test_another_error_is_an_answer() -> None:
    assert b"10059" in await ask(Answering(CLUSTER, error(10059)))


async def test_one_server_alone_is_asked_once() -> None:
    with pytest.raises(Unreachable):
        await ask(Answering(ALONE, TimeoutError(), b"{}"))


async def test_it_ends() -> None:
    async def never(seconds: float) -> None:
        raise Unreachable("ask", "nobody is there")

    with pytest.raises(Unreachable, match="nobody is there"):
        await patiently(Answering(CLUSTER), never)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("answers", "sequence"),
    [
        ([b'{"seq": 5}'], 5),
        ([TimeoutError(), b'{"seq": 5}'], 5),
        ([error(10164), error(10164), b'{"seq": 5}'], 5),
        ([error(10071)], None),
        ([TimeoutError(), error(10071), message(b"ours", 5)], 5),
        ([TimeoutError(), error(10071), SimpleNamespace(data=b"", headers={"Status": "404"}), message(b"ours", 5)], 5),
        ([TimeoutError(), error(10071), message(b"theirs", 5)], None),
    ],
    ids=[
        "at once",
        "at the second try",
        "after something else for the subject was on its way",
        "another was first",
        "the first try was stored",
        "it was, and the copy that is asked lags behind",
        "another was first while nobody knew",
    ],
)
async def test_what_becomes_of_a_fenced_write(answers: list[Any], sequence: int | None) -> None:
    client = Answering(CLUSTER, *answers)
    assert await store(client) == sequence and client._answers == []


async def test_a_write_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(Failed, match="so it is"):
        await store(Answering(CLUSTER, error(10077), b'{"seq": 5}'))


class Person(Answering):
    """The connection of an administrator's."""

    last_error = None

    def new_inbox(self) -> str:
        return "_INBOX.ops.olga.1"


async def order(info: dict[str, Any], what: str, *answers: Any) -> Person:
    client = Person(info, *answers)
    await Admin(client).ask(what, Forget(ids=["pi-1"]), type(None))  # type: ignore[arg-type]  # as above
    return client


async def test_an_order_that_died_with_its_server_is_given_again() -> None:
    assert len((await order(CLUSTER, "device_forget", TimeoutError(), services.answer())).asked) == 2
    assert len((await order(CLUSTER, "token_create", NoRespondersError(), services.answer())).asked) == 2, "nobody took it"


class Silent(Answering):
    """A client whose first requests nobody answers, until later ones have been."""

    async def request(self, subject: str, data: bytes, **more: Any) -> Any:
        if isinstance(self._answers[0], Exception):
            self.asked.append(subject)
            self._answers.pop(0)
            await asyncio.Event().wait()
        return await super().request(subject, data, **more)


async def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-server answers nothing where nobody leads, so how long it was silent says nothing of how long it will be."""
    monkeypatch.setattr(patience, "BESIDE_SECONDS", 0.001)
    client = Silent(CLUSTER, TimeoutError(), TimeoutError(), b"{}")
    assert await ask(client) == b"{}"
    writing = Silent(CLUSTER, TimeoutError(), error(10071), message(b"ours", 5))
    assert await store(writing) == 5, "the first try was stored, and its answer did not come"


@pytest.mark.parametrize("silence", [TimeoutError(), NoRespondersError()], ids=repr)
async def test_one_server_alone_is_given_an_order_once(silence: Exception) -> None:
    with pytest.raises(Unreachable, match="hub up"):
        await order(ALONE, "device_forget", silence, services.answer())


async def test_doubt_is_said() -> None:
    nothing = [SimpleNamespace(data=b"", headers={"Status": "404"}) for _ in range(fenced.LOOKS)]
    with pytest.raises(Unreachable, match="do not agree yet"):
        await store(Answering(CLUSTER, TimeoutError(), error(10071), *nothing))
