"""Several servers of one hub in one address, with commas between them, as NATS's own tools take it: ``tls://a:7422,tls://b:7422``. Pure.

Within one such list the order says nothing: whoever uses it may begin with any.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["joined", "split"]


def split(text: str) -> list[str]:
    """The addresses of a list, each once; one address alone is a list too."""
    return list(dict.fromkeys(part for word in text.split(",") if (part := word.strip())))


def joined(urls: Iterable[str]) -> str:
    """One address for all of them, in this order, each once."""
    return ",".join(dict.fromkeys(urls))
