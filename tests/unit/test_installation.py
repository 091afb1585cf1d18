"""`edgeagent install` into the image of a machine: which files with which rights, nothing twice, nothing without being asked, nothing outside."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from edgeagent import __version__
from edgeagent.assembly import natsrelease, shipped, uninstall
from edgeagent.assembly.install import Installed, InstallOptions, install
from edgeagent.assembly.installlive import Enrol
from edgeagent.assembly.installplace import Place
from edgeagent.assembly.installplan import plan, wanted_units
from edgeagent.assembly.installsteps import File, Folder, Link, run
from edgeagent.enrolled import Enrolment, write
from edgeagent.enrolment import ClaimToken
from edgeagent.errors import EdgeError, Failed, Refused, UsageProblem
from edgeagent.leafsettings import LeafSettings
from edgeagent.settings import Settings, parse
from tests.support.fleet import cli

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemd-sysusers") is None, reason="only root makes images, with systemd's tools"
)
ELF = b"\x7fELF and so on"


@pytest.fixture
def image(tmp_path: Path) -> Place:
    """What an image has before: a system's lists of users, and this edgeagent."""
    root = tmp_path / "image"
    for folder in ("etc", "opt/edgeagent/bin", f"opt/edgeagent/lib/python3.11/site-packages/edgeagent-{__version__}.dist-info"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\ndialout:x:20:pi\n")
    for program in ("edgeagent", "nats-server"):
        (root / "opt/edgeagent/bin" / program).touch(0o755)
    return Place(root)


def made(place: Place, **options: object) -> Installed:
    return install(place, InstallOptions(**options), lambda what, state: None, lambda what: None)  # type: ignore[arg-type]


def everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every path below the root: its mode, when it was changed, and what is in it."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@as_root
def test_what_an_image_has_then(image: Place) -> None:
    assert made(image).changed
    root = image.root
    for path in shipped.units():
        assert (root / "usr/local/lib/systemd/system" / path.name).read_bytes() == path.read_bytes()
    for path in wanted_units():
        assert [folder for folder in (root / "etc/systemd/system").iterdir() if (folder / path.name).is_symlink()], path.name
    assert not [found for unit in shipped.HUB_UNITS for found in root.rglob(unit)]
    assert (root / "usr/local/bin/edgeagent").readlink() == Path("/opt/edgeagent/current/bin/edgeagent")
    assert (root / "opt/edgeagent/current").readlink() == Path()
    (line,) = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("edgeagent:")]
    assert line[6] == "/usr/sbin/nologin"
    state = (root / "var/lib/edgeagent").stat()
    assert (stat.S_IMODE(state.st_mode), state.st_uid) == (0o700, int(line[2])) and not [*(root / "var/lib/edgeagent").iterdir()]
    groups = {line.split(":")[0]: line.split(":")[3] for line in (root / "etc/group").read_text().splitlines()}
    assert set(groups["dialout"].split(",")) == {"pi", "edgeagent"} and groups["gpio"] == "edgeagent"
    settings = root / "etc/edgeagent/agent.toml"
    assert parse(settings.read_text(), settings).leaf.mode == "external" and stat.S_IMODE(settings.stat().st_mode) == 0o644
    assert all(path.lstat().st_uid == 0 for path in (root / "etc/edgeagent").rglob("*"))
    assert not (root / "etc/machine-id").exists() or not (root / "etc/machine-id").read_text().strip()


@as_root
def test_a_second_time_nothing_is_written(image: Place) -> None:
    made(image)
    before = everything(image.root)
    again = made(image)
    assert not again.changed and {state for _, state in again.steps} == {"done"}
    assert everything(image.root) == before


@as_root
def test_only_what_is_not_as_it_should_be_is_changed(image: Place) -> None:
    made(image)
    unit = image.root / "usr/local/lib/systemd/system/edgeagent.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    (image.root / "etc/edgeagent/agent.toml").write_text("[leaf]\nport = 4444\n")
    assert [what for what, state in made(image).steps if state == "changed"] == [str(unit)]
    assert "4444" in (image.root / "etc/edgeagent/agent.toml").read_text(), "it is a person's own"


def test_a_dry_run_says_all_and_does_nothing(image: Place) -> None:
    before = everything(image.root)
    said = made(image, dry_run=True)
    assert {state for _, state in said.steps} == {"would change"} and len(said.steps) == len(plan(image))
    assert everything(image.root) == before


