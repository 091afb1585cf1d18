"""Actions as units of a real systemd: what agent.toml gives each of them, what an agent that was taken over gets, and how they end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeagent.natsserver import ports
from edgeagent.patterns.unitrequests import FOLDER
from tests.support.actingdebian import PROBE, SETTINGS, Acting, upload
from tests.support.commanding import Author, heard, person
from tests.support.debian import Debian
from tests.support.servers import kill_leftovers, until
from tests.support.trusthub import TrustHub


@pytest.fixture(scope="module")
def acting(debian: Debian) -> Acting:
    return Acting(debian, ports.pick())


# ---- what they do ----


def test_a_program_runs_as_the_user_whom_agent_toml_names_in_a_unit_of_its_own(acting: Acting) -> None:
    found = acting.act("exec", {"argv": ["id"]})
    assert found["state"] == "succeeded" and found["written"].startswith("uid=1000(pi) gid=1000(pi) groups=1000(pi),")
    assert acting.act("exec", {"argv": ["tee", "/home/pi/was-here"]})["state"] == "succeeded"
    assert acting.machine.run("stat -c %U /home/pi/was-here").stdout == "pi\n"
    found = acting.act("plugin.hello")
    assert (found["state"], found["value"], found["written"]) == ("succeeded", "hello", "pi\n"), found


def test_its_limits_and_its_own_exit_code(acting: Acting) -> None:
    machine, name = acting.machine, acting.new_id()
    asked = acting.ask(do="start", id=name, action="exec", args={"argv": ["/usr/local/bin/works"]})
    assert asked == {}
    unit = f"edgeagent-action-{name}.service"
    shown = machine.run(f"systemctl show -p User,MemoryMax,CPUQuotaPerSecUSec,TasksMax,KillMode,RuntimeMaxUSec {unit}").stdout
    assert set(shown.split()) == {
        "User=pi",
        "MemoryMax=209715200",
        "CPUQuotaPerSecUSec=500ms",
        "TasksMax=20",
        "KillMode=mixed",
        "RuntimeMaxUSec=1h",
        "1min",
        "30s",
    }
    assert acting.ask(do="state", id=name) == {"runs": True}
    machine.run("touch /home/pi/go-on")
    found = acting.act("exec", {"argv": ["/usr/local/bin/works"]}, id=name)
    assert (found["state"], found["exit_code"], found["written"]) == ("failed", 3, "worked\n")
    assert machine.run("wc -l < /home/pi/begun").stdout == "1\n", "it was followed, and not begun again"
    assert acting.ask(do="forget", id=name) == {} and name not in acting.folders()


def test_much_output_is_bounded_and_counted(acting: Acting) -> None:
    found = acting.act("exec", {"argv": ["seq", "1", "300000"]})
    assert found["state"] == "succeeded" and found["written"].endswith("\n299999\n300000\n")
    assert len(found["written"]) == sum(len(str(each)) + 1 for each in range(1, 300001))


def test_how_they_end(acting: Acting) -> None:
    how: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"argv": ["sleep", "50"], "timeout_seconds": 1}, {}),
        ({"argv": ["sleep", "50"]}, {"cancel": 0.1}),
        ({"argv": ["/usr/local/bin/kills-its-parent"]}, {}),
        ({"argv": ["/usr/local/bin/leaves-a-daemon"]}, {}),
    ]
    with ThreadPoolExecutor() as pool:
        long, stopped, killed, left = pool.map(lambda each: acting.act("exec", each[0], **each[1]), how)
    assert long["state"] == "timed_out" and "longer than 1 s" in long["reason"]
    assert stopped["state"] == "cancelled"
    assert (killed["state"], killed["reason"], killed["exit_code"]) == ("failed", "it was ended by SIGKILL", 137)
    assert left["state"] == "succeeded"
    acting.machine.run("! pgrep -f '[s]leep (50|987)'")


def test_services_and_their_logs(acting: Acting) -> None:
    before = acting.machine.run("systemctl show -p MainPID --value shop").stdout
    assert acting.act("service.restart", {"unit": "shop"})["state"] == "succeeded"
    assert acting.machine.run("systemctl show -p MainPID --value shop").stdout != before
    assert acting.act("service.status", {"unit": "shop"})["value"]["active"] == "active"
    assert acting.act("logs", {"unit": "shop"})["written"].count("the shop is open") == 2


def test_files(acting: Acting) -> None:
    content = os.urandom(70_000)
    args = upload(content, "/srv/shop/menu.json")
    found = acting.act("file.push", args, content=content)
    assert found["state"] == "succeeded" and found["value"]["unchanged"] is False, found
    assert acting.machine.run("stat -c '%U %a %s' /srv/shop/menu.json").stdout == "pi 644 70000\n"
    assert acting.act("file.push", args, content=b"")["value"]["unchanged"] is True
    pulled = acting.act("file.pull", {"path": "/srv/shop/menu.json"})
    assert base64.b64decode(pulled["stored"]) == content and pulled["value"]["bytes"] == len(content)
    acting.machine.run("echo secret > /srv/shop/roots; chmod 600 /srv/shop/roots")
    assert "permission denied" in acting.act("file.pull", {"path": "/srv/shop/roots"})["reason"], "pi may not read it"


# ---- what an agent that was taken over gets ----

EXEC = {"do": "start", "action": "exec"}
REFUSED: dict[str, dict[str, Any]] = {
    "not-allowed": {"do": "start", "action": "shutdown"},
    "other-words": {**EXEC, "args": {"argv": ["id", "-u"]}},
    "another-program": {**EXEC, "args": {"argv": ["/bin/sh"]}},
    "arguments-that-are-none": {**EXEC, "args": {"argv": ["id"], "user": "root"}},
    "another-unit": {"do": "start", "action": "service.stop", "args": {"unit": "ssh"}},
    "an-option": {"do": "start", "action": "service.stop", "args": {"unit": "--root=/"}},
    "another-journal": {"do": "start", "action": "logs", "args": {"unit": "ssh"}},
    "not-a-unit": {"do": "start", "action": "ping"},
    "no-action": {"do": "start", "action": "no.such"},
    "another-folder": {"do": "look", "action": "file.pull", "args": {"path": "/etc/shadow"}},
    "up": {"do": "look", "action": "file.pull", "args": {"path": "/srv/shop/../../etc/shadow"}},
    "what-has-no-look": {"do": "look", "action": "exec", "args": {"argv": ["id"]}},
    "no-unit-for-a-look": {"do": "start", "action": "file.pull", "args": {"path": "/srv/shop/x"}},
    "a-path": {**EXEC, "id": "../../etc", "args": {"argv": ["id"]}},
    "a-path-in-an-id": {**EXEC, "id": "01J0000000000000000000000/..", "args": {"argv": ["id"]}},
    "another-unit-to-stop": {"do": "stop", "id": "shop"},
    "another-word": {"do": "shell", "id": "01J00000000000000000000000"},
    "rubbish": {"raw": "{" * 1000},
}


def test_it_gets_no_more_than_agent_toml_gives(acting: Acting) -> None:
    requests = {name: {"id": "01J00000000000000000000000", **each} for name, each in REFUSED.items()}
    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(requests, pool.map(lambda each: acting.ask(**each), requests.values()), strict=True))
    assert {name: answer for name, answer in answers.items() if answer.get("error") not in ("refused", "usage")} == {}
    assert "01J00000000000000000000000" not in acting.folders()


def test_nobody_else_is_served(acting: Acting) -> None:
    denied = acting.machine.run("python3 /usr/local/lib/ask.py '{}'", user="pi", check=False)
    assert "PermissionError" in denied.stderr
    request = {"do": "start", "id": acting.new_id(), "action": "exec", "args": {"argv": ["id"]}}
    assert "only the user edgeagent" in acting.ask(user="root", **request)["why"]


def test_no_agent_toml_counts_that_others_may_write(acting: Acting) -> None:
    request: dict[str, Any] = {"do": "start", "action": "exec", "args": {"argv": ["/usr/bin/id"]}}
    etc = SETTINGS.rpartition("/")[0]
    for spoil, mend in (
        (f"chown edgeagent {SETTINGS}", f"chown root {SETTINGS}"),
        (f"chmod 666 {SETTINGS}", f"chmod 644 {SETTINGS}"),
        (f"chgrp edgeagent {etc} && chmod g+w {etc}", f"chmod g-w {etc}"),
        (
            f"mv {SETTINGS} {etc}/mine && ln -s {etc}/mine {SETTINGS}",
            f"rm {SETTINGS} && mv {etc}/mine {SETTINGS}",
        ),
    ):
        acting.machine.run(spoil)
        try:
            answer = acting.ask(id=acting.new_id(), **request)
        finally:
            acting.machine.run(mend)
        assert answer["error"] and "trust" in answer["what"], f"{spoil}: {answer}"
    assert acting.ask(id=acting.new_id(), **request) == {}


def test_nothing_begins_twice_and_what_units_leave_is_read_only(acting: Acting) -> None:
    name = acting.new_id()
    request: dict[str, Any] = {"do": "start", "id": name, "action": "exec", "args": {"argv": ["sleep", "60"]}}
    assert acting.ask(**request) == {} and "started before" in acting.ask(**request)["why"]
    folder = f"{FOLDER}/{name}"
    acting.as_agent(f"test -r {folder}/report")
    for attempt in (f"test -w {folder}/report", f"test -w {folder}", f"test -r {folder}/request", f"rm -rf {folder}"):
        assert acting.machine.run(f"runuser -u edgeagent -- {attempt}", check=False).returncode != 0, attempt
        assert acting.machine.run(f"runuser -u pi -- {attempt}", check=False).returncode != 0 or "request" in attempt
    assert acting.ask(do="forget", id=name) == {}
    acting.machine.run(f"while [ ! -e {folder}/end ]; do sleep 0.02; done; ! pgrep -f '[s]leep 60'")
    assert "started before" in acting.ask(**request)["why"], "ended, but what became of it was not taken"
    assert acting.ask(do="forget", id=name) == {} and name not in acting.folders()


def test_what_is_handed_over_is_judged_where_it_is_put(acting: Acting) -> None:
    """The agent changes the file, or hands over what is none, after it was compared."""
    args = upload(b"signed", "/srv/shop/swapped")
    acting.machine.run("runuser -u edgeagent -- sh -c 'echo other! > /var/tmp/spool'")
    name = acting.new_id()
    asked = {"do": "start", "id": name, "action": "file.push", "args": args}
    assert "no plain file" in acting.ask("/dev/null", **asked)["why"]
    assert acting.ask("/var/tmp/spool", **asked) == {}
    found = acting.act("file.push", args, id=name, content=b"signed")
    assert found["state"] == "failed" and "not what was signed" in found["reason"], found
    acting.machine.run("test ! -e /srv/shop/swapped")


def test_there_are_not_too_many(acting: Acting) -> None:
    acting.machine.run(f"rm -rf {FOLDER}/* && for n in $(seq 32); do mkdir {FOLDER}/$n; done")
    request: dict[str, Any] = {"do": "start", "id": acting.new_id(), "action": "exec", "args": {"argv": ["id"]}}
    assert "32 of them" in acting.ask(**request)["why"]
    acting.machine.run(f"rm -rf {FOLDER}/*")


# ---- under the shipped unit ----

DROP_IN = "[Service]\nExecStartPre=/usr/bin/python3 /var/lib/probe.py\nEnvironment=GPIOZERO_PIN_FACTORY=mock\n"
#: The machine has a boot id of its own mounted over ours, which these options uncover: for the reboot they must go.
UNCOVERED = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n"


@pytest_asyncio.fixture
async def author(acting: Acting, tmp_path: Path) -> AsyncIterator[Author]:
    """Of a hub to which the device is enrolled, and its agent runs."""
    async with TrustHub(tmp_path / "hub") as hub:
        hub.signers = {hub._roles[role].public: role for role in ("operator", "admin")}
        author = Author(await hub.connect("OPS"), person(hub))
        process = acting.machine.start(
            f"runuser -u edgeagent -- /opt/edgeagent/bin/edgeagent enroll --hub 127.0.0.1:{hub.leaf_port} --id pi-1 --token-file -"
        )
        out, err = await asyncio.to_thread(process.communicate, hub.token("abcdefgh2345").format())
        assert process.returncode == 0, f"{out}{err}"
        acting.put("/var/lib/probe.py", PROBE)
        acting.put("/etc/systemd/system/edgeagent.service.d/test.conf", DROP_IN)
        await in_machine(acting, "systemctl daemon-reload && systemctl enable edgeagent && systemctl start --no-block edgeagent")
        await until(lambda: (acting.machine.root / "var/lib/edgeagent/leaf.external").exists(), "it wants its leaf")
        await in_machine(acting, "systemctl start edgeagent-leaf")
        yield author
    kill_leftovers(tmp_path)


async def in_machine(acting: Acting, command: str) -> str:
    """Run it there, and let our hub go on meanwhile."""
    done = await asyncio.to_thread(acting.machine.run, command)
    return done.stdout


async def test_an_agent_with_its_hub(acting: Acting, author: Author) -> None:
    """One story, for one enrolment: what it may not do itself, what goes on without it, and that the machine really goes down."""
    client = author.client
    found = await heard(client, await author.send("exec", {"argv": ["id"]}), seconds=60)
    assert found.state == "succeeded" and found.output.startswith("uid=1000(pi)")
    probed = json.loads(await in_machine(acting, "cat /var/lib/edgeagent/probe.json"))
    assert {name for name, how in probed.items() if how != "no"} == {
        "its state",
        "a serial port",
        "a request",
        "its own limits",
    }, probed
    assert (await heard(client, await author.send("gpio.write", {"pin": "lamp", "value": 1}))).value == {
        "pin": "lamp",
        "value": 1,
    }

    acting.put("/etc/systemd/system/edgeagent.service.d/uncovered.conf", UNCOVERED)
    await in_machine(acting, "systemctl daemon-reload")
    for how in ("systemctl restart edgeagent", "kill -9 $(systemctl show --property=MainPID --value edgeagent)"):
        await in_machine(acting, "rm -f /home/pi/begun")
        command = await author.send("exec", {"argv": ["works"]})
        await in_machine(acting, "while [ ! -e /home/pi/begun ]; do sleep 0.05; done")
        await in_machine(acting, how)
        await in_machine(acting, "touch /home/pi/go-on")
        found = await heard(client, command, seconds=60)
        assert (found.state, found.exit_code, found.output) == ("failed", 3, "worked\n"), how
        assert await in_machine(acting, "wc -l < /home/pi/begun") == "1\n", "it ran once"
    command = await author.send("exec", {"argv": ["works"]})
    await in_machine(acting, "while [ $(wc -l < /home/pi/begun) != 2 ]; do sleep 0.05; done; systemctl restart edgeagent")
    await author.cancel(command)
    assert (await heard(client, command, seconds=60)).state == "cancelled"
    await in_machine(acting, f'while [ -n "$(ls {FOLDER})" ]; do sleep 0.05; done')

    command = await author.send("reboot")
    assert await asyncio.to_thread(acting.machine.until_down)
    await asyncio.to_thread(acting.machine.boot)
    found = await heard(client, command, seconds=60)
    assert found.state == "succeeded", found.reason
