"""Moves the device's leaf from hub to hub, as :mod:`edgeagent.leaf.hubchoice` decides; local programs do not notice.

What is found out is kept before it counts, so that the next start goes on with it, whatever ended this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from edgeagent import hubentries, servers
from edgeagent.assembly import hublook
from edgeagent.errors import EdgeError
from edgeagent.identity import Identity
from edgeagent.leaf import hubkept
from edgeagent.leaf.hubchoice import Go, HubChoice, Moved, Visit
from edgeagent.leaf.leaf import Leaf
from edgeagent.leaf.linkfailures import explain_last
from edgeagent.leaf.uplink import Uplink
from edgeagent.natsserver import logtail
from edgeagent.patterns.config import Configuration
from edgeagent.patterns.events import Events
from edgeagent.patterns.report import Reporter
from edgeagent.runtime import woken
from edgeagent.settings import Settings
from edgeagent.wire import HubLink

__all__ = ["HubMove", "Parts", "choice_of"]

log = logging.getLogger("edgeagent")

#: How often the leaf is asked for its new link, beside what it tells by itself: while it is tried, and else. In seconds.
LOOK_SECONDS, REST_SECONDS = 1.0, 10.0
#: How soon it is told again what it did not take, in seconds.
TELL_AGAIN_SECONDS = 5.0
_KEY = "hub.urls"


class Parts(Protocol):
    """The parts of an agent that have to do with a move. settings: what agent.toml and the enrolment say."""

    settings: Settings
    identity: Identity
    leaf: Leaf
    hubs: HubChoice
    reporter: Reporter
    configuration: Configuration
    events: Events


def choice_of(own: Settings, wanted: Settings) -> HubChoice:
    """With which hub to begin. own: what agent.toml and the enrolment say. wanted: with the configuration."""
    kept = hubkept.load(own.state_folder, own.hub.urls)
    entries = wanted.hub.urls if not _refusal(own, wanted.hub.urls, kept.good) else own.hub.urls
    return HubChoice(entries, own.hub.urls, kept)


def _refusal(own: Settings, entries: list[str], good: str) -> str:
    if entries == own.hub.urls:
        return ""
    encrypted = own.authorities_file is not None or hubentries.is_encrypted(good)
    return hubentries.refusal(entries, own.hub.urls, encrypted=encrypted, proxy=bool(own.hub.proxy))


class HubMove:
    """on_change: called with the entry that the leaf is told, and why wanted ones were given up, whenever one is another."""

    def __init__(self, parts: Parts, uplink: Uplink, *, on_change: Callable[[HubLink], None]) -> None:
        self._parts, self._uplink, self._on_change = parts, uplink, on_change
        self._choice, self._own = parts.hubs, parts.settings
        self._wake = asyncio.Event()
        self._saved, self._shown, self._refused = self._choice.began, HubLink(), ""
        self._left = ""  # the link before the newest move
        self._came, self._log_begun = True, 0
        parts.configuration.complaints = self._complaints

    # ---- what it is told ----

    def wish(self, entries: list[str]) -> None:
        """What the configuration says now."""
        before, self._refused = self._refused, _refusal(self._own, entries, self._choice.kept.good)
        if self._refused and self._refused != before:
            self._parts.events.tell("error", "hub.move_refused", f"does not go to another hub: {self._refused}")
        if not self._refused:
            self._choice.wish(entries)
        self._wake.set()

    def tried(self, error: EdgeError | None) -> None:
        """A heartbeat was acknowledged, or not."""
        if error is not None:
            self._choice.failed()
        elif self._came:
            self._choice.acknowledged()
        self._wake.set()

    def link_changed(self, *, connected: bool) -> None:
        """The leaf was linked to a hub, or cut off."""
        if not connected:
            self._choice.failed()
        self._wake.set()

    @property
    def is_trying(self) -> bool:
        """Whether the leaf is where it may not stay."""
        return self._choice.is_trying

    @property
    def state(self) -> HubLink:
        """For the report."""
        return HubLink(url=self._choice.current, failed=self._choice.given_up)

    def _complaints(self) -> dict[str, str]:
        given_up = "; ".join(f"cannot link to {entry}: {why}" for entry, why in self._choice.given_up.items())
        found = self._refused or (f"{given_up}; this device is at {self._choice.current}" if given_up else "")
        return {_KEY: found} if found else {}

    # ---- what it does ----

    async def keep(self) -> None:
        """Do what is to be done, for ever."""
        if not self._choice.current:
            return
        while True:
            await self._say()
            step = self._choice.decide()
            if isinstance(step, Visit):
                await self._visit(step.entry)
            elif isinstance(step, Go):
                await self._go(step.entry)
            elif self._choice.is_trying:
                await self._watch()
            else:
                await self._rest(step.seconds)

    async def _visit(self, entry: str) -> None:
        log.info("looks whether the hub at %s works", entry)
        found = await hublook.look(entry, self._own, self._parts.identity, has_another=self._choice.works)
        log.info("the hub at %s %s", entry, f"does not: {found.why}" if found.why else "does")
        self._choice.visited(entry, found.why, is_certain=found.is_certain)
        if self._choice.wants_proof:
            self._parts.reporter.facts_changed()

    async def _go(self, entry: str) -> None:
        returns, before = self._choice.is_trying or entry == self._choice.kept.good, self._choice.current
        await self._uplink.look()
        never_left = returns and self._uplink.link_id == self._left != ""  # it did not take what it was told
        self._left, self._log_begun = self._uplink.link_id, logtail.end(self._parts.leaf.options.log_file)
        try:
            with contextlib.suppress(EdgeError) if returns else contextlib.nullcontext():
                await self._save(self._choice.keeping(entry))
            await self._parts.leaf.apply(hub_urls=tuple(servers.split(entry)), or_restart=False)
        except EdgeError as error:
            log.error("the leaf does not go to %s: %s", entry, error)
            with contextlib.suppress(EdgeError):
                await self._parts.leaf.apply(hub_urls=tuple(servers.split(before)), or_restart=False)
            if returns:
                await woken(self._wake, TELL_AGAIN_SECONDS)
            else:
                self._choice.could_not_go(entry, str(error))
            return
        log.info("the leaf goes to the hub at %s", entry)
        self._choice.went(entry)
        self._came = never_left
        self._parts.reporter.link_changed()
        await self._watch()

    async def _watch(self) -> None:
        """See whether the leaf has the new link; a heartbeat over that one proves that it works."""
        if self._choice.is_over or self._is_hopeless():
            self._choice.trial_failed(self._why_not())
            return
        await self._look()
        await woken(self._wake, LOOK_SECONDS)

    async def _rest(self, seconds: float | None) -> None:
        if not self._came:
            await self._look()
            seconds = REST_SECONDS if seconds is None else min(REST_SECONDS, seconds)
        await woken(self._wake, seconds)

    async def _look(self) -> None:
        await self._uplink.look()
        if not self._came and self._uplink.link_id not in ("", self._left):
            self._came = True
            self._parts.reporter.link_changed()
            self._parts.reporter.facts_changed()

    def _is_hopeless(self) -> bool:
        found = explain_last(logtail.since(self._parts.leaf.options.log_file, self._log_begun))
        return found is not None and found.kind in ("refused", "distrust", "protocol")

    def _why_not(self) -> str:
        found = explain_last(logtail.since(self._parts.leaf.options.log_file, self._log_begun))
        if found is not None:
            return found.why
        return "it stores nothing of what this device sends" if self._came else "the leaf did not come to it"

    # ---- what it says ----

    async def _say(self) -> None:
        """Keep what was found out, and tell it."""
        choice = self._choice
        kept = choice.keeping(choice.current) if choice.is_trying else choice.kept
        if kept != self._saved:
            with contextlib.suppress(EdgeError):  # the disk is full: the next turn is another try
                await self._save(kept)
        news, self._choice.news = self._choice.news, []
        for each in news:
            self._tell(each)
        if self.state != self._shown:
            self._shown = self.state
            self._on_change(self._shown)
            self._parts.reporter.facts_changed()

    async def _save(self, kept: hubkept.Kept) -> None:
        await asyncio.to_thread(hubkept.save, self._own.state_folder, self._own.hub.urls, kept)
        self._saved = kept

    def _tell(self, moved: Moved) -> None:
        tell = self._parts.events.tell
        if moved.why:
            text = f"cannot link to the hub at {moved.to}: {moved.why}; this device is at {moved.at}"
            tell("error", "hub.move_failed", text, hub=moved.to, at=moved.at, why=moved.why)
        else:
            tell("info", "hub.moved", f"is linked to the hub at {moved.to} now", hub=moved.to)
