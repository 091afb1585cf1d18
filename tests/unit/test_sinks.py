"""What is written to Prometheus and to InfluxDB, and what their answers mean."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from line_protocol_parser import parse_line

from edgeagent.chunk import Point
from edgeagent.errors import UsageProblem
from edgeagent.hub import sinksinflux, sinksremotewrite
from edgeagent.hub.exportsettings import InfluxOptions, RemoteWriteOptions, Webhook
from edgeagent.hub.notify import judged
from edgeagent.hub.sinks import DIVIDE, Influx, RemoteWrite
from edgeagent.hub.sinkspost import Answer, Request, Verdict, secret, verdict
from edgeagent.hub.sinkstally import Tally
from edgeagent.hub.sinkstrouble import Noted, Trouble, noted
from edgeagent.sample import Sample


def point(value: float, time_ms: int, metric: str = "a.b", **attributes: str) -> Point:
    return Point("app", Sample(metric, value, attributes), time_ms)


def fields(data: bytes) -> Iterator[tuple[int, bytes | float | int]]:
    """A reader of protobuf's wire format, by its specification."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = varint()
        if tag & 7 == 2:
            size = varint()
            yield tag >> 3, data[at : at + size]
            at += size
        elif tag & 7 == 1:
            yield tag >> 3, struct.unpack("<d", data[at : at + 8])[0]
            at += 8
        else:
            yield tag >> 3, varint()


def test_remote_write_says_what_was_measured() -> None:
    pytest.importorskip("cramjam")
    import cramjam

    points = [
        ("pi-01", point(2.5, 2000, zone="é" * 100)),
        ("pi-01", point(-1.0, 1000, zone="é" * 100)),
        ("pi-02", point(3, 1 << 41)),
    ]
    written = bytes(cramjam.snappy.decompress_raw(sinksremotewrite.body(sinksremotewrite.rows_of(points))))
    found = {}
    for number, series in fields(written):
        assert number == 1 and isinstance(series, bytes)
        parts = list(fields(series))
        labels = [tuple(text.decode() for _, text in fields(part)) for kind, part in parts if kind == 1]  # type: ignore[arg-type,union-attr]  # bytes
        samples = [tuple(one for _, one in fields(part)) for kind, part in parts if kind == 2]  # type: ignore[arg-type]  # as above
        assert labels == sorted(labels)
        found[dict(labels)["device"]] = (dict(labels), samples)
    assert found["pi-01"][0] == {"__name__": "a_b", "device": "pi-01", "source": "app", "zone": "é" * 100}
    assert found["pi-01"][1] == [(-1.0, 1000), (2.5, 2000)] and found["pi-02"][1] == [(3.0, 1 << 41)]


def test_one_series_has_one_sample_of_each_time() -> None:
    ((_, samples),) = sinksremotewrite.rows_of([("pi-01", point(1, 5)), ("pi-01", point(2, 5, "a-b")), ("pi-01", point(3, 4))])
    assert samples == [(4, 3.0), (5, 2.0)]


async def written(rows: list[tuple[str, Point]], refuses: Callable[[set[float]], bool]) -> tuple[Tally, int]:
    """What becomes of them at a Prometheus that refuses a request as a whole when ``refuses(its values)``."""
    cramjam, tally, asked = pytest.importorskip("cramjam"), Tally(), 0

    async def send(make: Callable[[], Request]) -> Answer:
        nonlocal asked
        asked += 1
        data = bytes(cramjam.snappy.decompress_raw(make().body))
        found = {value for _, series in fields(data) for kind, part in fields(series) if kind == 2 for _, value in fields(part)}  # type: ignore[arg-type]  # bytes
        return Answer(400, "too old") if refuses(found) else Answer(204)  # type: ignore[arg-type]  # numbers

    await RemoteWrite(RemoteWriteOptions(url="http://x/"), Path()).write(rows, send, tally)
    return tally, asked


