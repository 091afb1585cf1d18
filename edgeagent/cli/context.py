"""``edgeagent context``: which hub the commands speak to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent import context, files
from edgeagent.cli.options import Json, Output
from edgeagent.cli.table import Column, Form, emit

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Which hub the commands speak to.\n\nExample: edgeagent context use berlin")


@app.command("ls")
def ls(output: Output = Form.table, as_json: Json = False) -> None:
    """List the contexts; the current one is marked.

    Example: edgeagent context ls
    """
    current = context.current_name()
    rows = []
    for name in context.names():
        found = context.load(name)
        rows.append({"id": name, "current": name == current, "url": found.url, "credentials": found.credentials})
    columns = [Column("current", lambda on: "*" if on else ""), Column("id"), Column("url"), Column("credentials")]
    emit(rows, columns, Form.json if as_json else output)
    if not rows:
        typer.echo("There are none yet: `edgeagent hub init` makes one, `edgeagent context add` too.", err=True)


@app.command()
def use(name: str) -> None:
    """Make NAME the current context.

    Example: edgeagent context use berlin
    """
    context.use(name)
    typer.echo(f"{name} is current now")


@app.command()
def add(
    name: str,
    url: Annotated[str, typer.Option(help="Where operators reach the hub, e.g. nats://hub.example:4222.")],
    credentials: Annotated[Path, typer.Option(help="Your .creds file.", metavar="FILE")],
    authorities: Annotated[
        Path | None,
        typer.Option(help="Certificate authorities of the hub (PEM); the system's if not given.", metavar="FILE"),
    ] = None,
) -> None:
    """Remember a hub as NAME and make it current.

    Example: edgeagent context add berlin --url nats://hub.example:4222 --credentials olga.creds
    """
    from edgeagent.trust import creds

    context.check_url(url)
    creds.load(credentials)
    if authorities is not None:
        files.read_text(authorities)
    made = context.Context(
        name=name,
        url=url,
        credentials=str(credentials.absolute()),
        authorities=str(authorities.absolute()) if authorities else "",
    )
    context.save(made, make_current=True)
    typer.echo(f"{name} is current now")


@app.command("set")
def set_(
    url: Annotated[str, typer.Option(help="Where operators reach the hub now; several servers of it with commas.")],
    name: Annotated[str | None, typer.Argument(help="Which context; the current one if not given.")] = None,
) -> None:
    """Reach the hub of a context at another address, with the same login: it was moved.

    Example: edgeagent context set --url tls://hub2.example:4222
    """
    import msgspec

    context.check_url(url)
    found = context.load(name)
    context.save(msgspec.structs.replace(found, url=url), make_current=False)
    typer.echo(f"{found.name} is at {url} now; before: {found.url}")


@app.command("import")
def accept(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `edgeagent operator add` made for you (NAME.context).")],
    name: Annotated[str | None, typer.Option(help="What to call it; like the hub if not given.")] = None,
) -> None:
    """Keep what you were given to use a hub, and make it current. A newer file of the same person replaces an older one.

    Example: edgeagent context import olga.context
    """
    from edgeagent.assembly import people

    made = people.accept(file, name)
    typer.echo(f"{made.name} is current now; {file} is still secret and not needed any more")


@app.command()
def rm(name: str) -> None:
    """Forget the context NAME, with the login that was imported with it; a credentials file elsewhere stays.

    Example: edgeagent context rm berlin
    """
    context.load(name)
    context.remove(name)
    typer.echo(f"forgot {name}")
