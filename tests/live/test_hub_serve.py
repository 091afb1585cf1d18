"""The hub's services more than once, and who it knows from the beginning."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import cli
from tests.support.hub import Hub, ended, new_hub, started
from tests.support.servers import kill, until


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with new_hub(tmp_path) as made:
        yield made


def tokens() -> int:
    done = cli("token", "ls", "--json")
    return len(json.loads(done.out)) if done.code == 0 else -1


async def test_orders_are_answered_while_one_of_two_is_started_anew(hub: Hub) -> None:
    with started(hub.up()) as first:
        await until(lambda: tokens() == 0, "the hub answers")
        with started(hub.serve()) as second:
            await until(lambda: "one more" in second.stderr.readline(), "the second one runs")  # type: ignore[union-attr]  # a pipe
            kill(first.pid)  # its nats-server lives on
            first.wait()
            for number in range(1, 4):
                made = cli("token", "create", "--expires", "1h")
                assert made.code == 0, made
                assert tokens() == number
            with started(hub.up()) as third:
                await until(lambda: "the hub is up" in third.stderr.readline(), "the hub is whole again")  # type: ignore[union-attr]  # as above
                code, err = ended(second, signal.SIGTERM)
                assert code == 0, err
                assert tokens() == 3


async def test_the_first_administrator_can_be_listed_and_the_hint_of_a_token_can_be_typed(hub: Hub) -> None:
    with started(hub.up()):
        await until(lambda: tokens() == 0, "the hub answers")
        people = json.loads(cli("operator", "ls", "--json").out)
        assert [(person["name"], person["role"]) for person in people] == [("olga", "admin")]
        assert not hub.place.founder.exists()
        added = hub.command("operator", "add", "eve", "--role", "viewer", "--out", str(hub.place.path.parent / "eve.context"))
        assert added.code == 0, added
        assert "was not told" not in added.err
        people = json.loads(cli("operator", "ls", "--json").out)
        assert {person["name"]: person["role"] for person in people} == {"olga": "admin", "eve": "viewer"}
        made = cli("token", "create")
        assert f"edgeagent install --hub 127.0.0.1:{hub.leaf_port} --token-file -" in made.err
    added = hub.command("operator", "add", "mia", "--role", "viewer", "--out", str(hub.place.path.parent / "mia.context"))
    assert added.code == 0
    assert "The hub was not told" in added.err
