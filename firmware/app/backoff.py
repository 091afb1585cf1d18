"""How long to wait before the next try: doubling up to a cap, with jitter, so that a fleet does not come back in step. Pure."""

import random


class Backoff:
    """first_seconds, cap_seconds: bounds of the pause. good_seconds: how long a try must have been good to begin anew."""

    def __init__(self, first_seconds=1, cap_seconds=60, good_seconds=30):
        self._first, self._cap, self._good = first_seconds, cap_seconds, good_seconds
        self._bound = first_seconds

    def next(self, good_for_seconds=0):
        """Seconds until the next try; between half of the bound and the whole."""
        if good_for_seconds >= self._good:
            self._bound = self._first
        bound, self._bound = self._bound, min(self._cap, self._bound * 2)
        return bound * (0.5 + random.random() / 2)
