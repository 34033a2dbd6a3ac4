"""Configuration of the documentation: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

from __future__ import annotations

import argparse
import builtins
import os
import shutil
import sys
import warnings
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

from scdtl.cli import _parser
from scdtl.pretrained import available

if TYPE_CHECKING:
    from sphinx.application import Sphinx

info = metadata("scdtl")
project = info["Name"]
author = "The scdtl developers"
copyright = f"2026, {author}"
release = version = info["Version"]
repository_url = "https://github.com/scdtl/scdtl"

# Notebooks live outside of docs/, but Sphinx reads only what lies below it

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATED = HERE / "generated"
shutil.rmtree(GENERATED, ignore_errors=True)  # so that nothing of an earlier build is left
(GENERATED / "tutorials").mkdir(parents=True)
notebooks = {path.stem: path for path in sorted((ROOT / "tutorials").glob("*.ipynb"))}
for path in notebooks.values():
    text = path.read_text(encoding="utf-8").replace("](../docs/", "](../../")
    (GENERATED / "tutorials" / path.name).write_text(text, encoding="utf-8")
FIRST = ("quickstart", "trust", "downstream", "own_bulk", "large_data", "in_scvi_tools")
in_order = [name for name in FIRST if name in notebooks]
in_order += [name for name in notebooks if name not in in_order]
(GENERATED / "tutorials.md").write_text(
    "```{toctree}\n:hidden:\n:caption: Tutorials\n\n"
    + "".join(f"generated/tutorials/{name}\n" for name in in_order)
    + "```\n",
    encoding="utf-8",
)

# The table of released weights comes from the registry

columns = ["species", "studies", "samples", "genes", "size_mb", "licence", "description"]
weights = available()[columns].reset_index()
lines = [weights.columns, ["---"] * len(weights.columns), *weights.itertuples(index=False)]
table = "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
(GENERATED / "weights_table.md").write_text(table, encoding="utf-8")

# What the commands say of themselves


def _help_of(parser: argparse.ArgumentParser, level: int = 2) -> str:
    text = f"{'#' * level} `{parser.prog}`\n\n```text\n{parser.format_help()}```\n\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            text += "".join(_help_of(command, level + 1) for command in action.choices.values())
    return text


os.environ["COLUMNS"] = "88"
(GENERATED / "commands.md").write_text(_help_of(_parser()), encoding="utf-8")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
]

nitpicky = True
suppress_warnings = ["config.cache"]  # a setting below is a function
exclude_patterns = [
    "_build",
    "benchmarks/*.md",  # parts of benchmarks.md
    "generated/commands.md",  # a part of command_line.md
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
    """Leave out what models can't do."""
    app.connect("autodoc-skip-member", _skip_unusable)


def _skip_unusable(app: Sphinx, what: str, name: str, member: object, *_: object) -> bool | None:
    return True if getattr(member, "__qualname__", None) in UNUSABLE else None


def typehints_fixup_module_name(module: str) -> str:
    """Where a class is documented: ``anndata``, not ``anndata._core.anndata``."""
    public = module.split("._")[0]
    return {"scdtl.model": "scdtl", "scdtl.genes": "scdtl.pretrained"}.get(public, public)


def _parse_returns_section(self: NumpyDocstring, section: str) -> list[str]:
    """Take "Returns" as text, as scanpy does: the type is in the signature."""
    lines = self._dedent(self._consume_to_next_section())
    return [*self._format_block(":returns: ", [line for line in lines if line != ":"]), ""]


NumpyDocstring._parse_returns_section = _parse_returns_section

# Pages and notebooks, in Markdown

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
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
