"""A release of edgeagent for devices: its wheels for what they run on, at the hub once a day, and the manifest that a command names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import Failed, UsageProblem
from edgeagent.fleet import filesource, wheels
from edgeagent.fleet.filesource import Source
from edgeagent.fleet.states import Known
from edgeagent.fleet.wheels import Platform
from edgeagent.link import Client
from edgeagent.patience import asked
from edgeagent.subjects import API_PREFIX, FILES, file_piece
from edgeagent.transfer import length_of
from edgeagent.upgrade.manifest import Manifest, Wheel, encode, is_version

if TYPE_CHECKING:
    from edgeagent.fleet.client import Fleet
    from edgeagent.fleet.commandorder import Order

__all__ = ["Release", "Upgrades", "platforms_of"]

WHAT = "upgrade"
#: What is asked of the devices that answer: what their environments have.
PACKAGES = "packages"
_PYTHON, _MACHINE = re.compile(r"3\.\d{1,3}(\.|\Z)"), re.compile(r"[a-z0-9_]{1,32}\Z")


@dataclass(frozen=True)
class Release:
    """A release that is ready to be sent. file: its manifest. sources: its wheels, by their names. there: pieces of each that the hub has.

    fetched: how many bytes each device lacks whose environment is known. largest: what any other fetches at most, in bytes.
    """

    manifest: Manifest
    file: Source
    sources: Mapping[str, Source]
    there: Mapping[str, frozenset[int]]
    fetched: Mapping[str, int]

    @property
    def largest(self) -> int:
        return max(sum(wheel.bytes for wheel in self.manifest.wheels_for(each)) for each in self.manifest.sets)

    @property
    def to_upload(self) -> int:
        """In bytes."""
        return self.file.size + sum(source.size - self._at_hub(name) for name, source in self.sources.items())

    def _at_hub(self, name: str) -> int:
        return sum(length_of(number, self.sources[name].size) for number in self.there[name])

    def arguments(self, *, allow_metered: bool) -> dict[str, Any]:
        """Of the command."""
        metered = {"allow_metered": True} if allow_metered else {}
        return {**self.file.uploaded(), "version": self.manifest.version, **metered}


class Upgrades:
    """``fleet.upgrades``. A release is prepared, looked at, uploaded, and then commanded as ``agent.upgrade``."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def prepare(
        self,
        version: str,
        order: Order,
        folder: Path,
        *,
        wheels_folder: Path | None = None,
        newest: bool = False,
    ) -> Release:
        """Everything that the devices of ``order`` need for ``version``, in ``folder``, which is needed until it is uploaded.

        order: any command for them that is ready. wheels_folder: where the wheels are; None: they are fetched by pip. newest: of what
        edgeagent needs take the newest, and not what the devices have already.
        Raises UsageProblem, Failed when a wheel is not to be had, Unreachable.
        """
        if not is_version(version):
            raise UsageProblem(WHAT, f"{version!r} is no version", "a version is such as 0.2.0")
        found = platforms_of(order.devices)
        present = {} if newest else await self._present(order)
        paths: dict[Platform, list[Path]] = {}
        for platform in sorted(set(found.values())):
            has = [present[device] for device, other in found.items() if other == platform and device in present]
            paths[platform] = await asyncio.to_thread(_collect, version, platform, folder, wheels_folder, has)
        day = order.roster.time.date().isoformat()
        sources = {path.name: await _of_the_day(path, day) for path in {path for each in paths.values() for path in each}}
        sets = {str(platform): [path.name for path in each] for platform, each in paths.items()}
        return await self._release(version, sources, sets, folder / "release.json", present, found)

    async def _release(
        self,
        version: str,
        sources: Mapping[str, Source],
        sets: dict[str, list[str]],
        file: Path,
        present: Mapping[str, dict[str, str]],
        found: Mapping[str, Platform],
    ) -> Release:
        manifest = Manifest(version=version, wheels=[_wheel(source) for source in sources.values()], sets=sets)
        file.write_bytes(encode(manifest))
        return Release(
            manifest=manifest,
            file=await filesource.read(file),
            sources=sources,
            there={name: await pieces_there(self._fleet.client, source.upload) for name, source in sources.items()},
            fetched={
                device: sum(wheel.bytes for wheel in manifest.lacking(str(found[device]), has))
                for device, has in present.items()
                if device in found
            },
        )

    async def _present(self, order: Order) -> dict[str, dict[str, str]]:
        """What the environments of those devices have that answer now."""
        ids, scopes, target = {known.id for known in order.devices}, order.aim.scopes, order.aim.target
        outcome = await self._fleet.query(
            target.where,
            select=[PACKAGES],
            labels=[f"{key}={value}" for key, value in target.labels.items()],
            groups=[scope.name for scope in scopes if scope.kind == "group"],
            devices=[scope.name for scope in scopes if scope.kind == "device"],
        )
        found = {row.id: (row.facts or {}).get(PACKAGES) for row in outcome.answered if row.id in ids}
        return {device: has for device, has in found.items() if isinstance(has, dict)}

    async def upload(self, release: Release, progress: Callable[[int, int], None]) -> None:
        """Store what the hub does not have. progress: is told how many bytes are over, of how many. Errors as :meth:`Files.upload`."""
        over, size = 0, release.to_upload
        for name, source in [*release.sources.items(), (release.file.path.name, release.file)]:
            there = release.there.get(name, frozenset())
            left = source.size - sum(length_of(number, source.size) for number in there)
            told = partial(_tell, progress, over, left, size)
            await self._fleet.files.upload(source, told, there)
            over += left


