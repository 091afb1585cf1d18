"""HTTP for those to whom the hub sends: one request, what its answer means, and trying again until there is one that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from edgeagent import files
from edgeagent.backoff import delays
from edgeagent.errors import EdgeError, Failed, Unreachable, UsageProblem
from edgeagent.hub.sinkstrouble import Trouble

if TYPE_CHECKING:
    import aiohttp

__all__ = ["MOMENTARY", "Answer", "Attempts", "Poster", "Request", "Verdict", "bearer", "secret", "verdict", "why"]

#: How long one request may take, in seconds.
TIMEOUT_SECONDS = 30.0
#: Bounds of the pause before the next try, in seconds; full jitter.
RETRY_SECONDS = (1.0, 60.0)
#: How much of an answer is read, in bytes, and quoted, in characters.
MAX_ANSWER_BYTES, MAX_QUOTED = 4096, 200
#: What speaks of the content: malformed, too large, not to be processed. All other refusals ask for a person (a wrong login, a wrong
#: address, a firewall), who then expects that nothing was lost meanwhile, or for patience.
_CONTENT = frozenset({400, 413, 422})
#: Refusals that speak of the moment and not of what was sent: too slow, too early, too many, not available.
MOMENTARY = frozenset({408, 425, 429, 502, 503, 504})

_SEND = "send"


class Verdict(Enum):
    TAKEN = "taken"
    LATER = "later"  # the same may be taken another time
    NEVER = "never"  # what was sent is at fault


class Request(NamedTuple):
    """What is posted. url may be a secret and is never logged."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """status: of HTTP. text: the first 4 KB of what was said, as one line. retry_after: seconds that the other side asked for, 0 if it
    did not."""

    status: int
    text: str = ""
    retry_after: float = 0.0

    @property
    def verdict(self) -> Verdict:
        return verdict(self.status)

    @property
    def page(self) -> bool:
        """Whether it is a page for a browser: from what stands before a server, since the ones that we know answer in JSON or text."""
        return self.text.startswith("<")

    @property
    def of_content(self) -> bool:
        """Whether a refusal may be about what was sent, rather than about the moment."""
        return self.status not in MOMENTARY

    def __str__(self) -> str:
        said = f"and a web page: {self.text}" if self.page else self.text
        return f"{self.status} {said[:MAX_QUOTED]}".strip()


def verdict(status: int) -> Verdict:
    """2xx is taken. Redirections are not followed: a secret must not go where nobody meant it to."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    return Verdict.NEVER if status in _CONTENT else Verdict.LATER


def secret(folder: Path, name: str) -> str:
    """What a file of the hub's folder says, without the blanks around it. Raises EdgeError, which does not quote it."""
    text = files.read_text(folder / Path(name).expanduser()).strip()
    if not text or "\n" in text or "\r" in text:
        raise UsageProblem(f"use {name}", "it is not one line", "write the secret into it, and nothing else")
    return text


def bearer(folder: Path, token_file: str, scheme: str = "Bearer") -> dict[str, str]:
    """The header of a login by token; none without a file."""
    return {"Authorization": f"{scheme} {secret(folder, token_file)}"} if token_file else {}


class Poster:
    """Connections to one other side. Use it in ``async with``."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Poster:
        import aiohttp

        # Not trust_env: beside the proxies it takes logins from ~/.netrc, and fails where there is a header with one already.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            headers={"User-Agent": "edgeagent-hub"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, request: Request) -> Answer:
        """Raises Unreachable when there is no answer, Failed for a request that cannot be made."""
        import aiohttp

        assert self._session is not None
        try:
            async with self._session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False, proxy=_proxy(request.url)
            ) as response:
                said = (await response.content.read(MAX_ANSWER_BYTES)).decode(errors="replace")
                return Answer(response.status, _one_line(said), _seconds(response.headers.get("Retry-After", "")))
        except (aiohttp.InvalidURL, ValueError):
            raise Failed(_SEND, "the address cannot be used") from None
        except asyncio.TimeoutError:
            raise Unreachable(_SEND, f"no answer within {TIMEOUT_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(_SEND, _one_line(_plain(error))[:MAX_QUOTED]) from None


class Attempts:
    """Posting to one other side, again and again.

    trouble: what goes wrong is noted there when it begins and when it is over. retried: called at every further try.
    waiting: called before each try and each pause. judge: what an answer means to this other side.
    """

    def __init__(
        self,
        poster: Poster,
        *,
        trouble: Trouble,
        retried: Callable[[], None],
        waiting: Callable[[], Awaitable[None]],
        judge: Callable[[Answer], Verdict] = lambda answer: answer.verdict,
    ) -> None:
        self._poster, self._trouble, self._retried, self._waiting, self._judge = poster, trouble, retried, waiting, judge
        self._asked, self._pauses = 0.0, delays(*RETRY_SECONDS)

    async def once(self, make: Callable[[], Request]) -> tuple[Verdict, Answer | None]:
        """Post it. None: there was no answer. make: called before every try: a file with a secret may have been put right."""
        try:
            found, answer = await self._posted(make)
        except EdgeError as error:
            self._wrong(why(error), 0.0)
            return Verdict.LATER, None
        if found is Verdict.LATER:
            self._wrong(str(answer), answer.retry_after)
        else:
            self.right()
        return found, answer

    async def trial(self, make: Callable[[], Request]) -> tuple[Verdict, Answer | None]:
        """The same, and nothing is noted: it only shows what is taken now."""
        try:
            return await self._posted(make)
        except EdgeError:
            return Verdict.LATER, None

    async def _posted(self, make: Callable[[], Request]) -> tuple[Verdict, Answer]:
        await self._waiting()
        answer = await self._poster.post(make())
        return self._judge(answer), answer

    async def pause(self) -> None:
        """After a try that did not count: longer each time, and as long as the other side asked for."""
        self._retried()
        await self._waiting()
        await asyncio.sleep(max(next(self._pauses), min(self._asked, RETRY_SECONDS[1])))

    def right(self) -> None:
        """The other side does its work."""
        self._trouble.over()
        self._asked, self._pauses = 0.0, delays(*RETRY_SECONDS)

    def _wrong(self, problem: str, asked: float) -> None:
        self._asked = asked
        self._trouble.begun(problem)


def _proxy(url: str) -> str | None:
    """What ``http_proxy``, ``https_proxy`` and ``no_proxy`` in the environment say of an address. Raises ValueError for one that is none."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def why(error: EdgeError) -> str:
    """For a line that says already that something could not be sent."""
    return error.why if error.what == _SEND else f"{error.what}: {error.why}"


def _plain(error: Exception) -> str:
    """aiohttp puts the address into its errors, which may be a secret."""
    inner = getattr(error, "os_error", None)
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)


def _seconds(text: str) -> float:
    """``Retry-After`` in seconds; its other form, a date, is left to our own pauses."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text.strip())
