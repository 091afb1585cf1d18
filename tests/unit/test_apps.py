"""Logins of local programs: names, rights, and the files that hold them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeagent import settings
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
    file, known = asyncio.run(jobs.add(wanted, name, **options))  # type: ignore[arg-type]  # passed on as they are
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
            "local.data.locks",
        ],
        "subscribe": ["local.config.doors", "local.action.doors.>", "_INBOX.doors.>"],
    }


@pytest.mark.parametrize("name", ["", "Doors", "a.b", "a*", ">", "agent", "app", "sys", "a b", "-a"])
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
    assert list((wanted.state_folder / "apps").iterdir()) == []


def test_removing(wanted: settings.Settings) -> None:
    add(wanted, "doors")
    with pytest.raises(UsageProblem, match="those that have one: doors"):
        asyncio.run(jobs.remove(wanted, "windows"))
    assert asyncio.run(jobs.remove(wanted, "doors")) is False
    assert jobs.listed(wanted) == []


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
