"""In which order a hub is backed up, what is taken from the old folder of one that is restored, and which servers it is to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.assembly import hubrestoreplan
from edgeagent.assembly.hubbackup import LAST, in_order
from edgeagent.errors import SettingsProblem, UsageProblem
from edgeagent.hub.cluster import ALONE, Cluster
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.owner import Owner
from edgeagent.hub.restored import newer_accounts
from edgeagent.hub.streams import STREAMS

OPTIONS = HubOptions(name="berlin", server="/tmp/evil", store_max_bytes=1 << 30)
CLUSTER = Cluster(
    number=2,
    routes=["a:6222", "b:6222", "c:6222"],
    operators=["a:4000", "b:4000", "c:4000"],
    devices=["a:7000", "b:7000", "c:7000"],
)


def planned(tmp_path: Path, before: tuple[HubOptions, Cluster] = (OPTIONS, ALONE), **how: Any) -> list[hubrestoreplan.Member]:
    return hubrestoreplan.members(HubFolder(tmp_path / "hub"), before, how.pop("changes", {}), **{"size": None, **how})


def account(keyring: Keyring, folder: Path, name: str, issued_at: int) -> str:
    folder.mkdir(exist_ok=True)
    public, token = keyring.account_jwts(issued_at=issued_at)[name]  # type: ignore[index]  # its name is one
    (folder / f"{public}.jwt").write_text(token)
    return public


def test_what_refers_to_something_is_older_than_that() -> None:
    order = in_order([*(stream.name for stream in STREAMS), "MINE"])
    assert sorted(order) == sorted([*(stream.name for stream in STREAMS), "MINE"]) and set(LAST) <= set(order)
    for stream in STREAMS:
        assert all(order.index(stream.name) < order.index(source) for source in stream.sources), "else new messages are skipped"
    for first, then in [
        ("EDGE_COMMANDS", "EDGE_FILES"),
        ("EDGE_COMMANDS", "EDGE_RESULTS"),
        ("EDGE_RESULTS", "EDGE_UPLOADS"),
        ("KV_edge_tokens", "KV_edge_devices"),
        ("EDGE_METRICS", "EDGE_AUDIT"),
        ("MINE", "EDGE_AUDIT"),
    ]:
        assert order.index(first) < order.index(then)
    assert order[-1] == "KV_edge_revocations"


def test_who_was_kept_out_since_stays_out(tmp_path: Path) -> None:
    owner, other = Owner.create("berlin"), Owner.create("berlin")
    for each, name in ((owner, "ours"), (other, "theirs")):
        each.write_hub(tmp_path / name)
    ours, theirs = Keyring.load(tmp_path / "ours"), Keyring.load(tmp_path / "theirs")
    old, new = tmp_path / "old", tmp_path / "new"
    for name, in_old, in_new in (("FLEET", 200, 100), ("OPS", 100, 200), ("HUB", 100, 100)):
        account(ours, old, name, in_old)
        public = account(ours, new, name, in_new)
        assert (new / f"{public}.jwt").exists()
    fleet = ours.account_public("FLEET")
    assert newer_accounts(ours, old, new) == ["FLEET"]
    assert (new / f"{fleet}.jwt").read_text() == (old / f"{fleet}.jwt").read_text()
    # A stranger's account under our name is none of ours.
    foreign = account(theirs, old, "FLEET", 900)
    (old / f"{foreign}.jwt").rename(old / f"{fleet}.jwt")
    assert newer_accounts(ours, old, new) == [] and newer_accounts(ours, tmp_path / "none", new) == []


def test_no_backup_says_which_program_runs_here(tmp_path: Path) -> None:
    (member,) = planned(tmp_path)
    assert member.options.server == "" and member.options.store_max_bytes == 1 << 30
    (member,) = planned(tmp_path, changes={"client_port": 5000})
    assert member.options.client_port == 5000


def test_a_cluster_is_said_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"it had 3 servers.*--cluster 1"):
        planned(tmp_path, (OPTIONS, CLUSTER))
    (member,) = planned(tmp_path, (OPTIONS, CLUSTER), size=1)
    assert member.cluster == ALONE and (member.options.client_port, member.options.leaf_port) == (4000, 7000)
    members = planned(tmp_path, (OPTIONS, CLUSTER), size=3)
    assert [member.options.client_port for member in members] == [4000, 4001, 4002]
    with pytest.raises(UsageProblem, match="Add --cluster"):
        planned(tmp_path, hosts=["a", "b", "c"])


def test_hub_toml_says_what_was_planned_and_keeps_the_rest(tmp_path: Path) -> None:
    draft = HubFolder(tmp_path)
    text = '# mine\n[hub]\nname = "berlin"\nserver = "/tmp/evil"\n[influx]\nurl = "http://a:8086"\ndatabase = "d"\n'
    for member in planned(tmp_path, (HubOptions(name="berlin", server="/tmp/evil"), ALONE), size=3):
        hubrestoreplan.write_options(draft, text, member)
        assert (draft.options(), draft.cluster()) == (member.options, member.cluster)
        assert draft.exports().influx.url == "http://a:8086" and draft.exports().metrics.listen == member.metrics
        assert draft.options_file.read_text().startswith("# mine\n")


def test_a_hub_toml_that_cannot_be_changed_is_refused(tmp_path: Path) -> None:
    (member,) = planned(tmp_path, changes={"tls_names": ["a"]})
    text = 'hub = { name = "berlin" }\n'
    with pytest.raises(SettingsProblem):
        hubrestoreplan.write_options(HubFolder(tmp_path), text, member)
