"""``file.push`` and ``file.pull`` on a device's own disk: what is put in its place, what is not, and which ways out are closed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edgeagent import actions
from edgeagent.actions import Outcome
from edgeagent.builtin import actions as builtin_actions
from edgeagent.builtin.actions import _place, _target
from edgeagent.errors import EdgeError, Failed, Unreachable
from edgeagent.subjects import file_piece
from edgeagent.transfer import PIECE_BYTES, PIECE_HEADER, UPLOAD_HEADER, pieces_of
from tests.support.acting import ME, Board
from tests.support.servers import until

assert builtin_actions.__path__  # has them registered

UPLOAD = "c" * 32
CONTENT = os.urandom(3 * PIECE_BYTES + 100)


class Shop(Board):
    """A board that lets files be put into and fetched from /srv/shop. before: is called before a piece is given."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, f'[file]\npush = ["/srv/shop"]\npull = ["/srv/shop"]\n{more}')
        self.shop = self.machine.path("/srv/shop")
        self.shop.mkdir(parents=True)
        self.reads: list[int] = []

    def upload(self, content: bytes) -> dict[str, Any]:
        """Have the hub keep it; the arguments of its command."""
        pieces = pieces_of(len(content))
        for number in range(1, pieces + 1):
            self.hub[file_piece(UPLOAD, number)] = content[(number - 1) * PIECE_BYTES : number * PIECE_BYTES]
        digest = hashlib.sha256(content).hexdigest()
        return {"upload": UPLOAD, "pieces": pieces, "bytes": len(content), "sha256": digest, "path": "/srv/shop/menu.json"}

    def before(self, number: int) -> None:
        pass

    async def _read(self, stream: str, subject: str, seconds: float) -> bytes | None:
        number = int(subject.rpartition(".")[2])
        self.reads.append(number)
        self.before(number)
        return await super()._read(stream, subject, seconds)

    @property
    def partials(self) -> list[Path]:
        return sorted((self.settings.state_folder / "file").glob("*"))

    async def failure(self, name: str, **args: Any) -> str:
        with pytest.raises(Failed) as caught:
            await self.run(name, **args)
        return str(caught.value)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- push -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 100], ids=str)
async def test_a_file_is_put_in_its_place(shop: Shop, size: int) -> None:
    args = shop.upload(CONTENT[:size])
    outcome = await shop.run("file.push", **args)
    file = shop.shop / "menu.json"
    assert outcome.state == "succeeded" and outcome.value["unchanged"] is False and outcome.value["sha256"] == args["sha256"]
    assert file.read_bytes() == CONTENT[:size] and mode_of(file) == 0o644
    assert shop.partials == [] and list(shop.shop.iterdir()) == [file]


async def test_what_is_there_already_is_not_fetched(shop: Shop) -> None:
    args = shop.upload(CONTENT)
    await shop.run("file.push", **args)
    shop.hub.clear()
    inode = (shop.shop / "menu.json").stat().st_ino
    assert (await shop.run("file.push", **args)).value["unchanged"] is True
    assert (shop.shop / "menu.json").stat().st_ino == inode
    assert "does not have it" in await shop.failure("file.push", **args, mode="600"), "with another mode it is not the same"


@pytest.mark.parametrize(("mode", "before", "after"), [("", 0o640, 0o640), ("600", 0o640, 0o600), ("0755", 0o600, 0o755)])
async def test_its_permissions(shop: Shop, mode: str, before: int, after: int) -> None:
    file = shop.put("/srv/shop/menu.json", "old", before)
    assert (await shop.run("file.push", **shop.upload(CONTENT), mode=mode)).state == "succeeded"
    assert mode_of(file) == after and file.read_bytes() == CONTENT


async def test_the_listed_folder_itself_may_be_a_link(shop: Shop, tmp_path: Path) -> None:
    shop.shop.rename(tmp_path / "big-disk")
    shop.shop.symlink_to(tmp_path / "big-disk")
    assert (await shop.run("file.push", **shop.upload(CONTENT))).state == "succeeded"
    assert (tmp_path / "big-disk" / "menu.json").read_bytes() == CONTENT


