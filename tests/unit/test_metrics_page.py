"""docs/metrics.md tells the truth: a row for every metric, and examples that run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent import collectors as registry
from edgeagent import settings
from edgeagent.alertrules import parse
from edgeagent.builtin import collectors as builtin_collectors
from edgeagent.collectors import Metric, Round, collectors, metrics
from edgeagent.config import nested
from edgeagent.fleet import configchange, configtext
from edgeagent.patterns.collectorhealth import Healths
from edgeagent.patterns.programcollectors import Manifest, ProgramCollector
from edgeagent.sample import Sample
from edgeagent.settings import Settings
from tests.support.fakeroot import FakeRoot

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def row(metric: Metric) -> str:
    """How the metric stands in the page's table."""
    whose = [each.name for each in collectors() if metric in each.metrics] or ["all"]
    attributes = ", ".join(f"`{name}`" for name in metric.attributes)
    cells = [f"`{metric.name}`", f"`{metric.unit}`", metric.kind or "gauge", attributes, ", ".join(whose), metric.description]
    return re.sub(r"\|  \|", "| |", f"| {' | '.join(cells)} |")


@pytest.mark.parametrize("metric", metrics(), ids=lambda metric: metric.name)
def test_every_metric_is_on_the_page(metric: Metric) -> None:
    assert builtin_collectors.__path__ and row(metric) in PAGE.splitlines()


def test_nothing_else_is_on_the_page() -> None:
    assert re.findall(r"^\| `([a-z0-9_.]+)` \|", PAGE, re.MULTILINE) == [metric.name for metric in metrics()]


def program(name: str) -> str:
    return next(text for text in [*blocks("sh"), *blocks("python")] if f"collectors.d/{name}\n" in text)


async def run(folder: Path, name: str) -> list[Sample]:
    path = folder / name
    path.write_text(program(name))
    path.chmod(0o755)
    found: list[Sample] = []

    def take(source: str, samples: list[Sample]) -> None:
        found.extend(samples if source == name else [])

    assert await ProgramCollector(path, Manifest()).once(take, Healths(lambda *told, **data: None)) == ""
    return found


async def test_the_program_in_shell_measures(tmp_path: Path) -> None:
    assert await run(tmp_path, "fridge") == [
        Sample("fridge.temperature", 4.5, {"shelf": "top"}),
        Sample("door.open", 0.0, {"side": "left"}),
    ]


async def test_the_program_in_python_measures(tmp_path: Path) -> None:
    assert await run(tmp_path, "scale") == [
        Sample("scale.weight", 12.75, {"scale.place": "till"}, unit="kg"),
        Sample("scale.uses", 4711, unit="{use}", kind="counter"),
    ]


def test_the_manifest_is_all_that_there_is() -> None:
    (text,) = [text for text in blocks("toml") if "fridge.toml" in text]
    found = msgspec.toml.decode(text, type=Manifest)
    assert found == Manifest(interval_seconds=60)
    assert {*msgspec.toml.decode(text)} == {*Manifest.__struct_fields__}


def test_the_collector_in_python_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_collectors", dict(registry._collectors))
    space: dict[str, Any] = {"__name__": "your_package.fan"}
    exec(next(text for text in blocks("python") if "@collector" in text), space)
    root = FakeRoot(tmp_path).write("/sys/class/hwmon/hwmon2/fan1_input", "900")
    fan = next(each for each in collectors() if each.name == "fan")
    given = Round(machine=root.machine, settings=Settings(), clock=0.0)
    assert list(fan.make()(given)) == [Sample("hw.fan.speed", 900, {"hw.id": "fan1"}, unit="rpm")]


def test_the_rules_of_alerts_are_rules(tmp_path: Path) -> None:
    (text,) = [text for text in blocks("toml") if "[alert]" in text]
    rules = settings.parse(text, tmp_path / "agent.toml").alert
    ours = {metric.name for metric in metrics()} | {"fridge.temperature"}
    assert len(rules) == 4 and {parse(rule).metric for rule in rules.values()} <= ours


def test_the_rules_that_are_set_from_afar_are_accepted() -> None:
    words = re.findall(r"config set [^'`]*'(.*?)'", PAGE)
    assert len(words) == 3
    for word in words:
        configchange.check(nested(configtext.assignments([word])), "set them")
