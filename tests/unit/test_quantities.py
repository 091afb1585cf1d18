"""Values with their units in tables."""

from __future__ import annotations

import pytest

from edgeagent.cli.quantities import quantity


@pytest.mark.parametrize(
    ("value", "unit", "metric", "text"),
    [
        (0, "By", "", "0 B"),
        (999, "By", "", "999 B"),
        (1000, "By", "", "0.977 KiB"),
        (1536, "By", "", "1.5 KiB"),
        (18_403_577_856, "By", "", "17.1 GiB"),
        (1 << 80, "By", "", "1048576 EiB"),
        (1_572_864.0, "By/s", "", "1.5 MiB/s"),
        (-2048, "By", "", "-2 KiB"),
        (0.9987, "1", "system.cpu.utilization", "99.9 %"),
        (1, "1", "system.cpu.utilization", "100 %"),
        (0.25, "1", "doors.open", "0.25"),
        (48.312, "Cel", "", "48.31 °C"),
        (3, "{packet}", "", "3 packet"),
        (0.5, "{packet}/s", "", "0.5 packet/s"),
        (123_456, "", "", "123456"),
        (22_990_800.0, "", "", "22990800"),
        (5, "evil\x1b", "", "5 evil\N{REPLACEMENT CHARACTER}"),
    ],
    ids=lambda each: repr(each),
)
def test_how_a_value_reads(value: float, unit: str, metric: str, text: str) -> None:
    assert quantity(value, unit, metric) == text
