"""A hub is made whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent import context, places
from edgeagent.assembly import hubmake, hubserver, hubtls
from edgeagent.assembly.hubmake import make, owner_file
from edgeagent.assembly.hubserver import HubServer
from edgeagent.errors import EdgeError, Refused, SettingsProblem, UsageProblem
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.owner import Owner
from edgeagent.trust import jwt
from tests.support.home import PASSPHRASE, own_home

GOOD = HubOptions(name="berlin")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[HubFolder]:
    with own_home(tmp_path / "home"):
        yield HubFolder(tmp_path / "hub")


def made_nothing(place: HubFolder) -> bool:
    folders = (places.contexts_folder(), places.owners_folder())
    left = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return not place.path.exists() and left == []


@pytest.mark.parametrize(
    ("options", "admin", "error"),
    [
        (GOOD, "Ó Brien", UsageProblem),
        (GOOD, "", UsageProblem),
        (HubOptions(name="My Hub"), "olga", SettingsProblem),
        (HubOptions(advertise="nats://hub"), "olga", SettingsProblem),
    ],
)
def test_what_cannot_be_leaves_nothing(place: HubFolder, options: HubOptions, admin: str, error: type[EdgeError]) -> None:
    with pytest.raises(error):
        make(place, options, admin, passphrase=PASSPHRASE)
    assert made_nothing(place)


def test_a_context_that_cannot_be_written_leaves_nothing(place: HubFolder) -> None:
    in_the_way = places.contexts_folder()
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("")
    with pytest.raises(EdgeError):
        make(place, GOOD, "olga", passphrase=PASSPHRASE)
    in_the_way.unlink()
    assert made_nothing(place)
    assert make(place, GOOD, "olga", passphrase=PASSPHRASE).name == "berlin", "and it can be tried again"
    assert Keyring.load(place.path) and place.options() == GOOD


def test_what_was_there_stays(place: HubFolder) -> None:
    place.path.mkdir(mode=0o700)
    (place.path / "notes").write_text("mine")
    (places.contexts_folder() / "current").mkdir(parents=True)  # what no file can replace: the very last step fails
    with pytest.raises(EdgeError, match="current"):
        make(place, GOOD, "olga", passphrase=PASSPHRASE)
    assert [path.name for path in place.path.iterdir()] == ["notes"] and context.names() == []
    assert not owner_file("berlin").exists()


@pytest.mark.parametrize("broken_at", ["write_hub", "prepare", "remembered"])
def test_killed_on_the_way_it_leaves_no_keys_without_their_owner(
    place: HubFolder, monkeypatch: pytest.MonkeyPatch, broken_at: str
) -> None:
    """A child is killed there: nothing is undone."""
    child = os.fork()
    if child == 0:
        where: object = {"write_hub": Owner, "prepare": hubtls, "remembered": hubmake}[broken_at]
        monkeypatch.setattr(where, broken_at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        try:
            make(place, GOOD, "olga", passphrase=PASSPHRASE)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    file = owner_file("berlin")
    owner = Owner.load(file, PASSPHRASE)
    assert not place.keys.exists() or Keyring.load(place.path).account_public("HUB") == owner.account_public("HUB")
    if place.exists:
        return  # `edgeagent hub keys restore` knows what to do with it
    with pytest.raises(Refused, match="was broken off, remove it") as refused:
        make(place, GOOD, "olga", passphrase=PASSPHRASE)
    file.unlink()
    if place.keys.exists():
        assert f"and {place.keys}" in str(refused.value)
        with pytest.raises(Refused, match="there are keys in"):
            make(place, GOOD, "olga", passphrase=PASSPHRASE)
        assert not file.exists()
        shutil.rmtree(place.keys)
    make(place, GOOD, "olga", passphrase=PASSPHRASE)


def test_a_second_hub_of_the_same_name_is_refused_before_anything_is_written(place: HubFolder, tmp_path: Path) -> None:
    make(place, GOOD, "olga", passphrase=PASSPHRASE)
    other = HubFolder(tmp_path / "other")
    with pytest.raises(Refused, match="you have a context of that name already"):
        make(other, GOOD, "olga", passphrase=PASSPHRASE)
    assert not other.path.exists() and place.exists


async def test_a_server_that_cannot_start_says_why_at_once(place: HubFolder) -> None:
    make(place, GOOD, "olga", passphrase=PASSPHRASE)
    place.path.joinpath("store").write_text("in the way")
    with pytest.raises(EdgeError, match=r"store"):
        async with HubServer(place, GOOD, Keyring.load(place.path)):
            pass


@pytest.mark.parametrize("micro", [True, False])
def test_the_micro_protocol_is_a_setting(place: HubFolder, micro: bool) -> None:
    make(place, HubOptions(name="berlin", micro=micro), "olga", passphrase=PASSPHRASE)
    keyring = Keyring.load(place.path)
    hubserver._write_configuration(place, place.options(), keyring, place.cluster())
    public = keyring.account_public("FLEET")
    (token,) = [line.split()[1] for line in place.configuration.read_text().splitlines() if line.startswith(f"  {public}: ")]
    crossing = {claim["subject"] for claim in jwt.claims(token)["nats"]["imports"]}
    assert ("$SRV.>" in crossing, "_INBOX.srv.>" in crossing) == (micro, micro) and "edge.to.*.*.query" in crossing
