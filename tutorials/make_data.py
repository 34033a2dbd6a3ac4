"""Makes the files of scdtl.datasets.mouse_spleen and brain_reads from copies of the tables.

    python tutorials/make_data.py mouse_spleen_mca.h5ad darmanis2015_brain.h5ad FOLDER

The copies are AnnData with counts in X, the authors' types in obs["label"] and uns["source"]. With
the versions in constraints.txt the files come out the same, byte by byte. The hashes that are
printed belong into src/scdtl/pretrained/_registry.py.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import anndata as ad
import numpy as np

# Article, and the columns of obs that are kept, by their new names.
FILES = {
    "mouse_spleen": (
        "Mouse Cell Atlas, Han et al., Cell 172, 1091 (2018)",
        {"label": "cell_type"},
    ),
    "brain_reads": (
        "Darmanis et al., PNAS 112, 7285 (2015), GSE67835",
        {"label": "cell_type", "age": "age", "fetal": "stage"},
    ),
}


def main() -> None:
    """Write both files, and print their hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in (*FILES, "folder"):
        parser.add_argument(name, type=Path)
    options = vars(parser.parse_args())
    options["folder"].mkdir(parents=True, exist_ok=True)
    for name, (article, columns) in FILES.items():
        table = ad.read_h5ad(options[name])
        obs = table.obs[list(columns)].rename(columns=columns)
        cells = ad.AnnData(table.X, obs=obs, var=table.var[[]])
        cells.uns["source"] = [article, *np.atleast_1d(table.uns["source"])]
        path = options["folder"] / f"{name}.h5ad"
        cells.write_h5ad(path, compression="gzip", compression_opts=9)
        print(f'"{name}": "{hashlib.sha256(path.read_bytes()).hexdigest()}",')


if __name__ == "__main__":
    main()
