"""What every test stands on: a home in a temporary folder, no skips where CI runs, and one fleet for all who only borrow it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from edgeagent.natsserver import ports
from tests.support.home import own_home
from tests.support.madeonce import make_commands_once

if TYPE_CHECKING:
    from tests.support.fleet import LiveFleet


#: Files that take long, about longest first: when several workers share them, none is left with one of these at the end.
_FIRST = [
    *("test_install", "test_cluster", "test_cli_errors", "test_device", "test_renewal", "test_administration", "test_enrol"),
    *("test_hub_move", "test_hub_backup", "test_compose", "test_hub_went_back", "test_hubdoctor_cluster"),
    *("test_demo", "test_restarts", "test_secrets", "test_tour", "test_trust", "test_commands_chaos"),
    *("test_config_keys", "test_config_device", "test_config_outages", "test_config_operator", "test_config_followers"),
    *("test_config_refused", "test_mqtt_story", "test_pico_and_agent", "test_app", "test_mqtt_link", "test_flash"),
]
#: How many workers share a core with ``-n auto``, and how many there are at most. One alone leaves the core idle for most of the time, but what a
#: test waits for are processes of its own, and these must not starve.
_WORKERS_PER_CORE, _MOST_WORKERS = 1.5, 8


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For ``-n auto``; a machine with one core gets one."""
    cores = len(os.sched_getaffinity(0))
    return min(int(cores * _WORKERS_PER_CORE), _MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _FIRST.index(item.path.stem) if item.path.stem in _FIRST else len(_FIRST))


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """Whatever started us may have had signals ignored (``nohup`` SIGHUP, ``&`` in a script SIGINT), also by what tests start and end by
    them. A handler, unlike that, does not outlive the start of a program.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_home(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands() -> None:
    make_commands_once()


@pytest.fixture(scope="session", autouse=True)
def _ports() -> None:
    """Workers pick ports of their own: between the moment when one picks a port and that in which its server listens, another may take
    the same one for free; with thousands of picks in a run that is to be expected.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first, last = ports.BELOW_EPHEMERAL
    share = (last - first) // _MOST_WORKERS
    ports.BELOW_EPHEMERAL = (first + worker % _MOST_WORKERS * share, first + (worker % _MOST_WORKERS + 1) * share - 1)


@pytest.fixture(scope="session")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """A hub and three devices at about the demo's pace, started once. Ask for ``fleet`` instead, which is whole."""
    from tests.support.fleet import STEADY, LiveFleet

    with LiveFleet(tmp_path_factory.mktemp("fleet"), pace=STEADY) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: LiveFleet) -> Iterator[LiveFleet]:
    """The shared fleet with every cable plugged in, every device answering and its context current. Register no device in it."""
    with shared_fleet.borrowed() as fleet:
        yield fleet


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A skipped test proves nothing, so where CI runs it is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a whole module that skips itself."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr}"
    return report
