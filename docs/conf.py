"""How Sphinx builds these pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generated  # noqa: E402

import covidctnet  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "covidctnet"
author = copyright = "the covidctnet maintainers"
version = release = covidctnet.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# Tables and pictures that pages include; no pages of their own.
exclude_patterns = ["_build", "measured"]
# Docstrings write code in single backticks.
default_role = "code"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"covidctnet {release}"
# The report and the card of the shipped weights stand next to the pages.
html_extra_path = ["measured/compact"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "footer_icons": [],
    "announcement": "Research software. <b>Not a medical device.</b>",
}


def setup(app: Sphinx) -> None:
    generated.setup(app)
