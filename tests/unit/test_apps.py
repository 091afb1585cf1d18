"""Logins of local programs: names, rights, and the files that hold them."""

from __future__ import annotations

import asyncio
import grp
import os
from pathlib import Path

import pytest

from edgeagent import files, settings
from edgeagent.assembly import apps as jobs
from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.leaf import apps
from edgeagent.leaf.apps import App
from edgeagent.leaf.conf import LeafConf, render


@pytest.fixture
def wanted(tmp_path: Path) -> settings.Settings:
    (tmp_path / "state").mkdir(mode=0o700)
    text = '[paths]\nstate = "state"\nruntime = "run"\n'
    (tmp_path / "agent.toml").write_text(text)
    return settings.load(tmp_path / "agent.toml")


def add(wanted: settings.Settings, name: str, **options: object) -> Path:
    file, known, _ = asyncio.run(jobs.add(wanted, name, **options))  # type: ignore[arg-type]  # passed on as they are
    assert not known  # no agent runs here
    return file


def test_a_program_may_use_its_own_subjects_only() -> None:
    rights = apps.permissions(App(name="doors", publish=("local.data.locks",)))
    assert rights == {
        "publish": [
            "local.metric.doors",
            "local.data.doors",
            "local.config.doors",
            "local.metric.doors.>",
            "local.data.doors.>",
            "_INBOX.>",
            "local.data.locks",
        ],
        "subscribe": ["local.config.doors", "local.action.doors.>", "_INBOX.doors.>"],
    }


def test_what_belongs_to_a_program_is_closed_to_those_without_a_login() -> None:
    closed = apps.owned([App(name="doors", publish=("local.data.locks",))])
    own = ["local.metric.doors", "local.data.doors", "local.config.doors", "local.metric.doors.>", "local.data.doors.>"]
    assert closed["publish"] == own, "its actions can be asked for"
    assert closed["subscribe"] == ["_INBOX.agent.>", *own, "local.action.doors.>", "_INBOX.doors.>"]


def test_the_agents_own_samples_are_closed_to_every_program() -> None:
    closed = apps.owned([], ["agent", "oven"])
    own = ["local.metric.agent", "local.metric.agent.>", "local.metric.oven", "local.metric.oven.>"]
    assert closed["publish"] == own == apps.foreign(["agent", "oven"], "doors")
    assert apps.foreign(["agent", "oven"], "oven") == own[:2], "who has a login of that name was given it"


@pytest.mark.parametrize(
    "name", ["", "Doors", "a.b", "a*", ">", "agent", "agent-local", "app", "sys", "cli", "ops", "srv", "a b", "-a"]
)
def test_a_name_cannot_reach_beyond_itself(name: str) -> None:
    with pytest.raises(UsageProblem):
        apps.check_name(name)


@pytest.mark.parametrize(
    "subject",
    [">", "local", "local.>x", "edge.from.pi-01.report", "local.agent.reload", "local..a", "mcu.>", "$JS.>", "local.a b"],
)
def test_nothing_beyond_local_can_be_given(subject: str) -> None:
    with pytest.raises(UsageProblem):
        apps.check_grant(subject)


@pytest.mark.parametrize("subject", ["local.data.doors", "local.data.*", "local.metric.>"])
def test_what_is_local_can_be_given(subject: str) -> None:
    assert apps.check_grant(subject) == subject


def test_the_environment_file_is_one_for_systemd_and_docker(wanted: settings.Settings) -> None:
    file = add(wanted, "doors")
    assert file == wanted.state_folder / "apps" / "doors.env"
    assert file.stat().st_mode & 0o777 == 0o640
    values = dict(line.split("=", 1) for line in file.read_text().splitlines())
    password = apps.load(wanted.state_folder / "apps.json")["doors"].password
    assert values == {
        "NATS_URL": "nats://127.0.0.1:4222",
        "NATS_USER": "doors",
        "NATS_PASSWORD": password,
        "NATS_INBOX_PREFIX": "_INBOX.doors",
        "EDGEAGENT_APP": "doors",
    }
    assert not {*"\"'$ "} & {*file.read_text()}


def test_a_key_is_handed_over_as_a_file(wanted: settings.Settings) -> None:
    file = add(wanted, "doors", nkey=True)
    seed = file.with_suffix(".nk")
    assert f"NATS_NKEY={seed}\n" in file.read_text()
    assert seed.stat().st_mode & 0o777 == 0o640
    kept = (wanted.state_folder / "apps.json").read_text()
    assert seed.read_text().strip() not in kept
    assert apps.load(wanted.state_folder / "apps.json")["doors"].nkey.startswith("U")


def test_secrets_are_kept_from_others_and_from_what_is_printed(wanted: settings.Settings) -> None:
    add(wanted, "doors")
    path = wanted.state_folder / "apps.json"
    assert path.stat().st_mode & 0o777 == 0o600
    app = apps.load(path)["doors"]
    assert app.password not in repr(app)
    assert [known.name for known in jobs.listed(wanted)] == ["doors"]


def test_a_second_one_of_a_name_is_refused_and_changes_nothing(wanted: settings.Settings) -> None:
    file = add(wanted, "doors")
    before = file.read_bytes(), (wanted.state_folder / "apps.json").read_bytes()
    with pytest.raises(Refused, match="has a login already"):
        add(wanted, "doors")
    with pytest.raises(Refused, match="is there already"):
        add(wanted, "windows", target=file)
    assert (file.read_bytes(), (wanted.state_folder / "apps.json").read_bytes()) == before


