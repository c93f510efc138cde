"""Sphinx configuration: Markdown pages only."""

project = "daskml_kit"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
