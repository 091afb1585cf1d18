"""A hub, or an agent, with shorter pauses where the product goes easy on large fleets and slow links.

That it does is proved elsewhere, with the pauses that it ships with: tests/live/test_config_scale.py, tests/live/test_accounts_keeper.py.
Anywhere else they are only waited for, a second for each order of an administrator's and for each change of a document.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

__all__ = ["SPACING_SECONDS", "agent", "hub", "impatient_agent", "single_agent"]

#: From push to push of the hub's accounts.
PACE_SECONDS = 0.05
#: Between two looks whether the hub's keys, or its certificate authorities, were changed.
LOOK_SECONDS = 0.3
#: Between the change of a device's groups and the end of its old JWT.
SWITCH_SECONDS = 0.4
#: Between two reads of a document that rang.
SPACING_SECONDS = 0.05
#: How long the hub gathers what nats-server says of trouble, and from look to look at its health.
PATIENCE_SECONDS, HEALTH_SECONDS = (0.2, 0.4), 0.5
#: Before a device that is told of another hub looks at it, how long that may take to answer, and how long the leaf is tried there.
HUB_SECONDS = {"SPREAD_SECONDS": 0.1, "START_SECONDS": 0.5, "TRIAL_SECONDS": 6.0, "ONCE_MORE_SECONDS": 0.2}
VISIT_SECONDS = {"CONNECT_SECONDS": 1.0, "LINK_SECONDS": 2.5, "ANSWER_SECONDS": 2.0}
#: What a piece of a file may take at first.
PIECE_SECONDS = 2.0
#: For the acknowledgement of an impatient agent's heartbeat, and until it tries again.
ACK_SECONDS, RETRY_SECONDS = 1.0, 0.3
#: How long a leaf that was just started may take to link before the agent looks whether the hub can be reached.
LINK_SECONDS = 1.0


def hub(*words: str) -> list[str]:
    """The words that run ``edgeagent hub WORDS`` so."""
    return [sys.executable, __file__, "edgeagent", "hub", *words]


def agent(settings: Path) -> list[str]:
    """Those that run what ``edgeagent run`` becomes."""
    return [sys.executable, __file__, "edgeagent.assembly.agent", str(settings)]


def impatient_agent(settings: Path) -> list[str]:
    """The same, and it waits less long for the acknowledgement of a heartbeat, on which nobody must then lay a load."""
    return [*agent(settings), "impatient"]


def single_agent(settings: Path) -> list[str]:
    """The same for a device of one test. It soon asks for newer credentials when it is not linked: what others look at must not change so."""
    return [*agent(settings), "single"]


def _hub() -> None:
    from edgeagent.cli import main
    from edgeagent.trust import websockets

    websockets.put_off()  # as the command line does first
    import_module("edgeagent.hub.accounts_keeper").PACE_SECONDS = PACE_SECONDS
    import_module("edgeagent.hub.alarmwatch").PATIENCE_SECONDS = PATIENCE_SECONDS
    import_module("edgeagent.assembly.hubhealth").LOOK_SECONDS = HEALTH_SECONDS
    import_module("edgeagent.assembly.hubservices").KEYS_SECONDS = LOOK_SECONDS
    import_module("edgeagent.hub.handout").LOOK_SECONDS = LOOK_SECONDS
    import_module("edgeagent.hub.device_orders").SWITCH_SECONDS = SWITCH_SECONDS
    main()


def _agent() -> None:
    from edgeagent.assembly import lean

    lean.load_libraries()  # as the agent does first
    import_module("edgeagent.documents").SPACING_SECONDS = SPACING_SECONDS
    vars(import_module("edgeagent.transfer"))["_PATIENCE_SECONDS"] = PIECE_SECONDS
    if sys.argv[2:] == ["single"]:
        for module in ("renewal", "renewer"):
            import_module(f"edgeagent.assembly.{module}").LINK_SECONDS = LINK_SECONDS
    if sys.argv[2:] == ["impatient"]:
        report = import_module("edgeagent.patterns.report")
        report.published, report.RETRY_SECONDS = partial(report.published, timeout=ACK_SECONDS), RETRY_SECONDS
    vars(import_module("edgeagent.leaf.hubchoice")).update(HUB_SECONDS)
    vars(import_module("edgeagent.assembly.hublook")).update(VISIT_SECONDS)
    import_module("edgeagent.assembly.deviceloop").main()


if __name__ == "__main__":
    sys.path = [each for each in sys.path if each != str(Path(__file__).parent)]  # where modules have names of their own
    if sys.argv.pop(1) == "edgeagent":
        _hub()
    else:
        _agent()
