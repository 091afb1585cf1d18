"""``edgeagent operator``: let people in, and renew what they have."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import places
from edgeagent.cli import expiry, passphrase, people, running
from edgeagent.cli.options import HubDir, OwnerKeys
from edgeagent.errors import EdgeError
from edgeagent.times import duration

if TYPE_CHECKING:
    from edgeagent.administration import Person as Registered
    from edgeagent.assembly.people import Reached
    from edgeagent.hub.owner import Owner

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Let people use the hub.\n\nExample: edgeagent operator add olga --role operator")


class Role(str, Enum):
    """viewer: asks and reads. operator: may change things too. admin: the same, and orders the hub's services about."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


people.add_to(app)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 of A-Z, a-z, 0-9, '-' and '_'.")],
    role: Annotated[
        Role,
        typer.Option(
            help="viewer: asks and reads. operator: may also set configuration and command. admin: may also administer."
        ),
    ],
    groups: Annotated[
        str, typer.Option(help="Only devices of these groups, with commas between. Not for an admin.", metavar="A,B")
    ] = "",
    actions: Annotated[
        str, typer.Option(help="Only commands that these globs name, e.g. 'service.*,ping'. Devices see to it.", metavar="A,B")
    ] = "",
    expires: Annotated[
        float, typer.Option(help="How long the login is good: 12h, 30d, 8w.", parser=expiry.parse, metavar="TIME")
    ] = "30d",  # type: ignore[assignment]  # typer gives the default to the parser
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write it; NAME.context (or .creds) if not given.", metavar="FILE"),
    ] = None,
    creds: Annotated[bool, typer.Option("--creds", help="Write plain credentials, for other tools of NATS's.")] = False,
    url: Annotated[str, typer.Option(help="Where NAME reaches the hub; if not given, as the hub or its owner's file says.")] = "",
    folder: HubDir = None,
    keys: OwnerKeys = None,
    passphrase_file: passphrase.PassphraseFile = None,
) -> None:
    """Write one file that lets the person NAME in. It takes the owner's keys, and neither the hub nor its folder.

    Run it again to renew the login: the file is replaced if it was made for the same person. The older login stays good until it
    expires.

    Example: edgeagent operator add olga --role operator --groups berlin --expires 8w
    """
    from edgeagent.assembly import people
    from edgeagent.hub.folder import HubFolder
    from edgeagent.hub.owner import Owner, check_person
    from edgeagent.hub.people import person_of

    person = people.Person(name=name, role=role.value, groups=_words(groups), actions=_words(actions), expires_in_seconds=expires)
    check_person(name, role.value, person.groups, person.actions)  # before anybody is asked for a passphrase
    place = HubFolder((folder or places.hub_folder()).absolute())
    keys = keys or people.find_keys(place)
    owner = Owner.load(keys, passphrase.known(keys, passphrase_file))
    where = people.reached(owner, place, url)
    target = out or Path(f"{name}.creds" if creds else f"{name}.context")
    write = people.write_credentials if creds else people.add_operator
    login = write(owner, person, where, target)
    limits = "".join(
        f", only {kind} {', '.join(words)}" for kind, words in (("in", person.groups), ("for", person.actions)) if words
    )
    typer.echo(
        f"{name} ({role.value}{limits}) has a login in {target}, good for {duration((login.expires_at or 0) - time.time())}"
    )
    typer.echo(f"Give {name} that file over a safe way: whoever has it is {name}. There:")
    if creds:
        typer.echo(f"  edgeagent context add {owner.hub} --url {where.url} --credentials {target.name}")
    else:
        typer.echo(f"  edgeagent context import {target.name}")
    if where.note:
        typer.echo(where.note)
    _tell_the_hub(owner, where, person_of(login, role.value, person.groups, person.actions))


def _tell_the_hub(owner: Owner, where: Reached, person: Registered) -> None:
    """The login is good without that; but what the hub does not know it can neither list nor revoke by name."""
    from edgeagent.assembly.asowner import register

    try:
        older = [key for key, ends in running.run(register(owner, where, person)).older.items() if not ends or ends > time.time()]
        if older:
            typer.echo(f"{person.name} has older logins, each good until it ends, with the rights that it was given:")
            typer.echo(f"  `edgeagent operator revoke KEY` ends one: {', '.join(older)}")
    except EdgeError as error:
        typer.echo(f"The hub was not told: {error}", err=True)
        typer.echo(f"`edgeagent operator ls` will not list it; to revoke it name its key, {person.key}.", err=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
