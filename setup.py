"""Metadata lives in pyproject.toml; here is only the compiled codec, which is left out where it cannot be built."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "veltix_tx.wire.veltix._codec",
            ["veltix_tx/wire/veltix/_codec.c"],
            depends=["veltix_tx/wire/veltix/_crc32.h"],
            optional=True,
        )
    ]
)
