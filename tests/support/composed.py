"""Services of a compose file without docker: each a process in a network and a file system of its own, as the file says it.

What docker would do is done with the kernel's own tools: names of services, published ports, volumes, a root that cannot be written to, the
user, no capabilities, no new privileges. What is missing is the image: in its place are this machine's programs, this tree and its virtual
environment at /opt/edgeagent. It needs root.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.fleet import PATIENCE_SECONDS

__all__ = ["Composed", "loaded", "needed"]

TREE = Path(__file__).parents[2]
_NET, _GATEWAY = "10.77.0.", "10.77.0.1"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL")
#: Forwards published ports, as docker-proxy does: lines of "port host port" from argv.
_PROXY = """
import asyncio, sys
async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
def to(host, port):
    async def came(reader, writer):
        try:
            there = await asyncio.open_connection(host, port)
        except OSError:
            return writer.close()
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))
    return came
async def main():
    servers = [await asyncio.start_server(to(h, int(t)), "0.0.0.0", int(p)) for p, h, t in (a.split("=") for a in sys.argv[1:])]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main())
"""


def needed() -> None:
    """Skip where it cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("namespaces of the network need root")


def loaded(file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """A compose file with its variables filled in. Raises KeyError for one that it asks for in vain."""

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "-":
            return str(text)
        raise KeyError(f"{name}: {text}")

    found: dict[str, Any] = YAML(typ="safe").load(_VARIABLE.sub(value, file.read_text()))
    return found


class Composed:
    """``with Composed(file, folder, variables) as composed``. folder: for the volumes."""

    def __init__(self, file: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self.file, self.folder = file, folder
        self.services: dict[str, Any] = loaded(file, variables)["services"]
        self._addresses = {name: f"{_NET}{number}" for number, name in enumerate(self.services, 11)}
        self._spaces = f"edgeagent-{os.getpid()}-"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Composed:
        needed()
        try:
            self._space("net")
            self._ip("net", "link add br0 type bridge", f"addr add {_GATEWAY}/24 dev br0", "link set br0 up", "link set lo up")
            for number, name in enumerate(self.services):
                self._join(name, f"veth{number}")
            self._publish()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def up(self, name: str) -> subprocess.Popen[bytes]:
        """``docker compose up NAME``, in its own log."""
        log = self._stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(self._argv(name, ()), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(self.kill, name)
        return process

    def kill(self, name: str) -> None:
        """``docker compose kill NAME``: all that runs in there. Who changes its user outlives the death of its parent."""
        listed = subprocess.run(["ip", "netns", "pids", self._spaces + name], capture_output=True, text=True, check=True)
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def run(self, name: str, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """``docker compose run --rm NAME WORDS``."""
        argv = self._argv(name, words)
        return subprocess.run(argv, capture_output=True, text=True, input=input, timeout=PATIENCE_SECONDS)

    def inside(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """``docker compose exec NAME COMMAND``."""
        argv = self._contained(name, command)
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def says(self, name: str, text: str) -> bool:
        """Whether its log has this: what costs nothing to wait for."""
        return text in (self.folder / f"{name}.log").read_text()

    def healthy(self, name: str) -> bool:
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.inside(name, *command).returncode == 0

    def volume(self, name: str) -> Path:
        """Where a volume is. A new one has the owner and mode that the image says."""
        path = self.folder / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
            os.chown(path, 10001, 10001)
        return path

    # ---- the network ----

    def _space(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", self._spaces + name], check=True)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", self._spaces + name], check=False)

    def _ip(self, space: str, *commands: str) -> None:
        text = "\n".join(commands)
        subprocess.run(["ip", "-n", self._spaces + space, "-batch", "-"], input=text, text=True, check=True)

    def _join(self, name: str, port: str) -> None:
        self._space(name)
        self._ip("net", f"link add {port} type veth peer name eth0 netns {self._spaces}{name}", f"link set {port} master br0 up")
        self._ip(name, "link set lo up", f"addr add {self._addresses[name]}/24 dev eth0", "link set eth0 up")

    def _publish(self) -> None:
        ways = []
        for name, service in self.services.items():
            for way in service.get("ports", []):
                outside, inside = str(way).split(":")[-2:]
                ways.append(f"{outside}={self._addresses[name]}={inside}")
        argv = ["ip", "netns", "exec", f"{self._spaces}net", sys.executable, "-c", _PROXY, *ways]
        proxy = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self._stack.callback(proxy.wait)
        self._stack.callback(proxy.send_signal, signal.SIGKILL)
        assert proxy.stdout is not None and proxy.stdout.readline() == b"ready\n"

    def _hosts(self, name: str) -> str:
        own = [f"{self._addresses[each]} {each}" for each in self.services]
        more = [entry.partition(":")[0] for entry in self.services[name].get("extra_hosts", [])]
        return "\n".join(["127.0.0.1 localhost", *own, *(f"{_GATEWAY} {host}" for host in more), ""])

    # ---- one container ----

    def _argv(self, name: str, words: Sequence[str]) -> list[str]:
        service = self.services[name]
        return self._contained(name, [*service.get("entrypoint", ["edgeagent"]), *(words or service.get("command", ()))])

    def _contained(self, name: str, command: Iterable[str]) -> list[str]:
        service = self.services[name]
        user, _, group = service["user"].partition(":")
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
        image = {"PATH": "/opt/edgeagent/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}
        told = {**image, **service.get("environment", {})}
        less = [
            f"--reuid={user}",
            f"--regid={group}",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]
        inner = ["chroot", "$ROOT", "setpriv", *less, "env", "-i", *(f"{key}={value}" for key, value in told.items()), *command]
        script = f"{self._mounts(name)}\nexec {' '.join(each if each == '$ROOT' else shlex.quote(each) for each in inner)}"
        return ["ip", "netns", "exec", self._spaces + name, *_APART, "sh", "-ec", script]

    def _mounts(self, name: str) -> str:
        """What makes the root: a script for sh."""
        hosts = self.folder / f"{name}.hosts"
        hosts.write_text(self._hosts(name))
        lines = [
            f"ROOT={shlex.quote(str(self._root(name)))}",
            "mount -t tmpfs -o mode=755 tmpfs $ROOT",
            "for each in bin sbin lib lib64 usr etc sys; do",
            "  [ ! -e /$each ] || { mkdir $ROOT/$each; mount --rbind /$each $ROOT/$each; }",
            "done",
            "mount --bind -o ro $ROOT/usr $ROOT/usr; mount --bind -o ro $ROOT/etc $ROOT/etc",
            "mkdir $ROOT/proc; mount -t proc proc $ROOT/proc",
            *(
                _bound(Path("/dev", node), f"/dev/{node}", writable=True)
                for node in ("null", "zero", "full", "random", "urandom")
            ),
            _bound(Path(sys.prefix), "/opt/edgeagent"),
            "mkdir -p -m 1777 $ROOT/tmp; mount -t tmpfs -o mode=1777 tmpfs $ROOT/tmp",
            *(_bound(path, str(path)) for path in {TREE, Path(sys.prefix), Path(sys.base_prefix)}),
            f"mount --bind {hosts} $ROOT/etc/hosts",
        ]
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            there = self.file.parent / source if source.startswith(".") else self.volume(source)
            lines.append(_bound(there.resolve(), target, writable=not source.startswith(".")))
        return "\n".join([*lines, "mount -o remount,ro $ROOT"])

    def _root(self, name: str) -> Path:
        path = self.folder / f"{name}.root"
        path.mkdir(exist_ok=True)
        return path


def _bound(source: Path, target: str, *, writable: bool = False) -> str:
    there, here = shlex.quote(target), shlex.quote(str(source))
    made = f"mkdir -p $ROOT{there}" if source.is_dir() else f"mkdir -p $(dirname $ROOT{there}); touch $ROOT{there}"
    return f"{made}; mount --bind {here} $ROOT{there}" + ("" if writable else f"; mount -o remount,bind,ro $ROOT{there}")
