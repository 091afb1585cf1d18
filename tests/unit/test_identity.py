from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeagent import identity, subjects
from edgeagent.errors import Failed, UsageProblem
from tests.support import fakeroot
from tests.support.fakeroot import FakeRoot


@pytest.fixture
def pi(tmp_path: Path) -> FakeRoot:
    return fakeroot.pi_4(tmp_path / "root")


def test_the_given_id_wins(pi: FakeRoot) -> None:
    assert identity.device_id(pi.machine, "till-3") == "till-3"


@pytest.mark.parametrize("given", ["Till-3", "till 3", "-till", "a" * 64, "till.3"])
def test_a_given_id_that_is_none_is_refused(pi: FakeRoot, given: str) -> None:
    with pytest.raises(UsageProblem, match=r"cannot use the device id .*: it must be .*\. Change `device\.id`"):
        identity.device_id(pi.machine, given)


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("shop-07", "shop-07"),
        ("Shop_07.example.org", "shop-07"),
        ("raspberrypi2", "raspberrypi2"),
        ("--kasse--", "kasse"),
        ("küche", "k-che"),
        ("a" * 62 + ".b", "a" * 62),
        ("a" * 62 + "_b", "a" * 62),
        ("raspberrypi", "pi-a1b2c3d4"),
        ("RaspberryPi.local", "pi-a1b2c3d4"),
        ("localhost", "pi-a1b2c3d4"),
        ("debian", "pi-a1b2c3d4"),
        ("", "pi-a1b2c3d4"),
        ("---", "pi-a1b2c3d4"),
    ],
)
def test_id_from_the_host_name_or_the_serial(pi: FakeRoot, hostname: str, expected: str) -> None:
    found = identity.device_id(pi.write("/proc/sys/kernel/hostname", hostname).machine)
    assert found == expected
    assert subjects.is_id(found)


def test_neither_host_name_nor_serial(pi: FakeRoot) -> None:
    pi.write("/proc/sys/kernel/hostname", "localhost").remove("/proc/device-tree/serial-number").remove("/proc/cpuinfo")
    with pytest.raises(
        UsageProblem, match=r"cannot tell which device this is: .*'localhost'.*\. Set `device\.id` in agent\.toml"
    ):
        identity.device_id(pi.machine)


def test_serial_from_cpuinfo_and_zeros_are_none(pi: FakeRoot) -> None:
    pi.remove("/proc/device-tree/serial-number")
    assert identity.serial(pi.machine) == "10000000a1b2c3d4"
    pi.write("/proc/cpuinfo", "Serial\t\t: 0000000000000000\n")
    assert identity.serial(pi.machine) is None


def test_instance_is_made_once_and_kept(pi: FakeRoot, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = identity.identify(pi.machine, state)
    assert stat.S_IMODE((state / "instance").stat().st_mode) == 0o600
    again = identity.identify(pi.machine, state)
    assert first == again
    assert first.boot == fakeroot.BOOT_ID
    assert first.server_name == f"shop-07-{first.installation.suffix}"
    assert first.installation.moved_from is None
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert identity.identify(pi.machine, tmp_path / "other").installation.suffix != first.installation.suffix


def test_copied_card_gets_a_suffix_of_its_own_once(tmp_path: Path) -> None:
    path = tmp_path / "instance"
    made = identity.load_or_create(path, "a")
    moved = identity.load_or_create(path, "b")
    assert moved.suffix != made.suffix
    assert moved.moved_from == "a"
    assert identity.load_or_create(path, "b") == identity.Installation(suffix=moved.suffix, serial="b")


@pytest.mark.parametrize(("before", "after"), [("", "b"), ("a", "")])
def test_a_board_whose_serial_is_not_known_is_no_other_board(tmp_path: Path, before: str, after: str) -> None:
    made = identity.load_or_create(tmp_path / "instance", before)
    assert identity.load_or_create(tmp_path / "instance", after) == made


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"{}", b'{"suffix":"NOT OK"}', b'{"suffix":1}'])
def test_a_damaged_file_is_made_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "instance"
    path.write_bytes(content)
    made = identity.load_or_create(path)
    assert subjects.is_id(made.suffix)
    assert identity.load_or_create(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_loose_rights_are_set_right(tmp_path: Path) -> None:
    path = tmp_path / "instance"
    made = identity.load_or_create(path)
    path.chmod(0o644)
    assert identity.load_or_create(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text('{"suffix":"theirs"}')
    (tmp_path / "instance").symlink_to(target)
    with pytest.raises(Failed, match=r"it is no plain file\. Remove it"):
        identity.load_or_create(tmp_path / "instance")
    assert target.read_text() == '{"suffix":"theirs"}'


def test_a_folder_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    identity.load_or_create(state / "instance")
    assert stat.S_IMODE(state.stat().st_mode) == 0o755
    assert [path.name for path in state.iterdir()] == ["instance"]
