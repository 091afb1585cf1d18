"""Modules that are loaded when somebody wants something of them that was not known beforehand.

As ``importlib.util.LazyLoader``, which two threads must not meet before Python 3.12.3 (gh-114763) and which knows no attributes.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["LateModule", "put_off"]


class LateModule(ModuleType):
    """A module until it is loaded; then an ordinary one, and the same object.

    When loading fails, who wanted the attribute gets that error (ImportError for one), and the next who asks tries again.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as inspect and others ask of every module there is
            raise AttributeError(name)
        with vars(self)["__late_lock__"]:
            if type(self) is LateModule and not vars(self)["__late_loading__"]:
                _load(self)
        return ModuleType.__getattribute__(self, name)


def put_off(name: str, **known: Any) -> None:
    """Have the module ``name`` load when more of it is wanted than what is ``known``; not when it is loaded already or not there.

    known: attributes that somebody wants at once, as good as the module's own.
    """
    found = None if name in sys.modules else _spec(name)
    if found is None:
        return
    made = importlib.util.module_from_spec(found)
    vars(made).update(known, __late_known__=known, __late_loading__=False, __late_lock__=threading.RLock())
    made.__class__ = LateModule  # as importlib.util.LazyLoader does
    sys.modules[name] = made


def _spec(name: str) -> ModuleSpec | None:
    """Where ``name`` is, without loading its package."""
    package = importlib.util.find_spec(name.partition(".")[0])
    return PathFinder.find_spec(name, package.submodule_search_locations if package and "." in name else None)


def _load(module: LateModule) -> None:
    inside, found = vars(module), module.__spec__
    assert found is not None and found.loader is not None, "it was found"
    inside["__late_loading__"] = True
    for name, known in inside["__late_known__"].items():
        if inside.get(name) is known:  # and not a submodule that was loaded meanwhile
            del inside[name]  # who reads it in another thread waits for the lock
    try:
        found.loader.exec_module(module)
    except BaseException:
        inside.update(inside["__late_known__"], __late_loading__=False)
        raise
    module.__class__ = ModuleType  # type: ignore[assignment]  # a module may take another class (docs.python.org, module.__class__)
