"""The hub's folder: ``hub.toml`` (what a person may edit), ``keys/``, the server's configuration, store and logs."""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeagent import files, places
from edgeagent.errors import Failed, Refused, SettingsProblem, Unreachable
from edgeagent.hub import exportsettings
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.cluster import problems as cluster_problems
from edgeagent.hub.exportsettings import Exports, MetricsOptions
from edgeagent.hub.streams import MIN_STORE_BYTES
from edgeagent.sections import parse_sections
from edgeagent.subjects import ID_RULE

__all__ = ["HubFolder", "HubOptions", "suggested_store_bytes"]

#: Loosely RFC 1123, with the underscores that some networks have.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})\Z")
#: What ``hub.toml`` says of its other sections when it is made.
_MORE = (
    "# What the hub gives to others has sections of its own: [metrics] (for Prometheus, on 127.0.0.1:9464 unless told otherwise),",
    "# [remote_write], [influx] and [notify]: docs/monitoring.md, docs/settings.md.",
)
_Port = Annotated[int, Meta(ge=1, le=65535)]


class HubOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``hub.toml``, section ``[hub]``."""

    name: Annotated[
        str,
        Meta(
            description="The hub's name, also of the operator's first context.",
            pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z",
            extra={"form": ID_RULE},
        ),
    ] = "hub"
    listen: Annotated[
        str, Meta(description="Address for operators and devices. Without `tls` keep it on a network you trust.")
    ] = "127.0.0.1"
    advertise: Annotated[
        str,
        Meta(description="Name or address that others use for the hub, behind NAT or with DNS. Empty: the one it listens on."),
    ] = ""
    client_port: Annotated[_Port, Meta(description="Port for operators.")] = 4222
    leaf_port: Annotated[_Port, Meta(description="Port for devices (leaf nodes).")] = 7422
    websocket_port: Annotated[
        int,
        Meta(
            description="Port for devices and operators over websocket, for networks that let only HTTPS out: usually 443. 0: none.",
            ge=0,
            le=65535,
        ),
    ] = 0
    tls: Annotated[
        Literal["", "self", "files"],
        Meta(
            description='Encryption of every port. `"self"`: with a certificate authority of the hub\'s own, renewed by itself. `"files"`: with your certificate. Empty: none.'
        ),
    ] = ""
    tls_names: Annotated[
        list[str],
        Meta(
            description='More names and addresses for the certificate of `tls = "self"`; the usual ones are in it by themselves.'
        ),
    ] = []
    certificate_file: Annotated[
        str,
        Meta(
            description='For `tls = "files"`: the certificate and those between it and its authority, PEM. Read again when it changes.'
        ),
    ] = ""
    key_file: Annotated[
        str, Meta(description='For `tls = "files"`: the certificate\'s private key, PEM, readable only by the hub.')
    ] = ""
    authorities_file: Annotated[
        str,
        Meta(
            description='For `tls = "files"`: the authorities that devices and people shall trust, PEM. Empty: those of their system.'
        ),
    ] = ""
    store_max_bytes: Annotated[
        int,
        Meta(description="What JetStream may take on disk, in bytes; the streams' limits are shares of it.", ge=MIN_STORE_BYTES),
    ] = 4 << 30
    server: Annotated[str, Meta(description="Path of nats-server. Empty: beside edgeagent, else on PATH.")] = ""
    ping_seconds: Annotated[
        float,
        Meta(
            description="How long a device or an operator may be quiet before the hub asks whether the link is alive. Devices cost less when it is more than their `leaf.ping_seconds`.",
            ge=1,
            le=600,
        ),
    ] = 300.0
    micro: Annotated[
        bool,
        Meta(
            description="Let NATS's own tools (`nats micro ls`) ask the devices. Switch off above 500 devices; "
            "a change makes every device link anew once."
        ),
    ] = True


class HubFolder:
    """Where each thing of the hub is, below ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def options_file(self) -> Path:
        return self.path / "hub.toml"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def tls(self) -> Path:
        """What :class:`~edgeagent.hub.tlsfolder.TlsFolder` keeps."""
        return self.path / "tls"

    @property
    def configuration(self) -> Path:
        return self.path / "server.conf"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def server_pid(self) -> Path:
        return self.path / "server.pid"

    @property
    def founder(self) -> Path:
        """The first administrator, for the register of people; there until the hub has taken it in."""
        return self.path / "founder.json"

    @property
    def troubles(self) -> Path:
        """Why something cannot be sent to others now: a file each (sinkstrouble)."""
        return self.path / "troubles"

    @property
    def lock(self) -> Path:
        return self.path / "hub.pid"

    @property
    def retired(self) -> Path:
        """Since when this is not the hub any more: a backup was taken of it for good, and is the hub wherever it was restored."""
        return self.path / "retired"

    @property
    def restored(self) -> Path:
        """There until the services of a hub that was restored have looked at every device that is linked."""
        return self.path / "restored"

    def retire(self, when: str) -> None:
        """Keep `hub up` from starting it again by itself: there must not be two. when: RFC 3339."""
        files.write_atomic(self.retired, f"{when}\n".encode(), 0o600)

    def check_not_retired(self) -> None:
        """Raise Refused when a final backup was taken of it."""
        when = files.read_if_there(self.retired, 100)
        if when is not None:
            raise Refused(
                f"run the hub in {self.path}",
                f"its final backup was taken at {when.decode('ascii', 'replace').strip()}; where that was restored is the hub now",
                f"if it was restored nowhere: `rm {self.retired}`",
            )

    def named(self, path: str) -> Path:
        """The file that ``hub.toml`` names so: a relative path counts from the hub's folder."""
        return self.path / Path(path).expanduser()

    @property
    def exists(self) -> bool:
        return places.is_there(self.options_file)

    def check(self, options: HubOptions, cluster: Cluster = ALONE) -> None:
        """Raise Failed if there is a hub already, SettingsProblem for options that cannot be meant. Writes nothing."""
        if self.exists:
            raise Failed(
                f"make a hub in {self.path}", "there is one already", "choose another folder with --dir, or `edgeagent hub up`"
            )
        self._parsed(_text(options, cluster))  # whatever would stop `hub up` later is said now

    def create(self, options: HubOptions, cluster: Cluster = ALONE, metrics: str = MetricsOptions().listen) -> None:
        """Write ``hub.toml``. metrics: where Prometheus finds this server's.

        Raises what :meth:`check` raises, EdgeError when it cannot be written.
        """
        self.check(options, cluster)
        files.make_folder(self.path, 0o700)
        files.write_atomic(self.options_file, _text(options, cluster, metrics).encode(), 0o600)

    def options(self) -> HubOptions:
        """Read ``hub.toml``. Raises Unreachable if there is no hub here, SettingsProblem for what is wrong in it."""
        if not self.exists:
            raise Unreachable(
                f"use the hub in {self.path}",
                "there is none",
                "make one with `edgeagent hub init`, or name its folder with --dir",
            )
        return self._parsed(files.read_text(self.options_file))

    def cluster(self) -> Cluster:
        """What ``hub.toml`` says of the hub's other servers. Raises what :meth:`options` raises."""
        self.options()
        found: Cluster = self._sections(files.read_text(self.options_file))["cluster"]
        return found

    def exports(self) -> Exports:
        """The other sections of ``hub.toml``: what is given to others. Raises what :meth:`options` raises."""
        self.options()
        found = self._sections(files.read_text(self.options_file))
        return Exports(*(found[name] for name in exportsettings.SECTIONS))

    def _sections(self, text: str) -> dict[str, Any]:
        return parse_sections(text, {"hub": HubOptions, "cluster": Cluster, **exportsettings.SECTIONS}, self.options_file)

    def _parsed(self, text: str) -> HubOptions:
        sections = self._sections(text)
        options: HubOptions = sections["hub"]
        problems = [*_problems(options), *cluster_problems(sections["cluster"], websocket=bool(options.websocket_port))]
        if problems:
            raise SettingsProblem(f"use the settings in {self.options_file}", problems, "see docs/settings.md for every setting")
        return options


