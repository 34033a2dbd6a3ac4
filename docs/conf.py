"""Configuration of the documentation: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
import warnings
from importlib.metadata import metadata
from pathlib import Path

from sphinx.ext.napoleon import NumpyDocstring

from scdtl.pretrained import available

info = metadata("scdtl")
project = info["Name"]
author = "The scdtl developers"
copyright = f"2026, {author}"
release = version = info["Version"]
repository_url = "https://github.com/scdtl/scdtl"

# README and notebooks live outside of docs/, but Sphinx reads only what lies below it

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATED = HERE / "generated"
GENERATED.mkdir(exist_ok=True)
shutil.copytree(ROOT / "tutorials", GENERATED / "tutorials", dirs_exist_ok=True)

readme = (ROOT / "README.md").read_text(encoding="utf-8")
for here, there in {
    "](docs/": "](",
    "](tutorials/": "](generated/tutorials/",
    "](CHANGELOG.md": "](changelog.md",
    "](CITATION.cff": f"]({repository_url}/blob/main/CITATION.cff",
    "](LICENSE": f"]({repository_url}/blob/main/LICENSE",
}.items():
    readme = readme.replace(here, there)
(GENERATED / "readme.md").write_text(readme, encoding="utf-8")

# The table of released weights comes from the registry

columns = ["species", "studies", "samples", "genes", "size_mb", "licence", "description"]
weights = available()[columns].reset_index()
lines = [weights.columns, ["---"] * len(weights.columns), *weights.itertuples(index=False)]
table = "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
(GENERATED / "weights_table.md").write_text(table, encoding="utf-8")

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
    "generated/readme.md",  # a part of index.md
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


def typehints_fixup_module_name(module: str) -> str:
    """Where a class is documented: ``anndata``, not ``anndata._core.anndata``."""
    public = module.split("._")[0]
    return "scdtl" if public == "scdtl.model" else public


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
html_theme_options = {
    "path_to_docs": "docs",
    "repository_branch": "main",
    "repository_url": repository_url,
    "use_repository_button": True,
}
