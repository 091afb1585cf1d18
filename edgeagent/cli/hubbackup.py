"""``edgeagent hub backup`` and ``edgeagent hub restore``."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent import places
from edgeagent.cli import running
from edgeagent.cli.options import HubDir
from edgeagent.errors import UsageProblem

if TYPE_CHECKING:
    from edgeagent.assembly.hubrestore import Restored
    from edgeagent.hub.backupfile import Manifest

__all__ = ["backup", "restore"]

Json = Annotated[bool, typer.Option("--json", help="A summary as JSON.")]
_Port = Annotated[int | None, typer.Option(help="Another port for operators.", min=1, max=65535)]

#: What a person did since a backup that the restored hub knows nothing of, and how it is done again.
AGAIN = (
    ("devices that were revoked or forgotten", "edgeagent device revoke|forget"),
    ("groups and labels of devices that were changed", "edgeagent device group|label"),
    ("people who were revoked, added or renewed", "edgeagent operator revoke|add"),
    ("roles that got a new key", "edgeagent hub keys update"),
    ("tokens that were made, and those that were ended now", "edgeagent token create"),
    ("configuration that was set: devices keep theirs, `edgeagent config status` names what differs", "edgeagent config set"),
)


def backup(
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Where to write it: a file, a folder (then it gets a name of its own), or - for a pipe.", metavar="FILE"
        ),
    ],
    folder: HubDir = None,
    keep: Annotated[
        int, typer.Option("--keep", help="In a folder: remove all but the newest so many afterwards; 0: none.", min=0)
    ] = 0,
    final: Annotated[
        bool,
        typer.Option(
            "--final", help="The hub is stopped and moves: nothing comes after this backup, and it is not started again here."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Back the hub up while it runs: its keys, options, certificates, accounts and every stream. Runs on the hub's own machine.

    SECRETS are inside: the file is yours alone (0600), and should be encrypted where others could read it. The owner's keys are not in it:
    `edgeagent hub keys backup`.

    Example: edgeagent hub backup --out - | age -r age1... > hub.tar.age
    """
    from edgeagent.assembly import backupplace
    from edgeagent.assembly.hubbackup import back_up
    from edgeagent.hub.folder import HubFolder

    place = HubFolder((folder or places.hub_folder()).absolute())
    target, name = out, place.options().name
    if out != backupplace.STDIO and out.is_dir():
        target = backupplace.file_in(out, name, datetime.now(timezone.utc))
        for path in backupplace.abandoned(out, name):
            path.unlink(missing_ok=True)
    elif keep:
        raise UsageProblem("keep the newest backups", f"{out} is no folder", "name one that is there with --out")
    with backupplace.written(target) as file:
        room = backupplace.keeps_room(target, place.path / "store")
        manifest = running.undone_if_ended(back_up(place, file, final=final, progress=_progress(), room=room))
    if final:
        place.retire(manifest.ended)
    removed = backupplace.outdated(out, name, keep) if keep else []
    for path in removed:
        path.unlink(missing_ok=True)
    _say_backup(manifest, target, removed, as_json=as_json)


