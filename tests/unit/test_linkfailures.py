"""Lines as nats-server 2.15.1 logged them; that it still does so is shown by tests/live/test_enrol.py."""

from __future__ import annotations

import pytest

from edgeagent.leaf.linkfailures import explain, explain_last

DIAL = '[ERR] Error trying to connect as leafnode to remote server "10.0.0.1:443" (attempt 1)'
X509 = "[ERR] 127.0.0.1:57919 - lid:6 - TLS leafnode handshake error: tls: failed to verify certificate: x509: "


@pytest.mark.parametrize(
    ("line", "kind", "why"),
    [
        ("[ERR] 127.0.0.1:1 - lid:6 - Leafnode Error 'Authorization Violation'", "refused", "does not accept the login"),
        (
            "[ERR] 127.0.0.1:1 - lid:6 - Leafnode Error 'maximum account active connections exceeded'",
            "full",
            "no room for newcomers",
        ),
        ("[ERR] 127.0.0.1:1 - lid:6 - Credentials file has malformed seed", "credentials", "the seed in"),
        ('[ERR] LeafNode Remote Credentials file "/s/device.creds" has malformed seed', "credentials", "the seed in"),
        ("[ERR] 127.0.0.1:1 - lid_ws:6 - Leafnode Error 'User Authentication Expired'", "refused", "does not accept the login"),
        (f"{X509}certificate signed by unknown authority (CN=hub SHA-256: 4111)", "distrust", "not signed by an authority"),
        (f"{X509}cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs", "distrust", "another name"),
        (f"{X509}certificate is valid for elsewhere.example, not hub.example", "distrust", "another name"),
        (f"{X509}certificate has expired or is not yet valid: current time 1970-01-01", "distrust", "not valid yet"),
        ("[INF] 127.0.0.1:1 - lid:7 - Leafnode connection closed: TLS Handshake Failure", "protocol", "does not speak TLS"),
        ("[ERR] 127.0.0.1:1 - lid:6 - attempted to connect to wrong port", "protocol", "another port of a nats-server"),
        (
            "[ERR] 127.0.0.1:1 - lid_ws:6 - Error soliciting websocket connection: invalid websocket connection",
            "protocol",
            "no websocket answers there",
        ),
        ("[ERR] 127.0.0.1:1 - lid_ws:6 - Error soliciting websocket connection: connection closed", "protocol", "it closed"),
        (f"{DIAL}: proxy CONNECT failed: 407 Proxy Authentication Required", "proxy", "another user or password"),
        (f"{DIAL}: proxy CONNECT failed: 403 Forbidden", "proxy", "does not lead there"),
        (f"{DIAL}: failed to read proxy response: unexpected EOF", "proxy", "does not answer as one"),
        ("[INF] 127.0.0.1:1 - lid:6 - Leafnode connection closed: Read Error", "silence", "or said nothing"),
        (
            '[ERR] Error trying to connect as leafnode to remote server "nowhere.invalid:7422" (attempt 1): lookup for host '
            '"nowhere.invalid": lookup nowhere.invalid on 10.0.0.1:53: no such host',
            "silence",
            "the name is not known",
        ),
    ],
)
def test_what_a_line_means(line: str, kind: str, why: str) -> None:
    found = explain(f"[INF] Server is ready\n{line}\n[INF] more")
    assert found and found.kind == kind and why in found.why


def test_no_failure_in_the_log_of_a_good_link() -> None:
    assert explain("[INF] Server is ready\n[INF] 127.0.0.1:1 - lid:6 - Leafnode connection created for account: EDGE\n") is None


def test_what_is_certain_goes_before_what_may_pass() -> None:
    log = "closed: Read Error\nLeafnode Error 'Authorization Violation'\n"
    found = explain(log)
    assert found and found.kind == "refused"


@pytest.mark.parametrize(
    "anew", ["[INF] Server is ready", "[INF] 127.0.0.1:1 - lid:7 - Leafnode connection created for account: EDGE"]
)
def test_what_was_wrong_before_the_newest_try_is_past(anew: str) -> None:
    log = f"{X509}certificate signed by unknown authority\n"
    before = explain_last(log)
    assert before and before.kind == "distrust"
    assert explain_last(f"{log}{anew}\n") is None
    found = explain_last(f"{log}{anew}\n[ERR] 127.0.0.1:1 - lid:7 - Leafnode Error 'Authorization Violation'\n")
    assert found and found.kind == "refused"
