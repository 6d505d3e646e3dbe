"""
The site: `nox -s docs` builds it. The source directory is the repository, so that links work here and on GitHub alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "goldentree"
html_title = "goldentree"
html_theme = "furo"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/**/*.md"]
# Directories that Sphinx would otherwise walk through.
exclude_patterns = [".*", "build", "tasks_lib", "tests", "bench", "dev"]

# Headings get the anchors that GitHub gives them; a link to one that does not exist is a warning, and so an error.
myst_heading_anchors = 4
nitpicky = True

html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
# `index.html` at the root of the site leads to the start page.
html_extra_path = ["redirect"]


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the links of each section of the start page into the site's navigation, under the section's heading."""
    if docname != root_doc:
        return
    toctrees = []
    for section in source[0].split("\n## ")[1:]:
        caption, _, body = section.partition("\n")
        links = re.findall(r"\[([^\]]+)\]\(([\w./-]+)\.md\)", body)
        pages = [f"{title} <{page}>" for title, page in links]
        toctrees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]))
    source[0] += "\n\n" + "\n\n".join(toctrees) + "\n"


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("source-read", add_navigation)
