from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from edgeagent import places, settings, settingsdoc
from edgeagent.errors import EdgeError, SettingsProblem
from edgeagent.hub.folder import HubOptions
from edgeagent.schema import LABEL_KEY_RULE
from edgeagent.sections import parse_sections
from edgeagent.settings import Settings
from edgeagent.subjects import ID_RULE

SOURCE = Path("/etc/shop/agent.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsProblem, match=r"cannot use the settings in /etc/shop/agent\.toml:") as caught:
        settings.parse(text, SOURCE)
    return caught.value.problems


def test_an_empty_file_means_all_defaults() -> None:
    assert settings.parse("", SOURCE) == Settings(source=SOURCE)


def test_a_whole_file() -> None:
    found = settings.parse(
        """
        [device]
        id = "till-3"
        labels = { site = "berlin", _x = "", floor = "küche \\"2\\"" }
        [hub]
        urls = ["nats-leaf://hub.example:7422", "wss://[::1]:443"]
        [leaf]
        mode = "external"
        sync_seconds = 5
        [agent]
        micro = false
        [query]
        burst = 1
        """,
        SOURCE,
    )
    assert found.device.labels == {"site": "berlin", "_x": "", "floor": 'küche "2"'}
    assert (found.leaf.mode, found.leaf.sync_seconds, found.agent.micro, found.query.burst) == ("external", 5.0, False, 1)
    assert found.hub.urls[1] == "wss://[::1]:443"


def test_everything_wrong_is_said_at_once_with_its_key() -> None:
    assert problems(
        """
        [devcie]
        id = "a"
        [device]
        id = "Till 3"
        lables = {}
        [device.labels]
        Site = "x"
        in = "x"
        floor = 3
        long = "%s"
        [hub]
        urls = ["hub.example:7422", "nats-leaf://ok:7422", 7]
        [leaf]
        port = 70000
        mode = "systemd"
        sync_seconds = "10"
        [agent]
        heartbeat_seconds = 0.5
        micro = 1
        [query]
        rate_per_second = nan
        """
        % ("y" * 257)
    ) == [
        "device.id = 'Till 3': it must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit",
        "device.lables: there is no such setting; did you mean device.labels?",
        f"device.labels.Site: it must be {LABEL_KEY_RULE}",
        f"device.labels.in: it must be {LABEL_KEY_RULE}",
        "device.labels.floor = 3: it must be text",
        f"device.labels.long = '{'y' * 56}...: it must be at most 256 characters, and none of them a control character",
        "hub.urls[0] = 'hub.example:7422': it must be an address such as tls://hub.example:7422",
        "hub.urls[2] = 7: it must be text",
        "leaf.port = 70000: it must be at most 65535",
        "leaf.mode = 'systemd': it must be one of managed, external",
        "leaf.sync_seconds = '10': it must be a number",
        "agent.heartbeat_seconds = 0.5: it must be at least 1",
        "agent.micro = 1: it must be true or false",
        "query.rate_per_second = nan: it must be more than 0",
        "devcie: there is no such setting; did you mean device?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device = 3", "device: write it as a section [device] with keys of its own"),
        ("[[device]]\nid = 'a'", "device: write it as a section [device] with keys of its own"),
        ("colour = 'red'", "colour: there is no such setting"),
        ("[device]\nid = 2026-01-01", "device.id = 2026-01-01: it must be text"),
        ("[device]\nlabels = 'site'", "device.labels = 'site': it must be a table"),
        ("[hub]\nurls = 'nats://hub:7422'", "hub.urls = 'nats://hub:7422': it must be a list"),
        ("[leaf]\nport = 0", "leaf.port = 0: it must be at least 1"),
        ("[leaf]\nport = 4222.5", "leaf.port = 4222.5: it must be a whole number"),
        ("[leaf]\nping_seconds = inf", "leaf.ping_seconds = inf: it must be at most 600"),
        ('[device]\nid = "pi-01\\n"', f"device.id = 'pi-01\\n': it must be {ID_RULE}"),
        ("[device.labels]\n" + "\n".join(f"k{n} = ''" for n in range(65)), None),
    ],
)
def test_single_problems(text: str, problem: str | None) -> None:
    found = problems(text)
    assert len(found) == 1
    if problem is None:
        assert found[0].endswith(": it may have at most 64 entries")
    else:
        assert found == [problem]


@pytest.mark.parametrize("line", ["[device", "a = ", "id = 1\nid = 2", "\x00"])
def test_what_is_no_toml_names_the_place(line: str) -> None:
    (problem,) = problems(f"[device]\n{line}\n\n[leaf]\n")
    assert problem.startswith("it is not valid TOML: ") and re.search(r"\(at line [23], column \d+\)", problem)


@pytest.mark.parametrize("key", ["a", "site", "_", "a" * 63, "inn", "trueish", "for"])
def test_label_keys(key: str) -> None:
    assert settings.parse(f"[device.labels]\n{key} = 'x'", SOURCE).device.labels == {key: "x"}


