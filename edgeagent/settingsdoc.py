"""Writes docs/settings.md from the declarations in :mod:`edgeagent.schema`: ``make docs``. A test fails when the page is stale."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec

from edgeagent.config import KEYS
from edgeagent.hub import exportsettings
from edgeagent.hub.cluster import Cluster
from edgeagent.hub.folder import HubOptions
from edgeagent.schema import OPEN_SECTIONS, SECTIONS

__all__ = ["page"]

_HEAD = """\
# Settings

This page is generated from the code (`make docs`). Two files are meant for a person's editor.

## agent.toml, on a device

`/etc/edgeagent/agent.toml` for the system's agent, `~/.config/edgeagent/agent.toml` for a user's own, or any file named with
`--settings` or `$EDGEAGENT_SETTINGS`. A missing file means all defaults. Relative folders count from the file's own folder.
`edgeagent check` tries the file and says everything that is wrong with it at once. Changes of the file need a restart of the agent.

The hub's configuration (`edgeagent config set`, [configuration.md](configuration.md)) may change the keys that say so below, under the
same names, and goes before the file. `live`: it counts at once. `restart`: from the next start of the agent on; `edgeagent config
status` says who waits for one. `-`: only the file decides: where the hub is, who this device is, and what must not be changed from
afar. Where two defaults are named, the second counts with `agent.profile = "metered"`. Besides, everything under `app.<program>`
belongs to your own programs ([apps.md](apps.md)), everything under `mcu.<id>` to that microcontroller
([microcontrollers.md](microcontrollers.md)), and both are live.
"""
_HUB = """\
## hub.toml, in the hub's folder

`edgeagent hub init` writes the section `[hub]`, and `[cluster]` for a hub of several servers ([cluster.md](cluster.md)); the others are yours to add ([monitoring.md](monitoring.md)). All of it is read when
`edgeagent hub up` or `hub serve` starts: changes need a restart. `edgeagent hub doctor` says what is wrong in it.
"""


def page() -> str:
    """The whole page."""
    hub = {"hub": HubOptions, "cluster": Cluster, **exportsettings.SECTIONS}
    return "\n".join([_HEAD, *_sections(SECTIONS, from_hub=True), *_open_sections(), _HUB, *_sections(hub)])


def _sections(shapes: Mapping[str, Any], *, from_hub: bool = False) -> Iterator[str]:
    """from_hub: with a column that says whether the hub's configuration may change the key."""
    for name, shape in shapes.items():
        yield f"### [{name}]\n" if "[" not in name else f"### {name}\n"
        yield (
            "| key | default | from the hub | what it does |\n|---|---|---|---|"
            if from_hub
            else "| key | default | what it does |\n|---|---|---|"
        )
        hints = typing.get_type_hints(shape, include_extras=True)
        for field in msgspec.structs.fields(shape):
            how = f" {_from_hub(f'{name}.{field.name}')} |" if from_hub else ""
            yield f"| `{field.encode_name}` | {_default(field)}{_metered(f'{name}.{field.name}') if from_hub else ''} |{how} {_description(hints[field.name])} |"
        yield ""
        yield from _sections(_tables(name, hints), from_hub=from_hub)


def _open_sections() -> Iterator[str]:
    """Tables of any words."""
    for name, hint in OPEN_SECTIONS.items():
        yield f"### [{name}]\n"
        yield "| key | default | from the hub | what it does |\n|---|---|---|---|"
        yield f"| `<name>` | | {_from_hub(name)} | {_description(hint)} |"
        yield ""
        yield from _sections(_tables("", {name: hint}), from_hub=True)


def _tables(section: str, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The tables within a section that have keys of their own: ``{"gpio.pins.<name>": their shape}``, and ``[[...]]`` for lists of them."""
    inner = {key: get_args(hint)[0] if get_origin(hint) is Annotated else hint for key, hint in hints.items()}
    items = {key: get_args(hint)[1] for key, hint in inner.items() if get_origin(hint) is dict}
    lists = {key: get_args(hint)[0] for key, hint in inner.items() if get_origin(hint) is list}
    found = {f"{section}.{key}.<name>".removeprefix("."): item for key, item in items.items()} | {
        f"[[{section}.{key}]]": item for key, item in lists.items()
    }
    return {name: item for name, item in found.items() if hasattr(item, "__struct_fields__")}


def _default(field: Any) -> str:
    """Empty: none, and it may be left out."""
    if field.required:
        return "must be set"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "" if default is None else f"`{_toml(default)}`"


def _metered(name: str) -> str:
    """The default with the other profile, where it is another."""
    other = KEYS[name].metered if name in KEYS else None
    return "" if other is None else f", metered `{_toml(other)}`"


def _from_hub(name: str) -> str:
    return ("live" if KEYS[name].live else "restart") if name in KEYS else "-"


def _toml(value: Any) -> str:
    return "{}" if value == {} else msgspec.json.encode(value).decode()


def _description(hint: Any) -> str:
    """The description in the type, and its bounds."""
    meta = next(arg for arg in get_args(hint)[1:] if isinstance(arg, msgspec.Meta) and arg.description)
    return f"{meta.description}{_bounds(hint)}".replace("|", "\\|")


def _bounds(hint: Any) -> str:
    low: Any = None
    high: Any = None
    metas = [arg for arg in get_args(hint)[1:] if isinstance(arg, msgspec.Meta)]
    inner = get_args(hint)[0]
    if get_origin(inner) is Annotated:
        metas += [arg for arg in get_args(inner)[1:] if isinstance(arg, msgspec.Meta)]
    for meta in metas:
        low = meta.ge if meta.ge is not None else low
        low = f"more than {meta.gt:g}" if meta.gt is not None else low
        high = meta.le if meta.le is not None else high
    if low is None and high is None:
        return ""
    return f" ({_edge(low)} to {_edge(high)})" if high is not None else f" (at least {_edge(low)})"


def _edge(bound: Any) -> str:
    return f"{bound:,}".rstrip() if isinstance(bound, (int, float)) else str(bound)


if __name__ == "__main__":
    print(page(), end="")
