"""The preset dictionaries of chunks (:mod:`edgeagent.chunk`), by their DICTID: the Adler-32 checksum of the bytes.

Never change one that was released, add another: hubs keep chunks for long, and devices of all ages send them. What stands at the end
of a dictionary costs the fewest bits.
"""

from __future__ import annotations

import zlib

__all__ = ["DICTIONARIES", "NEWEST"]

_FIRST = b"""\
"dropped":{"retention":,"malformed":,"too_large":,"no_space":},"estimated":[,"gaps":[[\
"system.device":"mmcblk0","network.interface.name":"eth0","wlan0","disk.io.direction":"read","write","network.io.direction":"receive",\
"transmit","system.filesystem.mountpoint":"/","process.executable.name":"nats-server","python3",\
["agent","system.uptime",{},"s"],["agent","system.cpu.utilization",{},"1"],["agent","system.cpu.load_average.1m",{},"{thread}"],\
["agent","system.memory.utilization",{},"1"],["agent","system.filesystem.utilization",{"system.filesystem.mountpoint":"/"},"1"],\
["agent","system.network.io",{"network.interface.name":"eth0","network.io.direction":"receive"},"By","counter"],\
["agent","system.disk.io",{"system.device":"mmcblk0","disk.io.direction":"write"},"By","counter"],\
["agent","hw.temperature",{},"Cel"],["agent","process.memory.usage",{"process.executable.name":"edgeagent"},"By"],\
["agent","process.cpu.utilization",{"process.executable.name":"edgeagent"},"1"],\
],"of":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31],"at":[17,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\
"values":[0.0,1,0.\
{"progress":{"log":17,"epoch":1,"next":,"gaps":[],"forwarded":},"sequences":[,1,1],"times":[17,30000,"v":1,"series":[["agent","system."""

DICTIONARIES = {zlib.adler32(dictionary): dictionary for dictionary in (_FIRST,)}
NEWEST = zlib.adler32(_FIRST)