def _say_backup(manifest: Manifest, target: Path, removed: list[Path], *, as_json: bool) -> None:
    to_pipe = str(target) == "-"
    if as_json:
        summary = {"file": str(target), **_summary(manifest), "removed": [str(path) for path in removed]}
        print(json.dumps(summary, indent=2), file=sys.stderr if to_pipe else sys.stdout)
        return
    typer.echo(f"backed the hub {manifest.hub!r} up" + ("" if to_pipe else f" into {target}"), err=to_pipe)
    typer.echo(f"  {_counts(manifest)}", err=to_pipe)
    typer.echo("Its keys are inside: keep it as you keep them. The owner's keys are not: `edgeagent hub keys backup`.", err=True)
    if manifest.final:
        typer.echo(
            "This hub is not started again here. Restore the backup where it is to run: `edgeagent hub restore`.", err=True
        )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup; - reads it from a pipe.")],
    folder: HubDir = None,
    check: Annotated[bool, typer.Option("--check", help="Only look whether it is whole, and what is in it.")] = False,
    listen: Annotated[str | None, typer.Option(help="Another address to listen on.")] = None,
    advertise: Annotated[str | None, typer.Option(help="Another name or address that others use for the hub.")] = None,
    client_port: _Port = None,
    leaf_port: Annotated[int | None, typer.Option(help="Another port for devices.", min=1, max=65535)] = None,
    websocket_port: Annotated[int | None, typer.Option(help="Another port for websockets; 0: none.", min=0, max=65535)] = None,
    store_bytes: Annotated[int | None, typer.Option(help="Another limit of the disk for the streams, in bytes.")] = None,
    tls_name: Annotated[
        list[str] | None,
        typer.Option(help="One more name or address for the hub's own certificate (repeatable).", metavar="NAME"),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(help="Make it a hub of so many servers, in DIR, DIR-2, ...: 3 or 5; 1: of one.", min=1),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="Where one of them is reached (repeat it for each); if not given, all run on this machine.", metavar="HOST"
        ),
    ] = None,
    route_port: Annotated[int, typer.Option(help="Port on which they reach each other.", min=1, max=65535)] = 6222,
    old: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the hub as it was, if it is still there: who was kept out since stays out.", metavar="DIR"
        ),
    ] = None,
    keep_tokens: Annotated[
        bool, typer.Option("--keep-tokens", help="Tokens go on to let devices in, although they may have been used since.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a hub of a backup, in a folder that is not there yet. It is the same hub: devices and people are let in as before.

    What was decided since the backup is undone, and is said; `edgeagent hub up` starts it.

    Example: edgeagent hub restore hub.tar --dir /var/lib/edgeagent-hub
    """
    from edgeagent.assembly import backupplace, hubrestoreplan
    from edgeagent.assembly.hubrestore import restore as make
    from edgeagent.hub.backupfile import check as look
    from edgeagent.hub.folder import HubFolder

    if check:
        with backupplace.opened(file) as source:
            manifest = look(source).manifest
        _say_checked(manifest, file, as_json=as_json)
        return
    place = HubFolder((folder or places.hub_folder()).absolute())
    changes = {
        "listen": listen,
        "advertise": advertise,
        "client_port": client_port,
        "leaf_port": leaf_port,
        "websocket_port": websocket_port,
        "store_max_bytes": store_bytes,
        "tls_names": tls_name,
    }
    changed = {key: value for key, value in changes.items() if value is not None}
    how = {"size": cluster, "hosts": server or (), "route_port": route_port}
    with backupplace.opened(file) as source:
        made = running.undone_if_ended(
            make(
                source,
                lambda *before: hubrestoreplan.members(place, before, changed, **how),  # type: ignore[arg-type]  # of these words
                keep_tokens=keep_tokens,
                old=HubFolder(old.absolute()) if old else None,
                progress=_progress(),
            )
        )
    _say_restored(made, server or [], with_dir=folder is not None, as_json=as_json)


def _say_checked(manifest: Manifest, file: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"file": str(file), **_summary(manifest)}, indent=2))
        return
    typer.echo(f"{file} is whole: the hub {manifest.hub!r} at {manifest.ended}{' (final)' if manifest.final else ''}")
    typer.echo(f"  {_counts(manifest)}")
    typer.echo(f"  operator {manifest.operator}   (`edgeagent hub keys show` names that of yours)")
    for name, one in manifest.streams.items():
        typer.echo(
            f"  {name:<24} {one.state.messages:>10} messages, {one.state.first_seq} to {one.state.last_seq}, at {one.time}"
        )


def _say_restored(made: Restored, hosts: list[str], *, with_dir: bool, as_json: bool) -> None:
    manifest, folders = made.manifest, [str(member.place.path) for member in made.members]
    again = [] if manifest.final else [{"what": what, "how": how} for what, how in AGAIN]
    if as_json:
        more = {"dirs": folders, "tokens_ended": made.tokens, "newer_accounts": made.newer_accounts, "do_again": again}
        print(json.dumps({**_summary(manifest), **more}, indent=2))
        return
    typer.echo(f"restored the hub {manifest.hub!r} in {', '.join(folders)}, as it was at {manifest.ended}")
    typer.echo(f"  {_counts(manifest)}")
    if made.newer_accounts:
        typer.echo("  who was kept out since then stays out: the old folder said so")
    if made.tokens:
        typer.echo(f"  ended {len(made.tokens)} tokens, which may have been used since: {', '.join(made.tokens)}")
    if again:
        typer.echo("What was decided since then it does not know. Do again what applies:")
        for one in again:
            typer.echo(f"  - {one['what']}: `{one['how']}`")
        typer.echo("Devices keep what they have: what they measured since is forwarded again, and no command runs twice.")
    typer.echo("See to it that the old one is not started again.")
    typer.echo(
        "People whose context names another address: `edgeagent context set --url URL`, as `edgeagent hub status` shows it."
    )
    from edgeagent.assembly.hubcluster import copies

    for command in copies(made.members, hosts):
        typer.echo(f"Copy one server's folder to its machine, with its keys: `{command}`")
    up = [f"`edgeagent hub up{f' --dir {path}' if with_dir or path != folders[0] else ''}`" for path in folders]
    typer.echo(f"Next: {f'{up[0]} on each of them' if hosts else ', '.join(up)}.")


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "hub": manifest.hub,
        "operator": manifest.operator,
        "began": manifest.began,
        "ended": manifest.ended,
        "final": manifest.final,
        "edgeagent": manifest.edgeagent,
        "server": manifest.server,
        "bytes": sum(one.snapshot.size for one in manifest.streams.values()),
        "streams": [
            {
                "id": name,
                "time": one.time,
                "messages": one.state.messages,
                "first": one.state.first_seq,
                "last": one.state.last_seq,
                "bytes": one.snapshot.size,
            }
            for name, one in manifest.streams.items()
        ],
    }


def _counts(manifest: Manifest) -> str:
    messages = sum(one.state.messages for one in manifest.streams.values())
    size = sum(one.snapshot.size for one in manifest.streams.values())
    return f"{len(manifest.streams)} streams with {messages:,} messages, {_size(size)}; {len(manifest.files)} files"


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.0f} KiB"


def _progress() -> Any:
    """For a terminal alone: one line that is written again and again."""
    if not sys.stderr.isatty():
        return None

    def show(stream: str, done: int, about: int) -> None:
        print(f"\r\x1b[K{stream}  {done >> 20} of about {about >> 20} MiB", end="", file=sys.stderr, flush=True)

    return show
