"""Settings of the documentation site; `make docs` builds it into `site/`, and warnings are errors."""

import re
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "src")]

import generate  # noqa: E402

REPOSITORY = "https://github.com/reprood/reprood"
LINK = re.compile(r"(?<!!)\]\((?P<path>\.\.?/[^)#\s]+)(?P<part>#[^)\s]*)?\)")  # not of pictures

project = "reprood"
author = "The reprood authors"
copyright = "The reprood authors, Apache-2.0"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_typehints = "none"  # the sections "Parameters" state the types
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # an attribute is listed once
autodoc_mock_imports = ["torch", "torchvision", "PIL", "safetensors"]

html_theme = "furo"
html_title = f"reprood {release}"
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
smartquotes = False  # options begin with two hyphens
templates_path: list[str] = []
exclude_patterns = ["generate.py"]


def link_to_repository(app, name, content):
    """Replace relative links that leave this folder by links to the repository: they also work on GitHub."""
    folder = (HERE / name).parent

    def replaced(match):
        target = (folder / match["path"]).resolve()
        if target.is_relative_to(HERE):
            return match[0]
        kind = "tree" if target.is_dir() else "blob"
        if not target.exists():
            raise FileNotFoundError(f"docs/{name}.md links to {match['path']}, which does not exist")
        return f"]({REPOSITORY}/{kind}/main/{target.relative_to(ROOT)}{match['part'] or ''})"

    content[0] = LINK.sub(replaced, content[0])


def setup(app):
    """Write the generated pages of the reference, and have links checked."""
    generate.write(HERE / "reference", ROOT)
    app.connect("source-read", link_to_repository)
