"""Why a leaf does not come to its hub, out of what its nats-server logs; pure.

The words were collected by provoking each failure with nats-server 2.15.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LinkFailure", "explain", "explain_last"]


@dataclass(frozen=True, kw_only=True)
class LinkFailure:
    """why, remedy: as for EdgeError.

    kind: a word for programs: ``refused`` (the other end is a hub and does not let us in), ``full`` (it would, but has no room now),
    ``credentials`` (ours cannot be used), ``distrust`` (its certificate), ``protocol`` (it is something else, or speaks TLS otherwise),
    ``proxy``, or ``silence`` (it may yet work).
    """

    why: str
    remedy: str = ""
    kind: str = "silence"


_CLOCK = "is this machine's clock right (`date`)?"
_STRANGER = LinkFailure(
    why="its certificate is not signed by an authority that is trusted here",
    remedy="is it the hub that this device or its token is of? Then somebody may be in between",
    kind="distrust",
)
_ANOTHER_NAME = LinkFailure(
    why="its certificate is for another name or address",
    remedy="use the hub's address as its certificate names it",
    kind="distrust",
)
_DATES = LinkFailure(why="its certificate has expired, or is not valid yet", remedy=_CLOCK, kind="distrust")
_BAD_CERTIFICATE = LinkFailure(why="its certificate is not accepted", remedy=_CLOCK, kind="distrust")

#: nats-server looks the name up itself, and then asks the proxy for it.
_UNKNOWN_NAME = LinkFailure(
    why="the name is not known",
    remedy="check the spelling, and the DNS of this machine, which is asked also where there is a proxy",
)

#: A server began, or a connection: what was said before is of an earlier one.
_ANEW = re.compile(r"Server is ready|Leafnode connection created")

#: First match counts.
_PATTERNS = (
    (
        r"Leafnode Error 'maximum account active connections",
        LinkFailure(why="the hub has no room for newcomers just now", remedy="try again in a minute", kind="full"),
    ),
    (
        r"[Cc]redentials file (?:.*? )?has malformed seed",
        LinkFailure(
            why="the seed in this device's credentials file is damaged", remedy="enrol the device again", kind="credentials"
        ),
    ),
    (
        r"Duplicate Remote LeafNode Connection",
        LinkFailure(
            why="another leaf of this device's name takes the link away",
            remedy="was its card copied? Enrol the copy under an id of its own: `edgeagent enroll --force --id ...`",
            kind="duplicate",
        ),
    ),
    (
        r"Leafnode Error '(?:Authorization|User Authentication)",
        LinkFailure(
            why="it does not accept the login",
            remedy="was this device revoked (`edgeagent device ls`, where you work)? Else enrol it again: `edgeagent enroll --force`",
            kind="refused",
        ),
    ),
    (r"certificate signed by unknown authority", _STRANGER),
    (r"x509: certificate has expired or is not yet valid", _DATES),
    (r"x509: certificate (?:is valid for|is not valid for)|x509: cannot validate certificate for", _ANOTHER_NAME),
    (r"failed to verify certificate", _BAD_CERTIFICATE),
    (
        r"proxy CONNECT failed: 407",
        LinkFailure(why="the proxy wants another user or password", remedy="name them in --proxy, or `hub.proxy`", kind="proxy"),
    ),
    (
        r"proxy CONNECT failed",
        LinkFailure(why="the proxy does not lead there", remedy="may it reach that host and port?", kind="proxy"),
    ),
    (
        r"failed to read proxy response",
        LinkFailure(
            why="the proxy does not answer as one", remedy="check --proxy, or `hub.proxy`: it must be an HTTP proxy", kind="proxy"
        ),
    ),
    (r"attempted to connect to wrong port", LinkFailure(why="it is another port of a nats-server", kind="protocol")),
    (
        r"TLS leafnode handshake error|closed: TLS Handshake Failure",
        LinkFailure(why="it does not speak TLS as expected", kind="protocol"),
    ),
    (
        r"Error soliciting websocket connection: (?:invalid websocket|malformed HTTP)",
        LinkFailure(why="no websocket answers there", kind="protocol"),
    ),
    (r"Error soliciting websocket connection", LinkFailure(why="it closed the connection", kind="protocol")),
    (r"closed: Read Error", LinkFailure(why="it closed the connection, or said nothing")),
    (r"no such host", _UNKNOWN_NAME),
    (r"connection refused", LinkFailure(why="nothing listens there")),
)


def explain(log: str) -> LinkFailure | None:
    """What the log says of the tries to link; None when it tells of no failure. One that is certain goes before ``silence``."""
    return next((failure for pattern, failure in _PATTERNS if re.search(pattern, log)), None)


def explain_last(log: str) -> LinkFailure | None:
    """What the log says of the newest try, for a leaf that goes on trying. None as well while that try has not failed yet."""
    begun = list(_ANEW.finditer(log))
    return explain(log[begun[-1].start() :] if begun else log)
