"""The commands of one device: run, check, status."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import files, settings
from edgeagent.cli import upgradelines
from edgeagent.cli.findings import show
from edgeagent.cli.harmless import harmless, json_text
from edgeagent.cli.options import SettingsFile
from edgeagent.cli.table import plain
from edgeagent.errors import EdgeError
from edgeagent.interpreter import argv
from edgeagent.places import SYSTEM_SETTINGS, is_there
from edgeagent.times import age, duration, moment, parse_rfc3339

if TYPE_CHECKING:
    from edgeagent.status import (
        BrokerStatus,
        CommandsStatus,
        CredentialsStatus,
        ForwardStatus,
        McuStatus,
        MqttStatus,
        RaisedAlert,
        SamplingStatus,
    )
    from edgeagent.wire import LinkRepairs

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(check)
    app.command()(status)


def run(settings_file: SettingsFile = None) -> None:
    """Run the agent (and its leaf) in the foreground, until SIGTERM or Ctrl-C.

    Example: edgeagent run --settings /etc/edgeagent/agent.toml
    """
    source = settings.load(settings_file).source
    # Without a file it is all defaults there too, but for whom the system's file would say where they are.
    named = [str(source)] if source and (is_there(source) or source == SYSTEM_SETTINGS) else []
    # In a process of its own that never loads the command line: on a Pi every megabyte counts.
    os.execv(sys.executable, argv("edgeagent.assembly.agent", *named))


def check(settings_file: SettingsFile = None) -> None:
    """Check the settings, and everything else that `edgeagent run` needs before it can start.

    Example: edgeagent check --settings agent.toml
    """
    from edgeagent.assembly.checks import check as look

    show(look(settings.load(settings_file)))


def status(
    settings_file: SettingsFile = None, as_json: Annotated[bool, typer.Option("--json", help="The status file as it is.")] = False
) -> None:
    """Show how the agent on this machine is. Needs no link and no rights.

    Example: edgeagent status
    """
    from edgeagent import status as statuses

    path = settings.load(settings_file).status_file
    found = statuses.read(path)
    running = statuses.is_running(found)
    if as_json:
        print(json_text(json.loads(files.read_plain(path, statuses.MAX_BYTES)), indent=1))
    else:
        now = datetime.now(timezone.utc)
        for line in (*describe(found, running, now), *_upgrades(now)):
            typer.echo(harmless(line))
    if not running:
        raise typer.Exit(1)


def _upgrades(now: datetime) -> list[str]:
    from edgeagent.upgrade.places import Places

    places = Places()
    try:
        return upgradelines.lines(places.standing(), places.trial(), now)
    except EdgeError as error:
        return [f"  wrong    {error}"]


def describe(found: object, running: bool, now: datetime) -> list[str]:
    """The status for people, line by line. running: whether the agent does; if not, it is what it said last."""
    from edgeagent.status import Status

    assert isinstance(found, Status)
    since = duration((now - parse_rfc3339(found.started)).total_seconds())
    last = age(parse_rfc3339(found.written), now)
    state = f"runs since {since} (pid {found.pid})" if running else f"is not running; this is what it knew {last}"
    lines = [f"{found.id}  edgeagent {found.version} {state}"]
    link, leaf = found.link, found.leaf
    was = "" if running else "was "
    when = duration((now - parse_rfc3339(link.since)).total_seconds()) if link.since and running else ""
    heard = f", last acknowledged {age(parse_rfc3339(link.acknowledged), now)}" if link.acknowledged else ", never acknowledged"
    word = f"{'' if link.up else 'not '}linked{f' since {when}' if when else ''}"
    if found.credentials and found.credentials.renewing:
        word = "renewing its credentials"
    lines.append(f"  hub      {was}{word}{heard}{f'  ({link.hub})' if link.hub else ''}")
    lines += _repairs(link.repairs, now)
    lines += _enrolment(found.credentials, now)
    moved = f", because port {leaf.wished_port} was taken" if leaf.wished_port and leaf.port != leaf.wished_port else ""
    lines.append(
        f"  leaf     {was}{leaf.state.replace('_', ' ')}, nats://127.0.0.1:{leaf.port}{moved}  (nats-server {leaf.version or '?'})"
    )
    if leaf.mqtt:
        lines.append(f"  mqtt     {was}{_mqtt(leaf.mqtt)}")
    lines.append(f"  groups   {', '.join(found.groups) or 'none'}")
    lines.append(f"  waiting  {', '.join(f'{count} {what}' for what, count in found.waiting.items()) or 'nothing'}")
    lines += _commands(found.commands, now)
    lines += _sampling(found.sampling, now)
    lines += _mcus(found.mcus)
    lines += _forwarding(found.forward, now)
    lines += _brokers(found.brokers)
    if not running:
        lines.append("  wrong    the agent is not running: start it with `sudo systemctl start edgeagent` or `edgeagent run`")
    for problem in found.problems:
        lines.append(f"  wrong    {problem.what}")
        if problem.remedy:
            lines.append(f"           {problem.remedy}")
    return lines


def _repairs(repairs: LinkRepairs, now: datetime) -> list[str]:
    counts = {"dialled anew": repairs.dialled, "remote made anew": repairs.reloaded, "leaf restarted": repairs.restarted}
    said = ", ".join(f"{what} {count} times" if count > 1 else what for what, count in counts.items() if count)
    return [f"           repaired: {said}; the last {age(parse_rfc3339(repairs.time), now)}"] if said else []


def _mqtt(mqtt: MqttStatus) -> str:
    host = f"[{mqtt.host}]" if ":" in mqtt.host else mqtt.host
    moved = f", because port {mqtt.wished_port} was taken" if mqtt.port != mqtt.wished_port else ""
    return f"{'mqtts' if mqtt.tls else 'mqtt'}://{host}:{mqtt.port}{moved}"


def _commands(commands: CommandsStatus, now: datetime) -> list[str]:
    when = f" {age(parse_rfc3339(commands.last_ended), now)}" if commands.last_ended else ""
    last = [f"the last, {commands.last}, {commands.last_state.replace('_', ' ')}{when}"] if commands.last else []
    parts = ([f"{commands.running} running"] if commands.running else []) + last
    return [f"  commands {'; '.join(parts)}"] if parts else []


def _sampling(sampling: SamplingStatus | None, now: datetime) -> list[str]:
    if sampling is None:
        return []
    failing = [each for each in sampling.collectors if each.error]
    parts = [f"{len(sampling.collectors)} collectors"]
    parts += [f"{len(failing)} failing"] if failing else []
    parts += [f"{sampling.waiting} samples not stored yet"] if sampling.waiting else []
    parts += [f"{sampling.dropped} dropped"] if sampling.dropped else []
    lines = [f"  sampling {', '.join(parts)}"]
    lines += [f"           {plain(each.name)}: {plain(each.error)}" for each in failing]
    lines += [f"  alerts   {', '.join(sampling.alerts)}"] if sampling.alerts else []
    return lines + [f"           {_alert(each, now)}" for each in sampling.raised]


def _brokers(brokers: dict[str, BrokerStatus]) -> list[str]:
    lines: list[str] = []
    for name, broker in brokers.items():
        parts = [f"{'' if broker.connected else 'not '}connected to {broker.where}", f"{broker.taken} taken, {broker.sent} sent"]
        parts += [f"{broker.waiting} waiting"] if broker.waiting else []
        parts += [f"{broker.dropped} dropped"] if broker.dropped else []
        parts += [f"{broker.malformed} not readable, the last at {plain(broker.unreadable)}"] if broker.malformed else []
        lines.append(f"  {'broker' if not lines else '':<8} {plain(name)}: {', '.join(parts)}")
    return lines


def _mcus(found: list[McuStatus]) -> list[str]:
    """How many are how; `edgeagent mcu ls` has the rest."""
    states = [each.state for each in found]
    counts = [f"{states.count(state)} {plain(state)}" for state in dict.fromkeys(states)]
    lines = [f"  mcus     {', '.join(counts)}"] if counts else []
    return lines + [f"           {plain(each.id)}: {plain(each.problem)}" for each in found if each.problem]


def _alert(raised: RaisedAlert, now: datetime) -> str:
    ago = duration(max(0.0, now.timestamp() - raised.since))
    return f"{plain(raised.alert)}: {raised.value:g} ({raised.condition}), {raised.severity}, since {ago}"


def _forwarding(found: dict[str, ForwardStatus], now: datetime) -> list[str]:
    lines = []
    for name, each in found.items():
        if not (each.forwarded or each.waiting or each.dropped):
            continue
        dropped = ", ".join(f"{cause.replace('_', ' ')} {count:,}" for cause, count in sorted(each.dropped.items()))
        last = f", the last {age(moment(each.acknowledged), now)}" if each.acknowledged else ""
        sent = f"{each.forwarded:,} forwarded{last}" if each.known else "the hub was not asked yet"
        lines.append(
            f"  {name:<8} {sent}; {each.waiting:,} {'wait' if each.waiting != 1 else 'waits'}{f'; dropped: {dropped}' if dropped else ''}"
        )
    return lines


def _enrolment(found: CredentialsStatus | None, now: datetime) -> list[str]:
    if found is None:
        return []
    parts = [f"enrolled with hub {found.hub}" if found.hub else "credentials"]
    if found.expires:
        left = (parse_rfc3339(found.expires) - now).total_seconds()
        parts.append(f"good for {duration(left)}" if left > 0 else f"expired {duration(-left)} ago")
    if found.renews:
        left = (parse_rfc3339(found.renews) - now).total_seconds()
        parts.append(f"renewed in {duration(left)}" if left > 0 else "to be renewed now")
    return [f"  trust    {', '.join(parts)}"]