async def test_outside_the_listed_folders_nothing_is_put_even_if_asked_directly(shop: Shop) -> None:
    outcome = await shop.run("file.push", **{**shop.upload(CONTENT), "path": "/etc/passwd"})
    assert outcome.state == "refused" and not shop.machine.path("/etc/passwd").exists()


async def test_no_link_on_the_way_is_followed(shop: Shop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (shop.shop / "sub").symlink_to(elsewhere)
    args = {**shop.upload(CONTENT), "path": "/srv/shop/sub/menu.json"}
    assert "sub is a link, and none is followed" in await shop.failure("file.push", **args)
    assert list(elsewhere.iterdir()) == []


async def test_a_link_that_is_planted_while_it_is_fetched_is_not_followed(shop: Shop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (shop.shop / "sub").mkdir()

    def plant(number: int) -> None:
        if number == 4:
            (shop.shop / "sub").rmdir()
            (shop.shop / "sub").symlink_to(elsewhere)

    shop.before = plant  # type: ignore[method-assign]
    args = {**shop.upload(CONTENT), "path": "/srv/shop/sub/menu.json"}
    assert "sub is a link, and none is followed" in await shop.failure("file.push", **args)
    assert list(elsewhere.iterdir()) == []


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret")


@pytest.mark.parametrize(
    ("make", "words"),
    [(_link, "it is a link"), (Path.mkdir, "it is a folder"), (os.mkfifo, "it is no plain file")],
    ids=["link", "folder", "fifo"],
)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_what_is_no_file_is_not_replaced(shop: Shop, make: Any, words: str, when: str) -> None:
    secret = shop.put("/srv/secret", "secret")
    file = shop.shop / "menu.json"
    if when == "before":
        make(file)
    shop.before = lambda number: make(file) if when == "meanwhile" and number == 4 else None  # type: ignore[method-assign]
    assert words in await shop.failure("file.push", **shop.upload(CONTENT))
    assert secret.read_text() == "secret" and [entry.name for entry in shop.shop.iterdir()] == ["menu.json"]


async def test_a_link_planted_at_the_last_moment_is_replaced_and_not_followed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, file, rename = shop.put("/srv/secret", "secret"), shop.shop / "menu.json", os.rename

    def plant(*words: Any, **more: Any) -> None:
        file.symlink_to(secret)
        rename(*words, **more)

    monkeypatch.setattr(_place.os, "rename", plant)
    assert (await shop.run("file.push", **shop.upload(CONTENT))).state == "succeeded"
    assert secret.read_text() == "secret" and not file.is_symlink() and file.read_bytes() == CONTENT


async def test_a_name_that_is_taken_by_a_link_is_not_written_through(shop: Shop) -> None:
    secret = shop.put("/srv/secret", "secret")
    (shop.shop / f".edgeagent-{UPLOAD}").symlink_to(secret)
    assert (await shop.run("file.push", **shop.upload(CONTENT))).state == "succeeded"
    assert secret.read_text() == "secret" and [entry.name for entry in shop.shop.iterdir()] == ["menu.json"]


async def test_a_folder_that_is_not_there_is_not_made(shop: Shop) -> None:
    args = {**shop.upload(CONTENT), "path": "/srv/shop/sub/menu.json"}
    assert "there is no such file or folder" in await shop.failure("file.push", **args)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hub: hub.update({file_piece(UPLOAD, 2): b"x" * PIECE_BYTES}), "its sha256 is another"),
        (lambda hub: hub.update({file_piece(UPLOAD, 2): b"x"}), "it has 1 bytes, and 65536 were signed"),
        (lambda hub: hub.update({file_piece(UPLOAD, 4): b"x" * 101}), "it has 101 bytes, and 100 were signed"),
        (lambda hub: hub.pop(file_piece(UPLOAD, 3)), "fetch piece 3 of 4: the hub does not have it (any more)"),
        (lambda hub: hub.clear(), "fetch piece 1 of 4: the hub does not have it (any more)"),
    ],
    ids=["another content", "shorter", "longer", "missing piece", "expired"],
)
async def test_what_is_not_what_was_signed_changes_nothing(shop: Shop, change: Any, words: str) -> None:
    file = shop.put("/srv/shop/menu.json", "old")
    args = shop.upload(CONTENT)
    change(shop.hub)
    assert words in await shop.failure("file.push", **args)
    assert file.read_text() == "old" and shop.partials == [] and list(shop.shop.iterdir()) == [file]


