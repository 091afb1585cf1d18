"""The device's network interfaces and addresses: those by which somebody could reach it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from edgeagent.builtin._kernel import children, present
from edgeagent.machine import Machine
from edgeagent.registry import Field, facts

#: Made and unmade by container engines and hypervisors: they would change the facts each time something is started.
_PASSING = ("veth", "docker", "br-", "virbr", "vnet", "cni", "cali", "flannel", "podman")

#: linux/if_addr.h: temporary (it changes every day), duplicate, deprecated, tentative.
_PASSING_IPV6 = 0x01 | 0x08 | 0x20 | 0x40

#: Scope of a global or unique local address (include/net/ipv6.h, IPV6_ADDR_SCOPE_GLOBAL as /proc/net/if_inet6 shows it).
_GLOBAL_SCOPE = 0

_ETHERNET = "1"  # linux/if_arp.h, ARPHRD_ETHER; wireless interfaces say the same


class Address(NamedTuple):
    interface: str
    address: str


@facts(
    "network",
    Field(
        "addresses",
        "list",
        'IPv4 and IPv6 addresses, without loopback, link-local and temporary ones: `addresses.exists(a, a.startsWith("10."))`.',
    ),
    Field(
        "interfaces",
        "map",
        "The same by interface: `interfaces.eth0.addresses`, `interfaces.wlan0.mac`; without those of containers.",
    ),
    Field("mac", "string", "Hardware address of the first wired interface, else of the first one (`dc:a6:32:01:02:03`)."),
)
def read(machine: Machine) -> Mapping[str, Any]:
    names = [name for name in _names(machine) if not name.startswith(("lo", *_PASSING))]
    addresses = [entry for entry in (*_ipv4(machine), *_ipv6(machine)) if entry.interface in names]
    macs = {name: mac for name in names if (mac := _mac(machine, name))}
    return present(
        {
            "addresses": [entry.address for entry in addresses],
            "interfaces": {name: _interface(name, macs, addresses) for name in names if _matters(name, macs, addresses, machine)},
            "mac": primary_mac(macs, [name for name in macs if _is_hardware(machine, name)]),
        }
    )


def _interface(name: str, macs: Mapping[str, str], addresses: Iterable[Address]) -> dict[str, Any]:
    return present({"mac": macs.get(name), "addresses": [entry.address for entry in addresses if entry.interface == name]})


def _matters(name: str, macs: Mapping[str, str], addresses: Iterable[Address], machine: Machine) -> bool:
    return _is_hardware(machine, name) or any(entry.interface == name for entry in addresses)


def primary_mac(macs: Mapping[str, str], hardware: Iterable[str]) -> str | None:
    """The address of the first wired one (``eth0``, ``end0``, ``enp1s0``) of the interfaces that are hardware, else of the first."""
    ordered = sorted(hardware, key=lambda name: (not name.startswith("e"), name))
    return macs[ordered[0]] if ordered else None


def _names(machine: Machine) -> list[str]:
    return [path.rpartition("/")[2] for path in children(machine, "/sys/class/net")]


def _is_hardware(machine: Machine, name: str) -> bool:
    return machine.path(f"/sys/class/net/{name}/device").exists()


def _mac(machine: Machine, name: str) -> str | None:
    return machine.text(f"/sys/class/net/{name}/address") if machine.text(f"/sys/class/net/{name}/type") == _ETHERNET else None


def _ipv4(machine: Machine) -> list[Address]:
    if machine.is_real:
        import psutil  # only the device asks; an operator's command would load it in vain

        found = ((name, entry) for name, entries in psutil.net_if_addrs().items() for entry in entries)
        addresses = [Address(name.partition(":")[0], entry.address) for name, entry in found if entry.family == socket.AF_INET]
    else:
        addresses = ipv4_of_tables(machine.text("/proc/net/fib_trie") or "", machine.text("/proc/net/route") or "")
    return sorted(entry for entry in addresses if not ipaddress.ip_address(entry.address).is_link_local)


def _ipv6(machine: Machine) -> list[Address]:
    return ipv6_of_table(machine.text("/proc/net/if_inet6") or "")


def ipv6_of_table(table: str) -> list[Address]:
    """The lasting global addresses in /proc/net/if_inet6: address, index, prefix length, scope, flags, interface."""
    addresses = []
    for line in table.splitlines():
        digits, _, _, scope, flags, interface = line.split()
        if int(scope, 16) == _GLOBAL_SCOPE and not int(flags, 16) & _PASSING_IPV6:
            addresses.append(Address(interface, str(ipaddress.IPv6Address(int(digits, 16)))))
    return sorted(addresses)


def ipv4_of_tables(fib_trie: str, route: str) -> list[Address]:
    """For another root than the machine's own, where the kernel can't be asked: the local addresses in /proc/net/fib_trie, each
    with the interface whose network in /proc/net/route it is in. Two interfaces in one network can't be told apart this way.
    """
    networks = sorted(_networks(route), key=lambda entry: -entry[0].prefixlen)
    found = {
        address: next((name for network, name in networks if address in network), None) for address in _local_addresses(fib_trie)
    }
    return [Address(name, str(address)) for address, name in found.items() if name]


def _local_addresses(fib_trie: str) -> list[ipaddress.IPv4Address]:
    lines = [line.split() for line in fib_trie.splitlines()]
    leaves = [ipaddress.IPv4Address(leaf[1]) for leaf, below in pairwise(lines) if leaf[:1] == ["|--"] and below == _LOCAL]
    return sorted(set(leaves))


_LOCAL = ["/32", "host", "LOCAL"]


def _networks(route: str) -> list[tuple[ipaddress.IPv4Network, str]]:
    """Networks that an interface is in, without what goes through a gateway; the table has them in the machine's byte order."""
    found = []
    for line in route.splitlines()[1:]:
        interface, destination, gateway, *_, mask = line.split()[:8]
        if gateway == "00000000":
            found.append((ipaddress.IPv4Network((_swapped(destination), str(ipaddress.IPv4Address(_swapped(mask))))), interface))
    return found


def _swapped(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), "little")
