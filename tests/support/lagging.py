"""A hub of three servers, of which the third can be left behind: it answers from its own copy, and hears no more of the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import nats.errors

from edgeagent.demo.cable import Cable
from edgeagent.errors import Failed
from edgeagent.hub import streams
from edgeagent.natsserver import ports
from tests.support.servers import until
from tests.support.trusthub import STORE_BYTES, TrustHub

__all__ = ["LaggingCluster"]


class _One(TrustHub):
    """One of the servers. route_port: where others reach it; advertised: what it tells them of that. routes: the ports of the others."""

    def __init__(self, folder: Path, route_port: int) -> None:
        super().__init__(folder)
        self.route_port = self.advertised = route_port
        self.routes: list[int] = []

    def _configuration(self) -> str:
        routes = ", ".join(f"nats-route://127.0.0.1:{port}" for port in self.routes)
        return f"""
            {super()._configuration().replace("server_name: hub", f"server_name: {self.folder.name}")}
            cluster {{
              name: hub, listen: 127.0.0.1:{self.route_port}, advertise: "127.0.0.1:{self.advertised}", routes: [{routes}]
            }}
        """


class LaggingCluster:
    """``async with LaggingCluster(folder) as cluster``. near: one that leads or keeps up; far: the one that can be left behind."""

    def __init__(self, folder: Path) -> None:
        self._all = [_One(folder / f"hub-{number}", ports.pick()) for number in range(3)]
        for one in self._all[1:]:
            one._operator, one._accounts, one._roles = self.near._operator, self.near._accounts, self.near._roles
        # From the third to the first, to the second, and from them to it: in both ways, and in what they tell each other of themselves.
        self._cables = [Cable(("127.0.0.1", one.route_port)) for one in self._all]

    @property
    def near(self) -> TrustHub:
        return self._all[0]

    @property
    def others(self) -> list[TrustHub]:
        """All but the near one."""
        return [*self._all[1:]]

    @property
    def far(self) -> TrustHub:
        return self._all[2]

    async def __aenter__(self) -> LaggingCluster:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        for cable in self._cables:
            await cable.start()
        ways = [cable.port for cable in self._cables]
        for one, way in zip(self._all, ways, strict=True):
            one.advertised = way
        self._all[0].routes = [self._all[1].route_port, ways[2]]
        self._all[1].routes = [self._all[0].route_port, ways[2]]
        self._all[2].routes = ways[:2]
        for one in self._all:
            await one.start()
        self._hub, self._away = await self.near.connect("HUB"), await self.far.connect("HUB")
        await until(self._has_streams, "three servers keep the streams")

    async def __aexit__(self, *_: object) -> None:
        for one in self._all:
            await one.__aexit__()
        for cable in self._cables:
            await cable.close()

    async def _api(self, what: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((await self._hub.request(f"$JS.API.{what}", b"", timeout=2)).data)
        except Exception as error:  # whatever nats-py makes of a cluster that elects
            return {"error": {"description": str(error)}}
        return found

    async def _has_streams(self) -> bool:
        """Whether they are there; made if they can be: not before there is a leader that has heard of all three."""
        try:
            await streams.ensure(self._hub.jetstream(), STORE_BYTES, replicas=3)
        except Failed:
            return False
        return True

    async def leave_behind(self) -> None:
        """The third server hears nothing more of the others, and does not notice: its copies stay as they are now."""
        await until(self._is_left, "the third server has all, leads nothing, and answers by itself")

    async def _is_left(self) -> bool:
        if not await self._is_whole():
            return False
        for cable in self._cables:
            await cable.cut(silent=True)
        if await self._answers_itself():
            return True
        await self.catch_up()
        return False

    async def _answers_itself(self) -> bool:
        """A server takes some seconds after it has a copy until it answers from it."""
        with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):
            for name in ("EDGE_COMMANDS", "EDGE_RESULTS"):
                await self._away.request(f"$JS.API.DIRECT.GET.{name}.no.such.subject", b"", timeout=0.5)
            return True
        return False

    async def _is_whole(self) -> bool:
        whole = True
        for name in ("EDGE_COMMANDS", "EDGE_RESULTS"):
            cluster = (await self._api(f"STREAM.INFO.{name}")).get("cluster", {})
            if cluster.get("leader") == self.far.folder.name:
                await self._api(f"STREAM.LEADER.STEPDOWN.{name}")
            replicas = {replica["name"]: replica for replica in cluster.get("replicas", [])}
            whole = whole and replicas.get(self.far.folder.name, {}).get("current") is True
        return whole

    async def catch_up(self) -> None:
        """It hears of them again."""
        for cable in self._cables:
            await cable.restore()
