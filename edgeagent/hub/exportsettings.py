"""What the hub gives to others: sections of ``hub.toml`` that a person adds. They are read when the hub's services start."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgeagent.sections import Section

__all__ = ["SECTIONS", "Exports", "InfluxOptions", "MetricsOptions", "NotifyOptions", "RemoteWriteOptions", "Webhook"]

#: ``[notify.webhooks.<name>]``: the name is part of a consumer's name on the hub.
WEBHOOK_NAME = r"^[a-z][a-z0-9_-]{0,31}\Z"
WEBHOOK_NAME_RULE = "1 to 32 of a-z, 0-9, '_' and '-', beginning with a letter"
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})\Z")


class MetricsOptions(Section, frozen=True, kw_only=True):
    listen: Annotated[
        str,
        Meta(
            description="Where Prometheus finds `/metrics`, and monitors find `/healthz`: host and port. No login and no TLS: keep it on this machine or behind a proxy. Empty: nowhere. A port that is taken is a warning only."
        ),
    ] = "127.0.0.1:9464"
    samples: Annotated[
        bool,
        Meta(
            description="Show the devices' own samples there too, besides what the hub knows of them. Not needed where `[remote_write]` brings them."
        ),
    ] = True
    current_seconds: Annotated[
        float, Meta(description="How old a sample may be to be shown there as current.", ge=1, le=86400)
    ] = 300.0
    series_per_device: Annotated[
        int, Meta(description="Series of one device that are shown there; more are left out and counted.", ge=1, le=100_000)
    ] = 1000
    series: Annotated[
        int, Meta(description="The same of all devices together; some 0.5 KB of memory each.", ge=1, le=10_000_000)
    ] = 200_000

    def __post_init__(self) -> None:
        if self.listen and not ((found := _LISTEN.match(self.listen)) and int(found[2]) < 1 << 16):
            raise ValueError(f'listen = {self.listen!r}: it must be a host and a port such as "127.0.0.1:9464", or empty')

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Only if there is one."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class RemoteWriteOptions(Section, frozen=True, kw_only=True):
    url: Annotated[
        str,
        Meta(
            description='Where to write samples with their own times by Prometheus remote write 1.0: `"http://127.0.0.1:9090/api/v1/write"`. Empty: nowhere.'
        ),
    ] = ""
    user: Annotated[str, Meta(description="Name for a login by password (HTTP Basic).")] = ""
    password_file: Annotated[
        str,
        Meta(description="File with its password. A relative path counts from the hub's folder; read anew for every request."),
    ] = ""
    token_file: Annotated[str, Meta(description="File with a token (`Authorization: Bearer`), instead of name and password.")] = (
        ""
    )
    headers: Annotated[
        dict[str, str], Meta(description='More headers, e.g. `{"X-Scope-OrgID" = "shop"}`. No secrets here.', max_length=16)
    ] = {}

    def __post_init__(self) -> None:
        _check_url("url", self.url)
        _check_login(self.user, self.password_file, self.token_file)


class InfluxOptions(Section, frozen=True, kw_only=True):
    url: Annotated[
        str,
        Meta(
            description='InfluxDB\'s address, to write samples with their own times: `"http://127.0.0.1:8086"`. Empty: nowhere.'
        ),
    ] = ""
    org: Annotated[str, Meta(description="Version 2: the organisation.")] = ""
    bucket: Annotated[str, Meta(description="Version 2: the bucket.")] = ""
    token_file: Annotated[str, Meta(description="Version 2: file with an API token that may write there.")] = ""
    database: Annotated[str, Meta(description="Version 1 (or VictoriaMetrics): the database, instead of `org` and `bucket`.")] = (
        ""
    )
    user: Annotated[str, Meta(description="Version 1: the name of a user.")] = ""
    password_file: Annotated[str, Meta(description="Version 1: file with that user's password.")] = ""

    def __post_init__(self) -> None:
        _check_url("url", self.url)
        _check_login(self.user, self.password_file, self.token_file)
        if self.url and not self.bucket and not self.database:
            raise ValueError("bucket: it is needed (InfluxDB 2), or database (InfluxDB 1)")
        if self.bucket and self.database:
            raise ValueError("database: it is for InfluxDB 1, bucket for InfluxDB 2: name one of them")


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="Where to send. Either this or `url_file`.")] = ""
    url_file: Annotated[str, Meta(description="File with the address, where that is a secret itself (Slack's is).")] = ""
    format: Annotated[
        Literal["json", "ntfy", "slack", "alertmanager"],
        Meta(description="The shape of the message: [monitoring.md](monitoring.md) has an example of each."),
    ] = "json"
    minimum: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Meta(description="The least severity that is sent. The end of something is sent if its beginning was."),
    ] = "warning"
    token_file: Annotated[str, Meta(description="File with a token (`Authorization: Bearer`).")] = ""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.url_file):
            raise ValueError("url: it is needed, or url_file, and not both")
        _check_url("url", self.url)


_WebhookName = Annotated[str, Meta(pattern=WEBHOOK_NAME, extra={"form": WEBHOOK_NAME_RULE})]


class NotifyOptions(Section, frozen=True, kw_only=True):
    offline_seconds: Annotated[
        float, Meta(description="A device that is gone for so long is told of; one that is back before is not.", ge=1, le=86400)
    ] = 60.0
    gather_seconds: Annotated[
        float, Meta(description="Devices that were lost within so many seconds are one message.", ge=0.1, le=600)
    ] = 5.0
    webhooks: Annotated[
        dict[_WebhookName, Webhook],
        Meta(
            description="Who is told, each a table `[notify.webhooks.<name>]`. [monitoring.md](monitoring.md)",
            max_length=16,
        ),
    ] = {}


class Exports(NamedTuple):
    """All of it."""

    metrics: MetricsOptions
    remote_write: RemoteWriteOptions
    influx: InfluxOptions
    notify: NotifyOptions


#: The sections of hub.toml, in the order of :class:`Exports`.
SECTIONS: dict[str, type[Section]] = {
    "metrics": MetricsOptions,
    "remote_write": RemoteWriteOptions,
    "influx": InfluxOptions,
    "notify": NotifyOptions,
}


def _check_url(key: str, url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{key}: it must be an address such as https://metrics.example/api/v1/write")
    if parts.username or parts.password:
        raise ValueError(f"{key}: a name and a password do not belong into the address: there are settings for them")


def _check_login(user: str, password_file: str, token_file: str) -> None:
    if bool(user) != bool(password_file):
        raise ValueError("password_file: a login by password needs both user and password_file")
    if user and token_file:
        raise ValueError("token_file: there is a login by password already")
