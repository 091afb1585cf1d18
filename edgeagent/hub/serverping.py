"""What every server of the hub says of itself: a request of the system account's that each of them answers."""

from __future__ import annotations

import json
from typing import Any

import nats.errors

from edgeagent.direct import in_our_words
from edgeagent.errors import Unreachable
from edgeagent.link import Client

__all__ = ["ask_all"]

#: How long the first may take, in seconds; and how long after one answer there may be another.
FIRST_SECONDS, STALL_SECONDS = 5.0, 0.5


async def ask_all(
    system: Client, question: str, size: int, *, first: float = FIRST_SECONDS, account: str = ""
) -> dict[str, dict[str, Any]]:
    """By the server's name its whole answer, with ``server`` (``name``, ``id``, ``ver``) and ``data``.

    system: a connection to SYS. question: ``VARZ``, ``HEALTHZ`` ... size: as many servers there can be. first: how long to wait for the
    first of them, in seconds. account: the public key of the one that it is about; of those only ``STATZ``. Raises Unreachable when none answers.
    """
    what = f"ask the hub's servers ({question})"
    subject = f"$SYS.REQ.{'ACCOUNT' if account else 'SERVER'}.PING.{question}"
    body = json.dumps({"accounts": [account], "include_unused": True} if account else {}).encode()
    inbox, found = system.new_inbox(), dict[str, dict[str, Any]]()
    with in_our_words(what):
        answers = await system.subscribe(inbox)
        try:
            await system.publish(subject, body, reply=inbox)
            while len(found) < size:
                message = await answers.next_msg(timeout=STALL_SECONDS if found else first)
                if not message.data:  # the server's word that nobody listens there
                    break
                answer = json.loads(message.data)
                found[str(answer["server"]["name"])] = answer
        except (nats.errors.TimeoutError, ValueError, KeyError, TypeError):
            pass
        finally:
            await answers.unsubscribe()
    if not found:
        raise Unreachable(what, "none answers")
    return found
