from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from edgeagent import context, places
from edgeagent.context import Context, Handover
from edgeagent.errors import Failed, UsageProblem
from edgeagent.trust import pins
from edgeagent.trust.pins import Pins

BERLIN = Context(name="berlin", url="nats://hub.example:4222", credentials="/keys/olga.creds")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEAGENT_CONTEXT", raising=False)
    return places.contexts_folder()


def test_nothing_is_chosen_at_first() -> None:
    assert (context.names(), context.current_name()) == ([], None)
    with pytest.raises(UsageProblem, match=r"cannot reach a hub: no context is chosen.*hub init"):
        context.load()


def test_saved_and_loaded(folder: Path) -> None:
    context.save(BERLIN, make_current=True)
    context.save(Context(name="a_2-B", url="u", credentials="c"), make_current=False)
    assert context.load() == context.load("berlin") == BERLIN
    assert context.names() == ["a_2-B", "berlin"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("url", ["foo", "hub.example:4222", "", "http://h", "tls://", "tls://a:1,b:2", "tls://a b:1"])
def test_what_is_no_address_of_a_hub(url: str) -> None:
    with pytest.raises(UsageProblem, match=r"is no address of one\. Write tls://"):
        context.check_url(url)


def test_addresses_of_a_hub() -> None:
    for url in ("nats://h", "tls://a:7422,tls://b:7422", "wss://h:443/", "tls://[::1]:4222"):
        context.check_url(url)


def test_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    context.save(BERLIN, make_current=True)
    context.save(Context(name="munich", url="u", credentials="c"), make_current=False)
    context.use("munich")
    assert context.load().name == "munich"
    monkeypatch.setenv("EDGEAGENT_CONTEXT", "berlin")
    assert context.load().name == "berlin"
    assert context.load("munich").name == "munich"


def test_a_context_called_current_is_no_trouble() -> None:
    context.save(Context(name="current", url="u", credentials="c"), make_current=True)
    assert context.names() == ["current"] and context.load().name == "current"


def test_unknown_names_say_what_is_known() -> None:
    context.save(BERLIN, make_current=False)
    with pytest.raises(UsageProblem, match=r"cannot use the context 'bern': there is no such context \(known: berlin\)"):
        context.use("bern")


@pytest.mark.parametrize("name", ["../etc", "a/b", "a b", ".", "a.json\n"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UsageProblem, match="made of letters, digits"):
        context.load(name)
    with pytest.raises(UsageProblem):
        context.save(Context(name=name, url="u", credentials="c"), make_current=False)


def test_removing_the_current_one_leaves_none() -> None:
    context.save(BERLIN, make_current=True)
    context.save(Context(name="munich", url="u", credentials="c"), make_current=False)
    context.remove("munich")
    assert context.current_name() == "berlin"
    context.remove("berlin")
    assert (context.names(), context.current_name()) == ([], None)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"name":"x"}', b'{"name":"\xff","url":"u","credentials":"c"}'])
def test_a_damaged_one_names_its_file(folder: Path, content: bytes) -> None:
    context.save(BERLIN, make_current=True)
    (folder / "berlin.json").write_bytes(content)
    with pytest.raises(Failed, match=r"read the context in .*berlin\.json: .*context add berlin"):
        context.load()


HANDED = Handover(hub="berlin", url="tls://hub.example:4222", credentials="-----", authorities="PEM")


def test_what_was_handed_over_has_files_of_its_own(folder: Path) -> None:
    made = context.write("work", HANDED, make_current=True)
    assert (
        made
        == context.load()
        == Context(name="work", url=HANDED.url, credentials=str(folder / "work.creds"), authorities=str(folder / "work.pem"))
    )
    assert Path(made.credentials).read_text() == "-----" and Path(made.authorities).read_text() == "PEM"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    plain = context.write("work", Handover(hub="berlin", url="u", credentials="x"), make_current=True)
    assert plain.authorities == ""
    context.remove("work")
    assert list(folder.iterdir()) == []


def test_removing_keeps_credentials_that_are_elsewhere(tmp_path: Path) -> None:
    mine = tmp_path / "mine.creds"
    mine.touch()
    context.save(Context(name="work", url="u", credentials=str(mine)), make_current=True)
    context.remove("work")
    assert mine.exists()


def test_a_handover_is_read_as_it_was_written() -> None:
    assert Handover.parse(HANDED.format(), Path("x")) == HANDED and "-----" not in repr(HANDED)
    for data in (b"", b"{}", b"\xff", HANDED.format()[:-20]):
        with pytest.raises(Failed, match="was not copied whole"):
            Handover.parse(data, Path("x"))


def test_an_older_context_has_no_authorities(folder: Path) -> None:
    context.save(BERLIN, make_current=True)
    (folder / "berlin.json").write_text('{"name": "berlin", "url": "u", "credentials": "c"}')
    assert context.load().authorities == ""


def test_files_that_are_no_contexts_are_not_listed(folder: Path) -> None:
    context.save(BERLIN, make_current=False)
    (folder / "old copy.json").write_text("{}")
    (folder / "current").write_bytes(b"\xff")
    assert context.names() == ["berlin"] and context.current_name() is None


def test_role_keys_are_kept_with_what_was_followed_since(folder: Path) -> None:
    handed = Handover(hub="berlin", url="u", credentials="x", signers={"AOLD": "operator"})
    made = context.write("work", handed, make_current=True)
    keys = Path(made.role_keys)
    assert pins.load(keys) == Pins(signers={"AOLD": "operator"}) and stat.S_IMODE(keys.stat().st_mode) == 0o600
    since = Pins(signers={"AOLD": "operator"}, revoked={"UTHIEF": 7}, generation=9)
    keys.write_bytes(msgspec.json.encode(since))
    assert context.write("work", handed, make_current=True) == made and pins.load(keys) == since, (
        "a renewed login forgets nothing"
    )
    older = Handover(hub="berlin", url="u", credentials="x")
    assert context.write("work", older, make_current=True) == made and pins.load(keys) == since, "nor one of an older edgeagent"
    keys.write_bytes(b"{")
    context.write("work", handed, make_current=True)
    assert pins.load(keys).signers == {"AOLD": "operator"}, "and it mends a damaged file"
    other = Handover(hub="berlin", url="u", credentials="x", signers={"ANEW": "operator"})
    context.write("work", other, make_current=True)
    assert pins.load(keys) == Pins(signers={"ANEW": "operator"})
    assert context.names() == ["work"]
    context.remove("work")
    assert list(folder.iterdir()) == []
