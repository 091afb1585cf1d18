"""A booted Debian with the shipped units, on which an agent may do little, and its actions what agent.toml gives them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import gpiozero

from edgeagent.command import new_id
from edgeagent.patterns.unitrequests import FOLDER, SOCKET
from edgeagent.transfer import PIECE_BYTES, pieces_of
from tests.support.debian import Debian, python

__all__ = ["PROBE", "SETTINGS", "Acting", "upload"]

UNITS = Path(__file__).parents[2] / "systemd"
STATE, SETTINGS, PYTHON = "/var/lib/edgeagent", "/etc/edgeagent/agent.toml", "/opt/edgeagent/current/bin/python"

AGENT_TOML = """
[leaf]
mode = "external"
port = {port}
reconnect_seconds = 0.2
[agent]
heartbeat_seconds = 1
[commands]
allow = ["ping", "identify", "logs", "service.*", "exec", "file.*", "reboot", "gpio.*", "plugin.*"]
[exec]
enabled = true
user = "pi"
allow = [
  ["/usr/bin/id"], ["/usr/bin/sleep", "*"], ["/usr/bin/tee", "/home/pi/was-here"], ["/usr/bin/seq", "1", "*"],
  ["/usr/local/bin/works"], ["/usr/local/bin/kills-its-parent"], ["/usr/local/bin/leaves-a-daemon"],
]
[service]
allow = ["shop"]
[logs]
allow = ["shop"]
[file]
push = ["/srv/shop"]
pull = ["/srv/shop", "/home/pi"]
max_bytes = 1000000
[actions.exec]
memory_max = "200M"
cpu_quota = "50%"
tasks_max = 20
[actions."file.*"]
user = "pi"
[gpio.pins.lamp]
pin = 17
direction = "output"
"""

PROGRAMS = {
    "works": "echo begun >> /home/pi/begun; while [ ! -e /home/pi/go-on ]; do sleep 0.05; done; rm /home/pi/go-on; echo worked; exit 3",
    "kills-its-parent": "kill -9 $PPID",
    "leaves-a-daemon": "setsid sleep 987 > /dev/null 2>&1 & exit 0",
}

#: A shop that systemd runs, for `service.*` and `logs`.
SHOP = "[Service]\nExecStart=/bin/sh -c 'echo the shop is open; exec sleep infinity'\n"

#: One request to the helper, as whoever runs it; each of its words besides is a file to hand over.
ASK = f"""
import os, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.settimeout(30)
    asking.connect({SOCKET!r})
    files = [os.open(name, os.O_RDWR if name.startswith("/dev") else os.O_RDONLY) for name in sys.argv[2:]]
    socket.send_fds(asking, [sys.argv[1].encode() + b"\\n"], files)
    print(asking.makefile().readline())
"""

#: Runs an action as the agent does, with a hub that has the pieces of one file; cancelled after so many seconds.
ACT = """
import asyncio, base64, json, sys
from edgeagent import actions
from edgeagent.builtin.actions.plugin import load_folder
from edgeagent.actions import Context
from edgeagent.errors import EdgeError
from edgeagent.machine import Machine
from edgeagent.patterns.unitactions import UnitActions
from edgeagent.settings import load_own
from edgeagent.subjects import file_piece

name, args, more = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
stored, written, units = [], bytearray(), UnitActions()
load_folder(Machine())
assert units.usable()

async def read(stream, subject, seconds):
    number = int(subject.rpartition(".")[2])
    return base64.b64decode(more["content"])[(number - 1) * more["piece"] : number * more["piece"]]

async def store(what, data, headers, seconds):
    stored.append(data)
    return len(stored)

async def main():
    cancelled = asyncio.Event()
    if "cancel" in more:
        asyncio.get_running_loop().call_later(more["cancel"], cancelled.set)
    context = Context(device_id="pi-1", settings=load_own(), machine=Machine(), boot="", write=written.extend, cancelled=cancelled,
                      id=more["id"], read=read, store=store, units=units)
    action = actions.find(name)
    try:
        found = await action.begin(context, actions.arguments(action, args))
        said = {"state": found.state, "reason": found.reason, "exit_code": found.exit_code, "value": found.value}
    except EdgeError as error:
        said = {"state": type(error).__name__, "reason": str(error), "value": None}
    print(json.dumps({**said, "written": written.decode(), "stored": base64.b64encode(b"".join(stored)).decode()}))

asyncio.run(main())
"""


#: What somebody tries who has taken over the agent, in its unit; leaves ``{what: "no", or how it went}`` in its state folder.
PROBE = f"""
import ctypes, errno, json, mmap, os, resource, socket, subprocess

def serial():
    try:
        os.close(os.open("/dev/ttyACM9", os.O_RDWR))
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENODEV):
            raise

def call(*words):
    def run():
        subprocess.run(words, check=True, capture_output=True, timeout=10)
    return run

def write(path):
    return lambda: open(path, "a").close()

def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")

