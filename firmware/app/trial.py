"""When a version that was just installed has proved itself: the loader goes back to the one before unless it is told so."""

from ticks import ticks_diff


class Trial:
    """confirm(): tells the loader; None: nobody waits for it. seconds: how long all has to be well without a break."""

    def __init__(self, confirm, seconds):
        self._confirm, self._milliseconds, self._since = confirm, seconds * 1000, None

    def look(self, is_well, now):
        """Called every few seconds. Raises what confirm raises; it is called again then."""
        if self._confirm is None:
            return
        if not is_well:
            self._since = None
        elif self._since is None:
            self._since = now
        elif ticks_diff(now, self._since) >= self._milliseconds:
            self._confirm()
            self._confirm = None