def _tell(progress: Callable[[int, int], None], before: int, left: int, size: int, done: int, whole: int) -> None:
    """What is there already counts as done at once, and is nothing to wait for."""
    progress(before + max(0, done - (whole - left)), size)


def _collect(version: str, platform: Platform, folder: Path, given: Path | None, has: list[dict[str, str]]) -> list[Path]:
    counts: dict[str, Counter[str]] = {}
    for each in has:
        for name, other in each.items():
            counts.setdefault(name, Counter())[str(other)] += 1
    prefer = {name: count.most_common(1)[0][0] for name, count in counts.items()}
    return wheels.collect(version, platform, folder, wheels=given, prefer=prefer)


def _wheel(source: Source) -> Wheel:
    return Wheel(file=source.path.name, bytes=source.size, sha256=source.sha256, upload=source.upload)


async def _of_the_day(path: Path, day: str) -> Source:
    """The same wheel has the same place at the hub for a day: what is there is not uploaded again, and stays until the command expires."""
    source = await filesource.read(path)
    return replace(source, upload=hashlib.sha256(f"{source.sha256} {day}".encode()).hexdigest()[:32])


async def pieces_there(client: Client, upload: str) -> frozenset[int]:
    """The numbers of the pieces of an upload that the hub has."""
    body = json.dumps({"subjects_filter": file_piece(upload, "*")}).encode()
    answer = await asked(client, f"{API_PREFIX}.STREAM.INFO.{FILES}", body, what="look for what the hub has")
    subjects = json.loads(answer.data).get("state", {}).get("subjects") or {}
    return frozenset(int(number) for each in subjects if (number := each.rpartition(".")[2]).isdigit())


def platforms_of(devices: Iterable[Known]) -> dict[str, Platform]:
    """What each of them runs on, by its last report. Raises Failed when no report tells."""
    found: dict[str, Platform] = {}
    for known in devices:
        facts = known.facts or {}
        versions, machine, bits = facts.get("versions"), facts.get("architecture"), facts.get("userland_bits")
        python = str(versions.get("python")) if isinstance(versions, dict) else ""
        if _PYTHON.match(python) and _MACHINE.match(str(machine)):  # a device says what it likes
            found[known.id] = Platform.of(python, str(machine), bits if isinstance(bits, int) else None)
    if not found:
        raise Failed(WHAT, "none of the devices has reported what it runs on", "wait for one of them, or choose others")
    return found
