"""The preset dictionaries of chunks (:mod:`edgeagent.chunk`), by their DICTID: the Adler-32 checksum of the bytes.

Never change one that was released, add another: hubs keep chunks for long, and devices of all ages send them. What stands at the end
of a dictionary costs the fewest bits.
"""

from __future__ import annotations

import zlib

__all__ = ["DICTIONARIES", "NEWEST"]

_FIRST = b"""\
"dropped":{"retention":,"malformed":,"too_large":,"no_space":},"estimated":[,"gaps":[[\
["agent","edgeagent.collector.duration",{"edgeagent.collector":"disk_io"},"s",""],\
["agent","edgeagent.collector.failures",{"edgeagent.collector":""},"{failure}","counter"],\
["agent","edgeagent.forward.dropped",{"edgeagent.cause":"retention"},"{message}","counter"],\
["agent","system.network.errors",{"network.interface.name":"eth0","network.io.direction":"receive"},"{error}","counter"],\
["agent","system.network.packet.dropped",{"network.interface.name":"wlan0","network.io.direction":"transmit"},"{packet}","counter"],\
["agent","hw.physical_disk.endurance_utilization",{"hw.id":"mmcblk0","hw.physical_disk.state":"remaining"},"1",""],\
["agent","edgeagent.process.count",{"process.executable.name":".service"},"{process}",""],\
["agent","system.filesystem.utilization",{"system.filesystem.mountpoint":"/var"},"1",""],\
["agent","system.network.io",{"network.interface.name":"wlan0","network.io.direction":"receive"},"By","counter"],\
["agent","system.network.io",{"network.interface.name":"wlan0","network.io.direction":"transmit"},"By","counter"],\
["agent","system.disk.io",{"system.device":"nvme0n1","disk.io.direction":"read"},"By","counter"],\
["agent","system.disk.io",{"system.device":"sda","disk.io.direction":"write"},"By","counter"],\
["agent","edgeagent.pi.throttled",{},"1",""],\
["agent","hw.voltage",{"hw.id":"core"},"V",""],\
],"of":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,\
"values":[0.0,1,0.],"sequences":[,1,1,1,1,1,1],"times":[,300000000000,300000000000,300000000000,30000000000,30000000000,30000000000,\
{"progress":{"log":17,"epoch":1,"next":,"gaps":[],"forwarded":},"sequences":[,1,1],"times":[17,30000000000],"series":[\
["agent","process.memory.usage",{"process.executable.name":"edgeagent"},"By",""],\
["agent","process.cpu.utilization",{"process.executable.name":"edgeagent"},"1",""],\
["agent","process.memory.usage",{"process.executable.name":"nats-server"},"By",""],\
["agent","process.cpu.utilization",{"process.executable.name":"nats-server"},"1",""],\
["agent","edgeagent.leaf.restarts",{},"{restart}","counter"],\
["agent","edgeagent.forward.waiting",{},"{message}",""],\
["agent","edgeagent.forward.forwarded",{},"{message}","counter"],\
["agent","system.cpu.utilization",{},"1",""],\
["agent","system.cpu.load_average.1m",{},"{thread}",""],\
["agent","system.filesystem.utilization",{"system.filesystem.mountpoint":"/"},"1",""],\
["agent","system.filesystem.usage",{"system.filesystem.mountpoint":"/"},"By",""],\
["agent","system.disk.io",{"system.device":"mmcblk0","disk.io.direction":"read"},"By","counter"],\
["agent","system.disk.io",{"system.device":"mmcblk0","disk.io.direction":"write"},"By","counter"],\
["agent","system.memory.utilization",{},"1",""],\
["agent","system.memory.usage",{},"By",""],\
["agent","system.paging.utilization",{},"1",""],\
["agent","system.network.io",{"network.interface.name":"eth0","network.io.direction":"receive"},"By","counter"],\
["agent","system.network.io",{"network.interface.name":"eth0","network.io.direction":"transmit"},"By","counter"],\
["agent","edgeagent.pi.undervoltage",{},"1",""],\
["agent","edgeagent.pi.throttled",{},"1",""],\
["agent","hw.voltage",{"hw.id":"core"},"V",""],\
["agent","hw.temperature",{"hw.id":"cpu"},"Cel",""],\
["agent","system.uptime",{},"s",""]\
],"of":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22],\
"at":[17,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,30000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,300000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"values":["""

DICTIONARIES = {zlib.adler32(dictionary): dictionary for dictionary in (_FIRST,)}
NEWEST = zlib.adler32(_FIRST)