def test_on_the_command_line(image: Place) -> None:
    said = cli("install", "--root", str(image.root), "--dry-run", "--json")
    found = json.loads(said.out)
    assert (found["changed"], found["dry_run"], found["linked"]) == (True, True, None) and found["next"]
    assert {step["state"] for step in found["steps"]} == {"would change"}
    for words, part in (
        (["--hub", "hub.example"], "there is no claim token"),
        (["--token", "x"], "there is no hub"),
        (["--sha256", "0"], "--nats-server"),
        (["--root", "/no/such"], "there is no folder"),
    ):
        said = cli("install", "--dry-run", *words)
        assert said.code == 2 and part in said.err, said


def test_no_link_of_an_image_leads_out_of_it(image: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (image.root / "usr").symlink_to(outside)
    with pytest.raises(Refused, match="leads out of"):
        made(image, dry_run=True)
    assert not [*outside.iterdir()]


def test_an_image_with_another_edgeagent_or_an_identity_is_told(image: Place) -> None:
    state = image.root / "var/lib/edgeagent"
    state.mkdir(parents=True)
    (state / "instance").touch()
    assert any("every card of this image" in note for note in made(image, dry_run=True).notes)
    (folder,) = (image.root / "opt/edgeagent/lib/python3.11/site-packages").iterdir()
    folder.rename(folder.with_name("edgeagent-0.0.1.dist-info"))
    with pytest.raises(UsageProblem, match=r"it has edgeagent 0\.0\.1"):
        made(image, dry_run=True)
    shutil.rmtree(image.root / "opt")
    with pytest.raises(UsageProblem, match="pip install edgeagent"):
        made(image, dry_run=True)


@as_root
def test_what_others_may_change_root_does_not_run(image: Place) -> None:
    made(image, dry_run=True)
    for path, spoil in (
        ("opt/edgeagent", lambda path: os.chown(path, 1000, 0)),
        ("opt/edgeagent/bin", lambda path: path.chmod(0o757)),
        ("opt/edgeagent/lib", lambda path: (os.chown(path, 0, 1000), path.chmod(0o775))),
    ):
        spoil(image.root / path)
        with pytest.raises(Refused, match=f"others than root may change .*{path}, "):
            made(image, dry_run=True)
        os.chown(image.root / path, 0, 0), (image.root / path).chmod(0o755)


def test_an_image_is_nobodys_device(image: Place) -> None:
    with pytest.raises(UsageProblem, match="enrolled on itself"):
        made(image, hub="hub.example", token="x", dry_run=True)


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (".", "."),
        ("releases/99.0.0", "releases/99.0.0"),
        ("releases/0.0.1", "."),
        (f"releases/{__version__}", "."),
        ("elsewhere", "."),
    ],
)
def test_what_came_from_afar_counts_while_it_is_newer(image: Place, target: str, left: str) -> None:
    link = image.root / "opt/edgeagent/current"
    link.symlink_to(target)
    step = plan(image)[0].step
    if not step.is_done():
        step.do()
    assert str(link.readlink()) == left


def test_the_files_of_a_debian_package_are_dpkgs(image: Place) -> None:
    listed = image.root / "var/lib/dpkg/info/edgeagent.list"
    listed.parent.mkdir(parents=True)
    listed.write_text("/opt/edgeagent/bin/edgeagent\n")
    whats = [each.step.what for each in plan(image)]
    assert not [what for what in whats if "/usr/local" in what or "/etc/udev" in what]
    with pytest.raises(UsageProblem, match="sudo apt purge edgeagent"):
        uninstall.check(image, purge=True)
    listed.write_text("/etc/edgeagent\n")
    assert not image.is_packaged, "it was removed"


@as_root
def test_uninstall_removes_what_was_installed_and_keeps_what_was_made(image: Place) -> None:
    before = everything(image.root)
    made(image)
    (image.root / "var/lib/edgeagent/device.creds").write_text("mine")
    uninstall.uninstall(image, lambda line: None, purge=False)
    assert {str(path.relative_to(image.root)) for path in uninstall.kept(image)} == {"etc/edgeagent", "var/lib/edgeagent"}
    assert (image.root / "var/lib/edgeagent/device.creds").read_text() == "mine"
    files = {path for path, (mode, _, _) in everything(image.root).items() if not stat.S_ISDIR(mode)} - set(before)
    made_by_sysusers = {"etc/gshadow", "etc/shadow", "etc/.pwd.lock", "etc/passwd-", "etc/group-"}
    assert files - made_by_sysusers == {"etc/edgeagent/agent.toml", "var/lib/edgeagent/device.creds"}
    uninstall.uninstall(image, lambda line: None, purge=True)
    assert uninstall.kept(image) == [] and "edgeagent" not in (image.root / "etc/passwd").read_text()


