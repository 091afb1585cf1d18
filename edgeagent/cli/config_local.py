"""``edgeagent config local`` and ``config app``: configuration as this device has it, with or without a link."""

from __future__ import annotations

import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
