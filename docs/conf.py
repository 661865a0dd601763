"""Sphinx settings of the site that `make docs` writes into build/docs.

The repository's root is the source folder, so that one relative link works on GitHub and on the site, and
leads to other pages and to the code alike.
"""

import configparser
from pathlib import Path

_setup = configparser.ConfigParser()
_setup.read(Path(__file__).parents[1] / "setup.cfg")

project = "keyface"
author = "the keyface authors"
copyright = "the keyface authors, Apache-2.0"
version = release = _setup["metadata"]["version"]

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [".*", "build", "runs", "tests", "keyface", "models", "data", "wandb"]
myst_heading_anchors = 3  # GitHub's anchors
nitpicky = True  # a reference that leads nowhere is a warning, and `make docs` takes warnings for errors

html_theme = "furo"
html_title = f"keyface {release}"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_extra_path = ["site"]  # index.html leads to docs/index.html
html_copy_source = False
html_show_sphinx = False
