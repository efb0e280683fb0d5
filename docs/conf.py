"""Sphinx: ``make docs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import steepest as st

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "steepest"
author = "the authors of steepest"
copyright = author  # noqa: A001 (Sphinx's name)
version = release = st.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# `descend` in a docstring is a link where there is such a thing, and code where there is not.
default_role = "py:obj"
# Texts in quotes are values.
smartquotes = False
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

#: Long pages of no section: beside them stands what is on them, not what is next to them.
ALONE = ("tutorial", "how-it-works", "pipeline", "reliability", "benchmarks")
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["steepest.css"]
html_title = f"steepest {version}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": {page: ["page-toc"] for page in (*ALONE, "api/**")},
}
html_sidebars: dict[str, list[str]] = {page: [] for page in ("index", *ALONE)}
html_show_sourcelink = False


def _ours(_app: Sphinx, _what: str, name: str, _thing: Any, skip: bool, _options: Any) -> bool | None:  # noqa: FBT001
    """Leave out what estimators have of scikit-learn, which documents it."""
    return True if skip or name.endswith("_request") or name == "get_metadata_routing" else None


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("autodoc-skip-member", _ours)
