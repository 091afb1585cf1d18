"""Which events are told, which devices count as lost, and in which shape it is said."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent import wire
from edgeagent.errors import UsageProblem
from edgeagent.hub import notifyrules, notifyshapes
from edgeagent.hub.exportsettings import Webhook
from edgeagent.hub.notify import request_of
from edgeagent.hub.notifylost import LostDevices, named, sentence
from edgeagent.hub.notifyrules import Notice, OpenAlerts, is_wanted
from edgeagent.patterns.alerts import Alerts
from edgeagent.sample import Sample

STORED = "2026-11-21T12:00:00.000Z"


def event(kind: str, *, time: str = "", **data: object) -> wire.Event:
    return wire.Event(kind=kind, text=f"it is {kind}", data=data, time=time)


def told(alerts: OpenAlerts, device: str, kind: str, severity: str = "error", **data: object) -> Notice | None:
    return alerts.take(device, severity, event(kind, **data), STORED)


def test_an_alert_is_told_once_and_its_end_once() -> None:
    alerts = OpenAlerts()
    first = told(alerts, "pi-01", "alert.hot.raised")
    assert first and (first.kind, first.alert, first.severity, first.resolved) == ("alert", "hot", "error", False)
    assert told(alerts, "pi-01", "alert.hot.raised") is None
    assert told(alerts, "pi-02", "alert.hot.raised") and told(alerts, "pi-01", "alert.full.raised")
    end = told(alerts, "pi-01", "alert.hot.cleared", "info")
    assert end and end.resolved and end.severity == "error"
    assert told(alerts, "pi-01", "alert.hot.cleared", "info") is None
    assert told(alerts, "pi-01", "alert.hot.raised")


def test_one_rule_may_watch_several_series() -> None:
    alerts = OpenAlerts()
    first = told(alerts, "pi-01", "alert.full.raised", alert='full{mount="/"}')
    assert first and first.alert == 'full{mount="/"}'
    assert told(alerts, "pi-01", "alert.full.raised", alert='full{mount="/boot"}')
    assert told(alerts, "pi-01", "alert.full.raised", alert='full{mount="/"}') is None
    assert told(alerts, "pi-01", "alert.full.raised", alert=7) and told(alerts, "pi-01", "alert.full.raised") is None


async def test_what_a_device_says_of_its_alerts_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    """The device's own code speaks: of two series of one rule with attributes as long as they may be, and of a program's."""
    hub, said = OpenAlerts(), []

    def tell(severity: str, kind: str, text: str, **data: Any) -> None:
        data.pop("on_sent")
        for _ in range(2):  # an event may come twice
            said.append(hub.take("pi-01", severity, wire.Event(kind=kind, text=text, data=data), STORED))

    alerts = Alerts(tmp_path, {"hot": "hw.temperature > 80"}, tell)
    long = {f"a{number}": "x" * 200 for number in range(5)}
    for value in (90, 70, 90):
        for source, attributes in (("agent", {**long, "z": "1"}), ("agent", {**long, "z": "2"}), ("app", {})):
            alerts.take(source, [Sample("hw.temperature", value, attributes)])
    notices = [notice for notice in said if notice is not None]
    assert [notice.resolved for notice in notices] == [False] * 3 + [True] * 3 + [False] * 3
    names = [notice.alert for notice in notices]
    assert names[:3] == names[3:6] == names[6:] and len(set(names)) == 3 and names[2] == "hot of app"
    assert {(notice.kind, notice.lasting) for notice in notices} == {("alert", True)}


def test_other_events_are_told_each_time() -> None:
    alerts = OpenAlerts()
    assert told(alerts, "pi-01", "app.failed") and told(alerts, "pi-01", "app.failed")


def test_only_the_hub_speaks_of_lost_devices() -> None:
    alerts = OpenAlerts()
    real = told(alerts, "hub", notifyrules.LOST, "warning", devices=["pi-01", 7])
    assert real and real.devices == ("pi-01",) and real.lasting
    fake = told(alerts, "pi-03", notifyrules.LOST, "warning", devices=["pi-01"])
    assert fake and fake.devices == () and fake.device == "pi-03"
    back = told(alerts, "hub", notifyrules.BACK, "info", devices=["pi-01"])
    assert back and back.resolved and back.severity == "warning"


def test_a_device_cannot_fill_the_table() -> None:
    alerts = OpenAlerts()
    for number in range(notifyrules.MAX_OPEN * 3):
        assert told(alerts, "bad", f"alert.{number}.raised")
    assert alerts._count == notifyrules.MAX_OPEN
    assert told(alerts, "pi-01", "alert.hot.raised") and told(alerts, "pi-01", "alert.hot.raised") is None


@pytest.mark.parametrize(
    ("own", "believed"),
    [
        pytest.param("2026-11-21T11:00:00.000Z", "2026-11-21T11:00:00.000Z", id="offline-then"),
        pytest.param("2099-01-01T00:00:00.000Z", STORED, id="future"),
        pytest.param("soon", STORED, id="nonsense"),
        pytest.param("", STORED, id="none"),
    ],
)
def test_when_it_happened(own: str, believed: str) -> None:
    found = OpenAlerts().take("pi-01", "error", event("a.b", time=own), STORED)
    assert found and found.time == believed


def test_severity() -> None:
    notice = Notice("pi-01", "warning", "a", "b", STORED)
    assert [is_wanted(notice, minimum) for minimum in ("info", "warning", "error")] == [True, True, False]


def lost(**bounds: float) -> LostDevices:
    return LostDevices(**{"offline_seconds": 60.0, "gather_seconds": 5.0, **bounds})


def test_many_that_go_at_once_are_one_message() -> None:
    table = lost()
    for number in range(50):
        table.seen(f"pi-{number:02}", online=False, since=100 + number / 20, now=103)
    assert table.next_due(103) == 62 and table.lost(164.9) == []
    assert len(table.lost(165)) == 50
    table.told(table.lost(165), lost=True)
    assert table.lost(1000) == [] and table.next_due(165) is None


def test_who_is_back_in_time_was_never_gone() -> None:
    table = lost()
    table.seen("pi-01", online=False, since=100, now=100)
    table.seen("pi-01", online=True, since=130, now=130)
    assert table.lost(1000) == [] and table.back(1000) == []


def test_the_return_is_told_of_whose_going_was() -> None:
    table = lost()
    for device in ("pi-01", "pi-02"):
        table.seen(device, online=False, since=100, now=100)
    table.told(["pi-01", "pi-02"], lost=True)
    table.seen("pi-01", online=True, since=200, now=200)
    table.seen("pi-02", online=True, since=203, now=203)
    assert table.back(204) == [] and table.back(205) == ["pi-01", "pi-02"]
    table.told(["pi-01", "pi-02"], lost=False)
    assert table.back(300) == []


def test_more_than_an_event_names_are_one_message_for_who_only_read_it() -> None:
    """Another instance, which knows them already; and one that starts afterwards."""
    many = [f"pi-{number:04}" for number in range(3000)]
    for knows_before in (True, False):
        table = lost()
        if not knows_before:
            table.all_told(200, lost=True)
        for device in many:
            table.seen(device, online=False, since=100, now=101)
        table.seen("pi-late", online=False, since=150, now=150)
        if knows_before:
            table.all_told(200, lost=True)
        assert table.lost(250) == ["pi-late"]
        for device in many:
            table.seen(device, online=True, since=300, now=300)
        assert table.back(305) == many
        table.all_told(306, lost=False)
        table.told(["pi-late"], lost=True)
        assert table.back(400) == []
        table.seen("pi-0001", online=False, since=500, now=500)
        assert table.lost(600) == ["pi-0001"]


def test_who_was_removed_is_not_lost() -> None:
    table = lost()
    table.seen("pi-01", online=False, since=100, now=100)
    table.forgotten(set())
    assert table.lost(1000) == []


def test_words_about_devices() -> None:
    assert sentence(["pi-01"], lost=True) == "pi-01 is offline"
    many = [f"pi-{number}" for number in range(12)]
    assert sentence(many, lost=False).startswith("12 devices are online again: pi-0, ") and sentence(many, lost=True).endswith(
        "and 2 more"
    )
    huge = [f"{number:060}" for number in range(5000)]
    assert 100 < len(named(huge)) < 200


NOTICES = {
    "raised": Notice("pi-01", "critical", "alert", 'too <hot> & "bad"\nreally', STORED, alert="hot", lasting=True),
    "cleared": Notice("pi-01", "critical", "alert", "cool again", STORED, alert="hot", resolved=True, lasting=True),
    "lost": Notice(
        "hub", "warning", "devices.lost", "2 devices are offline: pi-01, pi-02", STORED, devices=("pi-01", "pi-02"), lasting=True
    ),
}


def said(shape: str, notice: Notice, url: str = "https://push.example/base/pis?x=1") -> tuple[str, object]:
    found = notifyshapes.message(shape, url, notice)
    return found.url, json.loads(found.body)


def test_ntfy() -> None:
    url, body = said("ntfy", NOTICES["raised"])
    assert url == "https://push.example/base" and isinstance(body, dict)
    assert (body["topic"], body["title"], body["priority"]) == ("pis", "alert hot on pi-01", 5)
    _, body = said("ntfy", NOTICES["cleared"])
    assert body["priority"] == 2 and body["title"].startswith("over: ")  # type: ignore[index]  # a dict
    with pytest.raises(UsageProblem):
        said("ntfy", NOTICES["raised"], "https://ntfy.sh/")


def test_slack_gets_text_that_means_nothing_to_it() -> None:
    _, body = said("slack", NOTICES["raised"])
    assert body["text"].endswith('too &lt;hot&gt; &amp; "bad"\nreally')  # type: ignore[index]  # a dict


def test_alertmanager_knows_the_end_by_the_same_labels() -> None:
    begin, end = (said("alertmanager", NOTICES[name])[1][0] for name in ("raised", "cleared"))  # type: ignore[index]  # a list
    assert begin["labels"] == end["labels"] == {"alertname": "alert", "alert": "hot", "device": "pi-01", "severity": "critical"}
    assert begin["startsAt"] == STORED and begin["endsAt"] > "2026-12" and end["endsAt"] == STORED and "startsAt" not in end
    _, both = said("alertmanager", NOTICES["lost"])
    back = NOTICES["lost"]._replace(kind="devices.back", resolved=True)
    assert [one["labels"] for one in both] == [one["labels"] for one in said("alertmanager", back)[1]]  # type: ignore[attr-defined]  # lists


def test_json_has_everything() -> None:
    _, body = said("json", NOTICES["lost"])
    fields = {key: value for key, value in NOTICES["lost"]._asdict().items() if key != "told"}
    assert body == {"v": 1, "title": "2 devices are offline", **fields, "devices": ["pi-01", "pi-02"]}


def test_addresses_and_tokens_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hooks.example/T0/secret\n")
    (tmp_path / "token").write_text("abc\n")
    request = request_of(Webhook(url_file="url", token_file="token", format="slack"), tmp_path, NOTICES["raised"])
    assert request.url == "https://hooks.example/T0/secret" and request.headers["Authorization"] == "Bearer abc"


def test_every_format_can_be_said_of_every_notice() -> None:
    for shape, notice in itertools.product(notifyshapes._SHAPES, NOTICES.values()):
        assert Webhook(url="http://x", format=shape) and said(shape, notice)  # type: ignore[arg-type]  # each is one of them