@pytest.mark.parametrize("key", ["A", "2nd", "a-b", "a b", "", "a" * 64, "true", "false", "null", "in", "a\\n", "ü"])
def test_label_keys_that_cel_could_not_name(key: str) -> None:
    assert problems(f'[device.labels]\n"{key}" = "x"')[0].startswith("device.labels.")


class Pot(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=1)] = 1
    names: list[Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]] = []


def test_sections_of_any_shape_are_read() -> None:
    source = Path("kitchen.toml")
    assert parse_sections("[pot]\nsize = 3\n", {"pot": Pot, "pan": Pot}, source) == {"pot": Pot(size=3), "pan": Pot()}
    with pytest.raises(SettingsProblem) as caught:
        parse_sections("[pot]\nsize = 0\nnames = ['a', 'B', 3]\n", {"pot": Pot}, source)
    assert caught.value.problems == [
        "pot.size = 0: it must be at least 1",
        "pot.names[1] = 'B': expected str matching regex '^[a-z]+$'",
        "pot.names[2] = 3: it must be text",
    ]


def test_relative_folders_count_from_the_file() -> None:
    found = settings.parse("[paths]\nstate = 'state'\nruntime = '../run'", SOURCE)
    assert (found.state_folder, found.runtime_folder) == (Path("/etc/shop/state"), Path("/etc/run"))
    assert found.credentials_file == Path("/etc/shop/state/device.creds")
    assert found.status_file == Path("/etc/run/status.json")


def test_the_folder_of_collectors_is_as_named_for_whoever_looks_at_each_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    found = settings.parse('[paths]\ncollectors = "link"', tmp_path / "agent.toml")
    assert found.collectors_folder == tmp_path / "link"


def test_absolute_paths_and_the_home() -> None:
    found = settings.parse("[hub]\ncredentials = '/media/key.creds'\n[paths]\nstate = '~/edge'", SOURCE)
    assert found.credentials_file == Path("/media/key.creds")
    assert found.state_folder == Path.home() / "edge"
    at_home = settings.parse("[hub]\ncredentials = '~/key.creds'", SOURCE)
    assert at_home.credentials_file == Path.home() / "key.creds"


def test_whom_to_trust_for_tls(tmp_path: Path) -> None:
    found = settings.parse(f"[paths]\nstate = '{tmp_path}'", SOURCE)
    assert found.authorities_file is None, "the system's"
    (tmp_path / "authorities.pem").touch()
    assert found.authorities_file == tmp_path / "authorities.pem", "they came with the enrolment"
    named = settings.parse("[hub]\nauthorities = 'ca.pem'\n[paths]\nstate = '/state'", SOURCE)
    assert named.authorities_file == Path("/state/ca.pem"), "named, so it must be there"


def test_the_systems_file_and_a_persons_own_differ_in_their_folders() -> None:
    system, own = settings.parse("", places.SYSTEM_SETTINGS), settings.parse("", SOURCE)
    assert (system.state_folder, system.runtime_folder) == (Path("/var/lib/edgeagent"), Path("/run/edgeagent"))
    assert system.collectors_folder == own.collectors_folder == places.COLLECTORS
    assert own.state_folder == places.state_folder(system=False) != system.state_folder


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"cannot read .*agent\.toml: there is no such file"):
        settings.load(tmp_path / "agent.toml")


def test_a_named_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(b"[device]\nid = '\xff'")
    with pytest.raises(EdgeError, match="it is not UTF-8 text"):
        settings.load(path)


def test_without_a_file_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAGENT_SETTINGS", str(tmp_path / "agent.toml"))
    assert settings.load() == Settings(source=tmp_path / "agent.toml")
    (tmp_path / "agent.toml").write_text("[device]\nid = 'pi-01'")
    assert settings.load().device.id == "pi-01"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().leaf.port = 1  # type: ignore[misc]  # that is what is tried


@pytest.mark.parametrize(("section", "shape"), [*settings.SECTIONS.items(), ("hub", HubOptions)])
def test_every_setting_has_a_row(section: str, shape: Any) -> None:
    keys = [[line.split("`")[1] for line in part.splitlines() if line.startswith("| `")] for part in parts(section)]
    assert [field.name for field in msgspec.structs.fields(shape)] in keys


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("device", "| `labels` | `{}` |"),
        ("leaf", "| `port` | `4222` |"),
        ("leaf", "`edgeagent status` says so. (1 to 65,535) |"),
        ("query", "more are refused. (more than 0 to 1,000) |"),
        ("hub", "shares of it. (at least 268,435,456) |"),
        ("agent", "`$SRV.PING\\|INFO\\|STATS`"),
    ],
)
def test_a_row_says_the_default_and_the_bounds(section: str, row: str) -> None:
    assert any(row in part for part in parts(section))


def parts(section: str) -> list[str]:
    """The page's parts about ``[section]``: one, but two for [hub], which is in both files."""
    found = [part for part in settingsdoc.page().split("### ") if part.startswith(f"[{section}]\n")]
    assert found
    return found


@pytest.mark.parametrize("shape", [*settings.SECTIONS.values(), HubOptions])
def test_every_default_is_within_its_own_bounds(shape: Any) -> None:
    for field in msgspec.structs.fields(shape):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        assert msgspec.convert(default, field.type) == default
