"""Write the registry of released weights from the weight files themselves.

    python weights/register.py

Reads every .safetensors file here and in the package (shipped). Run it after each training, and
once more with BASE_URL set when the files here are uploaded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scdtl.pretrained import load_weights
from scdtl.pretrained._registry import PATH, SCHEMA

VERSION = "weights-v2"
BASE_URL: str | None = None  # https address of a folder with the files, once there is one
FOLDERS = (Path(__file__).parent, PATH.parent)


def entry(path: Path) -> dict[str, Any]:
    """All that the registry tells of a weight file; nothing is known but by the file."""
    weights = load_weights(path)
    about = weights.provenance
    return {
        "file": path.name,
        "sha256": weights.sha256,
        "bytes": path.stat().st_size,
        "description": about.get("description", ""),
        "species": about["species"],
        "studies": len(about["studies"]),
        "samples": about["n_samples"],
        "genes": len(weights.genes),
        **weights.architecture,
        "licence": about["licence"],
        "trained": about["trained"],
    }


def registry() -> dict[str, Any]:
    """Entries of all weight files in this checkout, sorted by name."""
    paths = {path.stem: path for folder in FOLDERS for path in folder.glob("*.safetensors")}
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "base_url": BASE_URL,
        "weights": {name: entry(paths[name]) for name in sorted(paths)},
    }


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    content = registry()
    PATH.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{PATH}: {', '.join(content['weights'])}")


if __name__ == "__main__":
    main()