async def test_one_bad_sample_costs_itself_only() -> None:
    rows = [(f"pi-{device}", point(device * 1000 + time, time)) for device in range(4) for time in range(1, 100)]
    tally, _ = await written(rows, lambda values: 2050.0 in values)
    assert tally.sent == len(rows) - 1 and tally.dropped == {"refused": 1} and tally.problem == "too old"


async def test_a_device_whose_samples_are_all_refused_costs_others_nothing_and_the_hub_little() -> None:
    rows = [("bad", point(-time, time)) for time in range(1, 1000)] + [("good", point(time, time)) for time in range(1, 1000)]
    tally, asked = await written(rows, lambda values: min(values) < 0)
    assert tally.sent == 999 and tally.dropped == {"refused": 999} and asked <= DIVIDE * 2


def test_line_protocol_can_be_read_again() -> None:
    odd = point(
        1.5, 1_700_000_000_123, "system.cpu", **{"a b,c=d": "x y,z=1\\", "time": "t", "device": "pi-99", "n": "1\n2", "e": ""}
    )
    text = sinksinflux.line("pi-01", odd)
    assert "\n" not in text
    read = parse_line(text)
    assert read["measurement"] == "system.cpu" and read["fields"] == {"value": 1.5} and read["time"] == 1_700_000_000_123
    tags = {
        "device": "pi-01",
        "source": "app",
        "exported_device": "pi-99",
        "exported_time": "t",
        "n": "1_2",
        "a b,c=d": "x y,z=1/",
    }
    assert read["tags"] == tags


def test_no_tag_is_there_twice() -> None:
    odd = {"a\n": "1", "a_": "2", "device": "3", "exported_device": "4", "_x": "5", "exported__x": "6", "b\\": "7", "b/": "8"}
    line = sinksinflux.line("pi-01", point(1, 1000, **odd))
    names = [tag.split("=")[0] for tag in line.split()[0].split(",")[1:]]
    assert len(names) == len(set(names)) and "device=pi-01," in line and "a_=1;2," in line and "exported_device=3;4," in line


async def test_one_line_that_influx_refuses_costs_itself_only() -> None:
    """Version 2.0 takes nothing of a request with one bad line."""
    tally, taken = Tally(), set()

    async def send(make: Callable[[], Request]) -> Answer:
        lines = make().body.decode().splitlines()
        if any("value=2050.0" in line or "device=bad" in line for line in lines):
            return Answer(400, "malformed")
        taken.update(lines)
        return Answer(204)

    rows = [(f"pi-{device}", point(device * 1000 + time, time)) for device in range(4) for time in range(1, 100)]
    rows += [("bad", point(-time, time)) for time in range(1, 500)]
    await Influx(InfluxOptions(url="http://x", database="d"), Path()).write(rows, send, tally)
    assert len(taken) == tally.sent == 4 * 99 - 1 and tally.dropped == {"refused": 500} and tally.problem == "malformed"


def test_influx_is_written_by_time() -> None:
    text = sinksinflux.body([("pi-01", point(1, 3)), ("pi-02", point(2, 1)), ("pi-01", point(3, 2))]).decode()
    assert [line.split()[-1] for line in text.splitlines()] == ["1", "2", "3"]


def test_where_influx_takes_lines() -> None:
    two = InfluxOptions(url="http://i:8086/", org="a b", bucket="c&d")
    assert sinksinflux.write_url(two) == "http://i:8086/api/v2/write?org=a+b&bucket=c%26d&precision=ms"
    one = InfluxOptions(url="http://i:8086", database="pis")
    assert sinksinflux.write_url(one) == "http://i:8086/write?db=pis&precision=ms"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        *((status, Verdict.TAKEN) for status in (200, 204)),
        *((status, Verdict.LATER) for status in (301, 401, 403, 404, 406, 408, 410, 415, 429, 451, 500, 503, 511)),
        *((status, Verdict.NEVER) for status in (400, 413, 422)),
    ],
)
def test_what_an_answer_means(status: int, meaning: Verdict) -> None:
    assert verdict(status) is meaning


