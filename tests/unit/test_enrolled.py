from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import enrolled, files, places, settings
from edgeagent.enrolled import Enrolment
from edgeagent.errors import Failed, Refused, SettingsProblem

MADE = Enrolment(
    id="pi-1",
    hub="berlin",
    urls=["wss://hub.example:443"],
    proxy="http://proxy:3128",
    enrolled_at="2026-11-21T08:00:00.000Z",
    groups=["berlin"],
    labels={"site": "berlin", "floor": "2"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    enrolled.write(tmp_path, MADE)
    return tmp_path


def written(folder: Path, text: str = "") -> Path:
    path = folder / "agent.toml"
    path.write_text(f'{text}\n[paths]\nstate = "."\nruntime = "."\n')
    return path


def test_it_is_read_back(folder: Path) -> None:
    assert enrolled.read(folder) == MADE
    assert (folder / "enrolment.json").stat().st_mode & 0o777 == 0o600, "a proxy's password may be in it"


def test_no_enrolment(tmp_path: Path) -> None:
    assert enrolled.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"id": "pi-1"', "\x00\xff"])
def test_a_damaged_one_says_what_to_do(folder: Path, text: str) -> None:
    (folder / "enrolment.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Failed, match=r"enrolment\.json: it is damaged.*`edgeagent enroll --force`"):
        enrolled.read(folder)


def test_what_a_later_version_adds_is_ignored(folder: Path) -> None:
    (folder / "enrolment.json").write_text('{"id":"pi-1","hub":"h","urls":["tls://h:1"],"moon":1,"v":9}')
    found = enrolled.read(folder)
    assert found and (found.id, found.urls) == ("pi-1", ["tls://h:1"])


def test_who_may_not_look_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads everything, so the kernel's answer is given here."""

    def refused(path: Path, most: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "read_plain", refused)
    assert enrolled.read_if_allowed(folder) is None
    with pytest.raises(Refused):
        enrolled.read(folder)


# ---- as defaults of the settings -------------------------------------------------------------------------------------------


def test_it_stands_for_what_the_settings_leave_out(folder: Path) -> None:
    found = settings.load(written(folder))
    assert (found.device.id, found.hub.urls, found.hub.proxy) == ("pi-1", MADE.urls, MADE.proxy)
    assert found.enrolment == MADE and found.labels == MADE.labels


def test_the_settings_go_before_it(folder: Path) -> None:
    text = '[device]\nid = "pi-2"\nlabels = { floor = "9" }\n[hub]\nurls = ["nats-leaf://other:7422"]'
    found = settings.load(written(folder, text))
    assert (found.device.id, found.hub.urls) == ("pi-2", ["nats-leaf://other:7422"])
    assert found.hub.proxy == "", "the way to another address"
    assert found.labels == {"site": "berlin", "floor": "9"}


def test_own_settings_know_nothing_of_it(folder: Path) -> None:
    found = settings.load_own(written(folder))
    assert (found.device.id, found.hub.urls, found.enrolment, found.labels) == ("", [], None, {})


def test_the_systems_settings_may_be_missing_though_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit names the file; an enrolled device needs none."""
    monkeypatch.setattr(places, "SYSTEM_SETTINGS", tmp_path / "agent.toml")
    found = settings.load_own(tmp_path / "agent.toml")
    assert found.is_system and found.state_folder == Path("/var/lib/edgeagent")
    with pytest.raises((SettingsProblem, Failed)):
        settings.load_own(tmp_path / "another.toml")


# ---- modes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["device.creds", "renewal.creds", "secrets.json", "trust.json", "enrolment.nk"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_secret_that_others_may_touch_is_refused(folder: Path, name: str, mode: int) -> None:
    enrolled.check_private(folder)
    file = folder / name
    file.write_text("secret")
    file.chmod(mode)
    with pytest.raises(Refused, match=f"`chmod 600 {file}`"):
        enrolled.check_private(folder)
    file.chmod(0o600)
    enrolled.check_private(folder)


def test_other_files_and_the_folder_itself(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "mine.creds"
    enrolled.check_private(folder, other)
    other.write_text("secret")
    other.chmod(0o644)
    with pytest.raises(Refused, match=f"`chmod 600 {other}`"):
        enrolled.check_private(folder, other)
    folder.chmod(0o711)
    with pytest.raises(Refused, match=f"others on this machine can enter it.*`chmod 700 {folder}`"):
        enrolled.check_private(folder)
