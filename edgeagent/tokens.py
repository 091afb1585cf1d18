"""Claim tokens: the record that the hub keeps of each, and what an administrator asks and is answered about them. Shapes only."""

from __future__ import annotations

import msgspec

from edgeagent.wire import VERSION

__all__ = ["CREATE", "LIST", "REVOKE", "Board", "Token", "TokenIds", "TokenList", "TokenMade", "TokenRow", "TokenWanted"]

#: The administrator's requests, as the last token of ``edge.admin.<user>.<what>``.
CREATE, LIST, REVOKE = "token_create", "token_ls", "token_revoke"


class Board(msgspec.Struct, frozen=True, omit_defaults=True):
    """One board of a list, and what becomes of it.

    serial: as :func:`edgeagent.hub.boards.serial_of` makes it, mac as ``mac_of`` does; one of them may be empty.
    groups, labels: beside those of the token; a label of the board goes before one of the token.
    """

    id: str
    serial: str = ""
    mac: str = ""
    groups: list[str] = []
    labels: dict[str, str] = {}


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """KV ``edge_tokens``, key ``token.<id>``: what a claim token is good for, and whom it has let in.

    created_at, expires_at: Unix seconds, the hub's clock. created_by: the administrator. note: for people.
    uses: how many devices it lets in. used: public key -> device id of those that are in. pending: those of these keys that are
    counted, but perhaps not registered yet: their claim may go on where it stopped.
    device: the only id that it gives. replaces: the same, but the id is taken from the board that has it.
    boards: how many boards are listed below the key ``boards.<id>``; 0: whichever comes.
    key: the public user key of its JWT, by which it is kept out of PROVISION; empty in records of older hubs.
    """

    id: str
    created_at: int
    expires_at: int
    created_by: str = ""
    note: str = ""
    uses: int = 1
    used: dict[str, str] = {}
    pending: list[str] = []
    groups: list[str] = []
    labels: dict[str, str] = {}
    device: str = ""
    replaces: str = ""
    boards: int = 0
    revoked: bool = False
    key: str = ""
    v: int = VERSION


class TokenWanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Make a token (``token_create``); fields as in :class:`Token`. boards: then there are as many uses as boards.

    id: chosen by who asks, at random, so that asking twice makes one token; empty: the hub chooses it.
    """

    expires_in_seconds: float
    uses: int = 1
    groups: list[str] = []
    labels: dict[str, str] = {}
    device: str = ""
    replaces: str = ""
    note: str = ""
    boards: list[Board] = []
    id: str = ""
    v: int = VERSION


class TokenMade(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``token_create``. token: the secret, as :class:`edgeagent.enrolment.ClaimToken` writes it; ``repr`` hides it.

    leaf_port: where the hub takes devices. host: its address as it tells others; empty: as the asker reaches it.
    hub: of a hub of several servers all of them, ``host:port`` with commas between them; instead of the two.
    elsewhere: ids that this token gives and another open one too: id -> the other's. Whoever comes first gets it.
    """

    id: str
    token: str
    expires_at: int
    uses: int = 1
    elsewhere: dict[str, str] = {}
    leaf_port: int = 7422
    host: str = ""
    hub: str = ""
    v: int = VERSION

    def __repr__(self) -> str:
        return f"TokenMade(id={self.id!r}, expires_at={self.expires_at}, uses={self.uses})"


class TokenRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token in the list. used, left: how many devices came in, and may yet. state: ready, used up, expired or revoked."""

    id: str
    state: str
    used: int
    left: int
    created_at: int
    expires_at: int
    created_by: str = ""
    note: str = ""
    groups: list[str] = []
    labels: dict[str, str] = {}
    device: str = ""
    replaces: str = ""
    boards: int = 0


class TokenList(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``token_ls``: the newest first. omitted: how many older ones did not fit."""

    tokens: list[TokenRow] = []
    omitted: int = 0
    v: int = VERSION


class TokenIds(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``token_revoke`` is asked for, and what it answers: the tokens that are revoked now."""

    ids: list[str]
    v: int = VERSION
