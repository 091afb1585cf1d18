"""edgeagent runs fleets of Raspberry Pis over NATS.

``from edgeagent import Fleet`` is the Python API; the command line is ``edgeagent --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgeagent.fleet import Fleet

__all__ = ["Fleet", "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: an agent on a Pi never pays for the operator's side.
    if name == "Fleet":
        from edgeagent.fleet import Fleet

        return Fleet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
