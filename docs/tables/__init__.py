"""Blocks of the documentation, made from the package's own tables."""