async def test_what_was_fetched_before_is_not_fetched_again(shop: Shop) -> None:
    args = shop.upload(CONTENT)
    (shop.settings.state_folder / "file").mkdir()
    (shop.settings.state_folder / "file" / f"{UPLOAD}.part").write_bytes(CONTENT[: 2 * PIECE_BYTES + 9])
    (shop.settings.state_folder / "file" / f"{'d' * 32}.part").write_bytes(b"of another")
    assert (await shop.run("file.push", **args)).state == "succeeded"
    assert shop.reads == [3, 4] and (shop.shop / "menu.json").read_bytes() == CONTENT and shop.partials == []


@pytest.mark.parametrize("kept", [b"\0" * PIECE_BYTES, b"\0" * 9 * PIECE_BYTES], ids=["damaged", "too long"])
async def test_what_was_damaged_by_a_power_cut_is_fetched_once_more(shop: Shop, kept: bytes) -> None:
    args = shop.upload(CONTENT)
    (shop.settings.state_folder / "file").mkdir()
    (shop.settings.state_folder / "file" / f"{UPLOAD}.part").write_bytes(kept)
    assert (await shop.run("file.push", **args)).state == "succeeded"
    assert (shop.shop / "menu.json").read_bytes() == CONTENT and sorted(shop.reads)[0] == 1


async def test_a_link_that_goes_is_waited_for(shop: Shop) -> None:
    failures = 3

    def away(number: int) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unreachable("read it", "nobody answers there")

    shop.before = away  # type: ignore[method-assign]
    assert (await shop.run("file.push", **shop.upload(CONTENT))).state == "succeeded"


async def test_cancelled_it_leaves_the_target_and_keeps_what_it_has(shop: Shop) -> None:
    file = shop.put("/srv/shop/menu.json", "old")

    def cancel(number: int) -> None:
        if number == 3:
            shop.cancelled.set()
            raise Unreachable("read it", "nobody answers there")

    shop.before = cancel  # type: ignore[method-assign]
    assert await shop.run("file.push", **shop.upload(CONTENT)) == Outcome("cancelled")
    assert file.read_text() == "old" and list(shop.shop.iterdir()) == [file]
    assert [path.name for path in shop.partials] == [f"{UPLOAD}.part"]


async def test_cancelled_while_it_is_put_in_place_nothing_is_renamed(shop: Shop) -> None:
    file = shop.put("/srv/shop/menu.json", "old")
    args = shop.upload(CONTENT)
    target = _target.target_of(shop.machine, args["path"], ["/srv/shop"])
    whole = shop.put("/var/whole", "")
    whole.write_bytes(CONTENT)
    wanted, said = _place.Wanted(len(CONTENT), args["sha256"], None), iter([False, True])
    with whole.open("rb") as source:
        assert target and not _place.put(target, wanted, source, ".tmp", lambda: next(said, True))
    assert file.read_text() == "old" and list(shop.shop.iterdir()) == [file]
    with whole.open("rb") as source:
        assert _place.put(target, wanted, source, ".tmp", lambda: False)
    assert file.read_bytes() == CONTENT


async def test_a_disk_without_room_is_said_before_anything_is_fetched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_place, "RESERVE_BYTES", 1 << 60)
    assert "bytes free, and" in await shop.failure("file.push", **shop.upload(CONTENT))
    assert shop.reads == [] and list(shop.shop.iterdir()) == []


