"""What one hub has that another has not: signed documents and commands. What is missing may be brought over as it is, for it is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeagent import subjects
from edgeagent.direct import Stored, get_last, read_all
from edgeagent.errors import EdgeError, Refused
from edgeagent.fleet.configversion import scope_of, version_of
from edgeagent.fleet.roster import read_roster
from edgeagent.link import Client
from edgeagent.publish import published_if
from edgeagent.trust import signers
from edgeagent.trust.pins import Pins

__all__ = ["Heads", "Lacks", "bring_document", "lacks", "read_heads", "sync"]

_CONFIG, _COMMANDS = f"KV_{subjects.CONFIG_BUCKET}", "EDGE_COMMANDS"
_SIGNERS = subjects.document(subjects.SIGNERS)
_WHAT = "bring over what the new hub lacks"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """documents: by subject. commands: the same, every entry. devices: that it has let in. The messages are as they are stored."""

    documents: Mapping[str, Stored] = field(default_factory=dict)
    commands: Mapping[str, Stored] = field(default_factory=dict)
    signers: Stored | None = None
    devices: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Lacks:
    """documents, commands: subjects that the new hub has not, or an older one of. signers: who may sign. devices: it has never let these in.

    others: commands that are others there: their logs parted, and nobody can bring them together again.
    """

    documents: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    signers: bool = False
    devices: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.documents or self.commands or self.others or self.signers)

    def lines(self) -> list[str]:
        """For people, a sentence each."""
        found = [f"the configuration of {_scope(subject)} is missing or older there" for subject in self.documents]
        count = len(self.commands)
        found += [f"{count} command{' is' if count == 1 else 's are'} missing there"] if count else []
        found += [f"the commands {', '.join(self.others[:3])} are others there: its log went its own way"] if self.others else []
        found += ["the list of who may sign, and of who was revoked, is older there"] if self.signers else []
        return found


def _scope(subject: str) -> str:
    return ".".join(subject.split(".")[2:])


async def read_heads(client: Client) -> Heads:
    """What the hub has. client: a person's connection. Raises EdgeError."""
    documents, commands, stored, roster = await asyncio.gather(
        _all(client, _CONFIG, subjects.kv(subjects.CONFIG_BUCKET, ">")),
        _all(client, _COMMANDS, "edge.to.*.*.cmd.*"),
        get_last(client, f"KV_{subjects.TRUST_BUCKET}", _SIGNERS),
        read_roster(client),
    )
    known = frozenset(device for device, found in roster.devices.items() if found.record and not found.record.revoked)
    return Heads(documents=documents, commands=commands, signers=stored, devices=known)


async def _all(client: Client, stream: str, subject: str) -> dict[str, Stored]:
    """The newest message of each subject."""
    return {item.subject: item async for item in read_all(client, stream, subject, marks=True)}


def lacks(here: Heads, there: Heads, pins: Pins | None = None) -> Lacks:
    """What ``there`` lacks of what is ``here``. pins: whom devices follow; documents of others are nothing to bring over. Pure."""
    return Lacks(
        documents=[
            subject
            for subject, stored in here.documents.items()
            if _number(stored, pins) > _number(there.documents.get(subject), pins)
        ],
        commands=[subject for subject in here.commands if subject not in there.commands],
        others=[
            subject
            for subject, stored in here.commands.items()
            if subject in there.commands and there.commands[subject].data != stored.data
        ],
        signers=_signers_number(here.signers, pins) > _signers_number(there.signers),
        devices=sorted(here.devices - there.devices),
    )


def _number(stored: Stored | None, pins: Pins | None) -> int:
    """The generation; 0 for what is no document that devices follow."""
    scope = scope_of(stored.subject) if stored else None
    if stored is None or scope is None:
        return 0
    version = version_of(scope, stored, pins)
    return version.generation if version.is_there and not version.problem else 0


def _signers_number(stored: Stored | None, pins: Pins | None = None) -> int:
    """The generation; 0 for what ``pins``, which come from this document, did not follow: nobody of ours signed it."""
    try:
        number = signers.number_of(stored.data) if stored else 0
    except EdgeError:
        return 0
    return number if pins is None or number == pins.generation else 0


async def sync(there: Client, here: Heads, known: Heads, missing: Lacks, *, anyway: bool = False) -> None:
    """Bring over what is missing, fenced by what was ``known`` to be there. Raises Refused when somebody else was first.

    anyway: if their logs parted, bring the rest. A command whose number is another's there stays here alone: its number is signed. Devices
    see that the log is another one, and read it again. Else Refused is raised.
    """
    if missing.others and not anyway:
        remedy = "`--sync --anyway` brings over all but these; a hub that is to take over should not be used before"
        raise Refused(_WHAT, "both hubs were given commands since they parted", remedy)
    for subject in missing.documents:
        await bring_document(there, here.documents[subject], known.documents.get(subject))
    for subject in sorted(missing.commands, key=lambda subject: here.commands[subject].sequence):
        await _bring(there, here.commands[subject], 0)
    if missing.signers and here.signers:
        await _bring(there, here.signers, known.signers.sequence if known.signers else 0)


async def bring_document(there: Client, stored: Stored, before: Stored | None) -> None:
    """Store a document at another hub as it is; ``before`` is what was seen there. Raises EdgeError."""
    await _bring(there, stored, before.sequence if before else 0)


async def _bring(there: Client, stored: Stored, sequence: int) -> None:
    if await published_if(there, stored.subject, stored.data, sequence, what=_WHAT) is None:
        raise Refused(_WHAT, f"somebody else has just written {stored.subject} there", "try again")
