"""What goes wrong with a broker, in words that name the next step."""

from __future__ import annotations

import socket
import ssl

import pytest

from edgeagent.bridge.mqttproblems import lost, not_dialled, not_subscribed, refused
from edgeagent.bridge.mqttshapes import MAX_MESSAGE_BYTES, MqttMessage, MqttOptions
from edgeagent.errors import Refused, Unreachable

WHAT = "reach the broker at b:1883"


def distrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "no")
    error.verify_code, error.verify_message = code, "words of OpenSSL"
    return error


DIALS: dict[str, tuple[OSError | ValueError, str]] = {
    "early": (distrusted(9), "not valid yet. Is this machine's clock right?"),
    "expired": (distrusted(10), "has expired"),
    "self-signed": (distrusted(18), "`ca_file`"),
    "unknown-authority": (distrusted(20), "`ca_file`"),
    "name": (distrusted(62), "for another name than b"),
    "rare": (distrusted(99), "words of OpenSSL"),
    "no-tls": (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "8883"),
    "no-name": (socket.gaierror(-2, "x"), "the name b is not known here"),
    "no-answer": (TimeoutError(), "does not answer"),
    "nothing": (ConnectionRefusedError(), "nothing listens there"),
    "reset": (ConnectionResetError(), "ended the connection at once"),
    "no-route": (OSError(113, "No route to host"), "No route to host"),
    "no-such-name": (UnicodeError("label too long"), "label too long"),
}


@pytest.mark.parametrize(("error", "words"), DIALS.values(), ids=DIALS.keys())
def test_a_dial(error: OSError | ValueError, words: str) -> None:
    found = not_dialled(WHAT, "b", error)
    assert words in str(found) and found.remedy


def test_the_brokers_answers() -> None:
    assert all(isinstance(refused(WHAT, code, "me"), Refused) for code in (132, 133, 134, 135, 136, 200))
    assert "the client id me" in refused(WHAT, 133, "me").why and "`password_file`" in refused(WHAT, 134, "me").remedy
    assert "reason 200" in refused(WHAT, 200, "me").why
    assert not_subscribed(WHAT, ["a/#", "b", "c", "d"]).why.endswith("a/#, b, c and others")


@pytest.mark.parametrize(
    ("seconds", "reason", "words"),
    [
        (9.0, "Keep alive timeout", "gone silent"),
        (9.0, "Protocol error", "not MQTT 3.1.1"),
        (None, "Unspecified error", "before it let us in"),
        (1.0, "Unspecified error", "`client_id`"),
        (9.0, "Unspecified error", "the connection ended"),
    ],
    ids=["silent", "no-mqtt", "before", "right-away", "later"],
)
def test_a_connection_that_ends(seconds: float | None, reason: str, words: str) -> None:
    found = lost(WHAT, seconds, reason)
    assert words in str(found) and (reason == "Protocol error" or isinstance(found, Unreachable))


def test_shapes() -> None:
    said: list[int] = []
    MqttMessage("t", b"", 1, False, lambda: said.append(1)).ack()
    MqttMessage("t", b"").ack()
    assert said == [1]
    assert MqttOptions(host="b", client_id="c").where == "b:1883" and MAX_MESSAGE_BYTES == 512 << 10
