"""Configuration of the documentation: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import shutil
import sys
import warnings
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

info = metadata("scdtl")
project = info["Name"]
author = "The scdtl developers"
copyright = f"2026, {author}"
release = version = info["Version"]
links = dict(line.split(", ") for line in info.get_all("Project-URL"))
repository_url = links["Source"]

# What is made at build time

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import parts  # noqa: E402
from figures import api as figures  # noqa: E402

GENERATED = HERE / "generated"
shutil.rmtree(GENERATED, ignore_errors=True)  # so that nothing of an earlier build is left
GENERATED.mkdir()
parts.tutorials(HERE.parent / "tutorials", GENERATED)
parts.weights_table(GENERATED)
parts.commands(GENERATED)
figures.draw(GENERATED)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

nitpicky = True
suppress_warnings = ["config.cache"]  # a setting below is a function
exclude_patterns = [
    "_build",
    "benchmarks/*.md",  # parts of the pages of benchmarks
    "generated/commands.md",  # a part of command_line.md
    "generated/gallery.md",  # a part of tutorials.md
    "generated/tutorials.md",  # a part of index.md
    "generated/weights_table.md",  # a part of weights.md
    "Thumbs.db",
    ".DS_Store",
    "**.ipynb_checkpoints",
]
templates_path = ["_templates"]

# API pages, from NumPy docstrings

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "member-order": "bysource", "no-value": True}
default_role = "code"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True
napoleon_use_param = True
napoleon_use_rtype = True
always_use_bars_union = True
typehints_defaults = "braces"
warnings.filterwarnings("ignore", module="sphinx_autodoc_typehints")  # deprecations in Sphinx 9

# What models inherit and can't do: pages don't show it. A test calls every member that they show.
UNUSABLE = {
    "BaseModelClass.differential_abundance",
    "BaseModelClass.get_normalized_expression",
    "BaseModelClass.update_setup_method_args",  # this and the next one read what is never set
    "BaseModelClass.view_registry",
    "SavedAsData.convert_legacy_save",
}


def setup(app: Sphinx) -> None:
    """Leave out what models can't do; show what figures look like."""
    app.connect("autodoc-skip-member", _skip_unusable)
    app.connect("autodoc-process-docstring", _show_figure)


def _show_figure(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    if name.startswith("scdtl.pl."):
        lines += figures.lines_for(name.removeprefix("scdtl.pl."))


def _skip_unusable(app: Sphinx, what: str, name: str, member: object, *_: object) -> bool | None:
    return True if getattr(member, "__qualname__", None) in UNUSABLE else None


def typehints_fixup_module_name(module: str) -> str:
    """Where a class is documented: ``anndata``, not ``anndata._core.anndata``."""
    public = module.split("._")[0]
    return {"scdtl.model": "scdtl", "scdtl.genes": "scdtl.pretrained"}.get(public, public)


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Address of the source; members that models inherit are documented by scvi-tools."""
    thing = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        thing = getattr(thing, name, None)
    thing = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
    try:
        path = Path(inspect.getsourcefile(thing))
        lines, first = inspect.getsourcelines(thing)
    except (OSError, TypeError):
        return None
    root = Path(importlib.import_module("scdtl").__file__).parents[1]
    if not path.is_relative_to(root):
        return None
    place = path.relative_to(root).as_posix()
    return f"{repository_url}/blob/main/src/{place}#L{first}-L{first + len(lines) - 1}"


def _parse_returns_section(self: NumpyDocstring, section: str) -> list[str]:
    """Take "Returns" as text, as scanpy does: the type is in the signature."""
    lines = self._dedent(self._consume_to_next_section())
    return [*self._format_block(":returns: ", [line for line in lines if line != ":"]), ""]


NumpyDocstring._parse_returns_section = _parse_returns_section

# Pages and notebooks, in Markdown

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# [text](repo:path) is a file of the repository, whose address pyproject.toml has.
myst_url_schemes = {
    "http": None,
    "https": None,
    "mailto": None,
    "repo": f"{repository_url}/{{{{path}}}}",
}
nb_execution_mode = "off"
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# References to other packages

intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "lightning": ("https://lightning.ai/docs/pytorch/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "pooch": ("https://www.fatiando.org/pooch/latest/", None),
    "python": ("https://docs.python.org/3", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "scvi-tools": ("https://docs.scvi-tools.org/en/stable/", None),
    "sklearn": ("https://scikit-learn.org/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_timeout = 30

if os.environ.get("SCDTL_DOCS_OFFLINE"):
    # Without a network nothing is known of other packages' pages; our own are still checked.
    others = {*intersphinx_mapping, *sys.stdlib_module_names, "scvi"}
    nitpick_ignore_regex = [
        ("py:.*", rf"({'|'.join(sorted(others))})(\..*)?"),
        ("py:.*", rf"({'|'.join(dir(builtins))})"),
    ]
    intersphinx_mapping = {}

# HTML

html_theme = "sphinx_book_theme"
html_title = "scdtl"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["css/custom.css"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],  # the search is in the sidebar
    "path_to_docs": "docs",
    "repository_branch": "main",
    "repository_url": repository_url,
    "use_repository_button": True,
}
