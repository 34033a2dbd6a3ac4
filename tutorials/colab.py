"""Gives every notebook its Colab button and the cell that installs scdtl there.

python tutorials/colab.py, after a notebook was added or the address in pyproject.toml changed.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
ID = "colab"


def address() -> str:
    """Where the repository is, as pyproject.toml has it."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["urls"]["Source"]


def button(name: str) -> str:
    """The button as Markdown; Colab opens notebooks from GitHub by their path there."""
    place = address().removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{place}/blob/main/tutorials/{name}"
    return f"[![Open in Colab]({BADGE})]({link})"


def install_cell() -> dict[str, Any]:
    """A cell that does nothing outside Colab; the documentation hides it."""
    source = (
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install -q "scdtl[large] @ git+{address()}"'
    )
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": ID,
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def prepared(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """The notebook with both, which replace earlier ones."""
    first, *others = (cell for cell in notebook["cells"] if cell.get("id") != ID)
    text = re.sub(r"\[!\[Open in Colab].*\n\n", "", "".join(first["source"]))
    title, _, about = text.partition("\n\n")
    first["source"] = f"{title}\n\n{button(name)}\n\n{about}".splitlines(keepends=True)
    return notebook | {"cells": [first, install_cell(), *others]}


def main() -> None:
    """Write the notebooks that change."""
    for path in sorted(HERE.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        notebook = prepared(json.loads(text), path.name)
        new = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if new != text:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