def _problems(options: HubOptions) -> Iterator[str]:
    if options.client_port == options.leaf_port:
        yield f"hub.leaf_port = {options.leaf_port}: it must differ from hub.client_port"
    if options.websocket_port in (options.client_port, options.leaf_port):
        yield f"hub.websocket_port = {options.websocket_port}: it must differ from the other ports"
    hosts = [("listen", options.listen), ("advertise", options.advertise or "localhost")]
    for key, host in (*hosts, *(("tls_names", name.removeprefix("*.")) for name in options.tls_names)):
        if not _is_host(host):
            yield f"hub.{key} = {host!r}: it must be a host name or an address, with no port and no scheme"
    for key in ("certificate_file", "key_file", "authorities_file"):
        if options.tls == "files" and not getattr(options, key) and key != "authorities_file":
            yield f'hub.{key}: it is needed with tls = "files"'
        if options.tls != "files" and getattr(options, key):
            yield f'hub.{key}: it counts only with tls = "files"'


def _is_host(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address or looks like a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.match(text) is not None
    return True


def _text(options: HubOptions, cluster: Cluster = ALONE, metrics: str = MetricsOptions().listen) -> str:
    lines = ["# The hub's options; restart `edgeagent hub up` and `hub serve` after a change.", "[hub]", *_lines(options)]
    if cluster != ALONE:
        lines += [
            "",
            "# One of the hub's servers: docs/cluster.md. The lists are the same on each.",
            "[cluster]",
            *_lines(cluster),
        ]
    if metrics != MetricsOptions().listen:
        lines += ["", "[metrics]", f"listen = {msgspec.json.encode(metrics).decode()}"]
    return "\n".join([*lines, "", *_MORE, ""])


def _lines(section: msgspec.Struct) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        yield f"{field.name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()  # JSON's numbers and strings are TOML's too


def suggested_store_bytes(path: Path) -> int:
    """Half of what is free on the disk where ``path`` will be, between 256 MiB and 64 GiB, in whole MiB."""
    there = next(parent for parent in [path, *path.parents] if parent.exists())
    half = shutil.disk_usage(there).free // 2
    return max(MIN_STORE_BYTES, min(64 << 30, half)) >> 20 << 20