async def test_a_folder_that_may_not_be_written_is_said_before_anything_is_fetched(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_place.os, "access", lambda *words, **more: False)  # root may write everywhere
    assert f"{ME} may not write in its folder" in await shop.failure("file.push", **shop.upload(CONTENT))
    assert shop.reads == []


# ---- pull -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 100], ids=str)
async def test_a_file_is_handed_over_in_pieces(shop: Shop, size: int) -> None:
    (shop.shop / "till.log").write_bytes(CONTENT[:size])
    outcome = await shop.run("file.pull", path="/srv/shop/till.log")
    value = outcome.value
    assert outcome.state == "succeeded" and value["bytes"] == size and value["pieces"] == pieces_of(size)
    assert value["sha256"] == hashlib.sha256(CONTENT[:size]).hexdigest() and value["first"] == (1 if size else 0)
    parts = {int(headers[PIECE_HEADER]): data for headers, data in shop.stored if headers[UPLOAD_HEADER] == value["upload"]}
    assert b"".join(parts[number] for number in sorted(parts)) == CONTENT[:size] and len(parts) == len(shop.stored)


async def test_a_file_that_grows_is_handed_over_as_it_was(shop: Shop) -> None:
    log = shop.put("/srv/shop/till.log", "x" * 10)
    store = shop._store

    async def grow(*words: Any) -> int:
        log.write_text("x" * 1000)
        return await store(*words)

    shop._store = grow  # type: ignore[method-assign]
    assert (await shop.run("file.pull", path="/srv/shop/till.log")).value["bytes"] == 10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_link, "it is a link"),
        (Path.mkdir, "it is a folder"),
        (os.mkfifo, "it is no plain file"),
        (lambda path: path.hardlink_to(path.parent.parent / "secret"), "it has another name elsewhere"),
        (lambda path: path.write_bytes(b"x" * 1001), "it has 1,001 bytes, and this device hands over 1,000 at most"),
        (lambda path: None, "there is no such file"),
    ],
    ids=["link", "folder", "fifo", "hard link", "too large", "missing"],
)
async def test_what_is_not_handed_over(tmp_path: Path, make: Any, words: str) -> None:
    shop = Shop(tmp_path, "max_bytes = 1000")
    shop.put("/srv/secret", "secret")
    make(shop.shop / "till.log")
    assert words in await shop.failure("file.pull", path="/srv/shop/till.log")
    assert shop.stored == []


async def test_outside_the_listed_folders_nothing_is_handed_over_even_if_asked_directly(shop: Shop) -> None:
    shop.put("/srv/secret", "secret")
    assert (await shop.run("file.pull", path="/srv/secret")).state == "refused"
    (shop.shop / "sub").symlink_to(shop.shop.parent)
    assert "sub is a link" in await shop.failure("file.pull", path="/srv/shop/sub/secret")
    assert shop.stored == []


async def test_handing_over_ends_when_it_is_cancelled(shop: Shop) -> None:
    (shop.shop / "till.log").write_bytes(CONTENT)

    tries: list[Any] = []

    async def away(*words: Any) -> int:
        tries.append(words)
        raise Unreachable("store it", "nobody answers there")

    shop._store = away  # type: ignore[method-assign]
    running = asyncio.create_task(shop.run("file.pull", path="/srv/shop/till.log"))
    await until(lambda: len(tries) > 1, "it has begun, and goes on")
    shop.cancelled.set()
    assert await running == Outcome("cancelled")


@pytest.mark.parametrize("name", ["file.push", "file.pull"])
def test_both_may_run_again_after_a_crash_and_wait_a_week(name: str) -> None:
    found = actions.find(name)
    assert found and found.idempotent and found.default_expiry_seconds == found.max_expiry_seconds == 7 * 86400


def test_errors_are_never_taken_for_the_disks_own(shop: Shop) -> None:
    """Refused is an OSError; what a disk says has to arrive as Failed."""
    target = _target.target_of(shop.machine, "/srv/shop/none/x", ["/srv/shop"])
    with pytest.raises(EdgeError) as caught:
        assert target and target.open_folder()
    assert not isinstance(caught.value, OSError)