def test_a_group_that_is_not_there_leaves_no_secret_behind(wanted: settings.Settings) -> None:
    with pytest.raises(UsageProblem, match="no-such-group"):
        add(wanted, "doors", group="no-such-group")
    assert jobs.listed(wanted) == []
    assert not list(wanted.state_folder.glob("apps/*"))


def test_a_key_that_is_there_is_never_replaced(wanted: settings.Settings, tmp_path: Path) -> None:
    (tmp_path / "own.nk").write_text("mine")
    with pytest.raises(Refused, match=r"own\.nk is there already"):
        add(wanted, "doors", nkey=True, target=tmp_path / "own.env")
    assert (tmp_path / "own.nk").read_text() == "mine" and jobs.listed(wanted) == []


def test_what_fails_leaves_no_login_behind(wanted: settings.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, known: object) -> None:
        raise Failed(f"write {path}", "no space left on the disk")

    monkeypatch.setattr(apps, "save", full)
    with pytest.raises(Failed, match="no space"):
        add(wanted, "doors", nkey=True)
    assert jobs.listed(wanted) == [] and not list(wanted.state_folder.glob("apps/*"))


def test_two_changes_at_once_lose_none(wanted: settings.Settings) -> None:
    add(wanted, "doors")
    with files.Lock(wanted.state_folder / "apps.lock", "change them"):
        with pytest.raises(Refused, match="cannot add the program 'windows': already running as pid"):
            add(wanted, "windows")
        with pytest.raises(Refused, match="cannot remove the program 'doors': already running as pid"):
            asyncio.run(jobs.remove(wanted, "doors"))
    assert [known.name for known in jobs.listed(wanted)] == ["doors"]


def test_the_leafs_passwords_are_only_read(wanted: settings.Settings) -> None:
    damaged = wanted.state_folder / "secrets.json"
    damaged.write_text("{")
    add(wanted, "doors")
    assert damaged.read_text() == "{", "the agent makes new ones, as its own user"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_away_what_it_wrote_and_not_what_a_link_leads_to(
    wanted: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(wanted.state_folder, 65534, 65534)
    victim = tmp_path / "shadow"
    victim.write_text("[]")
    (wanted.state_folder / "apps.json").symlink_to(victim)
    add(wanted, "doors")
    found = {name: (wanted.state_folder / name).lstat() for name in ("apps.json", "apps.lock")}
    assert {one.st_uid for one in found.values()} == {65534}

    def flushed(folder: Path) -> None:
        """The agent's user, who owns the folder, in the moment after the file is in its place."""
        path = wanted.state_folder / "apps.json"
        path.unlink()
        path.symlink_to(victim)

    monkeypatch.setattr(files, "sync_folder", flushed)
    add(wanted, "windows")
    assert (wanted.state_folder / "apps.json").is_symlink()
    assert victim.stat().st_uid == 0 and victim.read_text() == "[]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_group_gets_the_file_and_not_what_a_link_leads_to(
    wanted: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("")
    assert add(wanted, "doors", group="daemon").stat().st_gid == grp.getgrnam("daemon").gr_gid

    def flushed(folder: Path) -> None:
        if (folder / "windows.env").exists():
            (folder / "windows.env").unlink()
            (folder / "windows.env").symlink_to(victim)

    monkeypatch.setattr(files, "sync_folder", flushed)
    add(wanted, "windows", group="daemon")
    assert victim.stat().st_gid == 0


def test_removing(wanted: settings.Settings) -> None:
    add(wanted, "doors")
    with pytest.raises(UsageProblem, match="those that have one: doors"):
        asyncio.run(jobs.remove(wanted, "windows"))
    assert asyncio.run(jobs.remove(wanted, "doors")) is False
    assert jobs.listed(wanted) == []
    assert list((wanted.state_folder / "apps").iterdir()) == []
    again, other = add(wanted, "doors", nkey=True), add(wanted, "windows")
    other.write_text("mine\n")
    for name in ("doors", "windows"):
        asyncio.run(jobs.remove(wanted, name))
    assert not again.exists() and not again.with_suffix(".nk").exists()
    assert other.read_text() == "mine\n", "what somebody made of it is left alone"


def test_a_damaged_file_says_what_to_do(wanted: settings.Settings) -> None:
    (wanted.state_folder / "apps.json").write_text("{")
    with pytest.raises(Failed, match="edgeagent app add"):
        jobs.listed(wanted)


def test_before_the_first_start_there_is_nothing_to_add_to(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[paths]\nstate = "none"\n')
    with pytest.raises(Failed, match="Run the agent once"):
        jobs.listed(settings.load(tmp_path / "agent.toml"))


def test_a_name_or_password_cannot_break_out_of_the_configuration(tmp_path: Path) -> None:
    sly = App(name="doors", password='x" } { user: root, password: "')
    text = render(
        LeafConf(
            server_name="a",
            domain="a",
            port=1,
            store=tmp_path,
            agent_password="a",
            app_password="b",
            system_password="c",
            apps=(sly,),
        )
    )
    assert 'password: "x\\" } { user: root, password: \\""' in text
