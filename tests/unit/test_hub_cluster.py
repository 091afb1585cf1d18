"""A hub of several servers: what is written for each of them, and what cannot be."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeagent import context, places
from edgeagent.assembly import hubcluster, hubstreams, hubtls
from edgeagent.assembly.hubcluster import Member, plan
from edgeagent.assembly.hubmake import make_all, owner_file
from edgeagent.errors import Failed, SettingsProblem, UsageProblem
from edgeagent.hub import clusterconf
from edgeagent.hub.address import addresses, local_url
from edgeagent.hub.cluster import ALONE, check_size, server_name
from edgeagent.hub.clusterconf import ClusterConf
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.handout import is_behind
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.tlsfolder import TlsFolder
from edgeagent.trust import certificates
from tests.support.home import own_home

HOSTS = ["a.example", "b.example", "fd00::c"]
NEAR = HubOptions(name="berlin", client_port=4000, leaf_port=5000, websocket_port=6000)
FAR = HubOptions(name="berlin", listen="0.0.0.0", tls="self")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[HubFolder]:
    with own_home(tmp_path / "home"):
        yield HubFolder(tmp_path / "hub")


def test_on_one_machine_ports_count_on() -> None:
    first, second, third = plan(HubFolder(Path("/x/hub")), NEAR, 3, route_port=7000)
    assert [str(one.place.path) for one in (first, second, third)] == ["/x/hub", "/x/hub-2", "/x/hub-3"]
    assert (second.options.client_port, third.options.leaf_port, third.options.websocket_port) == (4001, 5002, 6002)
    assert (second.cluster.number, second.cluster.port, second.metrics) == (2, 7001, "127.0.0.1:9465")
    assert second.cluster.routes == ["127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"] == third.cluster.routes
    assert second.cluster.others == ["127.0.0.1:7000", "127.0.0.1:7002"]
    found = addresses(second.options, second.cluster)
    assert found == addresses(first.options, first.cluster)
    assert found.operators == "nats://127.0.0.1:4000,nats://127.0.0.1:4001,nats://127.0.0.1:4002"
    assert found.devices == "nats-leaf://127.0.0.1:5000,nats-leaf://127.0.0.1:5001,nats-leaf://127.0.0.1:5002"
    assert found.websocket == "ws://127.0.0.1:6000,ws://127.0.0.1:6001,ws://127.0.0.1:6002"
    assert "Only this machine" in found.note
    assert local_url(second.options, second.cluster).startswith("nats://127.0.0.1:4001,nats://127.0.0.1:4000,")


def test_on_three_machines_ports_are_the_same() -> None:
    members = plan(HubFolder(Path("/x/hub")), FAR, 3, HOSTS)
    third = members[2]
    assert third.options == msgspec.structs.replace(FAR, advertise="fd00::c") and third.metrics == "127.0.0.1:9464"
    assert third.cluster.routes == ["a.example:6222", "b.example:6222", "[fd00::c]:6222"]
    found = addresses(third.options, third.cluster)
    assert found.devices == "tls://a.example:7422,tls://b.example:7422,tls://[fd00::c]:7422" and not found.note
    (second, _) = hubcluster.copies(members, HOSTS)
    assert (
        "--no-same-owner" in second
        and "root@b.example" in second
        and "/x/hub-2" in second
        and hubcluster.copies(members, []) == []
    )


@pytest.mark.parametrize(
    ("options", "size", "hosts", "why"),
    [
        (NEAR, 1, [], "no cluster"),
        (NEAR, 2, [], "2 stop when either does"),
        (NEAR, 4, [], "4 outlive the loss of 1, as 3 do"),
        (NEAR, 7, [], "wait for more than half"),
        (FAR, 3, HOSTS[:2], "names 2 of them"),
        (FAR, 3, [HOSTS[0]] * 3, "names 1 of them"),
        (NEAR, 3, HOSTS, "no other machine reaches them"),
        (FAR, 3, ["127.0.0.1", *HOSTS[1:]], "this machine alone"),
        (msgspec.structs.replace(FAR, advertise="d"), 3, HOSTS, "--advertise"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(options: HubOptions, size: int, hosts: list[str], why: str) -> None:
    with pytest.raises(UsageProblem, match=why):
        plan(HubFolder(Path("/x/hub")), options, size, hosts)


@pytest.mark.parametrize("size", [3, 5])
def test_these_make_sense(size: int) -> None:
    check_size(size)
    members = plan(HubFolder(Path("/x/hub")), NEAR, size)
    assert {one.cluster.replicas for one in members} == {size} and [one.cluster.leads_accounts for one in members].count(
        True
    ) == 1
    assert len({server_name("berlin", one.cluster) for one in members}) == size
    assert ALONE.replicas == 1 and ALONE.leads_accounts and server_name("berlin", ALONE) == "berlin"


def test_the_section_survives_the_file(place: HubFolder) -> None:
    for member in plan(place, NEAR, 3):
        member.place.create(member.options, member.cluster, member.metrics)
        assert member.place.cluster() == member.cluster and member.place.options() == member.options
        assert member.place.exports().metrics.listen == member.metrics


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"routes": ["a:1", "b:1"]}, "cluster.routes: 2 servers"),
        ({"number": 4}, "cluster.number = 4"),
        ({"number": 0}, "cluster.number: it is needed"),
        ({"operators": ["a:1", "b:1"]}, "cluster.operators: it must name each of the 3"),
        ({"devices": ["a:1", "b:1", "a:1"]}, "cluster.devices: one is there twice"),
        ({"devices": ["a:1", "b:1", 'c"\n}:1']}, "it must be a host and a port"),
        ({"devices": ["a:1", "b:1", "tls://c:1"]}, "it must be a host and a port"),
        ({"routes": ["a:1", "b:1", "c:70000"]}, "it must be a host and a port"),
        ({"websockets": []}, "cluster.websockets: it must name each"),
        ({"listen": 'a"}'}, "cluster.listen"),
    ],
)
def test_a_section_that_cannot_be_meant(place: HubFolder, changes: dict[str, object], problem: str) -> None:
    member = plan(place, NEAR, 3)[0]
    with pytest.raises(SettingsProblem) as caught:
        place.create(NEAR, msgspec.structs.replace(member.cluster, **changes))
    assert problem in str(caught.value)


def test_the_configuration_of_one_server() -> None:
    second = plan(HubFolder(Path("/x/hub")), FAR, 3, HOSTS)[1]
    conf = ClusterConf(hub="berlin", listen="0.0.0.0", cluster=second.cluster, secret="s3cret")
    text = clusterconf.render(conf)
    assert 'listen: "0.0.0.0:6222"' in text and 'advertise: "b.example:6222"' in text and "tls {" not in text
    assert '"nats-route://route:s3cret@a.example:6222"' in text and "@b.example" not in text
    assert "s3cret" not in repr(conf)
    assert clusterconf.render(dataclasses.replace(conf, cluster=ALONE)) == ""


def test_three_folders_are_made_of_one_hub(place: HubFolder) -> None:
    members = plan(place, msgspec.structs.replace(NEAR, tls="self"), 3)
    made = make_all(members, "olga", passphrase=None)
    assert made.url == addresses(members[0].options, members[0].cluster).operators
    rings = [Keyring.load(one.place.path) for one in members]
    assert len({ring.route_secret() for ring in rings}) == 1 and rings[0].route_secret() not in (rings[0].operator_jwt(), "")
    assert [one.place.founder.exists() for one in members] == [True, False, False], "once"
    own = [TlsFolder(one.place) for one in members]
    assert len({folder.authorities.read_bytes() for folder in own}) == 1, "one authority"
    assert len({folder.certificate.read_bytes() for folder in own}) == 3, "a certificate for each"
    for one in members:
        assert {stat.S_IMODE(path.stat().st_mode) for path in one.place.tls.glob("*.key")} == {0o600}
        hubtls.prepare(one.place, one.options)
        assert stat.S_IMODE(one.place.path.stat().st_mode) == 0o700
    assert own[1].state().server is not None
    certificate = certificates.read(own[1].certificate.read_bytes())
    assert "127.0.0.1" in certificate.names


def made_nothing(members: list[Member]) -> bool:
    folders = (places.contexts_folder(), places.owners_folder())
    left = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return left == [] and not any(one.place.path.exists() for one in members)


def test_what_fails_half_way_leaves_nothing(place: HubFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    members = plan(place, NEAR, 3)
    prepare = hubtls.prepare

    def fails(folder: HubFolder, options: HubOptions) -> None:
        prepare(folder, options)
        if folder.path == members[1].place.path:
            raise KeyboardInterrupt

    monkeypatch.setattr(hubtls, "prepare", fails)
    with pytest.raises(KeyboardInterrupt):
        make_all(members, "olga", passphrase=None)
    assert made_nothing(members) and not owner_file("berlin").exists() and context.names() == []


def test_a_folder_in_the_way_is_said_before_anything_is_written(place: HubFolder) -> None:
    members = plan(place, NEAR, 3)
    members[2].place.create(HubOptions(name="other"))
    with pytest.raises(Failed, match="hub-3"):
        make_all(members, "olga", passphrase=None)
    assert not place.path.exists() and not owner_file("berlin").exists()


@pytest.mark.parametrize(
    ("there", "size", "said"),
    [
        (3, 3, ""),
        (2, 3, "the streams are made, or change, when every server of the cluster is there: 2 of 3 are here"),
        (1, 3, "waits for one more server of the cluster: 1 of 3 are here"),
        (1, 5, "waits for two more servers of the cluster: 1 of 5 are here"),
    ],
)
def test_what_it_waits_for_is_said(there: int, size: int, said: str) -> None:
    assert hubstreams.waiting(there, size) == said


@pytest.mark.parametrize(
    ("ours", "stored", "behind"),
    [
        (["1"], [], False),
        (["1", "2"], ["1"], False),
        (["1"], ["1", "2"], True),
        (["1", "2"], ["2"], True),
        (["2"], ["1", "2"], False),
        (["2", "3"], ["1", "2"], False),
        (["1", "2"], ["2", "3"], True),
    ],
    ids=[
        "nothing is handed out yet",
        "we made a new one",
        "another server made one",
        "another has let the oldest go",
        "we have let the oldest go",
        "we have done both",
        "another has done both",
    ],
)
def test_two_servers_do_not_hand_out_their_authorities_by_turns(ours: list[str], stored: list[str], behind: bool) -> None:
    assert is_behind(ours, stored) is behind
    assert not (is_behind(ours, stored) and is_behind(stored, ours)), "one of them always may"


def test_an_authority_that_is_copied_signs_there_too(place: HubFolder) -> None:
    """What `hub tls rotate` tells to copy is enough."""
    members = plan(place, msgspec.structs.replace(NEAR, tls="self"), 3)
    make_all(members, "olga", passphrase=None)
    first, second = (TlsFolder(member.place) for member in members[:2])
    first.rotate(members[0].options, hubtls.now(), at_once=True)
    for path in [*first.path.glob("ca-*"), first.authorities, first.path / "made.json"]:
        (second.path / path.name).write_bytes(path.read_bytes())
    second.renew(members[1].options, hubtls.now())
    assert second.authorities.read_bytes() == first.authorities.read_bytes()
    issuers = {certificates.read(one.certificate.read_bytes()).issuer for one in (first, second)}
    assert len(issuers) == 1 and "CA 2" in issuers.pop()
