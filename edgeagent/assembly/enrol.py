"""How a new device becomes one of a hub's: a key made here, a visit with the claim token, and the files that the agent then runs on."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from edgeagent import enrolled, files, subjects
from edgeagent.assembly.enrolfiles import WHAT, EnrolmentFiles
from edgeagent.assembly.reach import all_servers, candidates, endpoint, silence
from edgeagent.enrolled import Enrolment
from edgeagent.enrolment import NO_ID, Admission, Claim, ClaimToken, claim_proof
from edgeagent.errors import EdgeError, Failed, Refused, Unreachable, UsageProblem
from edgeagent.identity import device_id, serial
from edgeagent.leaf.visit import NotLinked, Visit, VisitOptions
from edgeagent.machine import Machine
from edgeagent.natsserver import binary
from edgeagent.services import result
from edgeagent.settings import Settings
from edgeagent.times import rfc3339
from edgeagent.trust import creds, jwt
from edgeagent.trust.creds import Credentials
from edgeagent.trust.nkeys import KeyPair
from edgeagent.wire import encode

__all__ = ["EnrolOptions", "enrol"]

#: For the hub's answer, in seconds.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class EnrolOptions:
    """hub: a host, a host and a port, or an address with a scheme. device_id: the id that it shall have; empty leaves it to the token,
    and where that says none it is the machine's own. proxy: an HTTP proxy, empty for none; with a password it is a secret.
    force: give up an enrolment that there is.
    """

    hub: str
    token: ClaimToken = field(repr=False)
    device_id: str = ""
    proxy: str = field(default="", repr=False)
    force: bool = False


async def enrol(
    own: Settings,
    options: EnrolOptions,
    say: Callable[[str], None],
    machine: Machine | None = None,
    admitted: Callable[[Admission], None] | None = None,
) -> Enrolment:
    """Enrol this device, as whose user we run.

    own: the settings without an enrolment (:func:`edgeagent.settings.load_own`). say: told of each step. admitted: told what the hub has
    answered, before anything of it is written; not where an earlier enrolment only had to be tidied up.
    Raises EdgeError; what was written by then does no harm, and a second try goes on with it.
    """
    own_id = _wished_id(own, options)
    proxy = options.proxy or own.hub.proxy
    urls = candidates(options.hub, tls=options.token.tls, proxy=bool(proxy))
    folder = files.make_folder(own.state_folder, 0o700)
    enrolled.check_private(folder, own.credentials_file)
    with files.Lock(folder / "enrolment.lock", WHAT):
        place = EnrolmentFiles(own)
        found = place.completed(options.token.hub)
        if found is not None:
            return found
        if not options.force:
            place.check_new()
        claimant = _Claimant(own, options, own_id, proxy, place.key(), machine or Machine(), say)
        url, admission = await claimant.first_of(urls)
        claimant.check(admission)
        if admitted:
            admitted(admission)
        made = Enrolment(
            id=admission.id,
            hub=admission.hub,
            urls=[all_servers(url, admission)],
            proxy=proxy,
            enrolled_at=_issued(admission.jwt),
            groups=admission.groups,
            labels=admission.labels,
        )
        place.complete(claimant.key, admission, _pem(admission.authorities or options.token.authorities), made)
    return made


def _issued(token: str) -> str:
    """When the hub signed the device's login, RFC 3339: commands that were signed before are not for it, and its own clock may be wrong."""
    try:
        return rfc3339(datetime.fromtimestamp(int(jwt.claims(token)["iat"]), timezone.utc))
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise Failed(WHAT, "the hub's answer does not say when it was signed") from None


def _wished_id(own: Settings, options: EnrolOptions) -> str:
    """The id that a person asked for, empty for none."""
    if options.device_id and own.device.id not in ("", options.device_id):
        raise UsageProblem(
            WHAT,
            f"`device.id` in {own.source} is {own.device.id}, not {options.device_id}",
            "change or remove it there, or leave out --id",
        )
    wish = options.device_id or own.device.id
    if wish and not subjects.is_id(wish):
        raise UsageProblem(WHAT, f"{wish!r} is no device id: {subjects.ID_RULE}")
    return wish


def _pem(authorities: list[str] | tuple[str, ...]) -> str:
    return "".join(f"{text.strip()}\n" for text in authorities)


