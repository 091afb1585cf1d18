"""Configuration: what the hub wants of a device, in layers. Pure.

Each scope (the fleet, a group, a device) has one document: a table of the same keys as agent.toml, ``app.<name>`` for the user's own
programs, and ``mcu.<id>`` for microcontrollers. The layers, each going before the one in front of it: built-in defaults, agent.toml, the fleet's document, those of the
device's groups in their order, the device's own. Tables merge key by key; lists and everything else are replaced.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

from edgeagent import sections, wire
from edgeagent.errors import Failed, UsageProblem
from edgeagent.plainvalues import form_problems, own_problems
from edgeagent.schema import OPEN_SECTIONS, SECTIONS
from edgeagent.settings import Settings

__all__ = [
    "AGENT_TOML",
    "APP",
    "DEFAULT",
    "KEYS",
    "MCU",
    "Document",
    "Key",
    "Layer",
    "Value",
    "defaults",
    "document_of",
    "flat",
    "ignored",
    "impossible",
    "invalid",
    "is_known",
    "is_taken",
    "key_of",
    "merged",
    "misplaced",
    "nested",
    "of_settings",
    "with_config",
    "without_invalid",
]

#: The tables of the user's own programs, ``app.<name>.<any key>``, and of microcontrollers.
APP, MCU = "app", "mcu"
_OWN = {APP: "program", MCU: "microcontroller"}
_OWN_HINT = f"; keys of your own programs are {APP}.<program>.<key>, of microcontrollers {MCU}.<id>.<key>"
#: The two layers that no document makes.
DEFAULT, AGENT_TOML = "default", "agent.toml"

_MAX_DEPTH = 16
#: All labels of a device together, as JSON: a report has to carry them.
MAX_LABELS_BYTES = 16 << 10

Values = Mapping[str, Any]


class Document(msgspec.Struct, omit_defaults=True):
    """What is signed: the whole of a scope's configuration. values: nested tables. note: why, for the history."""

    values: dict[str, Any] = {}
    note: str = ""
    v: int = wire.VERSION

    def __post_init__(self) -> None:
        wire.check_depth(self.values, "values", _MAX_DEPTH)


class Key(NamedTuple):
    """One setting that configuration may change. live: at once; else from the next start of the agent on.

    name: ``section.key``, or that of an open section alone. metered: its default with the profile of that name; None: the same.
    """

    name: str
    hint: Any
    default: Any
    live: bool
    description: str
    metered: Any = None

    def of(self, settings: Any) -> Any:
        """Its value there."""
        return functools.reduce(getattr, self.name.split("."), settings)


class Layer(NamedTuple):
    """values: nested tables. name: the scope of a document, such as ``fleet.all``, or one of the two above."""

    name: str
    values: Values


class Value(NamedTuple):
    """A value, and the name of the layer that it comes from."""

    value: Any
    layer: str


def _keys() -> Iterator[Key]:
    for section, shape in SECTIONS.items():
        hints = typing.get_type_hints(shape, include_extras=True)
        for field in msgspec.structs.fields(shape):
            yield from _key(f"{section}.{field.name}", hints[field.name], getattr(shape(), field.name))
    for section, hint in OPEN_SECTIONS.items():
        yield from _key(section, hint, {})


def _key(name: str, hint: Any, default: Any) -> Iterator[Key]:
    """The key, if configuration may change it."""
    metas = [meta for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)] if get_origin(hint) is Annotated else []
    extra = next((meta.extra for meta in metas if meta.extra and "config" in meta.extra), None)
    if extra:
        description = next(meta.description for meta in metas if meta.description)
        yield Key(name, hint, default, extra["config"] == "live", str(description), extra.get("metered"))


#: Every key but those of programs, by its dotted name.
KEYS: dict[str, Key] = {key.name: key for key in _keys()}


