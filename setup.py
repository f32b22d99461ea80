"""Metadata lives in pyproject.toml; this file lets tools that want a setup.py find one."""

from setuptools import setup

setup()
