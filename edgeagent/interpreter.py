"""How another process of ours is started: the same Python, a module of ours, and nothing out of the folder where somebody stands."""

from __future__ import annotations

import sys

__all__ = ["argv"]

#: For Python 3.10, which has no ``-P``: what ``-m`` does, without the current folder on the path.
_WITHOUT_CURRENT_FOLDER = (
    "import sys; del sys.path[0]; import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


def argv(module: str, *arguments: str, version: tuple[int, ...] = sys.version_info[:2]) -> list[str]:
    """The words that run ``module``, which must be installed, with ``arguments``.

    ``python -m`` would look for every import in the current folder first: in /tmp anybody may have put an ``asyncio.py``, and root
    would run it.
    version: of the Python that will run it.
    """
    if version >= (3, 11):
        return [sys.executable, "-P", "-m", module, *arguments]
    return [sys.executable, "-c", _WITHOUT_CURRENT_FOLDER.format(module=module), *arguments]
