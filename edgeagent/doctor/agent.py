"""Whether the agent runs, will run after the next boot, and what it says is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from edgeagent.assembly.findings import Finding
from edgeagent.doctor.check import ONLY_ROOT, Case, Check, Patient, times
from edgeagent.doctor.observed import Observed, observed
from edgeagent.doctor.systemd import Unit, show
from edgeagent.status import Status
from edgeagent.times import age, duration, parse_rfc3339

__all__ = ["ACTIONS", "AGENT", "judge", "judge_actions", "read_actions"]

ACTIONS_UNIT = "edgeagent-actions.socket"

GOOD = Case("good", "{id} runs edgeagent {version} since {since}")
NEVER = Case("wrong", "it does not run", "{start}")
DOWN = Case("wrong", "it does not run; it was last heard {ago}", "{start}")
FAILING = Case(
    "wrong",
    "it does not stay up: {why}",
    "`journalctl -u edgeagent -n 50` shows what it said, `sudo edgeagent check` what it lacks",
)
RESTARTED = Case(
    "warn",
    "it runs, and systemd had to start it anew: {times}",
    "`journalctl -u edgeagent | grep -i -e watchdog -e main.process` shows when and why",
    "Systemd starts it anew when it ended, or when it did not answer the watchdog for a minute.",
)
DISABLED = Case("warn", "it does not start when the machine does", "`sudo edgeagent install`")
STALE = Case(
    "warn",
    "edgeagent {running} runs, and {version} is installed",
    "`sudo systemctl restart edgeagent`, or end it and start it again",
)
TROUBLE = Case(
    "warn", "it says: {what}", "{remedy}", "Whatever else the agent itself complains of, as `edgeagent status` shows it."
)

ACTIONS_GOOD = Case("good", "the helper takes commands that touch the machine")
ACTIONS_DOWN = Case(
    "wrong",
    "the helper is {state}: commands that touch the machine fail",
    "`sudo systemctl enable --now edgeagent-actions.socket`",
    "The agent itself may do nothing on the machine; what agent.toml allows is done by this helper.",
)

_START = "`sudo systemctl start edgeagent`"
_RUN = "`edgeagent run` starts it, or `sudo systemctl start edgeagent` where it is installed as a service"


def judge(found: Observed) -> Iterator[Finding]:
    if found.unreadable:
        yield ONLY_ROOT(what=found.unreadable)
    elif found.agent.is_failing:
        yield FAILING(why=found.agent.why or "it ends again and again")
    elif found.seen is None:
        yield NEVER(start=_start(found))
    elif not found.is_running:
        yield DOWN(ago=age(parse_rfc3339(found.seen.written), _moment(found)), start=_start(found))
    else:
        yield from _running(found, found.seen)
    if found.agent.enabled == "disabled":
        yield DISABLED()


def _start(found: Observed) -> str:
    return _START if found.agent.is_loaded else _RUN


def _running(found: Observed, seen: Status) -> Iterator[Finding]:
    worries = []
    if seen.version != found.version:
        worries.append(STALE(running=seen.version, version=found.version))
    if found.agent.restarts:
        worries.append(RESTARTED(times=times(found.agent.restarts)))
    worries += [TROUBLE(what=each.what, remedy=each.remedy) for each in seen.problems if not each.about]
    since = duration((_moment(found) - parse_rfc3339(seen.started)).total_seconds())
    yield from worries or [GOOD(id=seen.id, version=seen.version, since=since)]


def _moment(found: Observed) -> datetime:
    return datetime.fromtimestamp(found.now, timezone.utc)


def read_actions(patient: Patient) -> Unit:
    return show(patient, ACTIONS_UNIT)


def judge_actions(unit: Unit) -> Iterator[Finding]:
    if unit.is_loaded:
        yield ACTIONS_GOOD() if unit.active == "active" else ACTIONS_DOWN(state=unit.active or "not there")


AGENT = Check(
    "agent",
    "Whether the agent runs, whether systemd has to start it again and again, whether it is the version that is installed, and what it "
    "complains of.",
    (observed,),
    judge,
    (GOOD, NEVER, DOWN, FAILING, RESTARTED, DISABLED, STALE, TROUBLE, ONLY_ROOT),
)
ACTIONS = Check(
    "actions",
    "Whether the helper that carries out commands on the machine takes them, where it is installed.",
    (read_actions,),
    judge_actions,
    (ACTIONS_GOOD, ACTIONS_DOWN),
)
