"""The leaf's nats-server configuration as text; pure.

The values follow what was measured with nats-server 2.15.1 on slow and broken links; docs/decisions.md tells the stories.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeagent.leaf import mqttconf
from edgeagent.leaf.apps import AGENT_INBOX, App, foreign, owned, permissions
from edgeagent.leaf.conftext import listed, quote, rights
from edgeagent.localsubjects import OWN_SOURCES, local_action, local_config, local_data, local_metric

__all__ = [
    "ACCOUNT",
    "AGENT_USER",
    "APP_USER",
    "LOCAL_ACCOUNT",
    "LOCAL_ONLY",
    "LOCAL_USER",
    "SYSTEM_USER",
    "LeafConf",
    "leafnodes",
    "render",
]

#: The account of the link to the hub and of the local streams; nobody but the agent is in it.
ACCOUNT = "EDGE"
AGENT_USER = "agent"
#: The account of the local programs. JetStream acknowledges to whatever reply a publisher names, past all permissions: what they publish
#: reaches the streams by imports of services, so that the acknowledgement comes back to this account, where it is nobody's voice.
LOCAL_ACCOUNT = "LOCAL"
#: Whoever connects without a login is this user.
APP_USER = "app"
#: The agent among the programs. The password is that of :data:`AGENT_USER`.
LOCAL_USER = "agent-local"
SYSTEM_USER = "sys"

#: What never crosses the link. The hub's permissions say so too, but a hub is only as strict as its last change, and a leaf may be
#: linked to one that is not ours.
LOCAL_ONLY = ("local.>", "mcu.>")
#: What a local program may use: the device's own subjects and answers to its requests.
APP_SUBJECTS = ("local.>", "_INBOX.>")
#: What programs have stored. Each with a wildcard: in nats-server 2.15.1 an answer re-enters the import of a literal subject.
STORED = (local_metric(), local_data())
#: What the agent says to programs and hears of them, besides their samples.
_SPOKEN = (local_config(), local_action("*", ">"), "_INBOX.>")
_HEARD = (local_config(), f"{AGENT_INBOX}.>")

#: Equal to the payload limit of the hub's role `device`: one larger message on an exported subject closes the whole link
#: ("Maximum Payload Violation").
MAX_PAYLOAD_BYTES = 1 << 20
#: nats-server's defaults (1 to 2 s) are too short for a mobile network.
DIAL_TIMEOUT_SECONDS = 10
#: A link is stale after this many unanswered pings.
PING_MAX = 2


@dataclass(frozen=True, kw_only=True)
class LeafConf:
    """All that the configuration depends on.

    server_name: ``<id>-<random>``; two leafs of one name evict each other, so nobody may be able to guess it.
    domain: the JetStream domain, the device's id.
    log: None: standard error (under systemd). pid_file: None: not written.
    hub_urls: none: the device stays on its own. All ``ws(s)://``, or none.
    credentials: read at every connect, so it may come later. None: the hub asks for none.
    respelled: write the path of the credentials in another way. nats-server dials the hub anew, at once, when that path changes.
    tls_ca_file: whom to trust for ``tls://`` and ``wss://``; None: the system's authorities.
    proxy: an HTTP proxy for the hub's addresses, ``http://[user:password@]host:port``; empty: none. It sees a ``wss://`` hub's name and
    how much is said, no more.
    apps: local programs with a login of their own. sources: whose samples only the agent writes.
    mqtt: for MQTT clients; None: nobody has a login for it, so there is no listener.
    """

    server_name: str
    domain: str
    port: int
    store: Path
    agent_password: str
    app_password: str
    system_password: str
    log: Path | None = None
    log_max_bytes: int = 1 << 20
    pid_file: Path | None = None
    hub_urls: tuple[str, ...] = ()
    credentials: Path | None = None
    respelled: bool = False
    tls_ca_file: Path | None = None
    proxy: str = ""
    store_max_bytes: int = 512 << 20
    memory_store_max_bytes: int = 8 << 20
    sync_seconds: float = 10.0
    apps: tuple[App, ...] = ()
    sources: tuple[str, ...] = OWN_SOURCES
    mqtt: mqttconf.MqttConf | None = None
    reconnect_seconds: float = 10.0
    ping_seconds: float = 30.0


def render(conf: LeafConf) -> str:
    """The text of the configuration file."""
    mqtt = [mqttconf.listener(conf.mqtt)] if conf.mqtt else []
    return "\n\n".join([_HEAD, _server(conf), _jetstream(conf), _accounts(conf), leafnodes(conf), *mqtt]) + "\n"


_HEAD = "# Written by edgeagent at every start; what you change here is lost. Change agent.toml instead."


def _server(conf: LeafConf) -> str:
    lines = [
        f"server_name: {quote(conf.server_name)}",
        f'listen: "127.0.0.1:{conf.port}"',
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        f"ping_interval: {_duration(conf.ping_seconds)}",
        f"ping_max: {PING_MAX}",
    ]
    if conf.log:
        lines += [f"logfile: {quote(conf.log)}", f"logfile_size_limit: {conf.log_max_bytes}", "logfile_max_num: 2"]
    if conf.pid_file:
        lines.append(f"pid_file: {quote(conf.pid_file)}")
    return "\n".join(lines)


def _jetstream(conf: LeafConf) -> str:
    return f"""jetstream {{
  store_dir: {quote(conf.store)}
  domain: {quote(conf.domain)}
  max_memory_store: {conf.memory_store_max_bytes}
  max_file_store: {conf.store_max_bytes + (conf.mqtt.store_bytes if conf.mqtt else 0)}
  sync_interval: {_duration(conf.sync_seconds)}
}}"""


def _accounts(conf: LeafConf) -> str:
    mqtt = mqttconf.account(conf.mqtt) if conf.mqtt else ""
    return f"""accounts {{
  {ACCOUNT} {{
    jetstream: enabled
    users: [ {{ user: {AGENT_USER}, password: {quote(conf.agent_password)}{_kinds(conf)} }} ]
    exports: [{_exports(conf.sources)}]
  }}
  {LOCAL_ACCOUNT} {{
    users: [{"".join(_users(conf))}
    ]
    imports: [{_imports(conf.sources)}]
  }}
  SYS {{ users: [ {{ user: {SYSTEM_USER}, password: {quote(conf.system_password)}{_kinds(conf)} }} ] }}{mqtt}
}}
system_account: SYS
no_auth_user: {APP_USER}"""


def _kinds(conf: LeafConf) -> str:
    """NATS users are none of MQTT's: its listener may be open to the network, and takes ``no_auth_user`` as the others do."""
    return ', allowed_connection_types: ["STANDARD"]' if conf.mqtt else ""


