"""Files at the operator's side: what is refused before anything is uploaded or written, and what a device cannot make anybody believe.

The devices here are only logins: what they would say is published for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from edgeagent import subjects, wire
from edgeagent.cli import app
from edgeagent.command import Result
from edgeagent.direct import read_all
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.fleet import Fleet, fileroom, filesource
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.filefetch import Download, handed_over
from edgeagent.fleet.files import local_target
from edgeagent.publish import published
from edgeagent.transfer import PIECE_BYTES, PIECE_HEADER, UPLOAD_HEADER, new_upload, pieces_of
from tests.support.administering import inside, registered
from tests.support.fleet import LiveFleet

CONTENT = os.urandom(3 * PIECE_BYTES + 100)
TO = "/srv/shop/menu.json"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path_factory.mktemp("uploads"), 0) as fleet, fleet.borrowed():
        asyncio.run(_fill(fleet))
        yield fleet


async def _fill(hub: LiveFleet) -> None:
    for device in ("pi-01", "pi-02"):
        await registered(hub, device, "berlin")
        async with inside(hub) as client:
            report = wire.encode(wire.Report(id=device, facts={"id": device}, heartbeat_seconds=3600))
            await published(client, subjects.report(device), report)


@pytest_asyncio.fixture
async def fleet(hub: LiveFleet) -> AsyncIterator[Fleet]:
    async with Fleet() as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "menu.json"
    path.write_bytes(CONTENT)
    return path


async def count(fleet: Fleet) -> tuple[int, int]:
    """How many pieces of files and how many commands the hub has had."""
    found = []
    for stream in (subjects.FILES, "EDGE_COMMANDS"):
        answer = await fleet.client.request(f"edge.api.STREAM.INFO.{stream}")
        found.append(int(json.loads(answer.data)["state"]["last_seq"]))
    return found[0], found[1]


async def test_the_pieces_are_there_before_the_command(fleet: Fleet, local: Path) -> None:
    seen: list[tuple[int, int]] = []
    running = await fleet.files.push(local, TO, devices=["pi-01"], mode="600", progress=lambda *far: seen.append(far))
    args = running.command.args
    pieces = [item async for item in read_all(fleet.client, subjects.FILES, subjects.file_piece(args["upload"], "*"))]
    parts = {int(item.subject.rpartition(".")[2]): item.data for item in pieces}
    assert b"".join(parts[number] for number in sorted(parts)) == CONTENT and sorted(parts) == [1, 2, 3, 4]
    assert args == {
        **args,
        "pieces": 4,
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "path": TO,
        "mode": "600",
    }
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert running.command.until - running.command.at == pytest.approx(7 * 86400, abs=5)


async def test_two_uploads_of_one_file_are_two(fleet: Fleet, local: Path) -> None:
    first, second = [await fleet.files.push(local, TO, devices=["pi-01"]) for _ in range(2)]
    assert first.command.args["upload"] != second.command.args["upload"]


async def test_an_empty_file(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    before = await count(fleet)
    running = await fleet.files.push(tmp_path / "empty", TO, devices=["pi-01"])
    assert running.command.args["pieces"] == 0 and await count(fleet) == (before[0], before[1] + 1)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"to": "menu.json", "devices": ["pi-01"]}, "the absolute path of a file"),
        ({"to": "/srv/../etc/passwd", "devices": ["pi-01"]}, "the absolute path of a file"),
        ({"to": TO, "devices": ["pi-01"], "mode": "4755"}, "three digits"),
        ({"to": TO}, "no device is named"),
        ({"to": TO, "devices": ["pi-99"]}, "no such device"),
        ({"to": TO, "groups": ["berlin"], "most": 1}, "no more than 1 may be"),
        ({"to": TO, "devices": ["pi-01"], "expires_seconds": 8 * 86400}, "7d"),
    ],
    ids=["relative", "up", "mode", "nobody", "unknown", "too many", "too long"],
)
async def test_what_cannot_be_meant_is_said_before_anything_is_uploaded(
    fleet: Fleet, local: Path, wish: dict[str, Any], words: str
) -> None:
    before = await count(fleet)
    with pytest.raises(UsageProblem) as caught:
        await fleet.files.push(local, **wish)
    assert words in str(caught.value) and await count(fleet) == before


async def test_what_is_no_file_is_not_uploaded(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="it is no file"):
        await fleet.files.push(tmp_path, TO, devices=["pi-01"])
    with pytest.raises(Failed, match="there is no such file"):
        await fleet.files.push(tmp_path / "none", TO, devices=["pi-01"])


async def test_a_login_that_may_not_push_uploads_nothing(hub: LiveFleet, fleet: Fleet, local: Path, tmp_path: Path) -> None:
    path = tmp_path / "paul.creds"
    path.touch(0o600)
    path.write_text(hub.owner.operator_credentials("paul", "operator", actions=["ping"]).format())
    before = await count(fleet)
    async with Fleet(url=hub.url, credentials=path) as paul:
        with pytest.raises(UsageProblem, match=r"may only ask for ping, not for file\.push"):
            await paul.files.push(local, TO, devices=["pi-01"])
        with pytest.raises(Refused, match="the login paul may not store files for devices"):
            await paul.files.upload(await filesource.read(local))
    assert await count(fleet) == before


async def test_a_store_that_is_full_is_said_before_the_command_is_written(hub: LiveFleet, fleet: Fleet, local: Path) -> None:
    async with inside(hub) as client:
        js = client.jetstream()
        info = await js.stream_info(subjects.FILES)
        whole = info.config.max_bytes
        await js.update_stream(replace(info.config, max_bytes=info.state.bytes + 2 * PIECE_BYTES))
        before = await count(fleet)
        try:
            with pytest.raises(Failed, match="the hub's store for files"):
                await fleet.files.push(local, TO, devices=["pi-01"])
            assert await count(fleet) == before
            with pytest.raises(Failed, match="the hub's store for files is full"):  # filled by another meanwhile
                await filesource.store(fleet.client, await filesource.read(local), lambda done: None)
            assert (await count(fleet))[1] == before[1]
        finally:
            await js.update_stream(replace(info.config, max_bytes=whole))
    await fileroom.check(fleet.client, len(CONTENT))
    with pytest.raises(Failed, match="it has 1,000,000,000,000 bytes, and the hub's store"):
        await fileroom.check(fleet.client, 10**12)


async def test_a_file_that_changes_meanwhile_is_not_commanded(fleet: Fleet, local: Path) -> None:
    source = await filesource.read(local)
    local.write_bytes(CONTENT[::-1])
    with pytest.raises(Failed, match="it changed while it was uploaded"):
        await fleet.files.upload(source)


async def test_an_acknowledgement_that_was_lost_is_no_harm_and_anothers_piece_is(fleet: Fleet, local: Path) -> None:
    source = await filesource.read(local)
    await fleet.files.upload(source)
    await fleet.files.upload(source)
    with pytest.raises(Failed, match="somebody else has stored something"):
        local.write_bytes(CONTENT[::-1])
        await fleet.files.upload(source)


def typed(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, EdgeError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def test_as_it_is_typed(hub: LiveFleet, local: Path, tmp_path: Path) -> None:
    push = ("file", "push", str(local), "--to", TO)
    code, said = typed(*push, "-g", "berlin", "--dry-run")
    assert code == 0 and "pi-02" in said and "nothing was sent" in said
    code, said = typed(*push, "-g", "berlin")
    assert code == 2 and "file.push on 2 devices: nobody is there to confirm it" in said
    code, said = typed(*push, "-g", "berlin", "--yes", "--json", "--detach")
    assert code == 0 and '"pi-02"' in said
    code, said = typed("file", "push", str(local), "-d", "pi-01")
    assert code == 2 and "--to" in said
    code, said = typed("file", "pull", "pi-01", "/var/log/x", str(tmp_path / "none" / "x"))
    assert code == 2 and "there is no folder" in said
    code, said = typed("file", "pull", "pi-01", "/var/log/x", str(local), "--timeout", "0.1")
    assert code == 2 and "it is there already" in said
    code, said = typed("file", "pull", "pi-01", "/var/log/x", str(tmp_path), "--timeout", "0.1")
    assert code == 4 and not (tmp_path / "x").exists()


def test_without_await(hub: LiveFleet, local: Path, tmp_path: Path) -> None:
    with Fleet.sync() as fleet:
        assert fleet.files.push(local, TO, devices=["pi-01"]).id
        with pytest.raises(UsageProblem, match="it is there already"):
            fleet.files.pull("pi-01", "/var/log/menu.json", local)


# ---- what a device hands over ----------------------------------------------------------------------------------------------


class Lying:
    """A device that says that it has handed a file over. value: what it says of it."""

    def __init__(self, hub: LiveFleet, running: Running) -> None:
        self.hub, self.running, self.upload = hub, running, new_upload()
        self.value: Any = {
            "upload": self.upload,
            "bytes": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "pieces": pieces_of(len(CONTENT)),
            "first": 1,
        }

    async def store(self, number: int | str, data: bytes, device: str = "pi-01", upload: str = "") -> None:
        async with inside(self.hub) as client:
            headers = {UPLOAD_HEADER: upload or self.upload, PIECE_HEADER: str(number)}
            await published(client, subjects.file_upload(device), data, headers=headers)

    async def store_all(self, *leave_out: int) -> None:
        for number in (3, 1, 4, 2):
            if number not in leave_out:
                await self.store(number, CONTENT[(number - 1) * PIECE_BYTES : number * PIECE_BYTES])

    async def told(self) -> Any:
        """Its row, once it has said so."""
        result = wire.encode(Result(id=self.running.id, state="succeeded", value=self.value))
        async with inside(self.hub) as client:
            await published(client, subjects.result("pi-01", self.running.id), result)
        return (await self.running.results())["pi-01"]


@pytest_asyncio.fixture
async def liar(hub: LiveFleet, fleet: Fleet) -> Lying:
    return Lying(hub, await fleet.commands.run("file.pull", {"path": "/var/log/x"}, devices=["pi-01"]))


async def test_pieces_in_any_order_twice_and_among_others_make_the_file(fleet: Fleet, liar: Lying, tmp_path: Path) -> None:
    await liar.store(1, b"of another upload", upload="e" * 32)
    for number in ("0", "5", "-1", "x", "", "9" * 30, "٣"):
        await liar.store(number, b"no piece")
    await liar.store(2, b"too short")
    await liar.store_all()
    await liar.store_all()
    with await fleet.files.fetch(await liar.told()) as download:
        download.write_to(tmp_path / "x", overwrite=False)
        with pytest.raises(Refused, match="it is there meanwhile"):
            download.write_to(tmp_path / "x", overwrite=False)
    assert (tmp_path / "x").read_bytes() == CONTENT and [path.name for path in tmp_path.iterdir()] == ["x"]


async def test_another_content_than_the_device_says_is_not_written(fleet: Fleet, liar: Lying) -> None:
    await liar.store_all(2)
    await liar.store(2, b"x" * PIECE_BYTES)
    with pytest.raises(Failed, match="its sha256 is another"):
        await fleet.files.fetch(await liar.told())


async def test_a_piece_that_is_missing_or_anothers_is_said(fleet: Fleet, liar: Lying) -> None:
    await liar.store_all(2)
    await liar.store(2, CONTENT[PIECE_BYTES : 2 * PIECE_BYTES], device="pi-02")
    with pytest.raises(Failed, match="has 3 of its 4 pieces"):
        await fleet.files.fetch(await liar.told())
    liar.value = {**liar.value, "bytes": 1 << 40, "pieces": 1 << 24}
    with pytest.raises(Failed, match=r"bytes, and the hub keeps .* of one device"):
        await fleet.files.fetch(await liar.told())


@pytest.mark.parametrize("value", [None, 7, "x", {}, {"upload": "*"}, [1]], ids=ascii)
async def test_an_answer_that_makes_no_sense(fleet: Fleet, liar: Lying, value: Any) -> None:
    liar.value = value
    row = await liar.told()
    with pytest.raises(Failed, match="what it answered makes no sense"):
        handed_over(row)
    assert Download


async def test_a_device_that_has_not_answered_has_no_file(fleet: Fleet, liar: Lying, tmp_path: Path) -> None:
    row = (await liar.running.results())["pi-01"]
    with pytest.raises(Failed, match="it has not answered yet"):
        await fleet.files.fetch(row)
    assert local_target(tmp_path, "/var/log/x", overwrite=False) == tmp_path / "x"
