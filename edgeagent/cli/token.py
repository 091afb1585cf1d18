"""``edgeagent token``: let devices in. A token is made here, and used up on the devices with `edgeagent enroll`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from edgeagent import servers
from edgeagent.cli import expiry, running
from edgeagent.cli.options import ContextName, Json, Output
from edgeagent.cli.table import Column, Form, emit
from edgeagent.errors import UsageProblem
from edgeagent.times import duration

__all__ = ["app"]

if TYPE_CHECKING:
    from edgeagent.tokens import TokenList, TokenMade, TokenRow, TokenWanted

#: Where `edgeagent enroll` looks for a hub unless it is told.
USUAL_PORT = 7422
#: How many ids a warning names.
_NAMED = 5

app = typer.Typer(
    no_args_is_help=True, help="Let devices in, with claim tokens.\n\nExample: edgeagent token create --groups berlin --uses 20"
)


@app.command()
def create(
    groups: Annotated[
        str, typer.Option(help="Groups of the devices, separated by commas, in the order in which their config applies.")
    ] = "",
    label: Annotated[
        list[str] | None,
        typer.Option("-l", "--label", help="A label that the hub gives the devices (repeatable).", metavar="KEY=VALUE"),
    ] = None,
    uses: Annotated[int, typer.Option(help="How many devices it lets in, 1000 at most.", metavar="N")] = 1,
    expires: Annotated[
        float, typer.Option(help="How long it is good: 90m, 24h, 30d, a year at most.", parser=expiry.parse, metavar="TIME")
    ] = "24h",  # type: ignore[assignment]  # typer gives the default to the parser
    device: Annotated[str, typer.Option(help="The id that the device gets; without it the device chooses.", metavar="ID")] = "",
    replaces: Annotated[
        str,
        typer.Option(
            help="A new board takes over this id with its groups, labels, config and history; the old one is kept out.",
            metavar="ID",
        ),
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A list of boards, a CSV with the columns serial, mac, id, groups, labels: each gets its own id, once. "
            "Groups as a;b or a,b, labels as k=v;k=v. 1000 boards and 200 KB at most.",
            metavar="FILE",
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for; `token ls` shows it.", metavar="TEXT")] = "",
    as_json: Json = False,
    context: ContextName = None,
) -> None:
    """Make a token and print it, and nothing else, on standard output. Needs the role admin.

    Whoever has the token can become a device as often as it may be used, so hand it over a safe way.

    Example: edgeagent token create --groups berlin,shops --label site=berlin --uses 20 --expires 24h
    """
    wanted = _wanted(groups, label or [], uses, expires, device, replaces, file, note)
    made, host = running.run(_create(context, wanted))
    if as_json:
        print(json.dumps({"id": made.id, "token": made.token, "hub": host, "uses": made.uses, "expires_at": made.expires_at}))
        _warn(made)
        return
    print(made.token)
    lets = f"{made.uses} device{'s' * (made.uses != 1)}" if not (device or replaces) else device or replaces
    good = duration(made.expires_at - time.time())
    typer.echo(
        f"The token {made.id} lets in {lets} and is good for {good}. On the device, with the token on standard input:", err=True
    )
    typer.echo(f"  sudo edgeagent install --hub {host} --token-file -", err=True)
    typer.echo("or `edgeagent enroll` in the place of `sudo edgeagent install`, where it is to be no service.", err=True)
    typer.echo(f"`edgeagent token revoke {made.id}` ends it before its time.", err=True)
    _warn(made)


def _warn(made: TokenMade) -> None:
    """Of ids that two open tokens give: the second board to come is refused."""
    others: dict[str, list[str]] = {}
    for device, other in made.elsewhere.items():
        others.setdefault(other, []).append(device)
    for other, devices in others.items():
        named = ", ".join(devices[:_NAMED]) + (f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else "")
        typer.echo(f"NOTE: the open token {other} gives {named} too; whichever board comes first gets the id.", err=True)
        typer.echo(f"`edgeagent token revoke {other}` ends that one.", err=True)


def _wanted(
    groups: str, labels: list[str], uses: int, expires: float, device: str, replaces: str, file: Path | None, note: str
) -> TokenWanted:
    from edgeagent import files
    from edgeagent.hub import boards, tokens
    from edgeagent.tokens import TokenWanted

    try:
        given = boards.read_labels(labels)
    except ValueError as error:
        raise UsageProblem("make a token", str(error)) from None
    wanted = TokenWanted(
        expires_in_seconds=expires,
        uses=uses,
        groups=[name.strip() for name in groups.split(",") if name.strip()],
        labels=given,
        device=device,
        replaces=replaces,
        note=note,
        boards=boards.parse(files.read_text(file), str(file)) if file else [],
    )
    tokens.check_wanted(wanted)
    return wanted


async def _create(context: str | None, wanted: TokenWanted) -> tuple[TokenMade, str]:
    """The token, and how devices may reach the hub as far as is known here."""
    from edgeagent import context as contexts
    from edgeagent.fleet import admin
    from edgeagent.fleet.tokens import Tokens

    async with admin.connected(context) as (_, orders):
        made = await Tokens(orders).create(wanted)
    if made.hub:
        return made, servers.joined(entry.removesuffix(f":{USUAL_PORT}") for entry in servers.split(made.hub))
    host = made.host or urlsplit(servers.split(contexts.load(context).url)[0]).hostname or "HOST"
    host = f"[{host}]" if ":" in host else host
    return made, host if made.leaf_port == USUAL_PORT else f"{host}:{made.leaf_port}"


@app.command()
def ls(output: Output = Form.table, as_json: Json = False, context: ContextName = None) -> None:
    """List the tokens, the newest first. Those that ended more than 30 days ago are gone. Needs the role admin.

    Example: edgeagent token ls --json
    """
    columns = [
        Column("id"),
        Column("groups"),
        Column("used"),
        Column("left"),
        Column("expires_at", _until),
        Column("state"),
        Column("created_by"),
        Column("for"),
        Column("note"),
        Column("labels", wide=True),
    ]
    found = running.run(_ls(context))
    emit([_row(token) for token in found.tokens], columns, Form.json if as_json else output)
    if not found.tokens:
        typer.echo("There are none: `edgeagent token create` makes one.", err=True)
    if found.omitted:
        typer.echo(f"{found.omitted} older ones are not shown.", err=True)


async def _ls(context: str | None) -> TokenList:
    from edgeagent.fleet import admin
    from edgeagent.fleet.tokens import Tokens

    async with admin.connected(context) as (_, orders):
        return await Tokens(orders).ls()


def _row(token: TokenRow) -> dict[str, Any]:
    for_whom = token.device or (f"in place of {token.replaces}" if token.replaces else "")
    return {
        "id": token.id,
        "groups": token.groups,
        "used": token.used,
        "left": token.left,
        "expires_at": token.expires_at,
        "state": token.state,
        "created_by": token.created_by,
        "created_at": token.created_at,
        "for": for_whom or (f"{token.boards} listed board{'s' * (token.boards != 1)}" if token.boards else "any"),
        "note": token.note or None,
        "labels": token.labels,
    }


def _until(value: Any) -> str:
    left = float(value) - time.time()
    return f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"


@app.command()
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `token ls` lists them.")],
    context: ContextName = None,
) -> None:
    """Let nobody in with these tokens any more; the devices that came in with them stay. Needs the role admin.

    Example: edgeagent token revoke k3v7q2mzx5ab
    """

    async def run() -> list[str]:
        from edgeagent.fleet import admin
        from edgeagent.fleet.tokens import Tokens

        async with admin.connected(context) as (_, orders):
            return await Tokens(orders).revoke(ids)

    for token_id in running.run(run()):
        typer.echo(f"revoked {token_id}")
