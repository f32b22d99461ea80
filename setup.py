"""Metadata lives in pyproject.toml; here are only the compiled parts, which are left out where they cannot be built."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "veltix_tx.wire.veltix._codec",
            ["veltix_tx/wire/veltix/_codec.c"],
            depends=["veltix_tx/wire/veltix/_crc32.h", "veltix_tx/wire/_slots.h"],
            optional=True,
        ),
        Extension("veltix_tx.wire._messages", ["veltix_tx/wire/_messages.c"], depends=["veltix_tx/wire/_slots.h"], optional=True),
        Extension(
            "veltix_tx.net.session._dispatch",
            ["veltix_tx/net/session/_dispatch.c"],
            depends=["veltix_tx/wire/_slots.h"],
            optional=True,
        ),
    ]
)
