"""One file that lets a person in: made by the owner, with or without the hub's folder, and imported where the person works."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import context, places
from edgeagent.assembly import people
from edgeagent.assembly.hubmake import make, owner_file
from edgeagent.assembly.people import Person, Reached
from edgeagent.context import Handover
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.owner import Owner, Remembered
from edgeagent.trust import creds
from tests.support.home import PASSPHRASE, own_home

OWNER = Owner.create("berlin")
OLGA = Person(name="olga", role="operator", groups=("berlin",), actions=("ping",))
HERE = Reached(url="tls://hub:4222", authorities="PEM")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path) -> Iterator[None]:
    with own_home(tmp_path / "home"):
        yield


def handed(tmp_path: Path, owner: Owner = OWNER, person: Person = OLGA) -> Path:
    target = tmp_path / f"{person.name}.context"
    people.add_operator(owner, person, HERE, target)
    return target


def test_it_is_handed_over_and_imported(tmp_path: Path) -> None:
    file = handed(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = people.accept(file)
    assert made == context.load("berlin") and context.current_name() == "berlin"
    assert made.url == "tls://hub:4222" and Path(made.authorities).read_text() == "PEM"
    login = creds.load(Path(made.credentials))  # which refuses files that others can read
    assert (login.name, login.groups) == ("olga", ("berlin",))
    assert Path(made.credentials).parent == places.contexts_folder()
    context.remove("berlin")
    assert list(places.contexts_folder().iterdir()) == [], "no seed stays behind"


def test_a_newer_file_renews_and_another_persons_does_not(tmp_path: Path) -> None:
    first = people.accept(handed(tmp_path))
    before = creds.load(Path(first.credentials)).public_key
    again = people.accept(handed(tmp_path))
    assert again == first and creds.load(Path(again.credentials)).public_key != before
    strangers = [handed(tmp_path, person=Person(name="eve", role="operator")), handed(tmp_path / "..", Owner.create("berlin"))]
    for file in strangers:
        with pytest.raises(Refused, match=r"it is not of (eve|olga) at this hub"):
            people.accept(file)
    assert people.accept(strangers[0], "mine").name == "mine" and context.names() == ["berlin", "mine"]


def test_a_context_that_was_added_by_hand_is_renewed_too(tmp_path: Path) -> None:
    file = tmp_path / "olga.creds"
    people.write_credentials(OWNER, OLGA, HERE, file)
    context.save(context.Context(name="berlin", url="nats://old", credentials=str(file)), make_current=True)
    assert people.accept(handed(tmp_path)).url == "tls://hub:4222" and file.exists()


@pytest.mark.parametrize("text", ["", "{}", "hello", '{"hub":"berlin","url":"u","credentials":"none"}'])
def test_a_file_that_is_none_is_not_imported(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.context"
    file.write_text(text)
    with pytest.raises(EdgeError):
        people.accept(file)
    assert context.names() == []


@pytest.mark.parametrize("name", ["../berlin", "a b", ""])
def test_a_hubs_name_is_no_path(tmp_path: Path, name: str) -> None:
    login = OWNER.operator_credentials("olga", "viewer").format()
    file = tmp_path / "x.context"
    file.write_bytes(Handover(hub=name, url="u", credentials=login).format())
    with pytest.raises(UsageProblem):
        people.accept(file)
    assert not places.contexts_folder().exists() or list(places.contexts_folder().iterdir()) == []


def test_nobody_elses_file_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "olga.context"
    others = [
        b"notes",
        handed(tmp_path, person=Person(name="eve", role="viewer")).read_bytes(),
        handed(tmp_path, Owner.create("berlin")).read_bytes(),
    ]
    for content in others:
        target.write_bytes(content)
        with pytest.raises(Refused, match="it was not made for olga by this hub"):
            people.add_operator(OWNER, OLGA, HERE, target)
        assert target.read_bytes() == content


def test_a_handover_shows_no_seed(tmp_path: Path) -> None:
    file = handed(tmp_path)
    shown = repr(Handover.parse(file.read_bytes(), file))
    assert "berlin" in shown and "SU" not in shown


# ---- where the hub is ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> HubFolder:
    place = HubFolder(tmp_path / "hub")
    make(place, HubOptions(name="berlin", advertise="hub.example"), "olga", passphrase=PASSPHRASE)
    return place


def test_the_hubs_folder_says_where_it_is(place: HubFolder) -> None:
    owner = Owner.load(people.find_keys(place), PASSPHRASE)
    assert people.reached(owner, place) == Reached(url="nats://hub.example:4222")
    assert people.reached(owner, place, "nats://other:1").url == "nats://other:1"


def test_without_the_folder_the_owners_file_remembers(place: HubFolder, tmp_path: Path) -> None:
    elsewhere = HubFolder(tmp_path / "none")
    assert people.find_keys(elsewhere) == owner_file("berlin")
    owner = Owner.load(owner_file("berlin"), PASSPHRASE)
    assert people.reached(owner, elsewhere).url == "nats://hub.example:4222"
    owner.remembered = Remembered()
    assert people.reached(owner, elsewhere, "nats://x:1").url == "nats://x:1"
    with pytest.raises(UsageProblem, match="--url"):
        people.reached(owner, elsewhere)


def test_which_owners_file_is_not_guessed(place: HubFolder, tmp_path: Path) -> None:
    Owner.create("munich").save(owner_file("munich"), None)
    assert people.find_keys(place) == owner_file("berlin")
    with pytest.raises(UsageProblem, match=r"munich\.keys.*--keys"):
        people.find_keys(HubFolder(tmp_path / "none"))


def test_another_hubs_owner_is_refused(place: HubFolder) -> None:
    with pytest.raises(Refused, match="is another one"):
        people.reached(Owner.create("berlin"), place)
    (place.keys / "public.json").write_text("{")
    with pytest.raises(Failed, match=r"public\.json"):
        people.public_keys(place)


@pytest.mark.parametrize("limits", [{"groups": ("Berlin",)}, {"actions": ("A",)}])
def test_impossible_limits_write_nothing(tmp_path: Path, limits: dict[str, Any]) -> None:
    with pytest.raises(UsageProblem):
        people.add_operator(OWNER, Person(name="olga", role="operator", **limits), HERE, tmp_path / "x")
    assert not (tmp_path / "x").exists()
