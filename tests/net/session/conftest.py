"""Tests of the compiled dispatch are collected where it was built."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("veltix_tx.net.session._dispatch") else ["test_compiled_dispatch.py"]
