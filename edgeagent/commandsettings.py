"""What the device's own file lets commands do: sections of agent.toml that the hub can't change (:mod:`edgeagent.schema`).

Everything here is closed unless the file opens it, but for what only looks and can't say much.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from edgeagent.sections import Section

__all__ = ["ActionLimits", "ActionsSettings", "CommandSettings", "ExecSettings", "FileSettings", "LogSettings", "ServiceSettings"]

#: Nothing that is meant has a control character; one in a path or a name is an attempt to say something else than it shows.
_PLAIN = r"^[^\x00-\x1f\x7f]+\Z"

#: So that no argument takes long to be compared.
MAX_STARS = 2

_Pattern = Annotated[str, Meta(pattern=_PLAIN, max_length=256, extra={"form": "text without control characters"})]
_Word = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z", max_length=4096, extra={"form": "text without control characters"})]
_Words = Annotated[
    list[_Word],
    Meta(min_length=1, max_length=64, extra={"form": "a list: the program and its arguments"}),
]
_Program = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f\x7f]+\Z", extra={"form": "an absolute path"})]
_Folder = Annotated[
    str,
    Meta(
        pattern=r"^(/(?!\.\.?(/|\Z))[^/\x00-\x1f\x7f]+)+/?\Z",
        max_length=1024,
        extra={"form": "the absolute path of a folder, without `..`"},
    ),
]
_User = Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,63})?\Z", extra={"form": "the name of a user of this machine"})]


class CommandSettings(Section, frozen=True, kw_only=True):
    allow: Annotated[
        list[_Pattern],
        Meta(
            description="Actions that commands may ask for, `*` for any characters: `service.*`, `plugin.backup`, `app.doors.*`. Some need their own section besides. [actions.md](actions.md)"
        ),
    ] = field(default_factory=lambda: ["ping", "identify", "logs", "service.status"])


class ActionLimits(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user: Annotated[
        _User,
        Meta(
            description="Who it runs as, where it does not say so itself (`exec.user`, a plugin's manifest). Empty: root for `service.*`, `reboot`, `shutdown`, `identify` and `logs`, which may do nothing else, else the agent's user."
        ),
    ] = ""
    memory_max: Annotated[
        str,
        Meta(
            description='The memory of all that it starts, `"200M"` or `"10%"`: whoever takes more is killed. Raspberry Pi OS limits memory only with `cgroup_enable=memory` in cmdline.txt. Empty: no limit.',
            pattern=r"^([1-9][0-9]{0,11}[KMGT]?|[1-9][0-9]?%)?\Z",
            extra={"form": "a size such as 200M, or a part such as 10%"},
        ),
    ] = ""
    cpu_quota: Annotated[
        str,
        Meta(
            description='The time of processors that it gets, `"50%"` is half of one. Empty: no limit.',
            pattern=r"^([1-9][0-9]{0,4}%)?\Z",
            extra={"form": "a part of one processor such as 50%"},
        ),
    ] = ""
    tasks_max: Annotated[int, Meta(description="How many processes and threads it may have. 0: no limit.", ge=0, le=1 << 20)] = 0
    timeout_seconds: Annotated[
        float, Meta(description="It is ended when it takes longer. 0: as long as the action itself may.", ge=0, le=365 * 86400)
    ] = 0.0


ActionsSettings = Annotated[
    dict[_Pattern, ActionLimits],
    Meta(
        description='What an action may take of the machine, by its name or a pattern as in `commands.allow`; its own name counts first, then the longest pattern: `[actions.exec]`, `[actions."plugin.*"]`. It counts where actions run as units of their own, as on every installed device. [actions.md](actions.md)',
        max_length=64,
    ),
]


class ExecSettings(Section, frozen=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Run the programs in `allow` when a command asks for it.")] = False
    allow: Annotated[
        list[_Words],
        Meta(
            description='What may be run, each a list of the program (an absolute path) and its arguments: `[["/usr/bin/uptime", "-p"], ["/usr/bin/ping", "-c", "3", "*"]]`. In an argument `*` stands for one or more characters, but never for what begins with `-`, contains `/` or a control character, or makes `..`.'
        ),
    ] = []
    user: Annotated[
        _User,
        Meta(
            description="The user who runs them. Empty: the agent's own, unless that is root: then it must be named, even if it is root."
        ),
    ] = ""

    def __post_init__(self) -> None:
        for index, words in enumerate(self.allow):
            program = words[0]
            if not program.startswith("/") or "*" in program or {".", ".."} & set(program.split("/")):
                raise ValueError(f"allow[{index}] = {program!r}: the program must be an absolute path without `*` and `..`")
            if any(word.count("*") > MAX_STARS for word in words):
                raise ValueError(f"allow[{index}]: an argument may have {MAX_STARS} `*` at most")


class ServiceSettings(Section, frozen=True, kw_only=True):
    allow: Annotated[
        list[_Pattern],
        Meta(
            description="Units that commands may start, stop and restart, `*` for any characters: `nginx`, `shop-*.service`, `backup.timer`. Without an ending it is a `.service`."
        ),
    ] = []
    status: Annotated[
        list[_Pattern],
        Meta(
            description="Units whose state they may ask for besides; it shows whether and since when they run, none of their words."
        ),
    ] = field(default_factory=lambda: ["*"])
    systemctl: Annotated[_Program, Meta(description="The program that does it, also for `reboot` and `shutdown`.")] = (
        "/usr/bin/systemctl"
    )


class LogSettings(Section, frozen=True, kw_only=True):
    allow: Annotated[list[_Pattern], Meta(description="Units whose journal commands may read, as in `service.allow`.")] = field(
        default_factory=lambda: ["edgeagent", "edgeagent-leaf"]
    )
    journalctl: Annotated[_Program, Meta(description="The program that reads it.")] = "/usr/bin/journalctl"


class FileSettings(Section, frozen=True, kw_only=True):
    push: Annotated[
        list[_Folder],
        Meta(
            description='Folders in which commands may put files, and below them: `["/srv/shop"]`. No link is followed below them. The agent\'s user has to be able to write there.'
        ),
    ] = []
    pull: Annotated[
        list[_Folder],
        Meta(description="Folders out of which commands may fetch files, and below them. No link is followed below them."),
    ] = []
    max_bytes: Annotated[int, Meta(description="The largest file that is taken or handed over.", ge=1, le=1 << 40)] = 64 << 20
