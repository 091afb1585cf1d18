"""What administrators may order about devices, as handlers for :class:`edgeagent.hub.administration.Administration`.

Who is kept out is written first, then the accounts' JWTs are pushed once for all devices of the order, then it is answered: an answer
means that the device is cut off already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from edgeagent import subjects, wire
from edgeagent.administration import MAX_DEVICES, ChangeGroups, ChangeLabels, Done, Forget, Outcomes, Revoke, Unrevoke
from edgeagent.errors import EdgeError, Refused, UsageProblem
from edgeagent.hub import events, register
from edgeagent.hub.accounts_keeper import AccountsKeeper
from edgeagent.hub.administration import Handler
from edgeagent.hub.boards import label_problems
from edgeagent.hub.bucket import Bucket, purge, said
from edgeagent.hub.revocations import Revocation, Revocations
from edgeagent.hub.streams import PRESENCE_BUCKET
from edgeagent.hub.tokens import MAX_GROUPS, MAX_LABELS
from edgeagent.link import Client

__all__ = ["TAMPERED", "DeviceOrders"]

#: Longer reasons are cut: the order matters more, and the records of it must stay small.
MAX_REASON_CHARACTERS = 200
#: Why the hub itself keeps a device out.
TAMPERED = "its leaf claimed to be the hub"
#: Who orders what the hub does by itself.
ITSELF = "the hub"
#: The subjects of EDGE_REPORTS in which the hub keeps what a device said last.
_KEPT = (subjects.report, subjects.heartbeat)
#: How often, and every how many seconds, to look whether a device that was cut off is known to be gone.
_LOOKS, _LOOK_SECONDS = 50, 0.1
#: Between the change of a device's groups and the end of its old JWT, in seconds. A device that is online reads of the change at once and
#: links anew with the next JWT, in a tenth of that; one that was cut off first would come back only at its leaf's next dial.
SWITCH_SECONDS = 1.0
_LEFT = "its metrics, events and results stay until they are overwritten"


class DeviceOrders:
    """hub: a connection to the account HUB. keeper: makes the accounts true."""

    def __init__(self, hub: Client, keeper: AccountsKeeper) -> None:
        self._hub, self._keeper, self._revocations = hub, keeper, Revocations(hub)

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "device_revoke": self._revoke,
            "device_unrevoke": self._unrevoke,
            "device_forget": self._forget,
            "device_groups": self._groups,
            "device_labels": self._labels,
        }

    async def revoke_tampered(self, device_id: str) -> None:
        """Keep out a device whose leaf claimed to be the hub. Raises EdgeError when the store or the server does not answer."""
        reason = TAMPERED
        done = await self._keep_out(ITSELF, device_id, reason)
        if done.changed:
            await self._keeper.apply()
            await events.tell(self._hub, "critical", "device.tampered", f"{device_id} was revoked: {reason}", id=device_id)

    async def keep_key_out(self, public: str, record: wire.DeviceRecord) -> None:
        """Refuse one key of a device for good, and return when it is: another board took its place. Raises EdgeError."""
        ends, reason = register.keys_of(record).get(public, 0), "replaced by another board"
        await self._refuse_key(public, Revocation(until=_until(record), forget_at=ends, name=record.id, reason=reason))
        await self._keeper.apply()

    async def keep_out_too(self, record: wire.DeviceRecord) -> None:
        """Refuse what was decided of the device before ``record`` got another key, and return when it is. Raises EdgeError."""
        await self._refuse(record, floor=0 if record.revoked else record.refused_until, reason=record.reason)
        await self._keeper.apply()

    async def _revoke(self, user: str, body: bytes) -> Outcomes:
        order = wire.decode(body, Revoke)
        reason = order.reason[:MAX_REASON_CHARACTERS]
        outcomes = await _each(order.ids, lambda device: self._keep_out(user, device, reason))
        await self._keeper.apply()  # also what could not be written down everywhere
        why = f" ({reason})" if reason else ""
        await self._tell(outcomes, "warning", "device.revoked", f"{user} revoked {{id}}{why}", user=user, reason=reason)
        return outcomes

    async def _keep_out(self, user: str, device: str, reason: str) -> Done:
        what = f"revoke {device}"

        def made(record: wire.DeviceRecord) -> wire.DeviceRecord | None:
            same = record.revoked and (record.reason == reason or not reason)
            return None if same else msgspec.structs.replace(record, revoked=True, reason=reason or f"by {user}")

        try:
            changed = await register.change(self._hub, device, made, what=what)
        finally:
            # Also when the record says so already: whoever wrote that may have died before this. And when it cannot be written.
            await self._refuse(await self._known(device, what), reason=reason)
        return Done(changed=changed is not None)

    async def _unrevoke(self, user: str, body: bytes) -> Outcomes:
        order = wire.decode(body, Unrevoke)
        staying = await self._revoked_beside(set(order.ids))
        outcomes = await _each(order.ids, lambda device: self._let_in(device, staying))
        await self._pushed(outcomes)
        await self._tell(outcomes, "info", "device.unrevoked", f"{user} lets {{id}} in again", user=user)
        return outcomes

    async def _let_in(self, device: str, staying: set[str]) -> Done:
        """staying: keys that stay out whosever they are."""
        what = f"let {device} in again"
        record = await self._known(device, what)
        if not record.revoked:
            return Done(changed=False)
        keys = register.keys_of(record).keys() - staying
        await self._lift(keys)  # before the record: an order that was cut short can be given again

        def made(record: wire.DeviceRecord) -> wire.DeviceRecord | None:
            return msgspec.structs.replace(record, revoked=False, reason="") if record.revoked else None

        changed = await register.change(self._hub, device, made, what=what)
        await self._lift(keys)  # whoever read the record before may have written anew what it owes
        return Done(changed=changed is not None)

    async def _lift(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._revocations.lift("FLEET", key)
            await self._revocations.lift("PROVISION", key)

    async def _revoked_beside(self, devices: set[str]) -> set[str]:
        """The keys of other devices that are revoked: should one be a key of these too, it stays out."""
        records = (await register.every(self._hub)).values()
        return {key for other in records if other.revoked and other.id not in devices for key in register.keys_of(other)}

    async def _forget(self, user: str, body: bytes) -> Outcomes:
        """In two steps: an order that was cut short leaves revoked devices, about which it can be given again."""
        order = wire.decode(body, Forget)
        kept_out = await _each(order.ids, lambda device: self._keep_out(user, device, "forgotten"))
        await self._keeper.apply()
        cut = [device for device, done in kept_out.devices.items() if not done.code]
        removed = await _each(cut, self._remove) if cut else Outcomes(devices={})
        outcomes = Outcomes(devices={**kept_out.devices, **removed.devices})
        await self._tell(outcomes, "warning", "device.forgotten", f"{user} made the hub forget {{id}}", user=user)
        return outcomes

    async def _remove(self, device: str) -> Done:
        what = f"forget {device}"
        await self._until_gone(device)
        await purge(self._hub, f"KV_{PRESENCE_BUCKET}", subjects.kv(PRESENCE_BUCKET, device), what=what)
        for subject in _KEPT:
            await purge(self._hub, "EDGE_REPORTS", subject(device), what=what)
        found = await register.find(self._hub, device)
        if found and found[0].revoked:
            await register.bucket(self._hub).remove(device, found[1], what=what)
        return Done(text=_LEFT)

    async def _until_gone(self, device: str) -> None:
        """Until the end of its link is written: what is written after the rest was removed would bring the device back."""
        presence = Bucket(self._hub, PRESENCE_BUCKET, wire.Presence)
        for _ in range(_LOOKS):
            found = await presence.find(device)
            if found is None or not found[0].online:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _groups(self, user: str, body: bytes) -> Outcomes:
        order = wire.decode(body, ChangeGroups)
        _check(order.add, subjects.check_group, "change groups")
        await self._revocations.check_room("FLEET", len(order.ids), "change groups")
        outcomes = await _each(order.ids, lambda device: self._regroup(device, order))
        if any(done.changed and not done.code for done in outcomes.devices.values()):
            await asyncio.sleep(SWITCH_SECONDS)
        await self._pushed(outcomes)
        change = ", ".join([*(f"+{group}" for group in order.add), *(f"-{group}" for group in order.remove)])
        text = f"{user} changed the groups of {{id}}: {change}"
        await self._tell(outcomes, "info", "device.groups", text, user=user, add=order.add, remove=order.remove)
        return outcomes

    async def _regroup(self, device: str, order: ChangeGroups) -> Done:
        def made(record: wire.DeviceRecord) -> wire.DeviceRecord | None:
            groups = [group for group in dict.fromkeys([*record.groups, *order.add]) if group not in order.remove]
            if groups == record.groups:
                return None
            if len(groups) > MAX_GROUPS:
                raise UsageProblem(f"change the groups of {device}", f"it would be in more than {MAX_GROUPS}")
            until = max(_until(record), record.refused_until)
            return msgspec.structs.replace(record, groups=groups, refused_until=until)

        record = await register.change(self._hub, device, made, what=f"change the groups of {device}")
        # Also when they are so already: whoever wrote that may have died before this.
        known = record or await self._known(device, f"change the groups of {device}")
        if known.refused_until:
            await self._refuse(known, floor=known.refused_until)
        return Done(changed=record is not None)

    async def _labels(self, user: str, body: bytes) -> Outcomes:
        order = wire.decode(body, ChangeLabels)
        if problems := list(label_problems(order.set)):
            raise UsageProblem("change labels", "; ".join(problems))
        outcomes = await _each(order.ids, lambda device: self._relabel(device, order))
        change = ", ".join([*(f"{key}={value}" for key, value in order.set.items()), *(f"-{key}" for key in order.remove)])
        text = f"{user} changed the labels of {{id}}: {change}"
        await self._tell(outcomes, "info", "device.labels", text, user=user, set=order.set, remove=order.remove)
        return outcomes

    async def _relabel(self, device: str, order: ChangeLabels) -> Done:
        def made(record: wire.DeviceRecord) -> wire.DeviceRecord | None:
            labels = {key: value for key, value in {**record.labels, **order.set}.items() if key not in order.remove}
            if len(labels) > MAX_LABELS:
                raise UsageProblem(f"change the labels of {device}", f"it would have more than {MAX_LABELS}")
            if problems := list(label_problems(labels)):
                raise UsageProblem(f"change the labels of {device}", "; ".join(problems))
            return None if labels == record.labels else msgspec.structs.replace(record, labels=labels)

        record = await register.change(self._hub, device, made, what=f"change the labels of {device}")
        return Done(changed=record is not None)

    async def _known(self, device: str, what: str) -> wire.DeviceRecord:
        found = await register.find(self._hub, device)
        if found is None:
            raise Refused(what, "there is no such device")
        return found[0]

    async def _refuse(self, record: wire.DeviceRecord, *, floor: int = 0, reason: str = "") -> None:
        """Refuse every JWT that the device was given up to now. floor: because of its groups, up to then; 0: because of itself."""
        for key, ends in register.keys_of(record).items():
            refused = Revocation(until=floor or _until(record), floor=floor, forget_at=ends, name=record.id, reason=reason)
            if floor:  # it is to renew
                await self._revocations.add("FLEET", key, refused)
            else:
                await self._refuse_key(key, refused)

    async def _refuse_key(self, key: str, refused: Revocation) -> None:
        """In PROVISION too, and for ever, since its renewal logins never end: else it could go on taking the places of newcomers."""
        await self._revocations.add("FLEET", key, refused)
        await self._revocations.add("PROVISION", key, msgspec.structs.replace(refused, forget_at=0))

    async def _pushed(self, outcomes: Outcomes) -> None:
        if any(not done.code for done in outcomes.devices.values()):
            await self._keeper.apply()

    async def _tell(self, outcomes: Outcomes, severity: str, kind: str, text: str, **data: object) -> None:
        for device, done in outcomes.devices.items():
            if done.changed and not done.code:
                await events.tell(self._hub, severity, kind, text.replace("{id}", device), id=device, **data)


def _until(record: wire.DeviceRecord) -> int:
    """Now; what was issued for a device whose groups just changed may be from the next seconds."""
    return max(int(time.time()), record.issued_at)


async def _each(ids: list[str], act: Callable[[str], Awaitable[Done]]) -> Outcomes:
    """One after the other; what goes wrong with one is its own outcome."""
    if not ids or len(ids) > MAX_DEVICES:
        raise UsageProblem("do that", f"an order is about 1 to {MAX_DEVICES} devices, not {len(ids)}")
    outcomes: dict[str, Done] = {}
    for device in dict.fromkeys(ids):
        try:
            _check([device], subjects.check_id, f"change {device!r}")
            outcomes[device] = await act(device)
        except EdgeError as error:
            outcomes[device] = Done(code=error.code, text=said(error), changed=False)
    return Outcomes(devices=outcomes)


def _check(words: list[str], rule: Callable[[str], str], what: str) -> None:
    try:
        for word in words:
            rule(word)
    except ValueError as error:
        raise UsageProblem(what, str(error)) from None
