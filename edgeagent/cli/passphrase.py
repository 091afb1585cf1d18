"""Where the passphrase of an owner's file comes from: a file, the environment, or the person. Never the command line."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeagent import files
from edgeagent.errors import Refused, UsageProblem

__all__ = ["VARIABLE", "NewPassphraseFile", "NoPassphrase", "PassphraseFile", "known", "new"]

VARIABLE = "EDGEAGENT_PASSPHRASE"
#: Shorter ones are found by trying.
MIN_LENGTH = 8

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"A file with the passphrase of the owner's keys; '-' is standard input. Without it: ${VARIABLE}, else you are asked.",
        metavar="FILE",
    ),
]
NewPassphraseFile = Annotated[
    Path | None,
    typer.Option("--new-passphrase-file", help="A file with the new one; you are asked if it is not given.", metavar="FILE"),
]
NoPassphrase = Annotated[
    bool, typer.Option("--no-passphrase", help="Do not encrypt the owner's keys: whoever reads that file is the hub.")
]


def new(
    file: Path | None, *, no_passphrase: bool, variable: str | None = VARIABLE, option: str = "--passphrase-file"
) -> str | None:
    """A passphrase to encrypt with, None not to. variable: of the environment; None looks in none. option: that ``file`` is of.

    Raises UsageProblem when there is none and nobody to ask, or it is too short.
    """
    what = "encrypt the owner's keys"
    if no_passphrase:
        if file is not None:
            raise UsageProblem(what, f"--no-passphrase and {option} are both given")
        typer.echo("The owner's keys are NOT encrypted: whoever reads their file is the hub, for good.", err=True)
        return None
    given = _given(file, variable)
    if given is None and not _terminal():
        ways = f"{option} FILE, {f'${variable}, ' if variable else ''}a terminal to ask you on, or --no-passphrase"
        raise UsageProblem(what, "there is no passphrase", f"give one of: {ways}")
    passphrase = _ask_twice(what) if given is None else given
    if len(passphrase) < MIN_LENGTH:
        raise UsageProblem(what, f"the passphrase is shorter than {MIN_LENGTH} characters", "take some words of your own")
    return passphrase


def known(keys: Path, file: Path | None) -> str | None:
    """The passphrase of the owner's file ``keys``, None when it needs none or does not exist. Raises as :func:`new`."""
    from edgeagent.hub import ownerfile

    what = f"read the owner's file {keys}"
    data = files.read_if_there(keys)
    if data is None or not ownerfile.is_encrypted(data, what):
        return None
    given = _given(file, VARIABLE)
    if given is not None:
        return given
    if not _terminal():
        raise UsageProblem(
            what, "there is no passphrase", f"give one of: --passphrase-file FILE, ${VARIABLE}, or a terminal to ask you on"
        )
    return str(typer.prompt(f"Passphrase of {keys}", hide_input=True, err=True))


def _given(file: Path | None, variable: str | None) -> str | None:
    """The first line of ``file``, else the variable of the environment, None when there is neither."""
    if file is None:
        return (os.environ.get(variable) if variable else None) or None
    text = sys.stdin.readline() if str(file) == "-" else _private_text(file)
    line = text.split("\n", 1)[0].removesuffix("\r")
    if not line:
        raise UsageProblem(f"read the passphrase in {file}", "it is empty")
    return line


def _private_text(file: Path) -> str:
    text = files.read_text(file)
    mode = file.stat().st_mode
    if stat.S_ISREG(mode) and mode & 0o077:
        raise Refused(
            f"read the passphrase in {file}",
            f"others on this machine can read it (mode {stat.S_IMODE(mode):04o})",
            f"`chmod 600 {file}`",
        )
    return text


def _ask_twice(what: str) -> str:
    typer.echo("The owner's keys are encrypted with a passphrase of yours. Nobody can recover it.", err=True)
    first = str(typer.prompt("Passphrase", hide_input=True, err=True))
    if typer.prompt("The same again", hide_input=True, err=True) != first:
        raise UsageProblem(what, "the two passphrases differ", "try again")
    return first


def _terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
