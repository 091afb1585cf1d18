"""``edgeagent device ls|show``: what the hub has decided and knows about devices, without asking them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import completion, running
from edgeagent.cli.harmless import json_text
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.table import Column, Form, emit, plain
from edgeagent.errors import UsageProblem
from edgeagent.times import duration, rfc3339

__all__ = ["add_to"]

if TYPE_CHECKING:
    from edgeagent.fleet.roster import Roster
    from edgeagent.fleet.states import Known

#: Enough of a key to tell it from others: nkeys begin with their kind.
_KEY_CHARACTERS = 10


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command()(ls)
    app.command()(show)


def ls(output: Output = Form.table, as_json: Json = False, context: ContextName = None) -> None:
    """List the devices that were let in, with their groups and labels, and when their credentials expire.

    `edgeagent fleet ls` asks the devices themselves.

    Example: edgeagent device ls --json
    """
    roster = running.run(_roster(context))
    columns = [
        Column("id"),
        Column("state"),
        Column("groups"),
        Column("labels"),
        Column("expires", _until),
        Column("key", lambda key: plain(key)[:_KEY_CHARACTERS]),
        Column("reason", wide=True),
        Column("added", wide=True),
        Column("serial", wide=True),
    ]
    rows = [_row(known, roster.time) for known in sorted(roster.devices.values(), key=lambda known: known.id) if known.record]
    emit(rows, columns, Form.json if as_json else output)
    for known in roster.devices.values():
        if known.presence and known.presence.twins:
            typer.echo(f"{known.id} is connected several times at once: `edgeagent device show {known.id}` tells more", err=True)


def show(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device.", autocompletion=completion.devices)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
) -> None:
    """Show what the hub has decided about a device, and when and where it saw it last.

    Example: edgeagent device show pi-01 --json
    """
    from edgeagent.fleet.fields import nearest

    roster = running.run(_roster(context))
    known = roster.devices.get(device_id)
    if known is None:
        near = nearest(device_id, roster.devices)
        raise UsageProblem(f"show {device_id!r}", "the hub knows no such device", near or "`edgeagent device ls` shows all")
    found = _all(known, roster.time)
    typer.echo(json_text(found, indent=2) if as_json else _text(found))


async def _roster(context: str | None) -> Roster:
    from edgeagent.fleet import Fleet

    async with Fleet(context) as fleet:
        return await fleet.roster()


def _row(known: Known, now: datetime) -> dict[str, Any]:
    from edgeagent.fleet.states import state_of

    record = known.record
    if record is None:
        return {"id": known.id, "state": str(state_of(known, now))}
    return {
        "id": known.id,
        "state": str(state_of(known, now)),
        "groups": record.groups,
        "labels": record.labels,
        "expires": _time(record.expires_at),
        "key": record.key or None,
        "reason": record.reason or None,
        "added": record.added or None,
        "serial": record.serial or None,
    }


def _all(known: Known, now: datetime) -> dict[str, Any]:
    presence, record = known.presence, known.record
    found = _row(known, now)
    if record:
        found["issued"] = _time(record.issued_at)
        found["older_keys"] = sorted(set(record.older) - {record.key})
    if presence:
        found["connection"] = {
            "online": presence.online,
            "since": presence.since,
            "address": presence.address or None,
            "reason": presence.reason or None,
            "twins": presence.twins,
        }
    found["reported"] = rfc3339(known.reported) if known.reported else None
    found["heard"] = rfc3339(known.heard) if known.heard else None
    return found


def _text(found: dict[str, Any]) -> str:
    connection = found.pop("connection", None)
    lines = [(key.replace("_", " "), plain(value)) for key, value in found.items() if value not in (None, [], {})]
    if connection:
        where = f" from {plain(connection['address'])}" if connection["address"] else ""
        why = f" ({plain(connection['reason'])})" if connection["reason"] else ""
        lines.append(("connection", f"{'up' if connection['online'] else 'down'} since {connection['since']}{where}{why}"))
        if twins := connection["twins"]:
            lines.append(("twins", f"its card was cloned: it is also connected as {plain(twins)}"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def _time(seconds: int) -> str | None:
    """Unix seconds as RFC 3339; None for 0, which is never."""
    return rfc3339(datetime.fromtimestamp(seconds, timezone.utc)) if seconds else None


def _until(moment: Any) -> str:
    if not isinstance(moment, str):
        return "never"
    left = (datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()
    return f"in {duration(left)}" if left > 0 else "expired"
