"""Files to devices and from them: pieces that are stored at the hub, and a signed command that says what they must make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import Failed, Refused, UsageProblem
from edgeagent.fleet import fileroom, filesource
from edgeagent.fleet.allowed import unless_forbidden
from edgeagent.fleet.commandrun import Running
from edgeagent.fleet.commandstatus import Row
from edgeagent.fleet.filefetch import Download, handed_over
from edgeagent.fleet.filesource import Source
from edgeagent.transfer import length_of

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet

__all__ = ["Files"]

#: Is told how many bytes are over, of how many.
Progress = Callable[[int, int], None]


def _nobody(done: int, size: int) -> None:
    pass


class Files:
    """``fleet.files``.

    >>> async with Fleet() as fleet:                                     # doctest: +SKIP
    ...     running = await fleet.files.push(Path("menu.json"), "/srv/shop/menu.json", groups=["berlin"])
    ...     print(await running.wait(60))
    ...     await fleet.files.pull("pi-01", "/var/log/shop/till.log", Path("till.log"))
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def push(self, local: Path, to: str, *, mode: str = "", progress: Progress = _nobody, **selection: Any) -> Running:
        """Upload the file ``local``, and command the devices of the selection to put it at the path ``to``.

        mode: its permissions there, three octal digits; empty: those of the file that it replaces, else 644.
        selection: whom, and how long, as for :meth:`Commands.prepare <edgeagent.fleet.commands.Commands.prepare>`; errors too. Nothing
        is uploaded when the command would be refused.
        """
        source = await filesource.read(local)
        order = await self._fleet.commands.prepare("file.push", source.arguments(to, mode), **selection)
        await self.upload(source, progress)
        return await self._fleet.commands.send(order.renewed())

    async def upload(self, source: Source, progress: Progress = _nobody, there: Collection[int] = frozenset()) -> None:
        """Store its pieces at the hub, where they stay for 8 days. there: numbers of those that it has already.

        Raises Refused when the login may not, Failed when the hub has no room or the file changed meanwhile, Unreachable.
        """
        what, client = f"upload {source.path.name}", self._fleet.client
        await fileroom.check(client, source.size - sum(length_of(number, source.size) for number in there))
        name = self._fleet.login.name
        refusal = Refused(
            what,
            f"the login {name} may not store files for devices",
            "ask whoever made it; a login from before there were files is renewed with `edgeagent operator add`",
        )
        first, storing = source.subject(1), filesource.store(client, source, lambda done: progress(done, source.size), there)
        await unless_forbidden(client, first, storing, refusal)

    async def pull(
        self,
        device: str,
        path: str,
        local: Path,
        *,
        overwrite: bool = False,
        timeout: float | None = None,
        progress: Progress = _nobody,
        **more: Any,
    ) -> Path:
        """Have the device hand over its file ``path``, and write it to ``local``; a folder: under its own name there. The path of it.

        timeout: how long to wait for the device, in seconds; None: until the command expires. more: as for :meth:`push`.
        Raises Refused when there is such a file here and ``overwrite`` does not say otherwise, Failed when the device did not do it.
        """
        target = local_target(local, path, overwrite=overwrite)
        running = await self._fleet.commands.run("file.pull", {"path": path}, devices=[device], **more)
        rows = await running.wait(timeout)
        download = await self.fetch(rows[device], progress)
        with download:
            await asyncio.to_thread(download.write_to, target, overwrite=overwrite)
        return target

    async def fetch(self, row: Row, progress: Progress = _nobody) -> Download:
        """The file that a device has handed over, checked, in a temporary file. row: the device's, of a ``file.pull``.

        Raises Failed when the device has not succeeded, or the hub does not have what it says; Unreachable.
        """
        what = f"fetch the file of {row.id}"
        if row.state != "succeeded":
            raise Failed(
                what, f"it {row.state}{f': {row.reason}' if row.reason else ''}" if row.is_over else "it has not answered yet"
            )
        found = handed_over(row)
        download = Download(found)
        try:
            await download.fetch(self._fleet.client, row.id, lambda done: progress(done, found.bytes))
        except BaseException:
            download.close()
            raise
        return download


def local_target(local: Path, path: str, *, overwrite: bool) -> Path:
    """Where the device's file ``path`` goes. Raises UsageProblem when it cannot go there."""
    target = local / path.rpartition("/")[2] if local.is_dir() else local
    what = f"write {target}"
    if not target.parent.is_dir():
        raise UsageProblem(what, f"there is no folder {target.parent}")
    if target.is_dir() or (target.exists() and not overwrite):
        remedy = "" if target.is_dir() else "say --force to replace it"
        raise UsageProblem(what, "it is a folder" if target.is_dir() else "it is there already", remedy)
    return target
