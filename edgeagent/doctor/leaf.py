"""Whether the leaf runs, and whether it is linked to the hub."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from edgeagent.assembly.findings import Finding
from edgeagent.doctor import linkprobe
from edgeagent.doctor.check import Case, Check, times
from edgeagent.doctor.leafport import Answering, answering
from edgeagent.doctor.linkprobe import Probed
from edgeagent.doctor.observed import Observed, observed
from edgeagent.natsserver import ports
from edgeagent.status import UNACKNOWLEDGED, LinkStatus
from edgeagent.times import age, duration, parse_rfc3339

__all__ = ["LEAF", "LINK", "judge", "judge_link"]

GOOD = Case("good", "nats-server {version} at {url}")
DOWN = Case("wrong", "nothing answers at {url}, so programs on this device can store nothing", "{start}; why it ended: {log}")
OTHER = Case(
    "wrong",
    "another nats-server ({name}) answers at {url}",
    "end that one, or set another `leaf.port` in agent.toml; then restart the agent and its leaf",
)
FAILING = Case("wrong", "its unit does not stay up: {why}", "`journalctl -u edgeagent-leaf -n 50` shows what it said")
RESTARTED = Case("warn", "it runs, and had to be started anew: {times}", "why it ended: {log}")

LINKED = Case("good", "the hub acknowledged just now, in {milliseconds:.0f} ms")
SAID = Case("good", "linked since {since}, last acknowledged {ago}")
UNLINKED = Case(
    "wrong",
    "not linked since {since}, {heard}{why}",
    "{remedy}",
    "What devices measure and say is kept meanwhile, and sent when the link is back.",
)
SILENT = Case(
    "wrong",
    "it looks linked, and the hub does not answer: {why}",
    "on the hub: `edgeagent hub status`, `edgeagent hub doctor`. If it is well, something on the way swallows packets",
)

_ELSE = "see what the lines above say about the way to the hub; the leaf's log: {log}"


def judge(found: Observed, leaf: Answering) -> Iterator[Finding]:
    url = f"nats://{ports.HOST}:{leaf.port}"
    if leaf.is_ours:
        restarts = found.seen.leaf.restarts if found.seen and found.is_running else 0
        count = restarts or found.leaf.restarts
        yield RESTARTED(times=times(count), log=found.log) if count else GOOD(version=leaf.version, url=url)
    elif leaf.server_name:
        yield OTHER(name=leaf.server_name, url=url)
    elif found.leaf.is_failing:
        yield FAILING(why=found.leaf.why or "it ends again and again")
    else:
        yield DOWN(url=url, start=_start(found), log=found.log)


def _start(found: Observed) -> str:
    if found.external:
        return "`sudo systemctl start edgeagent-leaf`"
    return "the agent starts it again by itself" if found.is_running else "the agent starts it: start that"


def judge_link(found: Observed, probed: Probed) -> Iterator[Finding]:
    """Nothing while no agent runs, or there is no hub: others say so."""
    if found.seen is None or not found.is_running or not found.seen.link.hub:
        return
    link = found.seen.link
    if not link.up:
        yield _unlinked(found, link)
    elif probed.problem is not None:
        yield SILENT(why=probed.problem.why)
    elif probed.milliseconds is not None:
        yield LINKED(milliseconds=probed.milliseconds)
    else:
        yield SAID(since=_since(found, link.since), ago=_ago(found, link.acknowledged))


def _unlinked(found: Observed, link: LinkStatus) -> Finding:
    heard = f"last acknowledged {_ago(found, link.acknowledged)}" if link.acknowledged else "never acknowledged"
    why, remedy = _cause(found)
    since = _since(found, link.since)
    return UNLINKED(since=since, heard=heard, why=f": {why}" if why else "", remedy=remedy or _ELSE.format(log=found.log))


def _cause(found: Observed) -> tuple[str, str]:
    """Why, and the remedy: as the agent says, where it knows more than that nobody answers, else by the leaf's log; empty: neither knows."""
    told = [each for each in found.seen.problems if each.about == "link"] if found.seen else []
    if found.link is not None and not (told and not told[0].what.startswith(UNACKNOWLEDGED)):
        return found.link.why, found.link.remedy
    return (told[0].what, told[0].remedy) if told else ("", "")


def _since(found: Observed, moment: str) -> str:
    return duration(found.now - parse_rfc3339(moment).timestamp()) if moment else "it started"


def _ago(found: Observed, moment: str) -> str:
    return age(parse_rfc3339(moment), datetime.fromtimestamp(found.now, timezone.utc)) if moment else "never"


LEAF = Check(
    "leaf",
    "Whether this device's own nats-server answers at its port on 127.0.0.1.",
    (observed, answering),
    judge,
    (GOOD, DOWN, OTHER, FAILING, RESTARTED),
)
LINK = Check(
    "link",
    "Whether the hub acknowledges what this device sends: with the agent's login (as root) it is tried, with the agent's last heartbeat once "
    "more; without, it is what the agent says.",
    (observed, linkprobe.read),
    judge_link,
    (LINKED, SAID, UNLINKED, SILENT),
)