def ask():
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect({SOCKET!r})
        asking.sendall(b"{{}}\\n")
        assert asking.recv(1 << 16)

tried = {{
    "its state": write("{STATE}/probed"),
    "a serial port": serial,
    "a request": ask,
    "its own limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "a home": write("/home/pi/x"),
    "the system": write("/etc/x"),
    "a shared folder": write("/srv/shop/x"),
    "its settings": write("{SETTINGS}"),
    "its program": write("/opt/edgeagent/bin/edgeagent"),
    "a unit's folder": lambda: os.mkdir("{FOLDER}/x"),
    "another device": lambda: open("/dev/mem", "rb").close(),
    "the journal": call("/usr/bin/journalctl", "--no-pager", "-n1", "-q", "-u", "systemd-logind", "--grep=New"),
    "to reboot": call("/usr/bin/systemctl", "--no-ask-password", "reboot"),
    "a service": call("/usr/bin/systemctl", "--no-ask-password", "restart", "shop"),
    "a unit": call("/usr/bin/systemd-run", "--no-ask-password", "/bin/true"),
    "sudo": call("/usr/bin/sudo", "-n", "true"),
    "to be root": lambda: os.setuid(0),
    "a namespace": unshare,
    "code of its own": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "the kernel's settings": write("/proc/sys/kernel/hostname"),
    "an LED": write("/sys/class/leds/ACT/brightness"),
}}
found = {{}}
for name, attempt in tried.items():
    try:
        attempt()
        found[name] = "done"
    except Exception:
        found[name] = "no"
with open("{STATE}/probe.json", "w") as out:
    json.dump(found, out)
"""


class Acting:
    """Installed on ``machine``, and not enrolled. port: where its leaf is to listen."""

    def __init__(self, machine: Debian, port: int) -> None:
        self.machine = machine
        machine.install_wheel()
        machine.run("useradd --system --home-dir /var/lib/edgeagent --shell /usr/sbin/nologin --groups dialout edgeagent")
        machine.run(
            "ln -s . /opt/edgeagent/current && install -d /etc/edgeagent /srv/shop && install -d -m 700 -o edgeagent /var/lib/edgeagent && chown pi: /srv/shop"
        )
        packages = machine.root / f"opt/edgeagent/lib/python{python()}/site-packages"
        for folder in Path(str(gpiozero.__file__)).parents[1].glob("*zero*"):  # for its mock pins it wants no other
            shutil.copytree(folder, packages / folder.name)
        for unit in UNITS.iterdir():
            shutil.copy(unit, machine.root / "etc/systemd/system")
        self.put("/etc/systemd/system/shop.service", SHOP)
        self.put(SETTINGS, AGENT_TOML.format(port=port))
        self.put("/usr/local/lib/ask.py", ASK)
        self.put("/usr/local/lib/act.py", ACT)
        self.put("/etc/edgeagent/actions.d/hello.toml", 'description = "Say hello."\nuser = "pi"\n')
        self.put("/etc/edgeagent/actions.d/hello", '#!/bin/sh\nid -un >&2\necho \'{"value": "hello"}\'\n', 0o755)
        for name, script in PROGRAMS.items():
            self.put(f"/usr/local/bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)
        machine.run("mknod -m 660 /dev/ttyACM9 c 166 9 && chgrp dialout /dev/ttyACM9")
        machine.run("systemctl daemon-reload && systemctl enable --now edgeagent-actions.socket && systemctl start shop")

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of root's in the machine."""
        file = self.machine.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def new_id(self) -> str:
        return new_id(time.time(), "nobody")

    def as_agent(self, command: str) -> str:
        """Run it as the agent's user, who has no shell to log in to."""
        return self.machine.run(f"runuser -u edgeagent -- {command}").stdout

    def ask(self, *files: str, user: str = "edgeagent", raw: str = "", **request: Any) -> dict[str, Any]:
        """What the helper answers."""
        text = raw or json.dumps(request)
        said = self.machine.run(f"runuser -u {user} -- python3 /usr/local/lib/ask.py {quoted(text)} {' '.join(files)}")
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    def act(self, name: str, args: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """How the action ended, done as the agent does it. more: id, content (bytes of the upload), cancel (seconds)."""
        given = {"id": self.new_id(), "piece": PIECE_BYTES, **more}
        if "content" in given:
            given["content"] = base64.b64encode(given["content"]).decode()
        words = f"{name} {quoted(json.dumps(args or {}))} {quoted(json.dumps(given))}"
        said: dict[str, Any] = json.loads(self.as_agent(f"{PYTHON} -I /usr/local/lib/act.py {words}"))
        return said

    def folders(self) -> list[str]:
        """Ids of the units that have left something, or run."""
        return self.machine.run(f"ls {FOLDER} 2>/dev/null || true").stdout.split()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def upload(content: bytes, path: str) -> dict[str, Any]:
    """The arguments of its ``file.push``."""
    return {
        "upload": "c" * 32,
        "pieces": pieces_of(len(content)),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "path": path,
    }
