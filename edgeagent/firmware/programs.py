"""What a board is told to run while we are at its prompt, in MicroPython. What is asked for is printed as one line of JSON."""

from __future__ import annotations

__all__ = ["ABOUT", "DISARM", "HASHES", "IMAGE", "LIST"]

#: CTRL of the watchdog, at the address that clears bits; its bit 30 is ENABLE (data sheets of both chips: Watchdog, list of registers).
DISARM = """
import machine, sys
b = 0x400D8000 if 'RP2350' in getattr(sys.implementation, '_machine', '') else 0x40058000
machine.mem32[b + 0x3000] = 1 << 30
"""
#: What it is: see :class:`edgeagent.firmware.repl.About`.
ABOUT = """
import sys, json, machine
try:
 import network
 w = hasattr(network, 'WLAN')
except ImportError:
 w = False
i = sys.implementation
y = getattr(i, '_mpy', 0)
y = '%d.%d' % (y & 255, y >> 8 & 3) if y else ''
print(json.dumps([i.name, list(i.version)[:3], getattr(i, '_machine', ''), w, ''.join('%02X' % b for b in machine.unique_id()), y]))
"""
#: Defines ``h``, the SHA-256 of a file in hex, empty without one.
HASHES = """
import hashlib, json
def h(p):
 s = hashlib.sha256()
 b = bytearray(512)
 m = memoryview(b)
 try:
  f = open(p, 'rb')
 except OSError:
  return ''
 with f:
  while True:
   n = f.readinto(b)
   if not n:
    return ''.join('%02x' % x for x in s.digest())
   s.update(m[:n])
"""
#: What its image says that is frozen in it; no file in flash can speak for it.
IMAGE = """
import sys, json
p = sys.path[:]
sys.path[:] = ['.frozen']
try:
 from frozen_app import FILES
except ImportError:
 FILES = ()
sys.path[:] = p
print(json.dumps(FILES))
"""
#: Defines ``l``, the paths of all files below a folder.
LIST = """
import os, json
def l(p):
 o = []
 try:
  t = list(os.ilistdir(p))
 except OSError:
  return o
 for e in t:
  q = p + '/' + e[0]
  o += l(q) if e[1] & 0x4000 else [q]
 return o
"""
