"""Whether the device's credentials let it in: there, its own, and not expired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeagent import files
from edgeagent.assembly.findings import Finding
from edgeagent.assembly.renewal import renew_at
from edgeagent.doctor.check import ONLY_ROOT, Case, Check, Patient
from edgeagent.enrolled import RENEWAL_FILE
from edgeagent.errors import EdgeError, Refused
from edgeagent.identity import device_id
from edgeagent.places import is_there
from edgeagent.times import duration
from edgeagent.trust import creds
from edgeagent.trust.creds import Credentials

__all__ = ["LOGIN", "Held", "held", "judge"]

DAY_SECONDS = 86_400
#: Credentials that nothing renews are announced so many days before their end.
SOON_DAYS = 14

_ASK = "`sudo edgeagent enroll --force` gets new ones, with a token of whoever runs the hub"

GOOD = Case("good", "{name}, good for {left}")
FOR_EVER = Case("good", "{name}, good for ever")
MISSING = Case("wrong", "there are none at {path}", "`sudo edgeagent enroll` gets them, with a token of whoever runs the hub")
MISSING_RENEWS = Case(
    "warn",
    "there are none at {path}; the agent gets new ones when it reaches the hub",
    "let it run: `sudo systemctl start edgeagent`",
)
DAMAGED = Case("wrong", "{path} can't be used: {why}", _ASK)
OTHER = Case(
    "wrong",
    "{path} is that of {name!r}, and this device is {id!r}",
    "put this device's own there, or set `device.id` in agent.toml",
)
EXPIRED = Case("wrong", "{path} expired {ago} ago, and nothing renews it", _ASK)
EXPIRED_RENEWS = Case(
    "warn",
    "expired {ago} ago; the agent gets new ones when it reaches the hub",
    "let it run, and see what the other lines say about the way to the hub",
)
SOON = Case("warn", "{name}, good for {left}, and nothing renews them", _ASK)
LATE = Case(
    "warn",
    "{name}, good for {left}; they should have been renewed {ago} ago",
    "the agent renews them by itself while it is linked: see what the other lines say about the way to the hub",
)
NOT_YET = Case("wrong", "{path} is not valid before {begins}", "is this machine's clock right? Else " + _ASK)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is in the file. wanted: there is a hub to use it with. id: of this device, empty where it can't be told.

    credentials: None where there are none, or :attr:`problem` says why they can't be read. renews: there are others, with which the
    device can ask for new ones.
    """

    path: str
    now: float
    wanted: bool = True
    id: str = ""
    credentials: Credentials | None = None
    problem: EdgeError | None = None
    renews: bool = False


def held(patient: Patient) -> Held:
    own = patient.settings
    path, now = own.credentials_file, patient.now()
    if not patient.is_known:
        return Held(path=str(path), now=now, wanted=False)
    found, problem, renews = None, None, False
    try:
        if not patient.may_look:
            raise Refused(f"read {path}", "this user may not")
        found = creds.parse(files.read_text(path)) if is_there(path) else None
        renews = is_there(own.state_folder / RENEWAL_FILE)
    except EdgeError as error:
        problem = error
    wanted = bool(own.hub.urls) or isinstance(problem, Refused)
    return Held(path=str(path), now=now, wanted=wanted, id=_id(patient), credentials=found, problem=problem, renews=renews)


def _id(patient: Patient) -> str:
    try:
        return device_id(patient.machine, patient.settings.device.id)
    except EdgeError:
        return ""


def judge(held: Held) -> Iterator[Finding]:
    if not held.wanted:
        return
    if held.problem is not None:
        refused = isinstance(held.problem, Refused)
        yield ONLY_ROOT(what=held.path) if refused else DAMAGED(path=held.path, why=held.problem.why)
    elif held.credentials is None:
        yield (MISSING_RENEWS if held.renews else MISSING)(path=held.path)
    elif held.id and held.credentials.name != held.id:
        yield OTHER(path=held.path, name=held.credentials.name, id=held.id)
    else:
        yield _life(held, held.credentials)


def _life(held: Held, login: Credentials) -> Finding:
    if login.not_before is not None and held.now < login.not_before:
        return NOT_YET(path=held.path, begins=f"{duration(login.not_before - held.now)} from now")
    renewal = renew_at(login)
    if login.expires_at is None or renewal is None:
        return FOR_EVER(name=login.name)
    left = login.expires_at - held.now
    if left <= 0:
        return EXPIRED_RENEWS(ago=duration(-left)) if held.renews else EXPIRED(path=held.path, ago=duration(-left))
    values = {"name": login.name, "left": duration(left), "ago": duration(held.now - renewal)}
    if not held.renews:
        return (SOON if left < SOON_DAYS * DAY_SECONDS else GOOD)(**values)
    return (LATE if held.now > renewal + DAY_SECONDS else GOOD)(**values)


LOGIN = Check(
    "credentials",
    "The device's JWT and key (`device.creds`): whether they are there, of this device, and not expired. Enrolled devices renew "
    "them by themselves; those that a person put there end.",
    (held,),
    judge,
    (GOOD, FOR_EVER, MISSING, MISSING_RENEWS, DAMAGED, OTHER, EXPIRED, EXPIRED_RENEWS, SOON, LATE, NOT_YET, ONLY_ROOT),
)
