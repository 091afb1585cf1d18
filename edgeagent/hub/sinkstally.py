"""What became of samples that are written to others."""

from __future__ import annotations

import logging
from collections import Counter

from edgeagent.hub.sinkspost import Answer

__all__ = ["Tally"]

log = logging.getLogger("edgeagent.hub")


class Tally:
    """sent: taken. dropped: by reason: ``future``, ``unreadable``, ``too_many``, ``refused``."""

    def __init__(self) -> None:
        self.sent = 0
        self.retries = 0
        self.pending = 0
        self.dropped: Counter[str] = Counter()
        self.problem = ""

    def refused(self, name: str, count: int, answer: Answer) -> None:
        """Count them, and say so when the reason is another one than last time."""
        self.dropped["refused"] += count
        if answer.text != self.problem:
            self.problem = answer.text
            log.warning("%s does not take %s samples: %s", name, count, answer)
