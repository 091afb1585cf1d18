"""``edgeagent config`` as a test runs it, and the hub's bucket of documents as anybody may write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from edgeagent import subjects
from edgeagent.cli import app
from edgeagent.direct import get_last
from edgeagent.errors import EdgeError
from edgeagent.fleet import Fleet
from edgeagent.fleet.config import STREAM
from edgeagent.hub.roles import PersonRole
from edgeagent.link import request
from edgeagent.publish import published
from edgeagent.subjects import Scope
from tests.support.fleet import LiveFleet, Said, cli
from tests.support.servers import until

__all__ = ["applied", "envelope_of", "fixtures", "good", "here", "login_file", "ok", "raw", "soon"]


def fixtures(name: str, count: int) -> tuple[Any, Any, Any]:
    """``running, hub, fleet`` of a test file: one fleet of ``count`` devices for all of it, and for each test the same whole, and an operator.

    pi-01 is in the groups berlin and kitchen, pi-02 in munich and office. Every test leaves documents of its own behind.
    """

    @pytest.fixture(scope="module")
    def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
        with LiveFleet(tmp_path_factory.mktemp(name), count) as fleet:
            yield fleet

    @pytest.fixture
    def hub(running: LiveFleet) -> Iterator[LiveFleet]:
        with running.borrowed() as fleet:
            yield fleet

    @pytest_asyncio.fixture
    async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
        """The demo's operator, who is an administrator."""
        async with Fleet() as opened:
            yield opened

    return running, hub, fleet


def login_file(hub: LiveFleet, folder: Path, name: str, role: PersonRole, *groups: str, **more: Any) -> Path:
    """The credentials of a person of the hub, in a file. more: as for :meth:`Owner.operator_credentials`."""
    path = folder / f"{name}.creds"
    path.touch(0o600)
    path.write_text(hub.owner.operator_credentials(name, role, groups=groups, **more).format())
    return path


def ok(*words: str, **more: Any) -> Said:
    """What the command says, which must end well."""
    said = cli("config", *words, **more)
    assert said.code == 0, said
    return said


def here(*words: str, **more: Any) -> Said:
    """The same in this process, which saves a second each; standard error has only what ended it."""
    result = CliRunner().invoke(app, ["config", *words], **more)
    if isinstance(result.exception, EdgeError):
        return Said(result.exception.exit_code, result.output, str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.output, "")


def good(*words: str, **more: Any) -> str:
    """What it prints in this process, where it must end well."""
    said = here(*words, **more)
    assert said.code == 0, said
    return said.out


async def soon(*words: str) -> Any:
    """What a command says as JSON, from a test that has a loop of its own."""
    return json.loads(await asyncio.to_thread(good, *words, "--json"))


async def raw(fleet: Fleet, scope: Scope, data: bytes, **headers: str) -> int:
    """Store anything at all, as an operator's own tool could; its revision."""
    if not headers:
        return await published(fleet.client, subjects.document(scope), data)
    answer = await request(fleet.client, subjects.document(scope), data, what="store it", headers=headers)
    return int(json.loads(answer.data)["seq"])


async def envelope_of(fleet: Fleet, scope: Scope) -> bytes:
    """The newest document as it is stored."""
    stored = await get_last(fleet.client, STREAM, subjects.document(scope))
    assert stored is not None
    return stored.data


async def applied(fleet: Fleet, scope: Scope, generation: int) -> None:
    """Wait until every device of the scope that is online follows this generation."""
    munich = scope.name in ("munich", "office")
    kind = {"fleet": {"pi-01", "pi-02"}, "group": {"pi-02" if munich else "pi-01"}, "device": {scope.name}}[scope.kind]

    async def done() -> bool:
        roster = await fleet.roster()
        said = [known.config.scopes.get(str(scope)) for known in roster.devices.values() if known.id in kind and known.config]
        return len(said) == len(kind) and all(state is not None and state.applied == generation for state in said)

    await until(done, f"{scope} is applied")
