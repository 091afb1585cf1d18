"""Whether and where the leaf takes MQTT clients: decided anew whenever its configuration is written.

Nothing that is wrong with it may keep the leaf from starting: then MQTT is left out, and :attr:`Mqtt.problem` says why.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from edgeagent import mcus
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.leaf import apps, mqtttls
from edgeagent.leaf import port as portchoice
from edgeagent.leaf.mqttconf import ACCOUNT, MqttConf, listener
from edgeagent.leaf.options import LeafOptions
from edgeagent.leaf.storelimit import claimed, mqtt_bytes
from edgeagent.mqttsettings import MqttSettings
from edgeagent.natsserver import ports
from edgeagent.status import MqttStatus, Problem

__all__ = ["NO_MQTT", "Mqtt", "port_to_tell"]

#: How every problem begins that keeps MQTT out.
NO_MQTT = "there is no MQTT"
_WHAT = "take MQTT clients"
log = logging.getLogger(__name__)

#: In which the port is kept, beside the leaf's configuration.
PORT_FILE = "mqtt-port.json"


class Mqtt:
    """conf: what was decided last; None: no MQTT. problem: why there is none though somebody has a login for it; None: all is well."""

    def __init__(self, options: LeafOptions) -> None:
        self._options = options
        self.conf: MqttConf | None = None
        self.problem: Problem | None = None
        #: Set whenever this may be another than before, and whenever the leaf comes or goes. For whoever looks after it.
        self.changed = asyncio.Event()
        #: The listener that the running server began with; empty: none, or it is not known. It changes with a restart only.
        self.began = ""

    def decide(self, agent_password: str, pid: int | None, lost_port: int = 0) -> None:
        """pid: of the running server, None when none runs. lost_port: the one that was taken when it should start last, 0: none was.

        Raises EdgeError when the logins can't be read.
        """
        options = self._options
        known = tuple(mcu for mcu in mcus.load(options.mcus_file).values() if mcu.password)
        programs = tuple(app for app in apps.load(options.apps_file).values() if app.mqtt_password)
        self.problem = None
        # A listener that nobody may use any more goes with the next start: nobody is disturbed for it.
        if not known and not programs and not (self.conf and pid is not None and self.began):
            self.conf = None
            return
        try:
            self.conf = self._made(agent_password, pid, lost_port, known, programs)
        except EdgeError as error:
            why = error.why if error.what == _WHAT else f"cannot {error.what}: {error.why}"
            self.conf, self.problem = None, Problem(f"{NO_MQTT}: {why}", error.remedy)
            return
        if options.mode == "external" and pid is not None and not ports.listens(pid, self.conf.port):
            restart = f"`sudo systemctl restart {options.unit}`: nats-server opens a port for MQTT only when it starts"
            self.problem = Problem(f"{NO_MQTT}: the leaf began without, and systemd runs it", restart)

    def refuse_problem(self) -> None:
        """Raise Refused with the problem, if there is one."""
        if self.problem:
            raise Refused(_WHAT, self.problem.what.removeprefix(f"{NO_MQTT}: "), self.problem.remedy)

    def begin(self, agent_password: str, pid: int | None, lost_port: int) -> None:
        """As :meth:`decide`, for a server that is about to begin with it."""
        self.began = ""
        self.decide(agent_password, pid, lost_port)
        self.began = _listener(self.conf)

    @property
    def needs_restart(self) -> bool:
        """Whether the server that runs can't take up what was decided by reading its configuration again."""
        return self.began != _listener(self.conf)

    def status(self) -> MqttStatus | None:
        """For the status file; None: no MQTT."""
        if self.conf is None or self.problem or (self._options.mode == "managed" and self.needs_restart):
            return None
        return MqttStatus(host=self.conf.host, port=self.conf.port, wished_port=self._options.mqtt.port, tls=bool(self.conf.key))

    def _made(
        self,
        agent_password: str,
        pid: int | None,
        lost_port: int,
        known: tuple[mcus.Mcu, ...],
        programs: tuple[apps.App, ...],
    ) -> MqttConf:
        options, wanted = self._options, self._options.mqtt
        certificate, key, stamp = self._certificate()
        store = max(mqtt_bytes(wanted.store_max_bytes, options.store_max_bytes), claimed(options.store, ACCOUNT))
        return MqttConf(
            host=wanted.listen,
            port=_chosen_port(options, pid, lost_port),
            store_bytes=store,
            agent_password=agent_password,
            certificate=certificate,
            key=key,
            stamp=stamp,
            mcus=known,
            apps=programs,
        )

    def _certificate(self) -> tuple[Path | None, Path | None, str]:
        """Certificate and key, and their stamp. Raises EdgeError."""
        wanted = self._options.mqtt
        if wanted.tls == "self":
            own = mqtttls.OwnTls(self._options.folder)
            if why := own.ensure(wanted.tls_names):
                log.info("made a certificate for MQTT: %s", why)
            return own.server, own.server, mqtttls.stamp(own.server)
        if wanted.tls == "files":
            certificate, key = (
                self._options.folder / Path(name).expanduser() for name in (wanted.certificate_file, wanted.key_file)
            )
            mqtttls.check_files(certificate, key)
            return certificate, key, mqtttls.stamp(certificate, key)
        return None, None, ""


def _listener(conf: MqttConf | None) -> str:
    """What of it nats-server takes up when it starts only: all but what is in the certificate's files."""
    return listener(replace(conf, stamp="")) if conf else ""


def port_to_tell(folder: Path, wanted: MqttSettings) -> int:
    """The port that a client is to be told of while nobody is there to ask: the one used last; where there is none it is chosen now.

    folder: the state folder. Raises EdgeError.
    """
    if not wanted.is_loopback:
        return wanted.port  # or none: the agent says so
    keep = folder / PORT_FILE
    # A leaf that was left running may have it.
    return portchoice.choose(keep, wanted.port, is_ours=lambda port: keep.exists(), lost=0, host=wanted.listen)


def _chosen_port(options: LeafOptions, pid: int | None, lost_port: int = 0) -> int:
    """On loopback the port used last, or a free one; elsewhere the one that is set, for microcontrollers know it.

    pid, lost_port: as for :meth:`Mqtt.decide`. Raises EdgeError, also where that one is taken.
    """
    wanted = options.mqtt

    def is_ours(port: int) -> bool:
        return pid is not None and ports.listens(pid, port)

    if wanted.is_loopback:
        keep = options.folder / PORT_FILE
        return portchoice.choose(keep, wanted.port, is_ours=is_ours, lost=lost_port, host=wanted.listen, what="port for MQTT")
    if not is_ours(wanted.port) and (lost_port == wanted.port or not ports.is_free(wanted.port, wanted.listen)):
        if not ports.is_free(0, wanted.listen):
            remedy = "set `mqtt.listen` in agent.toml, or 0.0.0.0; it is tried again every minute"
            raise Failed(_WHAT, f"this device does not have the address {wanted.listen} now", remedy)
        remedy = f"end that program (`ss -ltnp sport = :{wanted.port}`), or set another `mqtt.port` in agent.toml"
        raise Failed(_WHAT, f"another program uses port {wanted.port} of {wanted.listen}", remedy)
    return wanted.port