def _users(conf: LeafConf) -> list[str]:
    kinds = _kinds(conf)
    others = owned(conf.apps, conf.sources)
    speaks, hears = rights(APP_SUBJECTS, others["publish"]), rights(APP_SUBJECTS, others["subscribe"])
    return [
        _user(f"user: {LOCAL_USER}, password: {quote(conf.agent_password)}{kinds}", rights(_SPOKEN), rights(_HEARD)),
        _user(f"user: {APP_USER}, password: {quote(conf.app_password)}{kinds}", speaks, hears),
        *(_app(app, conf.sources, kinds) for app in conf.apps),
    ]


def _app(app: App, sources: tuple[str, ...], kinds: str) -> str:
    own = permissions(app)
    login = f"nkey: {app.nkey}" if app.nkey else f"user: {quote(app.name)}, password: {quote(app.password)}"
    return _user(login + kinds, rights(own["publish"], foreign(sources, app.name)), rights(own["subscribe"]))


def _user(login: str, publish: str, subscribe: str) -> str:
    return f"\n      {{ {login}, permissions: {{ publish: {publish}, subscribe: {subscribe} }} }}"


def _exports(sources: tuple[str, ...]) -> str:
    return "".join(f"\n      {{ {kind}: {quote(subject)}, accounts: [{LOCAL_ACCOUNT}] }}" for kind, subject in _crossing(sources))


def _imports(sources: tuple[str, ...]) -> str:
    return "".join(
        f"\n      {{ {kind}: {{ account: {ACCOUNT}, subject: {quote(subject)} }} }}" for kind, subject in _crossing(sources)
    )


def _crossing(sources: tuple[str, ...]) -> list[tuple[str, str]]:
    """What goes from the programs to the streams, and which samples come from there: those that the agent writes itself."""
    return [*(("service", subject) for subject in STORED), *(("stream", subject) for subject in foreign(sources))]


def leafnodes(conf: LeafConf) -> str:
    """The section about the link to the hub."""
    return f"""leafnodes {{
  reconnect: {_duration(conf.reconnect_seconds)}
  remotes: [{_remote(conf) if conf.hub_urls else ""}]
}}"""


def _remote(conf: LeafConf) -> str:
    lines = [
        f"urls: {listed(conf.hub_urls)}",
        f"account: {ACCOUNT}",
        f"deny_imports: {listed(LOCAL_ONLY)}",
        f"deny_exports: {listed(LOCAL_ONLY)}",
        # The hub advertises its own addresses, which may not be reachable from here, or lead past a proxy.
        "ignore_discovered_servers: true",
        # s2_auto picks the costly s2_best when the round trip looks long.
        "compression: s2_fast",
        f"dial_timeout: {_duration(DIAL_TIMEOUT_SECONDS)}",
        f"first_info_timeout: {_duration(DIAL_TIMEOUT_SECONDS)}",
        *_login(conf),
        *_proxy(conf.proxy),
    ]
    return "".join(f"\n    {line}" for line in ["{", *[f"  {line}" for line in lines], "}"]) + "\n  "


def _login(conf: LeafConf) -> list[str]:
    lines = [f"credentials: {quote(_spelled(conf.credentials, conf.respelled))}"] if conf.credentials else []
    scheme = conf.hub_urls[0].partition("://")[0]
    tls = [f"timeout: {DIAL_TIMEOUT_SECONDS}"]
    if conf.tls_ca_file:
        tls.append(f"ca_file: {quote(conf.tls_ca_file)}")
    if scheme == "tls":
        # On both ends or on neither: the hub's fallback waits longer than first_info_timeout's default.
        tls.append("handshake_first: true")
    if scheme in ("tls", "wss"):
        lines.append(f"tls {{ {', '.join(tls)} }}")
    return lines


def _spelled(path: Path, respelled: bool) -> str:
    return f"{path.parent}/./{path.name}" if respelled else str(path)


def _proxy(url: str) -> list[str]:
    if not url:
        return []
    parts = urlsplit(url)
    lines = [
        "url: " + quote(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"),
        f"timeout: {_duration(DIAL_TIMEOUT_SECONDS)}",
    ]
    if parts.username is not None:
        lines += [f"username: {quote(unquote(parts.username))}", f"password: {quote(unquote(parts.password or ''))}"]
    return [f"proxy {{ {', '.join(lines)} }}"]


def _duration(seconds: float) -> str:
    return f'"{round(seconds * 1000)}ms"'
