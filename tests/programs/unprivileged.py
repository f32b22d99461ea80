"""link.py of a user who may not make namespaces, whoever runs this: it gives up its capabilities first."""

from __future__ import annotations

import ctypes
import struct
import sys

import link
from twisted.internet.defer import Deferred
from twisted.internet.task import react

_VERSION_3 = 0x20080522

assert ctypes.CDLL(None).capset(struct.pack("Ii", _VERSION_3, 0), bytes(24)) == 0
react(lambda reactor, *arguments: Deferred.fromCoroutine(link.main(reactor, *arguments)), sys.argv[1:])
