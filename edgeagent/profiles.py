"""``agent.profile``: a layer of other defaults, between the built-in ones and agent.toml. Pure.

Which profile counts is decided by all layers as usual, so configuration can choose it; what any of them sets itself goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgeagent import config
from edgeagent.config import DEFAULT, KEYS, Layer, Value, nested

__all__ = ["METERED", "merged"]

#: The layer's name.
METERED = "profile metered"
_KEY = "agent.profile"


def merged(layers: Iterable[Layer], is_taken: Callable[[str], bool] = lambda name: True) -> dict[str, Value]:
    """:func:`edgeagent.config.merged`, with the defaults of the profile that the layers choose.

    is_taken: of the dotted name of a key, whether a profile may change it.
    """
    layers = list(layers)
    found = config.merged(layers)
    if _KEY not in found or found[_KEY].value != "metered":
        return found
    defaults = nested({name: key.metered for name, key in KEYS.items() if key.metered is not None and is_taken(name)})
    first = [layer for layer in layers if layer.name == DEFAULT]
    return config.merged([*first, Layer(METERED, defaults), *(layer for layer in layers if layer.name != DEFAULT)])
