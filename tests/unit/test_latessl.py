"""ssl's errors are asked for without loading OpenSSL, and caught once it is there. In processes of their own: it counts for a whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from edgeagent.bridge import latessl


def said(script: str) -> Any:
    """What ``script`` gives to ``say`` in a process that has not loaded ssl."""
    begin = "import json, sys\nfrom edgeagent.bridge.latessl import ssl\ndef say(*words): print(json.dumps([*words, '_ssl' in sys.modules]))\n"
    done = subprocess.run([sys.executable, "-c", begin + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_not_ssls_is_not_taken_for_it() -> None:
    script = """
try:
    raise BlockingIOError("later")
except (ssl.SSLWantReadError, ssl.SSLError):
    say("ssl")
except OSError as error:
    say(str(error), isinstance(error, ssl.SSLError), isinstance(error, ssl.SSLSocket))
"""
    assert said(script) == ["later", False, False, False]


def test_what_is_ssls_is_caught() -> None:
    script = """
context = ssl.create_default_context()
try:
    context.load_verify_locations(cadata="none")
except ssl.SSLError as error:
    import ssl as real
    say(isinstance(error, real.SSLError), ssl.SSLWantReadError is real.SSLWantReadError)
"""
    assert said(script) == [True, True, True]


def test_what_ssl_has_not_nobody_has() -> None:
    with pytest.raises(AttributeError):
        latessl.ssl.nothing  # type: ignore[attr-defined]  # noqa: B018 - to look is the test
