"""Local programs with a login of their own: who they are, what they may use, and the file that tells them. Pure but for one file.

A program without a login may use everything below ``local.`` but what belongs to one with a login. That one may use its own subjects
only, so that it can't be taken for another, and so that what it does not need is closed to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import Failed, UsageProblem
from edgeagent.localsubjects import OWN_SOURCES, local_metric
from edgeagent.subjects import ID_RULE, is_id

__all__ = [
    "AGENT_INBOX",
    "CLI_INBOX",
    "NAMES_TAKEN",
    "App",
    "check_name",
    "environment",
    "foreign",
    "load",
    "may_answer",
    "owned",
    "permissions",
    "save",
]

#: Below this the agent waits for answers of local programs, in their account.
AGENT_INBOX = "_INBOX.agent"
#: Below this `edgeagent app` waits for the answer, in the account of the agent.
CLI_INBOX = "_INBOX.cli"
#: The leaf's own users, and the inboxes of others.
NAMES_TAKEN = (*OWN_SOURCES, "agent-local", "agent-mqtt", "app", "sys", "cli", "ops", "srv")
#: A plain subject of an inbox. No client's is longer than a hundred characters or so.
_INBOX = re.compile(r"(?=.{1,256}\Z)_INBOX(\.[A-Za-z0-9_$+=:/@-]+)+\Z")
_GRANT = re.compile(r"local(\.([A-Za-z0-9_-]+|\*))+(\.>)?\Z")


class App(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One program. It has a password or an nkey. publish, subscribe: subjects below ``local.`` besides its own.
    file: its environment file; the seed of an nkey is beside it. mqtt_password: of its MQTT login; empty: it has none.

    ``repr`` does not show the password.
    """

    name: str
    password: str = ""
    nkey: str = ""
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    file: str = ""
    mqtt_password: str = ""

    def __repr__(self) -> str:
        return f"App({self.name!r})"


def check_name(name: str) -> str:
    """Return the name if a program may be called so; raise UsageProblem otherwise."""
    if not is_id(name) or name in NAMES_TAKEN:
        why = "it is one of the leaf's own names" if name in NAMES_TAKEN else f"it must be {ID_RULE}"
        raise UsageProblem(f"call a program {name!r}", why, "choose another name")
    return name


def check_grant(subject: str) -> str:
    """Return a subject that a program may be given besides its own; raise UsageProblem for any other."""
    if not _GRANT.match(subject) or subject.startswith("local.agent"):
        raise UsageProblem(
            f"give a program {subject!r}",
            "it is no subject below `local.`, or one of the agent's own",
            "for example local.data.doors",
        )
    return subject


def permissions(app: App) -> dict[str, list[str]]:
    """What it may publish and subscribe to; docs/wire.md says what is where.

    It answers what it is asked (its actions) in inboxes. nats-server could allow each answer by itself (``allow_responses``), but then
    wherever the asker wants it, so whoever may ask would publish to the leaf's store as that program.
    """
    inbox, actions = f"_INBOX.{app.name}.>", f"local.action.{app.name}.>"
    return {
        "publish": [*_spoken(app), "_INBOX.>", *app.publish],
        "subscribe": [f"local.config.{app.name}", actions, inbox, *app.subscribe],
    }


def _spoken(app: App) -> list[str]:
    """Where it speaks as itself."""
    own = [f"local.{kind}.{app.name}" for kind in ("metric", "data", "config")]
    return [*own, *(f"local.{kind}.{app.name}.>" for kind in ("metric", "data"))]


def may_answer(reply: str) -> bool:
    """Whether the agent may answer a program there: in inboxes, where every program may publish itself, but in none of the agent's.

    The asker chooses the reply: elsewhere the answer would be taken for the agent's word to another program.
    """
    return _INBOX.match(reply) is not None and not reply.startswith(f"{AGENT_INBOX}.")


def foreign(sources: Iterable[str], name: str = "") -> list[str]:
    """What the program ``name`` (empty: one without a login) never publishes, whatever it was given: samples of the agent and of the
    programs that it runs, ``sources``. So none is taken for one of theirs, and the agent, which writes after the newest one that it
    knows, is not outrun."""
    return [subject for each in sources if each != name for subject in (local_metric(each), f"{local_metric(each)}.>")]


def owned(apps: Iterable[App], sources: Iterable[str] = ()) -> dict[str, list[str]]:
    """What those without a login may not publish and subscribe to, because it is the agent's or of one of ``apps``.

    sources: whose samples only the agent writes. They may still ask a program for an action, and hear the agent's samples.
    """
    publish, subscribe = foreign(sources), [f"{AGENT_INBOX}.>"]
    for app in apps:
        publish += _spoken(app)
        subscribe += [*_spoken(app), f"local.action.{app.name}.>", f"_INBOX.{app.name}.>"]
    return {"publish": publish, "subscribe": subscribe}


def environment(app: App, url: str, seed_file: Path | None = None) -> str:
    """The text of its environment file: for ``EnvironmentFile=`` of systemd and ``--env-file`` of docker, so no quotes.

    url: of the leaf. seed_file: where the seed of its nkey is.
    """
    login = {"NATS_NKEY": str(seed_file)} if seed_file else {"NATS_USER": app.name, "NATS_PASSWORD": app.password}
    values = {"NATS_URL": url, **login, "NATS_INBOX_PREFIX": f"_INBOX.{app.name}", "EDGEAGENT_APP": app.name}
    return "".join(f"{key}={value}\n" for key, value in values.items())


def load(path: Path) -> dict[str, App]:
    """The programs in ``apps.json`` by name, none when there is no such file. Raises Failed when it is damaged."""
    data = files.read_if_there(path)
    try:
        return {app.name: app for app in msgspec.json.decode(data, type=list[App])} if data is not None else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(f"read {path}", str(error), "remove it and add the programs again: `edgeagent app add`") from None


def save(path: Path, apps: dict[str, App]) -> None:
    """Write them, readable by the agent only."""
    data = msgspec.json.format(msgspec.json.encode(list(apps.values()))) + b"\n"
    files.write_atomic(path, data, 0o600, files.folders_owner(path.parent))
