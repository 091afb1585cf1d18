"""``<hub>/tls``: the hub's own certificate authorities and its server certificate, made and renewed by the rules of :mod:`.tls`.

``ca-<n>.pem`` and ``.key`` for each authority, ``ca.pem`` with all that are handed out, ``server.pem`` and ``server.key``, and
``made.json``, which knows when each was made. Keys are 0600 in a folder of 0700.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from edgeagent import files
from edgeagent.errors import EdgeError, Failed, UsageProblem
from edgeagent.hub import tls
from edgeagent.hub.address import is_wildcard, own_address
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.trust import certificates
from edgeagent.trust.certificates import Pair

__all__ = ["TlsFolder", "names"]

#: What programs on the hub's own machine use.
_LOCAL = ("localhost", "127.0.0.1", "::1")


def names(options: HubOptions) -> tuple[str, ...]:
    """Every name and address by which this machine's hub may be reached, sorted."""
    host = socket.gethostname()
    own = own_address("::")
    listen = [] if is_wildcard(options.listen) else [options.listen]
    more = [options.advertise, host, f"{host}.local" if "." not in host else "", own or ""]
    return tuple(sorted({_plain(name) for name in (*_LOCAL, *listen, *more, *options.tls_names) if _is_possible(name)}))


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _is_possible(name: str) -> bool:
    """Whether it can be in a certificate: a machine may be called anything."""
    return bool(name) and name.isascii() and len(name) <= 253


class TlsFolder:
    """What is there, and the making of what is due. Two processes may not change it at once: see ``lock``."""

    def __init__(self, place: HubFolder) -> None:
        self.path, self._hub = place.tls, place
        self.authorities, self.certificate, self.key = self.path / "ca.pem", self.path / "server.pem", self.path / "server.key"

    def state(self) -> tls.State:
        """What was made. Raises Failed when ``made.json`` is damaged."""
        data = files.read_if_there(self.path / "made.json")
        try:
            return msgspec.json.decode(data, type=tls.State) if data is not None else tls.State()
        except msgspec.DecodeError as error:
            raise Failed(
                f"read {self.path / 'made.json'}", str(error), "restore the folder from your backup of the hub"
            ) from None

    def ensure(self, options: HubOptions, now: datetime) -> str:
        """Make what is due; why, empty when nothing was. Raises EdgeError."""
        with self._changing():
            state = self.state()
            if tls.authority_due(state.authorities, now):
                state = self._add_authority(state, options, now, at_once=False)
            why = tls.server_due(state, names(options), now) or self._broken()
            if why:
                state = self._issue(state, options, now)
            elif self._hand_out(state, now):
                why = "other authorities are handed out"
        return why

    def rotate(self, options: HubOptions, now: datetime, *, at_once: bool) -> tls.Authority:
        """Make a new authority, whatever is due. at_once: it also signs from now on; devices that do not have it yet stay outside."""
        with self._changing():
            state = self._add_authority(self.state(), options, now, at_once=at_once)
            if at_once:
                self._issue(state, options, now)
            else:
                self._hand_out(state, now)
        return state.authorities[-1]

    def renew(self, options: HubOptions, now: datetime) -> tls.Issued:
        """Make a new server certificate, whatever is due."""
        with self._changing():
            made = self._issue(self.state(), options, now).server
        assert made is not None
        return made

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        files.make_folder(self.path, 0o700)
        with files.Lock(self.path / "lock", f"change the certificates in {self.path}"):
            yield

    def _add_authority(self, state: tls.State, options: HubOptions, now: datetime, *, at_once: bool) -> tls.State:
        new = tls.next_authority(state.authorities, now, at_once=at_once)
        pair = certificates.make_authority(f"edgeagent {options.name[:40]} CA {new.number}", new.ends)
        files.write_atomic(self._file(new.number, "key"), pair.key, 0o600)
        files.write_atomic(self._file(new.number, "pem"), pair.certificate, 0o644)
        return self._keep(msgspec.structs.replace(state, authorities=(*state.authorities, new)))

    def _issue(self, state: tls.State, options: HubOptions, now: datetime) -> tls.State:
        signing = tls.signer(state.authorities, now)
        if signing is None:
            raise UsageProblem(
                "make the hub's certificate", "there is no authority of the hub's own", 'set `tls = "self"` and start the hub'
            )
        authority = Pair(files.read_bytes(self._file(signing.number, "pem")), files.read_bytes(self._file(signing.number, "key")))
        wanted, ends = names(options), tls.server_ends(signing, now)
        try:
            pair = certificates.make_server(authority, wanted, ends)
        except ValueError as error:
            raise Failed("make the hub's certificate", str(error), f"are the files in {self.path} whole?") from None
        self._hand_out(state, now)
        files.write_atomic(self.key, pair.key, 0o600)
        files.write_atomic(self.certificate, pair.certificate, 0o644)
        since = tls.signing_since(state.server, signing.number, now)
        issued = tls.Issued(authority=signing.number, made=now, ends=ends, names=wanted, since=since)
        return self._keep(msgspec.structs.replace(state, server=issued))

    def _hand_out(self, state: tls.State, now: datetime) -> bool:
        """Write ``ca.pem``; whether it changed."""
        text = b"".join(files.read_bytes(self._file(one.number, "pem")) for one in tls.current(state, now))
        if files.read_if_there(self.authorities) == text:
            return False
        files.write_atomic(self.authorities, text, 0o644)
        return True

    def _broken(self) -> str:
        """What a crash between two files, or a person, left behind."""
        try:
            whole = certificates.fits(files.read_bytes(self.certificate), files.read_bytes(self.key))
        except (ValueError, EdgeError):
            whole = False
        return "" if whole else "its files are not whole"

    def _keep(self, state: tls.State) -> tls.State:
        files.write_atomic(self.path / "made.json", msgspec.json.format(msgspec.json.encode(state)) + b"\n", 0o600)
        return state

    def _file(self, number: int, kind: str) -> Path:
        return self.path / f"ca-{number}.{kind}"
