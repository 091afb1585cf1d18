"""``python -m edgeagent.assembly.actionhelper``: one request of the agent's, as root: start, stop or look at the unit of an action.

``edgeagent-actions@.service`` runs it for each connection, which is its standard input. It is all that stands between an agent that was
taken over and the machine, so it takes nobody's word: it asks the kernel who is there, and reads agent.toml itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import socket
import struct

import msgspec

from edgeagent import actions
from edgeagent.actions import Outcome
from edgeagent.actionunits import AGENT
from edgeagent.assembly import actionstart
from edgeagent.assembly.actionorders import Judged, found, judged, trusted_settings
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.machine import Machine
from edgeagent.patterns import unitrequests as wire
from edgeagent.patterns.unitrequests import Answer, Request, told_of
from edgeagent.runtime import set_up_logging

__all__ = ["main"]

log = logging.getLogger("edgeagent")

#: How long the agent may take to say what it wants, in seconds.
ASKING_SECONDS = 10.0
#: ``struct ucred`` of unix(7): pid, user, group.
_PEER = struct.Struct("iII")


def main() -> None:
    set_up_logging("info")
    with socket.socket(fileno=os.dup(0)) as connection:
        descriptor: int | None = None
        try:
            agent = _agent()
            _check_peer(connection, agent)
            request, content = _received(connection)
            answer, descriptor = _done(request, content, agent)
        except EdgeError as error:
            log.warning("%s", error)
            answer = Answer(error.code, error.what, error.why, error.remedy)
        connection.settimeout(ASKING_SECONDS)
        with contextlib.suppress(OSError):  # it did not wait
            wire.send(connection, answer, descriptor)


def _agent() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(AGENT)
    except KeyError:
        raise Failed("serve the agent", f"there is no user {AGENT}") from None


def _check_peer(connection: socket.socket, agent: pwd.struct_passwd) -> None:
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if user != agent.pw_uid:
        raise Refused("do that", f"only the user {AGENT} may ask for it, and not user id {user}")


def _received(connection: socket.socket) -> tuple[Request, int | None]:
    try:
        line, content = wire.receive(connection, ASKING_SECONDS)
        return msgspec.json.decode(line, type=Request), content
    except (OSError, ValueError, RecursionError) as error:
        raise Refused("understand the request", actions.printable(str(error), 200)) from None


def _done(request: Request, content: int | None, agent: pwd.struct_passwd) -> tuple[Answer, int | None]:
    if not wire.is_id(request.id):
        raise Refused("do that", f"{actions.printable(request.id)!r} is no id of a command")
    if request.do == "start":
        order = _judged(request)
        if order.unit.run is None and not order.unit.is_whole:
            raise Refused(f"run {order.action.name}", "it needs no unit")
        if content is not None:
            wire.check_content(content)
        what = actions.described(order.action.name, request.args)
        log.info("starts %s as %s: %s", wire.unit_name(request.id), order.user, what)
        actionstart.start(order, request, content, agent.pw_gid)
        return Answer(), None
    if request.do == "look":
        return _look(_judged(request))
    if request.do == "state":
        return Answer(runs=actionstart.runs(request.id)), None
    (actionstart.stop if request.do == "stop" else actionstart.forget)(request.id)
    return Answer(), None


def _judged(request: Request) -> Judged:
    found_one = judged(trusted_settings(), request, lambda name: found(name, Machine()))
    try:
        pwd.getpwnam(found_one.user)
    except KeyError:
        remedy = "name another in agent.toml"
        raise Failed(f"run it as {found_one.user}", "there is no such user on this machine", remedy) from None
    return found_one


def _look(order: Judged) -> tuple[Answer, int | None]:
    """As its user, whom we are from now on."""
    if order.unit.look is None:
        raise Refused(f"look for {order.action.name}", "there is nothing to be seen")
    _become(pwd.getpwnam(order.user))
    seen = order.unit.look(order.settings, Machine(), order.args)
    if isinstance(seen, Outcome):
        return Answer(outcome=told_of(seen)), None
    return Answer(), seen


def _become(user: pwd.struct_passwd) -> None:
    if user.pw_uid != os.geteuid():
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


if __name__ == "__main__":
    main()
