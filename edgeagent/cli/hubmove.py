"""``edgeagent hub move``: devices go to another hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import completion, config_show, running
from edgeagent.cli.cmd_options import seconds
from edgeagent.cli.config_options import Note, scope_of
from edgeagent.cli.harmless import harmless, json_text
from edgeagent.cli.options import ContextName
from edgeagent.cli.table import Column, Form, emit
from edgeagent.errors import Refused, UsageProblem

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet
    from edgeagent.fleet.config import Written
    from edgeagent.fleet.hubmoves import Move, Progress
    from edgeagent.fleet.states import Known
    from edgeagent.subjects import Scope

__all__ = ["move"]

#: Exit codes: a device came back, or could not go; not all were there in time.
FAILED, TOO_LATE = 3, 4
_WHAT = "move the devices"


def move(
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URL[,URL..]...",
            help="Where the hub takes devices; servers of one hub with commas. More of them are hubs for when the first is away.",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("-g", "--group", help="The devices of this group.", metavar="GROUP", autocompletion=completion.groups),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("-d", "--device", help="This device alone.", metavar="ID", autocompletion=completion.devices),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", "--fleet", help="The whole fleet.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Send them back to where they were before. Give it on the hub where they are now.")
    ] = False,
    client_url: Annotated[
        str,
        typer.Option(
            help="Where you reach the new hub; if not given, as you reach this one, on the new hub's host.", metavar="URL"
        ),
    ] = "",
    sync: Annotated[
        bool, typer.Option("--sync", help="Bring over what the new hub lacks: configuration, commands, who may sign.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Move them although the new hub lacks something.")] = False,
    wait: Annotated[str, typer.Option(help="The longest to wait for the devices that are online: 90s, 10m; 0s: not.")] = "10m",
    dry: Annotated[bool, typer.Option("--dry-run", help="Only look at the new hub, and show what would change.")] = False,
    note: Note = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    context: ContextName = None,
) -> None:
    """Send devices to another hub of the same keys, and wait until they are there.

    Each looks at the new hub first, keeps its old one as the way back, and says why where it can't go. Exits with 3 if one could not, with
    4 when the time is over. docs/move.md has all of a hub's move.

    Example: edgeagent hub move tls://hub2.example:7422 -g canary
    """
    if bool(urls) == undo:
        if urls:
            raise UsageProblem(_WHAT, "--undo knows where to", "name an address or --undo, not both")
        raise UsageProblem(
            _WHAT, "no address is named", "name where the new hub takes devices: tls://hub2.example:7422; or --undo"
        )
    scope, patience = scope_of(everybody, group, device), 0.0 if wait.strip() in ("0", "0s") else seconds(wait)
    order = _Order(scope, urls or [], undo, client_url, sync, anyway, patience, dry, note, as_json)
    try:
        code = running.run(order.carry_out(context))
    except KeyboardInterrupt:
        if order.is_written:
            typer.echo("\nDevices go on with it: the same order again waits for them, and --undo sends them back.", err=True)
        raise typer.Exit(130) from None
    if code:
        raise typer.Exit(code)


class _Order:
    """One move, as it was typed."""

    def __init__(
        self,
        scope: Scope,
        urls: list[str],
        undo: bool,
        client_url: str,
        sync: bool,
        anyway: bool,
        patience: float,
        dry: bool,
        note: str,
        as_json: bool,
    ) -> None:
        self.scope, self.urls, self.undo, self.client_url = scope, urls, undo, client_url
        self.is_written = False  # the document that sends them
        self.is_same = False  # as the hub that the context is of
        self.sync, self.anyway, self.patience, self.dry, self.note, self.as_json = sync, anyway, patience, dry, note, as_json

    async def carry_out(self, context: str | None) -> int:
        """The exit code."""
        from edgeagent.fleet import Fleet, configscope
        from edgeagent.fleet.hubmoves import Move
        from edgeagent.fleet.states import State, state_of

        async with Fleet(context) as here:
            roster = await here.roster()
            configscope.check_exists(roster, self.scope, here.login.groups)
            members = configscope.members(roster, self.scope)
            entries, change = await self._wished(here, members)
            async with self._there(context, entries, is_hearsay=change is None) as there:
                self._greet()
                since = (await there.roster()).time
                made = await self._write(here, there, change)
                if self.dry:
                    return 0
                move = Move(
                    ids=[known.id for known in members],
                    entries=entries,
                    present=frozenset(known.id for known in members if state_of(known, roster.time) is State.ONLINE),
                    since=since,
                    scope=self.scope,
                    generation=made.generation,
                )
                return await self._follow(here, there, move, made)

    def _greet(self) -> None:
        if self.is_same:
            self._say(
                f"NOTE: {self.client_url} is the hub that you are at, so nothing is compared; --client-url if it goes to another"
            )
        else:
            self._say(f"the hub at {self.client_url} takes your login: it has the same keys")

    async def _wished(self, here: Fleet, members: Sequence[Known]) -> tuple[list[str], list[str] | None]:
        """Where the devices will be, and what to write for it; None: nothing any more."""
        from edgeagent.fleet import hubmoves

        if not self.undo:
            hubmoves.check_entries(self.urls)
            return self.urls, self.urls
        change = hubmoves.entries_before(await here.config.history(self.scope))
        if change is not None:
            return change, change
        said = [known.config.settings.get(hubmoves.KEY) for known in members if known.config]
        own = [entry for entries in said if isinstance(entries, list) for entry in entries if isinstance(entry, str)]
        return list(dict.fromkeys(own)), None

    @asynccontextmanager
    async def _there(self, context: str | None, entries: Sequence[str], *, is_hearsay: bool) -> AsyncIterator[Fleet]:
        """The new hub, with this login. Raises EdgeError when it can't be reached, or is another one."""
        import asyncio
        from pathlib import Path

        from edgeagent import context as contexts
        from edgeagent import servers
        from edgeagent.doctor.probe import probe
        from edgeagent.fleet import Fleet, hubmoves

        chosen = contexts.load(context)
        self.client_url = self.client_url or hubmoves.trusted_url(entries, chosen.url, is_hearsay=is_hearsay)
        self.is_same = bool({*servers.split(self.client_url)} & {*servers.split(chosen.url)})
        authorities = Path(chosen.authorities) if chosen.authorities else None
        if not self.undo:
            for url in servers.split(entries[0]):
                found = await asyncio.to_thread(probe, url, "", authorities)
                why = "; ".join(found.unknown.values()) or found.silence or (found.distrust[1] if found.distrust else "")
                if why and not self.anyway:
                    remedy = "`--anyway` if only devices can reach it, and not this machine"
                    raise Refused(_WHAT, f"{url} does not answer here as a hub does: {why}", remedy)
        keys = Path(chosen.role_keys) if chosen.role_keys else None
        async with Fleet(
            url=self.client_url, credentials=Path(chosen.credentials), authorities=authorities, role_keys=keys
        ) as there:
            yield there

    async def _write(self, here: Fleet, there: Fleet, change: list[str] | None) -> Written:
        """Have the document say so on both hubs. Raises Refused when the new one lacks something."""
        from edgeagent import subjects
        from edgeagent.fleet import hubheads, hubmoves

        old, new = await hubheads.read_heads(here.client), await hubheads.read_heads(there.client)
        missing = hubheads.lacks(old, new, await here.pins())
        for line in missing.lines():
            self._say(f"NOTE: {line}")
        if missing.devices:
            self._say(f"NOTE: not in its register: {', '.join(missing.devices[:10])}; it takes them in when they come")
        if missing and not (self.sync or self.anyway or self.dry):
            raise Refused(_WHAT, "the new hub lacks what this one has", "`--sync` brings it over, `--anyway` goes without")
        if missing and self.sync and not self.dry:
            await hubheads.sync(there.client, old, new, missing, anyway=self.anyway)
        made = await self._change(here, change)
        if not self.as_json:
            config_show.written(made, as_json=False, dry=self.dry)
        self.is_written = not self.dry
        if not (self.dry or self.is_same):
            subject = subjects.document(self.scope)
            stored = (await hubheads.read_heads(here.client)).documents[subject]
            before = (await hubheads.read_heads(there.client)).documents.get(subject)
            await hubheads.bring_document(there.client, stored, before)
        return made if made.changes or self.dry else self._unchanged(made, hubmoves.KEY)

    def _unchanged(self, made: Written, key: str) -> Written:
        self._say(f"{key} was so already; devices that gave it up try it again seldom: restart their agents, or change it")
        return made

    async def _change(self, here: Fleet, change: list[str] | None) -> Written:
        from edgeagent.fleet import configchange
        from edgeagent.fleet.hubmoves import KEY

        base = await here.config.read(self.scope)
        note = self.note or ("hub move --undo" if self.undo else "hub move")
        ready = (await here.config.ground(self.scope)).values(force=False)
        after = configchange.remove(ready, [KEY]) if change is None else configchange.assign(ready, {KEY: change})
        return await here.config.replace(self.scope, after, note=note, base=base, dry=self.dry)

    async def _follow(self, here: Fleet, there: Fleet, move: Move, made: Written) -> int:
        """Show where the devices are until each has come, or said why not, or the time is over; the exit code."""
        import asyncio

        from edgeagent.fleet import hubmoves
        from edgeagent.fleet.hubmoves import Progress, Where

        clock = asyncio.get_running_loop().time
        deadline, said, found = clock() + self.patience, "", Progress([])
        steps = hubmoves.follow(here, there, move)
        try:
            async for found in steps:
                line = f"{len(found.of(Where.MOVED))} moved · {len(found.of(Where.STAYED))} stayed · {len(found.of(Where.WAITING))} to come"
                if line != said:
                    self._say(line)
                said = line
                if not found.of(Where.WAITING) or clock() >= deadline:
                    break
        finally:
            await steps.aclose()
        self._show(found, made)
        return FAILED if found.of(Where.STAYED) else TOO_LATE if found.of(Where.WAITING) else 0

    def _show(self, found: Progress, made: Written) -> None:
        from edgeagent.fleet.hubmoves import Where

        rows = [row.as_dict() for row in found.rows]
        if self.as_json:
            print(json_text({**made.as_dict(), "client_url": self.client_url, "devices": rows}, indent=2))
            return
        emit(rows, [Column("id"), Column("where"), Column("at", narrow="wrap"), Column("why", narrow="wrap")], Form.table)
        if found.of(Where.STAYED):
            self._say("Who stayed tries again within hours, or at once when hub.urls changes: move them elsewhere, or `--undo`")
        if found.of(Where.MOVED) and not self.is_same:
            self._say(f"To work at that hub: `edgeagent context set --url {self.client_url}`")
        if not found.of(Where.MOVED) and len(found.of(Where.AWAY)) == len(rows):
            self._say(
                "None of them is online at this hub: give the order at the hub where they are (`edgeagent context set --url`)"
            )

    def _say(self, text: str) -> None:
        typer.echo(harmless(text), err=True)
