"""The hub's certificates while it runs: made before nats-server starts, looked at every minute, read again without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeagent.errors import EdgeError, UsageProblem
from edgeagent.hub import ownfiles, tls
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.tls import START
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.natsserver import process, server
from edgeagent.runtime import jittered
from edgeagent.times import rfc3339

__all__ = ["files_of", "keep", "launch_of", "look", "now", "own", "prepare", "reload_running"]

log = logging.getLogger("edgeagent.hub")

#: Looking costs a few stats and one small file, so what `edgeagent hub tls` or a certbot did counts soon.
LOOK_SECONDS = 60.0
NAME = "the hub's nats-server"


def now() -> datetime:
    """The time, but never before the certificates begin: a hub on a Pi may not know it yet."""
    return max(datetime.now(timezone.utc), START)


def files_of(place: HubFolder, options: HubOptions) -> tuple[Path | None, Path | None]:
    """The server's certificate and key; None and None without TLS."""
    if options.tls == "self":
        own = TlsFolder(place)
        return own.certificate, own.key
    if options.tls == "files":
        return place.named(options.certificate_file), place.named(options.key_file)
    return None, None


def has_own(place: HubFolder, options: HubOptions) -> bool:
    """Whether the hub makes certificates: for every port, or for the routes of a cluster alone, where both ends must show one."""
    return options.tls == "self" or bool(options.tls and place.cluster().number)


def prepare(place: HubFolder, options: HubOptions) -> None:
    """See to it that nats-server can start with the certificate that ``hub.toml`` asks for. Raises EdgeError."""
    if has_own(place, options):
        why = TlsFolder(place).ensure(options, now())
        if why:
            log.info("made a certificate for the hub: %s", why)
    if options.tls == "files":
        missing = ownfiles.unnamed(options, ownfiles.check(place, options, now()))
        if missing:
            log.warning("the certificate in %s does not name %s", options.certificate_file, ", ".join(missing))


async def keep(
    place: HubFolder, options: HubOptions, reload: Callable[[], Awaitable[None]], look_seconds: float = LOOK_SECONDS
) -> None:
    """Renew what is due, and let nats-server read what changed. For ever. reload: makes it do so; may raise EdgeError."""
    if not options.tls:
        return
    seen = _stamp(place, options)
    while True:
        await asyncio.sleep(jittered(look_seconds))
        try:
            found = await asyncio.to_thread(_look, place, options, seen)
            if found != seen:
                await reload()
                log.info("nats-server uses the hub's new certificate")
            seen = found
        except EdgeError as error:
            log.error("%s", error)  # the old certificate goes on until the next look


def _look(place: HubFolder, options: HubOptions, seen: object) -> object:
    """What is there now, when it can be used. Raises EdgeError."""
    if has_own(place, options):
        TlsFolder(place).ensure(options, now())
    if options.tls == "files" and _stamp(place, options) != seen:
        ownfiles.check(place, options, now())
    return _stamp(place, options)


def _stamp(place: HubFolder, options: HubOptions) -> object:
    certificate, key = files_of(place, options)
    own = TlsFolder(place)
    routes = (own.certificate, own.key, own.authorities) if place.cluster().number else ()
    return ownfiles.stamp([path for path in (certificate, key, *routes) if path])


def launch_of(place: HubFolder, binary: Path, ports_folder: Path | None = None) -> process.Launch:
    """The hub's nats-server, to start it or to find it."""
    return server.launch(binary, place.configuration, name=NAME, log=place.log, ports_folder=ports_folder)


async def reload_running(place: HubFolder) -> bool:
    """Make the hub's nats-server, if it runs on this machine, read its certificates again; whether it runs. Raises EdgeError."""
    child = process.adopt(launch_of(place, Path("nats-server")))
    if child is None:
        return False
    try:
        await server.reload(child)
    finally:
        child.release()
    return True


def own(place: HubFolder, options: HubOptions) -> TlsFolder:
    """The hub's own certificates. Raises UsageProblem when it has others, or no TLS."""
    if options.tls != "self":
        why = "it uses files of yours" if options.tls == "files" else "it has no TLS"
        raise UsageProblem(
            "change the hub's certificates", why, f'set `tls = "self"` in {place.options_file} and start the hub again'
        )
    return TlsFolder(place)


def look(place: HubFolder, options: HubOptions) -> dict[str, Any]:
    """What `edgeagent hub tls show` shows. Raises EdgeError."""
    path, _ = files_of(place, options)
    if path is None:
        raise UsageProblem(
            "show the hub's certificates", "it has no TLS", f'set `tls = "self"` in {place.options_file} and start the hub again'
        )
    found = ownfiles.read(path)[0]
    return {
        "kind": options.tls,
        "certificate": {
            "file": str(path),
            "names": list(found.names),
            "issuer": found.issuer,
            "ends": rfc3339(found.ends),
            "days_left": (found.ends - now()).days,
        },
        "authorities_file": str(place.named(options.authorities_file)) if options.authorities_file else "",
        "authorities": _authorities(place) if options.tls == "self" else [],
    }


def _authorities(place: HubFolder) -> list[dict[str, Any]]:
    state = TlsFolder(place).state()
    signing, handed_out = tls.signer(state.authorities, now()), tls.current(state, now())
    return [
        {
            "number": one.number,
            "made": rfc3339(one.made),
            "signs_from": rfc3339(one.signs_from),
            "ends": rfc3339(one.ends),
            "state": _state(one, signing, handed_out),
        }
        for one in state.authorities
    ]


def _state(one: tls.Authority, signing: tls.Authority | None, handed_out: list[tls.Authority]) -> str:
    if one == signing:
        return "signs"
    if one not in handed_out:
        return "retired"
    return "handed out, signs later" if signing and one.number > signing.number else "handed out, signed before"
