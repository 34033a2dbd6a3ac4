"""Whether what scdtl says about itself is true: intervals, trusted genes, silent genes.

    python benchmarks/trust.py DATA_FOLDER --out trust

Writes three CSV files, whose names start with `--out`.

coverage  molecules are set aside (10 % and 50 %); the interval of a held-out count follows from
          the gamma posterior of its rate (mean and standard deviation as given to the user) and
          Poisson noise. Counts are discrete, so the probability integral transform is randomised
          (Czado, Gneiting and Held, Biometrics 2009): the share of it in the central 50, 80 and
          95 % should be just that, in every stratum of the predicted count.
genes     trust is measured in training; here it is compared with the deviance explained on
          molecules that training did not see.
silent    genes without a molecule in one kind of cell, where 30 and more were expected if they
          were as active as in the kind with the most: their imputed rate as a share of the rate
          there (0 is right); exact zeros with `false_zero_rate=0.05`, and what these cost.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _cell_tables import trust as table
from _data import (
    HELD_OUT,
    UMI_DATASETS,
    keep_detected_genes,
    read_counts,
    set_molecules_aside,
)
from _peers import METHODS
from _posterior import rescale
from scipy import stats

import scdtl
from scdtl import metrics

STRATA = [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, np.inf]
LEVELS = (0.5, 0.8, 0.95)
MIN_ENTRIES = 1_000
MAX_ENTRIES = 500_000
LABELLED = ("jurkat_293t_10x", "pbmc_sorted_10x", "mixology_5cl_celseq2")
PEERS = ("mean", "knn-smoothing-15", "magic", "alra", "scdtl-no-bulk")
FALSE_ZERO_RATE = 0.05
MIN_EXPECTED = 30


def coverage(adata: ad.AnnData, mean: np.ndarray, std: np.ndarray, seed: int) -> list[dict]:
    """Share of held-out counts within central intervals, per stratum of the predicted count."""
    held_out = adata.layers[HELD_OUT].toarray()
    depth = held_out.sum(1, keepdims=True) / np.asarray(adata.X.sum(1))
    shape = np.divide(mean**2, std**2, out=np.full_like(mean, 1e6), where=std > 0).astype(float)
    mean = mean * depth
    generator = np.random.default_rng(seed)
    rows = []
    for low, high in zip(STRATA, STRATA[1:], strict=False):
        entries = np.flatnonzero((mean.ravel() >= low) & (mean.ravel() < high))
        if len(entries) < MIN_ENTRIES:
            continue
        drawn = generator.permutation(entries)[:MAX_ENTRIES]
        count, mu, r = (x.ravel()[drawn] for x in (held_out, mean, shape))
        below, up_to = (stats.nbinom.cdf(k, r, r / (r + mu)) for k in (count - 1, count))
        transform = below + generator.random(len(drawn)) * (up_to - below)
        inside = {f"{p:.0%}": float(np.mean(np.abs(transform - 0.5) < p / 2)) for p in LEVELS}
        rows.append({"from": low, "to": high, "entries": len(entries), **inside})
    return rows


def trusted(
    adata: ad.AnnData, rates: np.ndarray, trust: np.ndarray, flag: np.ndarray
) -> dict[str, float]:
    """How the trust measured in training compares with unseen molecules."""
    unseen = metrics.gene_deviance_explained(adata.layers[HELD_OUT], rates, adata.X)
    known = ~np.isnan(trust) & ~np.isnan(unseen)
    is_trusted, is_better = flag[known], unseen[known] > 0
    return {
        "genes": int(known.sum()),
        "trusted": float(is_trusted.mean()),
        "better_if_trusted": float(is_better[is_trusted].mean()),
        "better_if_not": float(is_better[~is_trusted].mean()) if (~is_trusted).any() else np.nan,
        "d2_if_trusted": float(unseen[known][is_trusted].mean()),
        "d2_if_not": float(unseen[known][~is_trusted].mean()) if (~is_trusted).any() else np.nan,
        "rank_correlation": float(stats.spearmanr(trust[known], unseen[known]).statistic),
    }


def silent(folder: Path, name: str, seed: int) -> list[dict]:
    """Rates of silent genes by each method, on all molecules."""
    cells = read_counts(folder, name)
    if "possible_doublet" in cells.obs:
        cells = cells[~cells.obs["possible_doublet"].astype(bool)].copy()
    cells = keep_detected_genes(cells)
    off, on_rate = _silent_genes(cells)
    rows = []
    adata = ad.AnnData(cells.X, var=cells.var[[]])
    for method in PEERS:
        rates = METHODS[method].run(adata.copy(), seed).rates
        rows.append({"method": method, **_activity(cells, rates, off, on_rate)})
    for rate in (None, FALSE_ZERO_RATE):
        options = {"scale": "counts", "random_state": seed, "verbose": False}
        scdtl.pp.impute(adata, false_zero_rate=rate, **options)
        layer = adata.layers.pop("scdtl")
        rates = layer if rate is None else layer.toarray()
        method = "scdtl" if rate is None else f"scdtl, false_zero_rate={rate}"
        rows.append({"method": method, **_activity(cells, rates, off, on_rate)})
    return rows


def _silent_genes(cells: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Kinds × genes: where a gene is silent, and its rate in the kind with the most."""
    kinds = pd.get_dummies(cells.obs["label"], dtype=float).to_numpy().T
    molecules = kinds @ cells.X.toarray()
    depth = molecules.sum(1, keepdims=True)
    highest = (molecules / depth).max(0)
    return (molecules == 0) & (highest * depth >= MIN_EXPECTED), highest


