"""``edgeagent hub keys``: what the hub's owner does with its keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent import places
from edgeagent.cli import passphrase, running
from edgeagent.cli.options import HubDir, Json, Output, OwnerKeys
from edgeagent.cli.table import Column, Form, emit

if TYPE_CHECKING:
    from edgeagent.hub.folder import HubFolder

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Look after the owner's keys.\n\nExample: edgeagent hub keys backup --out /media/usb/berlin.keys"
)


@app.command()
def show(
    folder: HubDir = None,
    check: Annotated[bool, typer.Option("--check", help="Compare with the owner's file; exit with 1 if they differ.")] = False,
    keys: OwnerKeys = None,
    passphrase_file: passphrase.PassphraseFile = None,
    output: Output = Form.table,
    as_json: Json = False,
) -> None:
    """Show which key is where; public keys only.

    With --check also whether somebody changed those on the hub: a foreign role key there would let its owner in.

    Example: edgeagent hub keys show --check
    """
    from edgeagent.assembly import hubkeys, people
    from edgeagent.hub.folder import HubFolder
    from edgeagent.hub.owner import Owner

    place, owner = HubFolder((folder or places.hub_folder()).absolute()), None
    if check:
        keys = keys or people.find_keys(place)
        owner = Owner.load(keys, passphrase.known(keys, passphrase_file))
    rows = hubkeys.show(place, owner)
    columns = [Column("name"), Column("hub", lambda there: "on the hub" if there else "owner only"), Column("public")]
    if check:
        columns.append(Column("same", lambda same: "" if same else "DIFFERS from the owner's"))
    emit(rows, columns, Form.json if as_json else output)
    if not all(row.get("same", True) for row in rows):
        raise typer.Exit(1)


@app.command()
def backup(
    out: Annotated[Path, typer.Option("--out", help="Where to write it: a medium that you keep elsewhere.", metavar="FILE")],
    folder: HubDir = None,
    keys: OwnerKeys = None,
    passphrase_file: passphrase.PassphraseFile = None,
) -> None:
    """Copy the owner's keys, after proving that the passphrase opens them. The copy has the same passphrase.

    Example: edgeagent hub keys backup --out /media/usb/berlin.keys
    """
    from edgeagent.assembly import hubkeys, people
    from edgeagent.hub.folder import HubFolder

    keys = keys or people.find_keys(HubFolder((folder or places.hub_folder()).absolute()))
    owner = hubkeys.backup(keys, passphrase.known(keys, passphrase_file), out)
    typer.echo(f"the owner's keys of {owner.hub} are also in {out}; keep it, and its passphrase, away from the hub")


@app.command()
def rotate(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, operator, admin, group-viewer or group-operator.")],
    folder: HubDir = None,
    keys: OwnerKeys = None,
    passphrase_file: passphrase.PassphraseFile = None,
) -> None:
    """Give a role of people a new signing key, and have every device follow it. Runs on the hub's own machine, while the hub is up.

    Every login of that role ends; make new ones with `edgeagent operator add`. Make a new backup of the owner's keys afterwards.
    When it is broken off, do it again: it goes on where it stopped.

    Example: edgeagent hub keys rotate operator
    """
    from edgeagent.assembly import people
    from edgeagent.assembly.rotation import ROTATED
    from edgeagent.assembly.rotation import rotate as exchange
    from edgeagent.errors import UsageProblem
    from edgeagent.hub.folder import HubFolder
    from edgeagent.hub.owner import Owner

    chosen = next((known for known in ROTATED if known == role), None)
    if chosen is None:
        raise UsageProblem(
            f"exchange the key of {role!r}", "there is no such role of people", f"take one of {', '.join(ROTATED)}"
        )
    place = HubFolder((folder or places.hub_folder()).absolute())
    others = _check_first(place, f"exchange the key of {role!r}")
    keys = keys or people.find_keys(place)
    secret = passphrase.known(keys, passphrase_file)
    owner = Owner.load(keys, secret)
    running.run(exchange(owner, chosen, place, people.reached(owner, place), keys, secret))
    typer.echo(f"the role {role} has a new key; devices follow it as soon as they are linked")
    typer.echo(
        f"Every login of that role has ended, yours too if it was one: `edgeagent operator add NAME --role {role.removeprefix('group-')}` makes new ones."
    )
    typer.echo(
        "What is in force and was signed with the old key counts for nobody new: sign it again (`edgeagent config history`)."
    )
    _say_copy(place, others)
    typer.echo(f"Make a new backup: `edgeagent hub keys backup --out FILE`. The key is in {keys}, older backups do not have it.")


def _check_first(place: HubFolder, what: str) -> int:
    """How many other servers the hub in ``place`` has. Raises UsageProblem when it is not the first: that one says what roles may do."""
    from edgeagent.errors import UsageProblem

    cluster = place.cluster() if place.exists else None
    if cluster and not cluster.leads_accounts:
        raise UsageProblem(
            what, f"this is server {cluster.number} of the hub", "do it on the first, and copy its keys folder here"
        )
    return cluster.size - 1 if cluster else 0


def _say_copy(place: HubFolder, others: int) -> None:
    if others:
        typer.echo(f"Copy what is in {place.keys} to the same folder of the {others} other servers of the hub, with its modes.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of the owner's keys.")],
    folder: HubDir = None,
    passphrase_file: passphrase.PassphraseFile = None,
) -> None:
    """Put the owner's keys in place, and make the hub's own keys and options of them, where they are missing.

    Example: edgeagent hub keys restore /media/usb/berlin.keys
    """
    from edgeagent.assembly import hubkeys
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    done = hubkeys.restore(file, passphrase.known(file, passphrase_file), place)
    for what in done.made:
        typer.echo(f"restored {what}")
    if not done.made:
        typer.echo(f"nothing was missing: {done.keys} and {place.keys} are there")


@app.command()
def update(folder: HubDir = None, keys: OwnerKeys = None, passphrase_file: passphrase.PassphraseFile = None) -> None:
    """Make and sign what a newer edgeagent wants, and write the hub's keys anew where they differ from the owner's.

    Example: edgeagent hub keys update
    """
    from edgeagent.assembly import hubkeys, people
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    others = _check_first(place, "update the hub's keys")
    keys = keys or people.find_keys(place)
    done = hubkeys.update(keys, passphrase.known(keys, passphrase_file), place)
    if not done.changed:
        typer.echo("everything is up to date")
        return
    typer.echo(f"updated {keys} and {place.keys}" + (f"; new: {', '.join(done.added)}" if done.added else ""))
    _say_copy(place, others)
    if done.added:
        typer.echo("Back the owner's keys up again. Then restart `edgeagent hub up`.")


@app.command("passphrase")
def change(
    folder: HubDir = None,
    keys: OwnerKeys = None,
    passphrase_file: passphrase.PassphraseFile = None,
    new_file: passphrase.NewPassphraseFile = None,
    no_passphrase: passphrase.NoPassphrase = False,
) -> None:
    """Give the owner's keys another passphrase. Backups keep the one that they have.

    Example: edgeagent hub keys passphrase
    """
    from edgeagent.assembly import hubkeys, people
    from edgeagent.hub.folder import HubFolder
    from edgeagent.hub.owner import Owner

    keys = keys or people.find_keys(HubFolder((folder or places.hub_folder()).absolute()))
    old = passphrase.known(keys, passphrase_file)
    Owner.load(keys, old)  # before anybody is asked for a new one
    new = passphrase.new(new_file, no_passphrase=no_passphrase, variable=None, option="--new-passphrase-file")
    owner = hubkeys.change_passphrase(keys, old, new)
    typer.echo(f"the owner's keys of {owner.hub} in {keys} have {'another' if new else 'no'} passphrase now")
