"""The leaf for whoever has no NATS client, such as a shell script: a program's configuration is asked for there, once or for ever."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeagent import files, localsubjects, settings, wire
from edgeagent.assembly.apps import environment_file
from edgeagent.assembly.logins import leaf_url
from edgeagent.backoff import Backoff
from edgeagent.errors import EdgeError, Refused, Unreachable, UsageProblem
from edgeagent.link import Client, NkeyLogin, connect, request
from edgeagent.places import SYSTEM_SETTINGS
from edgeagent.runtime import jittered
from edgeagent.settings import Settings
from edgeagent.subjects import ID_RULE, is_id
from edgeagent.trust.nkeys import KeyPair

__all__ = ["Way", "ask", "connected", "follow", "is_forbidden", "own_login", "unless_forbidden", "way"]

T = TypeVar("T")

#: How long the agent may take for an answer, in seconds.
ANSWER_SECONDS = 3.0
#: How often to look meanwhile whether the leaf refused the question, in seconds.
REFUSED_SECONDS = 0.1
#: Whoever follows asks again after this long, in seconds, whether it was told of a change or not.
LOOK_SECONDS = 30.0
#: Pauses while the leaf or the agent is away, and how long it must have gone well for the first pause to come back, in seconds.
FIRST_SECONDS, CAP_SECONDS, GOOD_SECONDS = 0.2, 5.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """The leaf, and the login there. password: ``(user, password)``. nkey: see :func:`edgeagent.link.connect`. None of them: no login.

    settings: of this machine's agent; None: not known.
    """

    url: str
    inbox: str = "_INBOX"
    password: tuple[str, str] | None = field(default=None, repr=False)
    nkey: NkeyLogin | None = field(default=None, repr=False)
    settings: Settings | None = field(default=None, repr=False)


def way(environment: Mapping[str, str], settings_file: Path | None = None) -> Way:
    """What the environment says, as ``edgeagent app add`` writes it; without an address there, the leaf of this machine's agent.

    Raises EdgeError when the settings or the key can't be read.
    """
    url = environment.get("NATS_URL", "")
    known = _settings(settings_file, needed=not url)
    seed_file, user = environment.get("NATS_NKEY"), environment.get("NATS_USER")
    return Way(
        url=url or leaf_url(known or Settings(source=SYSTEM_SETTINGS)),
        settings=known,
        inbox=environment.get("NATS_INBOX_PREFIX") or "_INBOX",
        password=(user, environment.get("NATS_PASSWORD", "")) if user and not seed_file else None,
        nkey=_nkey(Path(seed_file)) if seed_file else None,
    )


def _settings(file: Path | None, *, needed: bool) -> Settings | None:
    """needed: raise EdgeError when they can't be read, which a program with an address of its own need not be able to."""
    try:
        return settings.load(file)
    except EdgeError:
        if needed:
            raise
        return None


def _nkey(seed_file: Path) -> NkeyLogin:
    key = KeyPair.from_seed(files.read_text(seed_file).strip())
    return key.public, lambda nonce: base64.urlsafe_b64encode(key.sign(nonce.encode())).rstrip(b"=")


async def ask(there: Way, name: str) -> str:
    """The table of the program ``name``, as one line of JSON.

    Raises UsageProblem for a name that no program has, Unreachable when the leaf or the agent does not answer, Refused when this login
    may not ask.
    """
    async with connected(there, _what(name), "config app") as client:
        return await _asked(client, there, name)


async def follow(find: Callable[[], Way], name: str, say: Callable[[str], None], warn: Callable[[EdgeError], None]) -> None:
    """Say the table now, and again whenever it has changed, for ever. Errors as for :func:`ask`, but while nobody answers it waits.

    find: looked up at every connect, for the leaf's port may change. warn: called with the reason once each time that nobody answers.
    """
    what, clock = _what(name), asyncio.get_running_loop().time
    pauses = Backoff(FIRST_SECONDS, CAP_SECONDS, good_seconds=GOOD_SECONDS)
    told = _Told(say, warn)
    while True:
        begun = clock()
        changed = asyncio.Event()
        try:
            there = find()
            async with connected(there, what, "config app", changed) as client:
                await _listen(client, name, changed)
                while True:
                    changed.clear()
                    told.table(await _asked(client, there, name))
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(changed.wait(), jittered(LOOK_SECONDS))
        except (Refused, UsageProblem):
            raise
        except EdgeError as error:
            told.trouble(error)
        await asyncio.sleep(pauses.next(clock() - begun))


