"""What the board has to say to people: printed, so it is on the serial line between the frames, and given to who else wants it."""

import io
import sys

_KEPT, _LONGEST = 20, 400  # lines that are said before anybody listens, and characters of one
_early = []
_listeners = []
_is_shown = False


def listen(hear):
    """``hear(text)`` gets each line from now on, and those that were said before there was any listener."""
    _listeners.append(hear)
    while _early:
        _tell(_early.pop(0))


def say(text):
    text = text[:_LONGEST]
    print(text)
    if not _listeners:
        _early.append(text)
        del _early[:-_KEPT]
    _tell(text)


def show(text):
    """Print what a listener has to say itself; of a line that it has from here, nothing."""
    if not _is_shown:
        print(text[:_LONGEST])


def failed(what, error):
    """With the traceback for who looks on. It is printed at once: to a host that reads nothing each piece costs half a second."""
    if hasattr(sys, "print_exception"):
        text = io.StringIO()
        sys.print_exception(error, text)
        print(text.getvalue(), end="")
    say(f"{what}: {reason(error)}")


def reason(error):
    """The error in words; some have none."""
    name = type(error).__name__
    return str(error) if isinstance(error, ValueError) and str(error) else f"{name}: {error}" if str(error) else name


def _tell(text):
    global _is_shown
    _is_shown = True
    for hear in _listeners:
        hear(text)
    _is_shown = False
