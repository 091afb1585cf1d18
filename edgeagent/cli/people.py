"""``edgeagent operator ls|revoke``: who was let in, and keeping somebody out again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import running
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.table import Column, Form, emit
from edgeagent.times import duration

__all__ = ["add_to"]

if TYPE_CHECKING:
    from edgeagent.administration import Person


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module commands of ``app``."""
    app.command()(ls)
    app.command()(revoke)


def ls(output: Output = Form.table, as_json: Json = False, context: ContextName = None) -> None:
    """List the people that the hub was told of, with their roles, and until when they can log in.

    Example: edgeagent operator ls --json
    """
    columns = [
        Column("name"),
        Column("role"),
        Column("groups"),
        Column("actions"),
        Column("state"),
        Column("key"),
        Column("older_keys", wide=True),
        Column("reason", wide=True),
    ]
    form = Form.json if as_json else output
    emit([_row(person) for person in running.run(_people(context))], columns, form)


def revoke(
    who: Annotated[str, typer.Argument(metavar="NAME|KEY", help="A person, with every login; or one public key (U...).")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the register.", metavar="TEXT")] = "",
    context: ContextName = None,
) -> None:
    """Keep a person out of the hub, at once and until the logins expire. Needs the role admin.

    Example: edgeagent operator revoke olga --reason "laptop stolen"
    """

    async def run() -> Person:
        from edgeagent.fleet import admin, signers

        async with admin.connected(context) as (fleet, orders):
            person = await orders.revoke_person(who, reason)
            one_key = "" if who == person.name else who
            typer.echo(f"{person.name or who} is kept out of the hub" + (f" with the key {who}" if one_key else ""))
            await signers.revoke(fleet.client, fleet.login, person, one_key)
            return person

    person = running.run(run())
    if person.role == "viewer" and not person.older:
        return  # viewers sign nothing; under an older login it may have been another role
    typer.echo("Devices follow nothing any more that was signed with it; those that are away learn of it when they are back.")
    typer.echo("What is in force and was signed with it must be signed again by somebody else.")


async def _people(context: str | None) -> list[Person]:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.admin import people

    async with Fleet(context) as fleet:
        return await people(fleet.client)


def _row(person: Person) -> dict[str, Any]:
    return {
        "id": person.name,
        "name": person.name,
        "role": person.role,
        "groups": person.groups,
        "actions": person.actions,
        "state": _state(person),
        "key": person.key,
        "issued_at": person.issued_at,
        "expires_at": person.expires_at or None,
        "older_keys": sorted(person.older),
        "reason": person.reason or None,
    }


def _state(person: Person) -> str:
    if person.revoked:
        return "revoked"
    if not person.expires_at:
        return "good for ever"
    left = person.expires_at - time.time()
    return f"good for {duration(left)}" if left > 0 else "expired"