class _Told:
    """What was said before: each value and each outage is told once."""

    def __init__(self, say: Callable[[str], None], warn: Callable[[EdgeError], None]) -> None:
        self._say, self._warn = say, warn
        self._table: str | None = None
        self._in_trouble = False

    def table(self, table: str) -> None:
        self._in_trouble = False
        if table != self._table:
            self._table = table
            self._say(table)

    def trouble(self, error: EdgeError) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._warn(error)


def _what(name: str) -> str:
    """As for :class:`EdgeError`. Raises UsageProblem when no program is called so."""
    what = f"read the configuration of the program {name!r}"
    if not is_id(name):
        raise UsageProblem(what, f"a program's name is {ID_RULE}")
    return what


@contextlib.asynccontextmanager
async def connected(there: Way, what: str, command: str, closed: asyncio.Event | None = None) -> AsyncIterator[Client]:
    """A connection to the leaf. command: of ``edgeagent``, for the server's list. closed: set when the connection has ended.

    Raises EdgeError.
    """

    async def ended() -> None:
        if closed:
            closed.set()

    try:
        client = await connect(
            there.url,
            what=what,
            name=f"edgeagent {command}",
            inbox_prefix=there.inbox,
            password=there.password,
            nkey=there.nkey,
            reconnect=False,
            on_closed=ended,
        )
    except Unreachable as error:
        remedy = "the agent brings the leaf there: `edgeagent status` says how it is, `edgeagent run` starts it"
        raise Unreachable(error.what, error.why, remedy) from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # closing: whatever is already gone is fine
            await client.close()


def is_forbidden(client: Client) -> bool:
    """Whether the leaf said that this login may not do what was tried last."""
    return "permissions violation" in str(client.last_error).lower()


async def unless_forbidden(client: Client, asking: Coroutine[Any, Any, T]) -> T:
    """What comes of it, but not waited for where the leaf says that this login may not: no answer comes then.

    Raises Unreachable in that case, and whatever ``asking`` raises.
    """
    task = asyncio.ensure_future(asking)
    try:
        while not (await asyncio.wait({task}, timeout=REFUSED_SECONDS))[0]:
            if is_forbidden(client):
                raise Unreachable("ask", "the leaf does not allow it")
        return task.result()
    finally:
        task.cancel()


def own_login(there: Way, name: str) -> str:
    """What helps whoever came without the login of the program ``name``."""
    file = shlex.quote(str(environment_file(there.settings or Settings(source=SYSTEM_SETTINGS), name)))
    return f"use the program's own login: `set -a; . {file}; set +a`"


async def _listen(client: Client, name: str, changed: asyncio.Event) -> None:
    """What is published there is a reason to ask: the answers to our own questions never overtake each other."""

    async def heard(message: Any) -> None:
        if not message.reply:  # else it is a question, such as ours
            changed.set()

    await client.subscribe(localsubjects.local_config(name), cb=heard)


async def _asked(client: Client, there: Way, name: str) -> str:
    what = _what(name)
    try:
        asking = request(client, localsubjects.local_config(name), what=what, timeout=ANSWER_SECONDS)
        answer = await unless_forbidden(client, asking)
    except Unreachable as error:
        if is_forbidden(client):
            raise Refused(what, "this login may not ask for it", own_login(there, name)) from None
        raise Unreachable(what, f"the agent did not answer ({error.why})", "`edgeagent status` says how it is") from None
    # In the same words whoever answered: one line.
    return json.dumps(wire.decode(answer.data, dict), ensure_ascii=False, separators=(",", ":"))
