"""Settings of the documentation; the reference pages are written from the package at every build."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

if version_of("jaxlib").startswith(("0.7.", "0.10.")):
    # Kernels by XLA's older emitters, as in the tests: a third of the time to compile what the catalogue draws.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")
sys.path.insert(0, str(Path(__file__).parent))

import catalogue_page
import figures
import reference_pages

project = "gradxform"
author = "The gradxform authors"
release = version = version_of("gradxform")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "none"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 90

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"gradxform {release}"


def setup(app: Any) -> None:
    for pages in (reference_pages, catalogue_page, figures):
        pages.write(Path(app.srcdir) / "reference")
    app.connect("autodoc-process-docstring", reference_pages.house_style)
    app.connect("autodoc-process-signature", reference_pages.signature)
    app.connect("missing-reference", reference_pages.linked_type)
    app.connect("autodoc-skip-member", lambda _app, _what, _name, x, skip, _options: skip or is_plain_field(x))


def is_plain_field(x: Any) -> bool:
    """A NamedTuple's field, of which the generated sentence says nothing."""
    return (getattr(x, "__doc__", None) or "").startswith("Alias for field number")
