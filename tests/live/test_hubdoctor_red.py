"""Each check of `edgeagent hub doctor` sees the very thing broken that it looks at, and says what to do about it; so does /healthz."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

pytest.importorskip("aiohttp")

from edgeagent.assembly.hubdoctor import CHECKS
from edgeagent.hub.folder import HubFolder
from tests.support.breaking import BREAKS, Break, Live, a_stream_is_gone, living
from tests.support.servers import until

CHECK = {check.__name__: check for check in CHECKS}

#: Broken where it takes long.
ELSEWHERE = {"takes": "tests/live/test_hub_store_full.py fills the disk of a hub that runs"}
#: These are over when the hub's own time has come.
LASTING = ("trouble", "sending", "accounts")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(tmp_path_factory.mktemp("red")) as here:
        yield here


def test_every_check_is_broken_by_a_test() -> None:
    broken = {name for name, _ in BREAKS} | ELSEWHERE.keys()
    assert broken == CHECK.keys(), "break it in tests/support/breaking.py"


async def bad(name: str, place: HubFolder) -> list[tuple[str, str, str]]:
    found = await CHECK[name](place, place.options())
    return [(finding.level, finding.text, finding.remedy) for finding in found if not finding.good]


@pytest.mark.parametrize(("name", "way"), BREAKS, ids=[f"{name}-{way.__name__}" for name, way in BREAKS])
async def test_it_goes_red_with_a_remedy(here: Live, name: str, way: Break) -> None:
    before = await bad(name, here.place)
    async with way(here) as broken:
        found = await bad(name, broken.place)
        assert [level for level, text, _ in found if broken.word in text] == [broken.level], found
        assert all(remedy for _, _, remedy in found)
    if broken.place is here.place and name not in LASTING:
        assert await bad(name, here.place) == before


async def test_health_is_what_the_hub_is(here: Live) -> None:
    status, said = await here.health("?verbose")
    assert (status, said["status"], said["wrong"]) == (200, "ok", [])
    assert {each["check"] for each in said["findings"]} >= {"nats-server", "streams", "links", "clock"}
    async with a_stream_is_gone(here):

        async def is_red() -> bool:
            return (await here.health())[0] == 503

        await until(is_red, "it says so")
        status, said = await here.health()
        assert said["wrong"] == ["streams"] and set(said) == {"status", "time", "wrong", "warn"}
        _, said = await here.health("?verbose")
        (finding,) = [each for each in said["findings"] if each["level"] == "wrong"]
        assert "EDGE_DATA: not there" in finding["text"] and finding["remedy"]
        _, said = await here.health("?verbose", **{"X-Forwarded-For": "203.0.113.7"})
        assert "EDGE_DATA" not in json.dumps(said), "who comes by a proxy is not on this machine"

    async def is_well() -> bool:
        return (await here.health())[0] == 200

    await until(is_well, "and when it is over")


def test_the_command_says_it_and_its_exit_code(here: Live) -> None:
    here.place.keys.chmod(0o755)
    said = here.hub.command("hub", "doctor", "--json")
    here.place.keys.chmod(0o700)
    assert said.code == 1
    assert any("others can read" in finding["text"] for finding in json.loads(said.out))
