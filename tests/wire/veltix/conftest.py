"""Tests of the compiled codec are collected where it was built."""

from __future__ import annotations

from veltix_tx.wire.veltix import codec

collect_ignore = [] if "c" in codec.available() else ["test_compiled_codec.py"]
