"""``agent.toml``: the local file that a person edits on the device, as frozen, typed values.

What may stand in it is declared in :mod:`edgeagent.schema`. Every problem of a file is reported at once. Relative folders in the
file count from the file's own folder.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent import enrolled, places
from edgeagent.commandsettings import ActionLimits
from edgeagent.enrolled import AUTHORITIES_FILE, Enrolment
from edgeagent.files import read_text
from edgeagent.mqttsettings import MqttSettings
from edgeagent.schema import (
    OPEN_SECTIONS,
    SECTIONS,
    AgentSettings,
    CommandSettings,
    DeviceSettings,
    ExecSettings,
    FileSettings,
    ForwardSettings,
    GpioSettings,
    HubSettings,
    LeafSettings,
    LogSettings,
    PathSettings,
    QuerySettings,
    SamplingSettings,
    Section,
    SerialSettings,
    ServiceSettings,
    UpgradeSettings,
)
from edgeagent.sections import names_in, parse_sections

__all__ = ["Settings", "load", "load_own", "parse"]


class Settings(Section, frozen=True, kw_only=True):
    """One device's settings. ``source`` is the file they came from (None: all defaults).

    alert: rules by their names (:mod:`edgeagent.alertrules`). actions: limits by names of actions and patterns of them. given: the dotted names of what stands in the file.
    enrolment: what ``edgeagent enroll`` left behind, and what :func:`load` took the device's id, the hub's addresses and the proxy from
    where the file leaves them out; None: nothing.
    """

    device: DeviceSettings = DeviceSettings()
    hub: HubSettings = HubSettings()
    leaf: LeafSettings = LeafSettings()
    agent: AgentSettings = AgentSettings()
    query: QuerySettings = QuerySettings()
    sampling: SamplingSettings = SamplingSettings()
    forward: ForwardSettings = ForwardSettings()
    commands: CommandSettings = CommandSettings()
    exec: ExecSettings = ExecSettings()
    service: ServiceSettings = ServiceSettings()
    logs: LogSettings = LogSettings()
    gpio: GpioSettings = GpioSettings()
    mqtt: MqttSettings = MqttSettings()
    serial: SerialSettings = SerialSettings()
    file: FileSettings = FileSettings()
    upgrade: UpgradeSettings = UpgradeSettings()
    paths: PathSettings = PathSettings()
    alert: dict[str, str] = {}
    actions: dict[str, ActionLimits] = {}
    given: frozenset[str] = frozenset()
    source: Path | None = None
    enrolment: Enrolment | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The device's labels: its own go before those that the hub gave it."""
        return {**(self.enrolment.labels if self.enrolment else {}), **self.device.labels}

    @property
    def state_folder(self) -> Path:
        return self._folder(self.paths.state) or places.state_folder(self.is_system)

    @property
    def runtime_folder(self) -> Path:
        return self._folder(self.paths.runtime) or places.runtime_folder(self.is_system)

    @property
    def collectors_folder(self) -> Path:
        """Absolute, with links as they are: whoever runs what is in it looks at each."""
        return self._named(self.paths.collectors) or places.COLLECTORS

    @property
    def credentials_file(self) -> Path:
        return self.state_folder / Path(self.hub.credentials).expanduser()

    @property
    def authorities_file(self) -> Path | None:
        """Whom to trust for TLS, None for the system's authorities. Looked at anew each time: it comes with the enrolment."""
        named = self.state_folder / Path(self.hub.authorities or AUTHORITIES_FILE).expanduser()
        return named if self.hub.authorities or places.is_there(named) else None

    @property
    def status_file(self) -> Path:
        return self.runtime_folder / "status.json"

    @property
    def is_system(self) -> bool:
        """Whether this is the machine's own installation rather than one person's."""
        return self.source == places.SYSTEM_SETTINGS

    def beside(self, named: str) -> Path | None:
        """A file that is named in agent.toml: a relative path counts from there. None: none is named."""
        return self._named(named)

    def _folder(self, named: str) -> Path | None:
        found = self._named(named)
        return found.resolve() if found else None

    def _named(self, named: str) -> Path | None:
        if not named:
            return None
        base = self.source.parent if self.source else Path.cwd()
        return (base / Path(named).expanduser()).absolute()


def load(named: Path | None = None) -> Settings:
    """Read the settings file.

    named: the file to read; it must exist, unless it is the system's. None: the system's (/etc/edgeagent/agent.toml) if it is there or
    we are root, else the user's; a missing file then means all defaults.
    Where it leaves them out, the device's id and how to reach the hub come from the enrolment.
    Raises SettingsProblem with every problem in the file, EdgeError when the enrolment is damaged.
    """
    own = load_own(named)
    found = enrolled.read_if_allowed(own.state_folder)
    if found is None:
        return own
    device = msgspec.structs.replace(own.device, id=own.device.id or found.id)
    # An address and the way to it belong together.
    hub = own.hub if own.hub.urls else msgspec.structs.replace(own.hub, urls=found.urls, proxy=own.hub.proxy or found.proxy)
    return msgspec.structs.replace(own, device=device, hub=hub, enrolment=found)


def load_own(named: Path | None = None) -> Settings:
    """Like :func:`load`, without the enrolment: what the file itself says."""
    path = (named or places.settings_file()).absolute()
    if named in (None, places.SYSTEM_SETTINGS) and not places.is_there(path):
        return Settings(source=path)
    return parse(read_text(path), path)


def parse(text: str, source: Path) -> Settings:
    """Like :func:`load_own`, for a text that was read already."""
    return Settings(**parse_sections(text, {**SECTIONS, **OPEN_SECTIONS}, source), given=names_in(text), source=source)
