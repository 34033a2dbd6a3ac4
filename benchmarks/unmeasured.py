"""Genes that a panel did not measure, and the correlation that was promised for each.

    python benchmarks/unmeasured.py DATA_FOLDER [--spatial SPATIAL_FOLDER] --out unmeasured.csv

Of at most 1,000 cells the 300 most variable genes that the weights know are the panel, and the
others of the 2,000 most variable ones, in at least 1 % of the cells, are hidden. Of spatial panels
a fifth of the genes is hidden in turn. Bulk predicts the hidden genes from the panel alone.

median_r, upper_r   correlation over cells of a gene, prediction against its hidden log-normalised
                    counts, with their counting noise; median and upper quartile over the genes
below               share of the genes with r < -0.1
expected, rank      mean of `expected_r`, and its rank correlation with the r that was reached
reached             mean r
ceiling             median r of the same network trained on all genes of the same cells, each
                    predicted from the others (`own_counts=False`)
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
from _data import UMI_DATASETS, draw_cells, keep_detected_genes, read_counts

import scdtl
from scdtl.pretrained import load_weights, match_genes

if TYPE_CHECKING:
    import anndata as ad

MOUSE = ("mouse_spleen_mca",)
SPATIAL = ("sp_starmap_v1", "sp_starmap_mpfc", "ref_mop10x_dot")
N_CELLS, N_PANEL, N_VARIABLE, N_FOLDS = 1_000, 300, 2_000, 5
BELOW = -0.1


def most_variable(adata: ad.AnnData, among: np.ndarray, n: int) -> np.ndarray:
    """Positions of the most variable genes among some."""
    part = adata[:, among].copy()
    n = min(n, part.n_vars)
    sc.pp.highly_variable_genes(part, n_top_genes=n, flavor="seurat_v3")
    return among[part.var["highly_variable"].to_numpy()]


def names_in_bulk(adata: ad.AnnData, bulk: str) -> np.ndarray:
    """For each gene its name in the weights, empty where they do not know it."""
    weights = load_weights(bulk)
    species = weights.provenance["species"]
    matches = match_genes(list(adata.var_names), weights.genes, weights.ensembl_ids, species)
    return np.array([weights.genes[i] if i >= 0 else "" for i in matches.position])


def correlations(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Of each gene over the cells; 0 where either is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = [np.corrcoef(predicted[:, i], observed[:, i])[0, 1] for i in range(observed.shape[1])]
    return np.nan_to_num(r)


def panels(adata: ad.AnnData, names: np.ndarray, is_spatial: bool) -> list[tuple]:
    """Positions of the genes shown and of those asked."""
    known = np.flatnonzero(names != "")
    if is_spatial:
        fold = np.random.default_rng(0).permutation(len(known)) % N_FOLDS
        return [
            (np.setdiff1d(np.arange(adata.n_vars), known[fold == i]), known[fold == i])
            for i in range(N_FOLDS)
        ]
    variable = most_variable(adata, known, N_VARIABLE)
    panel = most_variable(adata, variable, N_PANEL)
    return [(panel, np.setdiff1d(variable, panel))]


def measure(adata: ad.AnnData, bulk: str, is_spatial: bool) -> dict[str, float]:
    """Scores of one data set."""
    names = names_in_bulk(adata, bulk)
    log_normalised = sc.pp.log1p(
        sc.pp.normalize_total(adata, target_sum=1e4, copy=True), copy=True
    )
    reached, expected, asked_genes, seconds = [], [], [], 0.0
    for shown, asked in panels(adata, names, is_spatial):
        panel = adata[:, shown].copy()
        panel = panel[np.asarray(panel.X.sum(1)).ravel() > 0].copy()
        start = time.perf_counter()
        imputed = scdtl.pp.impute_unmeasured(panel, list(names[asked]), bulk=bulk, verbose=False)
        seconds += time.perf_counter() - start
        truth = log_normalised[panel.obs_names, asked].X.toarray()
        reached.append(correlations(imputed.X, truth))
        expected.append(imputed.var["expected_r"].to_numpy())
        asked_genes.append(asked)
    r, promised, asked = (np.concatenate(part) for part in (reached, expected, asked_genes))
    scdtl.pp.impute(adata, bulk=bulk, own_counts=False, verbose=False)
    ceiling = correlations(adata.layers["scdtl"][:, asked], log_normalised.X[:, asked].toarray())
    return {
        "cells": adata.n_obs,
        "asked": len(r),
        "median_r": np.median(r),
        "upper_r": np.quantile(r, 0.75),
        "below": np.mean(r < BELOW),
        "reached": r.mean(),
        "expected": np.nanmean(promised),
        "rank": pd.Series(promised).corr(pd.Series(r), method="spearman"),
        "ceiling": np.median(ceiling),
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--spatial", type=Path, help="folder of .h5ad files of targeted panels")
    parser.add_argument("--datasets", nargs="+", default=[*UMI_DATASETS, *MOUSE])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    arguments = parser.parse_args()
    tasks = [(arguments.folder, name) for name in arguments.datasets]
    if arguments.spatial is not None:
        tasks += [(arguments.spatial, name) for name in SPATIAL]
    rows = []
    for folder, name in tasks:
        for seed in arguments.seeds:
            adata = read_counts(folder, name)
            is_spatial = folder == arguments.spatial
            adata = draw_cells(adata, min(N_CELLS, adata.n_obs), seed)
            adata = keep_detected_genes(adata, max(3, adata.n_obs // 100))
            bulk = "mouse" if is_spatial or name in MOUSE else "human"
            rows.append({"dataset": name, "seed": seed, "bulk": bulk})
            rows[-1] |= measure(adata, bulk, is_spatial)
            print(rows[-1], file=sys.stderr, flush=True)
            if arguments.out is not None:
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
