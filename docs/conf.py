"""Sphinx: ``sphinx-build -W docs OUT`` makes the same pages as HTML."""

project = "veltix_tx"
author = "The veltix_tx authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
master_doc = "index"
exclude_patterns = ["_build"]
html_theme = "alabaster"
myst_heading_anchors = 4
# The pages link to each other as they do on a code host; there is no second table of contents to keep.
suppress_warnings = ["toc.not_included", "myst.header"]