# ---- steps ----


def test_a_step_never_writes_through_a_link(tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "unit"
    precious.write_text("precious")
    link.symlink_to(precious)
    step = File(link, b"ours")
    assert not step.is_done()
    step.do()
    assert precious.read_text() == "precious" and not link.is_symlink() and step.is_done()


def test_a_step_says_what_is_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "bin").write_text("somebody's")
    with pytest.raises(Failed, match="something that is no link"):
        Link(tmp_path / "bin", "target").do()
    with pytest.raises(EdgeError, match="a file of that name"):
        Folder(tmp_path / "bin").do()
    with pytest.raises(Failed, match="there is no no-such-program"):
        run(["no-such-program"], what="it")
    with pytest.raises(Failed, match=r"`false` failed: exit code 1"):
        run(["false"], what="it")


def test_a_device_of_another_hub_is_not_taken_over(tmp_path: Path) -> None:
    own = parse(f'[paths]\nstate = "{tmp_path}"', tmp_path / "agent.toml")
    token = ClaimToken("a.b.c", "berlin", False).format()
    assert not Enrol(own, "hub.example", token, "", "").is_done()
    write(tmp_path, Enrolment(id="pi-1", hub="munich", urls=[]))
    with pytest.raises(Refused, match="enrolled as pi-1 with hub munich"):
        Enrol(own, "hub.example", token, "", "").is_done()
    write(tmp_path, Enrolment(id="pi-1", hub="berlin", urls=[]))
    assert Enrol(own, "hub.example", token, "", "").is_done()


# ---- nats-server's own release ----


def archive(path: Path, name: str = "nats-server-v2.15.1-linux-arm7/nats-server", data: bytes = ELF) -> str:
    """The sum of a release that is made at ``path``."""
    with tarfile.open(path, "w:gz") as out:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        out.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_release_is_taken_by_its_sum_alone(tmp_path: Path) -> None:
    path = tmp_path / "nats.tar.gz"
    found = archive(path)
    assert natsrelease.read(path, f"{found.upper()}\n").data == ELF
    for wrong in ("0" * 64, hashlib.sha256(ELF).hexdigest()):
        with pytest.raises(Refused, match="the SHA-256 sum"):
            natsrelease.read(path, wrong)
    for none in ("", "abc", "x" * 64):
        with pytest.raises(UsageProblem, match="--sha256"):
            natsrelease.read(path, none)


@pytest.mark.parametrize(("name", "data"), [("other", ELF), ("nats-server", b"#!/bin/sh"), ("nats-server/../../x", ELF)])
def test_an_archive_of_something_else_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "nats.tar.gz"
    with pytest.raises(UsageProblem):
        natsrelease.read(path, archive(path, name, data))
    path.write_bytes(b"no archive")
    with pytest.raises(UsageProblem):
        natsrelease.read(path, hashlib.sha256(b"no archive").hexdigest())


@as_root
def test_a_release_becomes_the_leafs_program(image: Place, tmp_path: Path) -> None:
    (image.root / "opt/edgeagent/bin/nats-server").unlink()
    with pytest.raises(UsageProblem, match="--nats-server FILE"):
        made(image)
    release = natsrelease.NatsRelease(ELF)
    made(image, release=release)
    program = image.root / natsrelease.TARGET.lstrip("/")
    assert program.read_bytes() == ELF and stat.S_IMODE(program.stat().st_mode) == 0o755
    drop_in = (image.root / natsrelease.DROP_IN.lstrip("/")).read_text()
    assert f"\nExecStart=\nExecStart={natsrelease.TARGET} -c /var/lib/edgeagent/leaf.conf\n" in drop_in
    settings = image.root / "etc/edgeagent/agent.toml"
    assert parse(settings.read_text(), settings).leaf == LeafSettings(mode="external", server=natsrelease.TARGET)
    assert not made(image).changed, "without the file it stays"
    settings.write_text("")
    with pytest.raises(UsageProblem, match=r"into its \[leaf\]"):
        made(image, release=release)


def test_settings_are_whole() -> None:
    """What a new device begins with is what the defaults are, but for who runs the leaf."""
    source = shipped.deploy() / "agent.toml"
    found = parse(source.read_text(), source)
    assert found == Settings(leaf=LeafSettings(mode="external"), given=frozenset({"leaf.mode"}), source=source)
