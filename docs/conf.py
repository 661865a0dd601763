"""Sphinx settings of the site that `make docs` writes into build/docs."""

import configparser
from pathlib import Path

_setup = configparser.ConfigParser()
_setup.read(Path(__file__).parents[1] / "setup.cfg")

project = "keyface"
author = "the keyface authors"
copyright = "the keyface authors, Apache-2.0"
version = release = _setup["metadata"]["version"]

extensions = ["myst_parser"]
exclude_patterns = ["images"]
myst_heading_anchors = 3  # GitHub's anchors, so that a link works on both
nitpicky = True  # a reference that leads nowhere is a warning, and `make docs` takes warnings for errors

html_theme = "furo"
html_title = f"keyface {release}"
html_copy_source = False
html_show_sphinx = False