class _Claimant:
    """One device with its token and its key, who asks."""

    def __init__(
        self,
        own: Settings,
        options: EnrolOptions,
        wish: str,
        proxy: str,
        key: KeyPair,
        machine: Machine,
        say: Callable[[str], None],
    ) -> None:
        self._own, self._token, self._wish, self._proxy = own, options.token, wish, proxy
        self._force = options.force
        self.key, self._machine, self._say = key, machine, say
        self._token_id = _token_id(options.token)
        say(f"key made: {key.public}")

    async def first_of(self, urls: list[str]) -> tuple[str, Admission]:
        """The first address that leads to the hub, and the hub's answer. Raises EdgeError: why not, for each of them."""
        failures = []
        for url in urls:
            self._say(f"trying {url}")
            try:
                return url, await self._at(url)
            except NotLinked as error:
                if error.failure.kind == "refused":
                    raise Refused(
                        WHAT,
                        f"the hub at {url} does not know this token",
                        "it is of another hub, or expired long ago: ask for another (`edgeagent token create`)",
                    ) from None
                if error.failure.kind == "full":
                    raise Unreachable(WHAT, error.why, error.remedy) from None
                self._say(f"  {error.why}")
                failures.append((url, error))
        why = "; ".join(f"{url}: {error.why}" for url, error in failures)
        remedies = dict.fromkeys(error.remedy for _, error in failures if error.remedy)
        raise Unreachable(WHAT, why, "; ".join(remedies) or "check the address, the network and the hub (`edgeagent hub status`)")

    async def _at(self, url: str) -> Admission:
        host, port = endpoint(url, self._proxy)
        why = await silence(host, port)
        if why:
            raise Unreached(why, f"proxy {host}:{port}" if self._proxy else "")
        async with Visit(self._visit(url)) as visit:
            await visit.linked()
            self._say("linked")
            return await self._ask(visit)

    def _visit(self, url: str) -> VisitOptions:
        # The file at the default place is of the enrolment that is given up.
        theirs = None if self._force and not self._own.hub.authorities else self._own.authorities_file
        authorities = _pem(self._token.authorities) or (files.read_text(theirs) if theirs else "")
        return VisitOptions(
            folder=self._own.state_folder / "visit",
            binary=binary.find(self._own.leaf.server).path,
            url=url,
            inbox_prefix=f"_INBOX.{self._token_id}",
            # A bearer needs no seed, but nats-server asks for the form of one.
            credentials=Credentials(self._token.jwt, KeyPair.generate("user").seed).format(),
            proxy=self._proxy,
            authorities=authorities,
        )

    async def _ask(self, visit: Visit) -> Admission:
        """Without an id at first, for the token may say one; the machine's own is for tokens that leave it to the device."""
        try:
            return await self._claim(visit, self._wish)
        except Refused as error:
            if self._wish or not error.why.startswith(NO_ID):
                raise
            try:
                own = device_id(self._machine)
            except UsageProblem:
                raise error from None
        return await self._claim(visit, own)

    async def _claim(self, visit: Visit, wish: str) -> Admission:
        claim = Claim(key=self.key.public, proof="", device=wish, serial=serial(self._machine) or "", macs=_macs(self._machine))
        claim.proof = base64.urlsafe_b64encode(self.key.sign(claim_proof(self._token_id, claim))).decode()
        return result(
            await visit.request(subjects.claim(self._token_id), encode(claim), what=WHAT, timeout=ANSWER_SECONDS), Admission
        )

    def check(self, admission: Admission) -> None:
        """Raise Refused unless the hub's answer is for this device."""
        if not subjects.is_id(admission.id) or (self._wish and admission.id != self._wish):
            raise Refused(WHAT, f"the hub answered for {admission.id!r}" + (f", not for {self._wish}" if self._wish else ""))
        for token in (admission.jwt, admission.renewal):
            creds.check_issued(token, key=self.key.public, name=admission.id, what=WHAT)
        self._say(f"admitted as {admission.id}")


class Unreached(NotLinked):
    """Nobody took the connection at all. of: whose it would have been, empty for the hub's."""

    def __init__(self, why: str, of: str) -> None:
        from edgeagent.leaf.linkfailures import LinkFailure

        super().__init__(WHAT, LinkFailure(why=f"{of}: {why}" if of else why))


def _token_id(token: ClaimToken) -> str:
    try:
        name = str(jwt.claims(token.jwt).get("name", ""))
    except EdgeError:
        name = ""
    if not subjects.is_token(name):
        raise UsageProblem(
            "use this token", "it is no claim token, or was not copied whole", "`edgeagent token create` prints one"
        )
    return name


def _macs(machine: Machine) -> list[str]:
    """The hardware addresses of the machine's own interfaces, sorted: a list of boards may name any of them."""
    folder = machine.path("/sys/class/net")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    found = (
        machine.text(f"/sys/class/net/{name}/address") for name in names if machine.path(f"/sys/class/net/{name}/device").exists()
    )
    return sorted({mac for mac in found if mac})
