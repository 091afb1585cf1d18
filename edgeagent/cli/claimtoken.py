"""A claim token on the command line: read from where it stands, and out of sight of others as soon as may be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgeagent.errors import UsageProblem
from edgeagent.interpreter import argv

__all__ = ["DeviceId", "Hidden", "Proxy", "Token", "TokenFile", "begin_anew", "read", "shown"]

#: Where a token may stand, so that provisioning tools need no file.
VARIABLE = "EDGEAGENT_TOKEN"

Token = Annotated[
    str,
    typer.Option(
        help="The claim token. Others on this machine may see it for a moment, and sudo logs it; --token-file is safer."
    ),
]
TokenFile = Annotated[
    str,
    typer.Option("--token-file", help=f"File with the claim token; - for standard input. Else ${VARIABLE}.", metavar="FILE"),
]
DeviceId = Annotated[
    str, typer.Option("--id", help="The id that this device shall have, where the token leaves it open.", metavar="ID")
]
Proxy = Annotated[
    str,
    typer.Option(
        help="HTTP proxy to the hub, e.g. http://proxy.example:3128. Others may see a password in it for a moment; "
        "`hub.proxy` in agent.toml is safer.",
        metavar="URL",
    ),
]
Hidden = Annotated[
    bool,
    typer.Option(
        "--proxy-follows", help="For `edgeagent` itself: the proxy is the second line of the token's file.", hidden=True
    ),
]


def shown(token: str, token_file: str) -> str:
    """The token if it stands where others may see it: among the words or in the environment; else empty."""
    return token or ("" if token_file else os.environ.get(VARIABLE, ""))


def read(source: str) -> str:
    """The text of the token's file. Raises EdgeError."""
    from edgeagent.files import read_text

    if not source:
        raise UsageProblem("enrol this device", "there is no claim token", f"give --token-file FILE (or -), or set ${VARIABLE}")
    return sys.stdin.read() if source == "-" else read_text(Path(source))


def begin_anew(command: str, token: str, proxy: str, words: list[str]) -> NoReturn:
    """Become the same command with the token, and the proxy with its password, in memory only.

    Everybody on the machine can read the words of a process for as long as it runs, and whoever it starts inherits its environment;
    nobody else can read an unnamed file.
    """
    memory = os.memfd_create("token", 0)
    os.write(memory, "\n".join((token.strip(), proxy)).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.environ.pop(VARIABLE, None)
    os.execv(sys.executable, argv("edgeagent", command, *words, "--proxy-follows", "--token-file", f"/dev/fd/{memory}"))