def _activity(
    cells: ad.AnnData, rates: np.ndarray, off: np.ndarray, on_rate: np.ndarray
) -> dict[str, float]:
    kinds = pd.get_dummies(cells.obs["label"], dtype=float).to_numpy().T
    depth = np.asarray(cells.X.sum(1)).ravel()
    imputed = kinds @ rescale(rates, depth)
    share = (imputed / (kinds @ depth)[:, None] / np.maximum(on_rate, 1e-12))[off]
    zeros = (kinds @ (rates == 0)) / kinds.sum(1, keepdims=True)
    return {
        "silent": int(off.sum()),
        "median_share": float(np.median(share)),
        "upper_share": float(np.quantile(share, 0.9)),
        "exact_zeros": float(zeros[off].mean()),
        "layer_zeros": float((rates == 0).mean()),
    }


def zeros_cost(adata: ad.AnnData, seed: int) -> dict[str, float]:
    """Share of unseen molecules that fall on exact zeros: pooled, and per gene on average."""
    held_out = adata.layers[HELD_OUT].toarray()
    cells = ad.AnnData(adata.X.copy(), var=adata.var[[]])
    scdtl.pp.impute(cells, false_zero_rate=FALSE_ZERO_RATE, random_state=seed, verbose=False)
    lost = np.where(cells.layers["scdtl"].toarray() == 0, held_out, 0)
    total = held_out.sum(0)
    return {
        "lost": float(lost.sum() / held_out.sum()),
        "lost_per_gene": float((lost.sum(0) / np.maximum(total, 1))[total >= 20].mean()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=UMI_DATASETS, metavar="NAME")
    parser.add_argument("--labelled", nargs="*", default=LABELLED, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="start of the names of the CSV files")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tables: dict[str, list[dict]] = {"coverage": [], "genes": [], "silent": []}
    for seed in arguments.seeds:
        for name in arguments.datasets:
            for share in (0.1, 0.5):
                whole = keep_detected_genes(read_counts(arguments.folder, name))
                adata = set_molecules_aside(whole, seed, share)
                labels = {"dataset": name, "seed": seed, "held_out": share}
                mean, std, var = _imputed(adata, seed)
                tables["coverage"] += [{**labels, **r} for r in coverage(adata, mean, std, seed)]
                if share == 0.1:
                    cost = zeros_cost(adata, seed)
                    tables["genes"].append({**labels, **trusted(adata, mean, *var), **cost})
                print(*labels.values(), file=sys.stderr)
        for name in arguments.labelled:
            rows = silent(arguments.folder, name, seed)
            tables["silent"] += [{"dataset": name, "seed": seed, **row} for row in rows]
            print(name, seed, "silent", file=sys.stderr)
        if arguments.out is not None:
            for part, rows in tables.items():
                path = arguments.out.with_name(f"{arguments.out.name}_{part}.csv")
                pd.DataFrame(rows).to_csv(path, index=False)
    print(table(**{part: pd.DataFrame(rows) for part, rows in tables.items()}))
    return 0


def _imputed(adata: ad.AnnData, seed: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Mean and standard deviation of the rates; trust in each gene, and whether it is trusted."""
    cells = ad.AnnData(adata.X.copy(), var=adata.var[[]])
    options = {"scale": "counts", "random_state": seed, "verbose": False}
    scdtl.pp.impute(cells, return_std=True, **options)
    trust = [cells.var[f"scdtl_{name}"].to_numpy() for name in ("trust", "trusted")]
    return cells.layers["scdtl"], cells.layers["scdtl_std"], trust


if __name__ == "__main__":
    sys.exit(main())
