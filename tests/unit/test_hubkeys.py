"""What the owner does with the keys: back up, restore, update, show, change the passphrase."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.assembly import hubkeys
from edgeagent.assembly.hubmake import make, owner_file, remembered
from edgeagent.errors import EdgeError, Failed, Refused
from edgeagent.hub import founding
from edgeagent.hub.folder import HubFolder, HubOptions
from edgeagent.hub.keyring import Keyring
from edgeagent.hub.owner import Owner
from edgeagent.trust.nkeys import KeyPair
from tests.support.home import PASSPHRASE, own_home

OTHER = "another passphrase"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[HubFolder]:
    with own_home(tmp_path / "home"):
        place = HubFolder(tmp_path / "hub")
        make(place, HubOptions(name="berlin", leaf_port=7000), "olga", passphrase=PASSPHRASE)
        yield place


@pytest.fixture
def keys(place: HubFolder) -> Path:
    return owner_file("berlin")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_no_owner_seed_is_below_the_hubs_folder(place: HubFolder, keys: Path) -> None:
    owner, kept = Owner.load(keys, PASSPHRASE), b"".join(everything(place.path).values())
    there = {name for name in founding.KEYS if owner.key(name).seed.encode() in kept}
    assert there == {
        "operator-signing",
        *["role-device", "role-provision", "role-renewal"],
        *["user-hub", "user-sys", "user-provision", "user-fleet"],
    }
    allowed = {owner.key(name).seed.encode() for name in there}
    assert set(re.findall(rb"S[OAU][A-Z2-7]{56}", kept)) == allowed, "nor any other, such as the administrator's"


def test_the_owners_file_knows_the_hub(place: HubFolder, keys: Path) -> None:
    owner = Owner.load(keys, PASSPHRASE)
    assert owner.remembered == remembered(place, place.options()) and "leaf_port = 7000" in owner.remembered.options
    owner.check_same(Keyring.load(place.path).public, place.path)


def test_a_backup_brings_a_lost_hub_back(place: HubFolder, keys: Path, tmp_path: Path) -> None:
    place.founder.unlink()  # as `hub up` does
    before = everything(place.path)
    medium = tmp_path / "usb.keys"
    hubkeys.backup(keys, PASSPHRASE, medium)
    assert medium.read_bytes() == keys.read_bytes() and stat.S_IMODE(medium.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="there is such a file already"):
        hubkeys.backup(keys, PASSPHRASE, medium)
    shutil.rmtree(place.path)
    keys.unlink()
    done = hubkeys.restore(medium, PASSPHRASE, place)
    assert len(done.made) == 3 and done.keys == keys and keys.read_bytes() == medium.read_bytes()
    assert everything(place.path) == before, "the same keys, the same JWTs, the same options"
    assert Keyring.load(place.path).account_public("HUB") == done.owner.account_public("HUB")
    assert stat.S_IMODE(place.path.stat().st_mode) == stat.S_IMODE(place.keys.stat().st_mode) == 0o700
    assert hubkeys.restore(medium, PASSPHRASE, place).made == []


def test_a_backup_that_could_not_be_read_is_not_made(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the passphrase is wrong"):
        hubkeys.backup(keys, OTHER, tmp_path / "usb.keys")
    assert not (tmp_path / "usb.keys").exists()


def test_another_hubs_backup_changes_nothing(place: HubFolder, keys: Path, tmp_path: Path) -> None:
    before = everything(place.path), keys.read_bytes()
    Owner.create("berlin").save(tmp_path / "other.keys", PASSPHRASE)
    with pytest.raises(Refused, match="is another one"):
        hubkeys.restore(tmp_path / "other.keys", PASSPHRASE, place)
    with pytest.raises(Refused, match="that of another hub of the same name"):
        hubkeys.restore(tmp_path / "other.keys", PASSPHRASE, HubFolder(tmp_path / "new"))
    with pytest.raises(Refused, match="is another one"):
        hubkeys.update(tmp_path / "other.keys", PASSPHRASE, place)
    assert (everything(place.path), keys.read_bytes()) == before and not (tmp_path / "new").exists()


def test_newer_software_wants_more_keys(place: HubFolder, keys: Path) -> None:
    owner = Owner.load(keys, PASSPHRASE)
    older = {name: owner.key(name) for name in founding.KEYS if name not in ("role-renewal", "role-group-viewer")}
    Owner("berlin", older, owner.remembered).save(keys, PASSPHRASE, replace=True)
    path = place.keys / "public.json"
    content = json.loads(path.read_text())
    for role in ("renewal", "group-viewer"):
        del content["roles"][role]
    path.write_text(json.dumps(content))
    (place.keys / "role-renewal.nk").unlink()
    with pytest.raises(Refused, match="hub keys update"):
        Keyring.load(place.path)

    done = hubkeys.update(keys, PASSPHRASE, place)
    assert sorted(done.added) == ["role-group-viewer", "role-renewal"] and done.changed
    assert Keyring.load(place.path).public == Owner.load(keys, PASSPHRASE).public
    assert hubkeys.update(keys, PASSPHRASE, place) == ([], False)


def test_an_older_backup_is_restored_up_to_date(place: HubFolder, keys: Path) -> None:
    owner = Owner.load(keys, PASSPHRASE)
    older = {name: owner.key(name) for name in founding.KEYS if name != "role-renewal"}
    Owner("berlin", older).save(keys, PASSPHRASE, replace=True)
    shutil.rmtree(place.keys)
    hubkeys.restore(keys, PASSPHRASE, place)
    assert Keyring.load(place.path).role_public("renewal") == Owner.load(keys, PASSPHRASE).role_public("renewal")


def test_a_changed_hub_is_found_and_mended(place: HubFolder, keys: Path) -> None:
    owner = Owner.load(keys, PASSPHRASE)
    rows = {row["name"]: row for row in hubkeys.show(place, owner)}
    assert set(rows) == set(founding.KEYS) and all(row["same"] for row in rows.values())
    assert (
        rows["role-device"]["hub"] and rows["user-hub"]["hub"] and not rows["operator"]["hub"] and not rows["role-admin"]["hub"]
    )

    path, thief = place.keys / "public.json", KeyPair.generate("account").public
    path.write_text(path.read_text().replace(owner.role_public("admin"), thief))
    assert [row["name"] for row in hubkeys.show(place, owner) if not row["same"]] == ["role-admin"]
    assert "same" not in hubkeys.show(place)[0]
    assert hubkeys.update(keys, PASSPHRASE, place) == ([], True)
    assert Keyring.load(place.path).role_public("admin") == owner.role_public("admin")


@pytest.mark.parametrize("content", ["", "{}", "\xe4"])
def test_damaged_public_keys_are_written_anew(place: HubFolder, keys: Path, content: str) -> None:
    (place.keys / "public.json").write_text(content, encoding="latin-1")
    with pytest.raises(Failed, match="hub keys update"):
        hubkeys.show(place)
    before = everything(place.path)
    Owner.create("berlin").save(keys.with_name("other.keys"), None)
    with pytest.raises(Refused, match="no key that can be read there is of that hub"):
        hubkeys.update(keys.with_name("other.keys"), None, place)
    assert everything(place.path) == before
    assert hubkeys.update(keys, PASSPHRASE, place).changed and Keyring.load(place.path)


@pytest.mark.parametrize("name", ["fleet.creds", "role-device.nk", "public.json"])
def test_a_lost_file_is_written_anew(place: HubFolder, keys: Path, name: str) -> None:
    (place.keys / name).unlink()
    with pytest.raises(Failed, match="hub keys update"):
        Keyring.load(place.path)
    assert hubkeys.update(keys, PASSPHRASE, place) == ([], True) and Keyring.load(place.path)


def test_there_is_nothing_to_update(place: HubFolder, keys: Path) -> None:
    shutil.rmtree(place.keys)
    with pytest.raises(Failed, match="hub keys restore"):
        hubkeys.update(keys, PASSPHRASE, place)


@pytest.mark.parametrize("new", [OTHER, None])
def test_the_passphrase_is_changed(keys: Path, new: str | None) -> None:
    before = Owner.load(keys, PASSPHRASE)
    hubkeys.change_passphrase(keys, PASSPHRASE, new)
    assert Owner.load(keys, new).keys() == before.keys()
    if new:
        with pytest.raises(EdgeError, match="the passphrase is wrong"):
            Owner.load(keys, PASSPHRASE)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_a_backup_that_is_older_than_an_exchanged_key_does_not_bring_the_old_one_back(
    place: HubFolder, keys: Path, tmp_path: Path
) -> None:
    medium = tmp_path / "usb.keys"
    hubkeys.backup(keys, PASSPHRASE, medium)
    owner = Owner.load(keys, PASSPHRASE)
    assert owner.begin_rotation("admin") and not owner.begin_rotation("admin")
    owner.rewrite_hub(place.path)
    owner.end_rotation("admin")
    owner.save(keys, PASSPHRASE, replace=True)
    before = everything(place.path), keys.read_bytes()
    keys.unlink()
    with pytest.raises(Refused, match="a role's key was exchanged since it was made"):
        hubkeys.restore(medium, PASSPHRASE, place)
    shutil.copy(medium, keys)
    with pytest.raises(Refused, match="a role's key was exchanged"):
        hubkeys.update(keys, PASSPHRASE, place)
    keys.write_bytes(before[1])
    assert everything(place.path) == before[0]
    assert Owner.load(keys, PASSPHRASE).role_public("admin") == owner.role_public("admin")
