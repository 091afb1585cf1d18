"""deploy/compose: what the specification says is right, and as closed as docs/compose.md says; tests/live/test_compose.py runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from edgeagent.hub.folder import HubFolder
from tests.support.composed import loaded

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDER = DEPLOY / "compose"
FILE = FOLDER / "compose.yaml"
SERVERS = ("hub-1", "hub-2", "hub-3")
OURS = (*SERVERS, "serve", "init", "tool")
VARIABLES = {"EDGEAGENT_HOST": "hub.example.org", "GRAFANA_PASSWORD": "secret"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = loaded(FILE, VARIABLES)["services"]
    return found


def test_it_is_what_the_compose_specification_says() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_it_asks_for_stands_in_the_example_of_env() -> None:
    given = dict(re.findall(r"(?m)^(\w+)=(.*)$", (FOLDER / "env.example").read_text()))
    text = FILE.read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(given) <= set(re.findall(r"\$\{(\w+)", text))
    assert given["GRAFANA_PASSWORD"] == "", "nobody shall have everybody's password"
    with pytest.raises(KeyError, match="GRAFANA_PASSWORD"):
        loaded(FILE, {"EDGEAGENT_HOST": "hub"})


@pytest.mark.parametrize("name", [*OURS, "prometheus", "grafana"])
def test_nobody_in_there_may_do_anything_to_the_machine(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(service)
    assert name not in OURS or service["user"].split(":")[0] not in ("", "0", "root")
    for volume in service["volumes"] if name != "grafana" else [*service["volumes"]]:
        source, _, *mode = volume.split(":")
        assert not source.startswith("/") and (mode == ["ro"] or not source.startswith(".")), volume
        assert not source.startswith(".") or (FOLDER / source).exists(), volume


def test_only_people_and_devices_come_in(services: dict[str, Any]) -> None:
    for number, name in enumerate(SERVERS):
        assert services[name]["ports"] == [f"{port + number}:{port + number}" for port in (4222, 7422)]
    others = [port for name in services if name not in SERVERS for port in services[name].get("ports", [])]
    assert others and all(port.startswith("127.0.0.1:") for port in others)
    assert not set(services["grafana"]["networks"]) & set(services["hub-1"]["networks"])


def test_only_who_needs_the_owners_keys_has_them(services: dict[str, Any]) -> None:
    assert [name for name in services if any(each.startswith("owner:") for each in services[name].get("volumes", []))] == [
        "init",
        "tool",
    ]


def test_the_image_runs_as_nobody_and_has_the_folders_of_the_volumes(services: dict[str, Any]) -> None:
    text = (FOLDER / "Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    assert f"USER {services['hub-1']['user']}" in final and 'ENTRYPOINT ["edgeagent"]' in final
    made = re.search(r"install -d -m 0700 -o (\d+) -g (\d+) (.*)", final)
    assert made is not None and f"{made[1]}:{made[2]}" == services["hub-1"]["user"]
    targets = {each.split(":")[1] for name in OURS for each in services[name]["volumes"] if not each.startswith(".")}
    assert targets <= set(made[3].split())
    for source in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text):
        assert all((DEPLOY.parent / each).exists() for each in source.split())
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {each for source in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text) for each in source.split()}


def test_what_each_hub_toml_is_told_besides(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(f'[hub]\n[metrics]\nlisten = "0.0.0.0:9464"\n{(FOLDER / "more.toml").read_text()}')
    exports = HubFolder(tmp_path).exports()
    assert exports.metrics.listen == "0.0.0.0:9464" and not exports.metrics.samples
    assert exports.remote_write.url == "http://prometheus:9090/api/v1/write"


def test_prometheus_and_grafana_are_those_of_deploy(services: dict[str, Any]) -> None:
    yaml = YAML(typ="safe")
    ours, theirs = (yaml.load(file.read_text()) for file in (FOLDER / "prometheus.yml", DEPLOY / "prometheus" / "prometheus.yml"))
    (scraped,), (usual,) = ours.pop("scrape_configs"), theirs.pop("scrape_configs")
    assert ours == theirs and scraped["metric_relabel_configs"][0] == usual["metric_relabel_configs"][0]
    asked = {services[name]["environment"]["HEALTH"].split("/")[2].replace("127.0.0.1", name) for name in (*SERVERS, "serve")}
    assert set(scraped["static_configs"][0]["targets"]) == asked
    assert "--web.enable-remote-write-receiver" in services["prometheus"]["command"]
    source = (FOLDER / "grafana-datasource.yaml", DEPLOY / "grafana/provisioning/datasources/edgeagent.yaml")
    ((own,), (usual,)) = (yaml.load(file.read_text())["datasources"] for file in source)
    assert own == {**usual, "url": "http://prometheus:9090"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_prometheus_accepts_it(tmp_path: Path) -> None:
    for file in (FOLDER / "prometheus.yml", DEPLOY / "prometheus" / "edgeagent.rules.yml"):
        shutil.copy(file, tmp_path)
    done = subprocess.run(["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