def document_of(body: bytes) -> Document:
    """The body of a signed envelope. Raises Failed when it is no configuration."""
    try:
        return msgspec.json.decode(body, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed("read a configuration", str(error)) from None


def flat(values: Values, prefix: str = "") -> dict[str, Any]:
    """``{"agent": {"micro": true}}`` as ``{"agent.micro": true}``. Empty tables vanish."""
    found: dict[str, Any] = {}
    for word, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{word}."))
        else:
            found[f"{prefix}{word}"] = value
    return found


def nested(values: Values) -> dict[str, Any]:
    """The opposite of :func:`flat`. Raises UsageProblem when one key is a value and a table at once."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        table = found
        for word in path:
            table = table.setdefault(word, {})
            if not isinstance(table, dict):
                raise UsageProblem(f"set {name}", f"{word} is a value, so nothing can be below it")
        if isinstance(table.get(last), dict):
            raise UsageProblem(f"set {name}", "it is a table, so it can't be a value", f"set what is in it: {name}.NAME")
        table[last] = value
    return found


def merged(layers: Iterable[Layer]) -> dict[str, Value]:
    """Each key's last value and where it comes from, by dotted name. A value replaces a table, and a table a value."""
    tree: dict[str, Any] = {}
    for layer in layers:
        _merge(tree, layer.values, layer.name)
    return flat(tree)


def _merge(tree: dict[str, Any], values: Values, layer: str) -> None:
    for word, value in values.items():
        if not isinstance(value, Mapping):
            tree[word] = Value(value, layer)
        elif value:
            if not isinstance(tree.get(word), dict):
                tree[word] = {}
            _merge(tree[word], value, layer)


def defaults() -> Layer:
    """The built-in values of every key."""
    return Layer(DEFAULT, nested({name: key.default for name, key in KEYS.items()}))


def of_settings(settings: Settings) -> Layer:
    """What agent.toml says of the keys that configuration may change, where it says something else than the defaults. Of those that have
    several, all that it says."""
    own = {name: key.of(settings) for name, key in KEYS.items()}
    several = {name for name in settings.given if name in KEYS and KEYS[name].metered is not None}
    return Layer(
        AGENT_TOML, nested({name: value for name, value in own.items() if value != KEYS[name].default or name in several})
    )


def with_config(settings: Settings, values: Mapping[str, Value]) -> Settings:
    """The settings with what :func:`merged` found. A value that is not possible leaves the one that is there."""
    for key, value in _of_keys(values):
        if not sections.check(key.name, value, key.hint):
            settings = _with(settings, key.name.split("."), msgspec.convert(value, key.hint))
    return settings


def _with(settings: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return msgspec.structs.replace(settings, **{first: _with(getattr(settings, first), rest, value) if rest else value})


def impossible(values: Mapping[str, Value]) -> list[str]:
    """What is wrong with what :func:`merged` found although each layer is valid: labels may be too many together."""
    found = {key.name: value for key, value in _of_keys(values)}
    problems = [problem for name, value in found.items() for problem in sections.check(name, value, KEYS[name].hint)]
    labels = len(msgspec.json.encode(found.get("device.labels", {})))
    return problems + (
        [f"device.labels: they take {labels} bytes; {MAX_LABELS_BYTES} are allowed"] if labels > MAX_LABELS_BYTES else []
    )


def _of_keys(values: Mapping[str, Value]) -> Iterator[tuple[Key, Any]]:
    """Every key that has a value, with it."""
    tables = nested({name: value.value for name, value in values.items() if is_known(name)})
    for key in KEYS.values():
        section, _, field = key.name.partition(".")
        table = tables.get(section, {})
        if field in table:
            yield key, table[field]
        elif table and not field:
            yield key, table


def key_of(name: str) -> Key | None:
    """The key that the dotted ``name`` is, or is a part of (``device.labels.site``); None for what is none of ours."""
    section, *rest = name.split(".")
    return KEYS.get(".".join([section, *rest[:1]])) or KEYS.get(section)


def is_known(name: str) -> bool:
    """Whether this version has a use for the dotted ``name``."""
    return name.partition(".")[0] in _OWN or key_of(name) is not None


def is_taken(name: str, settings: Settings) -> bool:
    """Whether a device with these settings has a use for the dotted ``name``.

    What an external leaf begins with is systemd's and agent.toml's: the agent cannot start it anew, and nats-server refuses to reload
    a file in which such a value changed, whatever else has to be reloaded.
    """
    return is_known(name) and not (settings.leaf.mode == "external" and name.startswith("leaf."))


def ignored(values: Values, settings: Settings | None = None) -> list[str]:
    """The dotted names of what this version does not know: a newer operator may mean a newer agent, so it is no error on a device.

    settings: a device's; then also what it has no use for.
    """
    return [name for name in flat(values) if not (is_known(name) if settings is None else is_taken(name, settings))]


def misplaced(values: Values) -> list[str]:
    """What is wrong with the names: keys that there are not, or that are agent.toml's alone. For whoever writes a document."""
    return [_misplaced(name) for name in ignored(values)]


def _misplaced(name: str) -> str:
    section, _, rest = name.partition(".")
    field = rest.partition(".")[0]
    if section in SECTIONS and field in SECTIONS[section].__struct_fields__:
        return f"{name}: it is set in agent.toml on the device itself, not from the hub"
    return sections.unknown(name, KEYS) + ("" if section in SECTIONS else _OWN_HINT)


def invalid(values: Values) -> list[str]:
    """What is wrong with the values, all of it. Of what this version does not know only the form is looked at."""
    form = form_problems("", values)
    problems = list(form)
    for word, value in values.items():
        if word in _OWN:
            problems += own_problems(word, value, _OWN[word])
        elif not isinstance(value, Mapping):
            known = word in SECTIONS or word in OPEN_SECTIONS
            problems += [f"{word}: it is a section, so it must be a table: set {word}.NAME"] if known else []
        elif word in KEYS:
            problems += [] if form else sections.check(word, value, KEYS[word].hint)
        else:
            for field, inner in value.items():
                key = KEYS.get(f"{word}.{field}")
                if key and not any(problem.startswith(key.name) for problem in form):
                    problems += sections.check(key.name, inner, key.hint)
                    problems += sections.check(key.name, inner, key.hint, "document") if not problems else []
    return problems


def without_invalid(values: Values) -> dict[str, Any]:
    """The values without those that are not valid; none at all when their form is not."""
    if form_problems("", values):
        return {}
    return nested({name: value for name, value in flat(values).items() if not invalid(nested({name: value}))})
