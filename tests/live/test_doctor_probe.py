"""The doctor's try to reach a hub, through proxies and at those who mean it ill."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeagent.doctor.network import Way, encryption, reached
from edgeagent.doctor.probe import LINE_BYTES, probe
from edgeagent.natsserver import ports
from edgeagent.trust import certificates
from tests.support.doctored import hub_that_shows
from tests.support.tlshub import LATER

#: The test is over.
_over = threading.Event()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does this with the first who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    answer(connection)
                except OSError:
                    return  # the other went

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        _over.set()
        thread.join(10)
        _over.clear()


def proxy_to(port: int, status: bytes, asked: list[bytes]) -> Callable[[socket.socket], None]:
    """An HTTP proxy that answers so, and then leads to this port of 127.0.0.1."""

    def answer(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(1000)
        asked.append(request)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nVia: 1.1 proxy\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as onward:
            threading.Thread(target=_pump, args=(onward, connection), daemon=True).start()
            _pump(connection, onward)

    return answer


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other went


@pytest.mark.parametrize(
    ("status", "works"), [(b"200 Connection established", True), (b"407 Proxy Authentication Required", False)]
)
def test_through_a_proxy(tmp_path: Path, status: bytes, works: bool) -> None:
    authority, asked = certificates.make_authority("CA", LATER), list[bytes]()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    with (
        hub_that_shows(certificates.make_server(authority, ["localhost"], LATER), tmp_path) as hub,
        answering(proxy_to(hub, status, asked)) as port,
    ):
        found = probe(f"wss://localhost:{hub}", f"http://ann:s%20t@127.0.0.1:{port}", tmp_path / "ca.pem", 5)
    assert asked[0].startswith(f"CONNECT localhost:{hub} HTTP/1.1\r\n".encode()) and b"Basic YW5uOnMgdA==\r\n" in asked[0]
    if works:
        assert found.silence == "" and found.ends == pytest.approx(LATER.timestamp(), abs=1)
    else:
        assert "it answered 'HTTP/1.1 407 Proxy" in (found.silence or "")
        (said,) = reached(Way(now=0, tried=(found,)))
        assert "s t" not in said.text and "s%20t" not in said.text, "the password"


def drips(connection: socket.socket) -> None:
    """Says a little now and then, for ever."""
    while not _over.wait(0.05):
        connection.sendall(b"x")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (drips, "no hub answered within 1 s"),
        (lambda connection: connection.sendall(b"y" * (2 * LINE_BYTES)), "is no hub"),
        (lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"), "no hub's port for leafs"),
        (lambda connection: connection.sendall(b'INFO ["tls_required"]\r\n'), "no hub's port for leafs"),
        (lambda connection: None, "it closed the connection"),
    ],
    ids=["drips", "floods", "mail", "no table", "closes"],
)
def test_whoever_answers_there_holds_nobody_up(answer: Callable[[socket.socket], None], words: str) -> None:
    with answering(answer) as port:
        found = probe(f"nats-leaf://127.0.0.1:{port}", "", None, 0.5)
    assert words in (found.silence or ""), found


def test_a_hub_without_tls_and_one_that_is_not_there() -> None:
    with answering(lambda connection: connection.sendall(b'INFO {"server_id": "x"}\r\n')) as port:
        found = probe(f"nats-leaf://127.0.0.1:{port}", "", None, 5)
    assert (found.silence, found.encrypted) == ("", False) and list(encryption(Way(now=0, tried=(found,)))) == []
    assert probe(f"tls://127.0.0.1:{ports.pick()}", "", None, 5).silence == "nothing listens there"
