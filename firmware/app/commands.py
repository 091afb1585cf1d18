"""What the board can be told. Whoever knows a command registers it here; whatever is asked for is answered, and stops nothing.

@command("led", switch="on", value="led", takes={"on": (flag, NEEDED)})
def led(args):
    return {"led": 1}    # the answer, or a coroutine of it; ValueError says why it is not done
"""

import asyncio

import log
from checks import fields, shown

MAX_RUNNING, MAX_SECONDS = 4, 25  # the agent waits for 30 s
_known = {}
_later = {}  # modules that are loaded for the first of their commands, by the word before the dot
_running = set()


class _Command:
    def __init__(self, do, switch, value, takes, is_listed):
        self.do, self.switch, self.value, self.takes, self.is_listed = do, switch, value, takes, is_listed


def command(name, switch=None, value=None, takes=None, listed=True):
    """Registers a function of the arguments.

    switch: the argument that is 1 or 0. value: of the readings, which says how it is switched. takes: {argument: (check, default)};
    None: it looks itself. listed: people are to see it in ``hello``.
    """

    def register(do):
        _known[name] = _Command(do, switch, value, takes, listed)
        return do

    return register


def later(module, name, loaded):
    """The module registers its commands, ``name`` and others that begin with the same word, when one is asked for: memory is short.

    loaded(module): called then.
    """
    _later[name.partition(".")[0]] = module, loaded
    command(name)(None)


def load(word):
    """What registers the commands that begin with the word, if it is not loaded yet."""
    if word in _later:
        module, loaded = _later[word]
        loaded(__import__(module))
        del _later[word]


def acts():
    """As ``hello`` has them."""
    return [_act(name, each) for name, each in sorted(_known.items()) if each.is_listed][:32]


def _act(name, known):
    found = {"a": name}
    if known.switch:
        found["sw"] = known.switch
    if known.value:
        found["v"] = known.value
    return found if len(found) > 1 else name


def do(action, args, answer):
    """Do it, and call ``answer(ok, value, why)`` once: now, or when it is done."""
    try:
        value = _begun(action, {} if args is None else args)
    except Exception as error:
        answer(False, None, _why(action, error))
        return
    if hasattr(value, "send"):
        task = asyncio.create_task(_finish(action, value, answer))
        _running.add(task)
    else:
        answer(True, value, "")


def _begun(action, args):
    known = _found(action) if isinstance(action, str) else None
    if known is None:
        names = ", ".join(sorted(name for name, each in _known.items() if each.is_listed))
        raise ValueError(f"there is no command {shown(action)}; there are {names}")
    if not isinstance(args, dict):
        raise ValueError(f"arguments are a table, and not {shown(args)}")
    if known.takes is not None:
        args, problems = fields(known.takes, args)
        if problems:
            raise ValueError("; ".join(problems[:5]))
    if len(_running) >= MAX_RUNNING:
        raise ValueError(f"{MAX_RUNNING} other commands are being done: ask again")
    return known.do(args)


def _found(action):
    load(action.partition(".")[0])
    return _known.get(action)


async def _finish(action, work, answer):
    try:
        value, why = await asyncio.wait_for(work, MAX_SECONDS), ""
    except asyncio.TimeoutError:
        value, why = None, f"it was not done within {MAX_SECONDS} s"
    except Exception as error:
        value, why = None, _why(action, error)
    finally:
        _running.discard(asyncio.current_task())
    answer(not why, value, why)


def _why(action, error):
    if not isinstance(error, ValueError):
        log.failed(f"command {shown(action)}", error)
    return log.reason(error)[:300]
