"""MQTT in the leaf's nats-server configuration: its listener, and an account of its own; pure.

Nothing of this account crosses to another one or to the link: the agent, which is a client of it, carries what should go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.leaf.apps import App
from edgeagent.leaf.conftext import quote, rights
from edgeagent.mcus import Mcu

__all__ = ["ACCOUNT", "AGENT_USER", "INBOX", "MqttConf", "account", "app_user", "listener"]

ACCOUNT = "MQTT"
#: The agent among the MQTT clients. The password is that of its other users.
AGENT_USER = "agent-mqtt"
#: Where the agent is answered about this account's streams.
INBOX = "_INBOX.agent-mqtt"

#: How long a client may take to acknowledge before a message is sent again. One that comes back waits as long for what was on its way when
#: it went.
ACK_WAIT_SECONDS = 10
#: How many messages one subscription may have unacknowledged; nats-server's own is 1024. A microcontroller has room for few.
MAX_ACK_PENDING = 100
#: A Pico's TLS handshake takes over a second of its own time, and nats-server's default is 2 s.
HANDSHAKE_SECONDS = 10
#: nats-server's five (``$MQTT_sess``, ``_msgs``, ``_rmsgs``, ``_qos2in``, ``_out``).
MAX_STREAMS = 5
#: Of each stream: one for each subscription with QoS 1 or 2, which takes some 10 KB of memory.
MAX_CONSUMERS = 500

_AGENTS = ("mcu", "mcu.>", "local", "local.>")
_STREAMS = ("$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*")


@dataclass(frozen=True, kw_only=True)
class MqttConf:
    """host, port: where it listens. store_bytes: what all of its streams may take on disk.

    certificate, key: files for TLS; None: without. stamp: changes with what is in them, so that a change is a new configuration.
    mcus, apps: those that have a login.
    """

    host: str
    port: int
    store_bytes: int
    agent_password: str = field(repr=False)
    certificate: Path | None = None
    key: Path | None = None
    stamp: str = ""
    mcus: tuple[Mcu, ...] = ()
    apps: tuple[App, ...] = ()


def listener(conf: MqttConf) -> str:
    """The section about the listener. nats-server changes none of it but the certificates without a restart."""
    lines = [
        f"host: {quote(conf.host)}",
        f"port: {conf.port}",
        f'ack_wait: "{ACK_WAIT_SECONDS}s"',
        f"max_ack_pending: {MAX_ACK_PENDING}",
        f"authorization {{ timeout: {HANDSHAKE_SECONDS} }}",
    ]
    if conf.certificate and conf.key:
        files = f"cert_file: {quote(conf.certificate)}, key_file: {quote(conf.key)}"
        lines += [f"tls {{ {files}, timeout: {HANDSHAKE_SECONDS} }}", f"# certificate {conf.stamp}"]
    return "\n  ".join(["mqtt {", *lines]) + "\n}"


def account(conf: MqttConf) -> str:
    """The account, for the section ``accounts``."""
    users = [_agent(conf), *map(_mcu, conf.mcus), *map(_app, conf.apps)]
    limits = f"max_memory: 0, max_file: {conf.store_bytes}, max_streams: {MAX_STREAMS}, max_consumers: {MAX_CONSUMERS}"
    return f"""
  {ACCOUNT} {{
    jetstream {{ {limits} }}
    users: [{"".join(users)}
    ]
  }}"""


def app_user(name: str) -> str:
    """The MQTT user of the program ``name``, whose own name is that of its NATS user. No id has a dot."""
    return f"{name}.mqtt"


def _agent(conf: MqttConf) -> str:
    """It speaks MQTT, and over NATS it looks after the account's streams."""
    publish, subscribe = rights((*_AGENTS, *_STREAMS)), rights((*_AGENTS, f"{INBOX}.>"))
    return _user(AGENT_USER, conf.agent_password, publish, subscribe, kinds=("MQTT", "STANDARD"))


def _mcu(mcu: Mcu) -> str:
    own = rights((f"mcu.{mcu.id}", f"mcu.{mcu.id}.>"))
    return _user(mcu.id, mcu.password, own, own)


def _app(app: App) -> str:
    spoken = [f"local.{kind}.{app.name}{below}" for kind in ("metric", "data") for below in ("", ".>")]
    # `local/config/<app>/#` is more than there is, and natural to subscribe to.
    heard = [f"local.{kind}.{app.name}{below}" for kind in ("config", "action") for below in ("", ".>")]
    return _user(app_user(app.name), app.mqtt_password, rights([*spoken, f"local.action.{app.name}.*.reply"]), rights(heard))


def _user(name: str, password: str, publish: str, subscribe: str, kinds: Iterable[str] = ("MQTT",)) -> str:
    login = f"user: {quote(name)}, password: {quote(password)}"
    only = ", ".join(f'"{kind}"' for kind in kinds)
    permissions = f"{{ publish: {publish}, subscribe: {subscribe} }}"
    return f"\n      {{ {login}, allowed_connection_types: [{only}], permissions: {permissions} }}"
