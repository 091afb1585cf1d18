"""One stream or bucket of the hub, as :mod:`edgeagent.hub.streams` declares it, and what JetStream is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nats.js import api

__all__ = ["Stream"]

#: The smallest window that nats-server accepts (0 would mean its default, two minutes), in seconds.
_DUPLICATE_WINDOW_SECONDS = 0.1
#: Parts of a stream with a quota, of which one device may fill one.
_QUOTA_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream or bucket.

    share: part of the hub's store that it may fill.
    max_message_bytes: larger messages are refused; -1 for what the server allows.
    history: messages kept per subject; -1 for no limit; None for a quota: as many of ``usual_message_bytes`` as fit into one in
    ``quota_parts`` of all. usual_message_bytes: 0 for the largest; if less, another wall must see to the bytes.
    refuse_when_full: the oldest messages are worth more than new ones (``discard: new``); otherwise the oldest go first.
    write_once: a subject that has a message takes no other.
    max_age_seconds: older messages go; None: they stay, whatever the hub's clock did.
    keep: nobody can delete single messages. never_purge: nor purge the stream or a subject of it. Rights do not matter.
    rollup: a ``Nats-Rollup`` header may replace what is stored; only for what devices and people can't write to.
    republish: ``(source, destination)`` of what is sent on once it is stored.
    doorbell: what is sent on carries headers only.
    compressed: its files are (S2): for what nobody reads one by one.
    sources: the names of the streams that it copies; they must come before it in the table.
    """

    name: str
    share: float
    subjects: tuple[str, ...] = ()
    max_message_bytes: int = -1
    history: int | None = 1
    quota_parts: int = _QUOTA_PARTS
    usual_message_bytes: int = 0
    refuse_when_full: bool = False
    write_once: bool = False
    max_age_seconds: float | None = None
    keep: bool = True
    never_purge: bool = False
    rollup: bool = False
    republish: tuple[str, str] | None = None
    doorbell: bool = False
    compressed: bool = False
    sources: tuple[str, ...] = ()

    def configuration(self, store_bytes: int, replicas: int = 1) -> api.StreamConfig:
        """What JetStream is asked for, with a store of ``store_bytes``."""
        max_bytes = int(self.share * store_bytes)
        return api.StreamConfig(
            name=self.name,
            subjects=list(self.subjects) or None,
            storage=api.StorageType.FILE,
            num_replicas=replicas,
            max_bytes=max_bytes,
            max_age=self.max_age_seconds,
            max_msg_size=self.max_message_bytes,
            max_msgs_per_subject=self._per_subject(max_bytes),
            discard=api.DiscardPolicy.NEW if self.refuse_when_full else api.DiscardPolicy.OLD,
            discard_new_per_subject=self.write_once,
            duplicate_window=_DUPLICATE_WINDOW_SECONDS,
            deny_delete=self.keep,
            deny_purge=self.never_purge,
            allow_rollup_hdrs=self.rollup,
            allow_direct=True,
            republish=self._republish(),
            compression=api.StoreCompression.S2 if self.compressed else api.StoreCompression.NONE,
            sources=[api.StreamSource(name=source) for source in self.sources] or None,
        )

    def _per_subject(self, max_bytes: int) -> int:
        if self.history is not None:
            return self.history
        return max_bytes // self.quota_parts // len(self.subjects) // (self.usual_message_bytes or self.max_message_bytes)

    def _republish(self) -> api.RePublish | None:
        if self.republish is None:
            return None
        source, destination = self.republish
        return api.RePublish(src=source, dest=destination, headers_only=self.doorbell)
