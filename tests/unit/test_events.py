"""What is logged of an event: it may quote what somebody else wrote."""

from __future__ import annotations

import logging

import pytest

from edgeagent.patterns.events import Events


def test_what_others_wrote_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "edgeagent"):
        Events("pi-01").tell("error", "config.refused", "its signer is \x1b]0;x\x07\n2026-11-21 INFO all is well\u202e\x9b ü %s")
    (record,) = caplog.records
    assert record.getMessage() == "its signer is �]0;x��2026-11-21 INFO all is well�� ü %s" and record.levelno == logging.ERROR