def test_a_sample_that_is_never_taken_holds_nobody_up() -> None:
    """Prometheus 2.42 calls that an error of its own."""
    judge = RemoteWrite(RemoteWriteOptions(), Path()).judge
    assert judge(Answer(500, "too old sample")) is Verdict.NEVER and judge(Answer(500, "disk")) is Verdict.LATER


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 422, 500])
def test_a_page_is_no_answer_of_theirs(status: int) -> None:
    page = Answer(status, "<html>too old sample, please log in</html>")
    assert Influx(InfluxOptions(), Path()).judge(page) is Verdict.LATER
    assert RemoteWrite(RemoteWriteOptions(), Path()).judge(page) is Verdict.LATER
    assert judged(Webhook(url="http://x", format="slack"), Answer(200, "ok")) is Verdict.TAKEN
    assert judged(Webhook(url="http://x", format="slack"), page) is Verdict.LATER
    assert judged(Webhook(url="http://x"), page) is verdict(status), "your own webhook may answer with one"


def test_what_a_proxy_says_of_a_size_is_believed() -> None:
    assert Influx(InfluxOptions(), Path()).judge(Answer(413, "<html>413 Request Entity Too Large</html>")) is Verdict.NEVER


_CONFLICT = 'partial write: field type conflict: input field \\"value\\" on measurement \\"%s\\" is type float, already exists as type string'
_TWO = '{"code":"unprocessable entity","message":"failure writing points to database: partial write: '


@pytest.mark.parametrize(
    ("status", "said", "count"),
    [
        pytest.param(400, '{"error":"%s dropped=2"}' % (_CONFLICT % "t"), 2, id="1-conflict"),
        pytest.param(400, '{"error":"partial write: points beyond retention policy dropped=350"}', 350, id="1-retention"),
        pytest.param(422, _TWO + 'dropped 3 points outside retention policy of duration 72h0m0s - ... dropped=3"}', 3, id="2"),
        pytest.param(422, _TWO + 'x dropped=3 for database: 1f2e for retention policy: autogen"}', 3, id="2.7"),
        pytest.param(
            400, '{"error":"partial write: unable to parse \'q value= 1\': missing field value dropped=0"}', None, id="parse"
        ),
        pytest.param(400, '{"error":"unable to parse \'t,a=partial write: x dropped=0\': duplicate tags"}', None, id="named-so"),
        pytest.param(400, '{"error":"%s' % (_CONFLICT % "t dropped=9"), None, id="cut-off"),
        pytest.param(500, '{"error":"partial write: timeout dropped=2"}', None, id="500"),
    ],
)
def test_what_influx_says_of_a_partial_write(status: int, said: str, count: int | None) -> None:
    assert sinksinflux.lost(status, said) == count


def test_a_trouble_is_kept_for_others_until_anybody_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "troubles" / "sink_influx"
    first, second = Trouble("influx", file), Trouble("influx", file)
    first.begun("403 no")
    since = first.noted.since if first.noted else 0.0
    first.begun("no answer")
    assert noted(file) == Noted("no answer", since) and Trouble("influx", file).noted == first.noted
    second.over()
    assert noted(file) is None and first.seconds() > 0
    first.over()
    assert first.seconds() == 0.0
    file.write_text("{")
    assert noted(file) is None
    (tmp_path / "file").write_text("")
    Trouble("influx", tmp_path / "file" / "sink_influx").begun("what cannot be kept is logged")


def test_a_secret_is_one_line_and_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" abc \n")
    assert secret(tmp_path, "token") == "abc"
    (tmp_path / "token").write_text("abc\nX-Other: 1\n")
    with pytest.raises(UsageProblem) as caught:
        secret(tmp_path, "token")
    assert "abc" not in str(caught.value)


def test_nothing_but_numbers_reaches_the_wire() -> None:
    with pytest.raises(ValueError):
        Sample("a", math.nan)
    with pytest.raises(ValueError):
        Sample("a", math.inf)
