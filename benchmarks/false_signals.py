"""Differential expression where the truth is known: false signals and true ones.

    python benchmarks/false_signals.py DATA_FOLDER --out false_signals.csv

Scenarios (`_known_truth.py`): a simulation of independent genes; real populations of one kind of
cell in two random groups with a two-fold change planted in up to 300 genes (equal groups, a small
group, groups of different depth) or in none (permuted labels, thinned parts of the same cells);
and pairs of kinds of cells whose markers are taken from other, deeper cells.

found, false_found   genes that differ and that do not, at a nominal false discovery rate of 5 %
found_at_5           genes that differ among the best ones, as many as keep the share of those
                     that do not at 5 %: compares the order of tests, whatever their p-values say
small_p              share of genes without a difference whose p-value is below 0.05

Tests: scanpy's Wilcoxon (with correction for ties) and t-test on log1p(CP10k) of raw counts;
`scdtl.tl.rank_genes_groups` on raw counts; and Wilcoxon on what imputation gives: the scdtl layer,
one draw from its posterior, predictive counts, and the layers of peers.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _cell_tables import false_signals as table
from _known_truth import IN_FIRST, cases
from _peers import METHODS
from scipy import sparse, stats

import scdtl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _known_truth import Case

PEERS = {"magic": "MAGIC", "knn-smoothing-15": "kNN-smoothing 15", "alra": "ALRA"}


def p_values(case: Case, seed: int, *, imputed: bool) -> Iterator[tuple[str, np.ndarray]]:
    """p-value of each gene by each test."""
    counts = case.adata
    yield "Wilcoxon, raw", _scanpy(counts.X, counts, "wilcoxon")
    yield "t-test, raw", _scanpy(counts.X, counts, "t-test")
    scdtl.tl.rank_genes_groups(counts, IN_FIRST)
    yield "scdtl test, raw", _pvals(counts)
    if not imputed:
        return
    cells = ad.AnnData(counts.X.copy(), var=counts.var[[]])
    known = "human" if case.scenario != "simulation" else None
    model = scdtl.pp.impute(
        cells, bulk=known, scale="counts", random_state=seed, return_model=True, verbose=False
    )
    yield "Wilcoxon, scdtl layer", _scanpy(cells.layers["scdtl"], counts, "wilcoxon")
    rates = _one_draw(model, seed)
    yield "Wilcoxon, one posterior draw", _scanpy(rates, counts, "wilcoxon")
    predictive = model.posterior_predictive_sample(random_state=seed)
    yield "Wilcoxon, predictive counts", _scanpy(predictive, counts, "wilcoxon")
    for method, name in PEERS.items():
        yield (
            f"Wilcoxon, {name}",
            _scanpy(METHODS[method].run(cells, seed).rates, counts, "wilcoxon"),
        )


def _one_draw(model: scdtl.SCDTL, seed: int) -> np.ndarray:
    """One gamma draw of each rate, from the posterior's mean and standard deviation."""
    mean, std = model.get_imputed_expression(scale="counts", return_std=True, return_numpy=True)
    shape = np.divide(mean**2, std**2, out=np.full_like(mean, 1e6), where=std > 0)
    return np.random.default_rng(seed).gamma(shape, mean / shape)


def _scanpy(rates: np.ndarray | sparse.csr_matrix, counts: ad.AnnData, method: str) -> np.ndarray:
    """scanpy's test of log1p(CP10k)."""
    matrix = rates.copy() if sparse.issparse(rates) else np.asarray(rates, dtype=np.float32)
    adata = ad.AnnData(matrix, obs=counts.obs.copy(), var=counts.var[[]])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.tl.rank_genes_groups(
        adata, IN_FIRST, groups=["first"], reference="second", method=method, tie_correct=True
    )
    return _pvals(adata)


def _pvals(adata: ad.AnnData) -> np.ndarray:
    table = sc.get.rank_genes_groups_df(adata, "first").set_index("names")
    return table.loc[adata.var_names, "pvals"].fillna(1).to_numpy()


def scores(case: Case, pvals: np.ndarray) -> dict[str, float]:
    judged = case.differs | case.same
    differs, pvals = case.differs[judged], pvals[judged]
    found = stats.false_discovery_control(pvals) < 0.05
    order = np.argsort(pvals, kind="stable")
    false_share = np.cumsum(~differs[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(false_share <= 0.05)
    return {
        "genes_that_differ": int(differs.sum()),
        "found": int((found & differs).sum()),
        "false_found": int((found & ~differs).sum()),
        "found_at_5": int(differs[order][: good[-1] + 1].sum()) if len(good) else 0,
        "small_p": float((pvals[~differs] < 0.05).mean()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--imputed-seeds", nargs="*", type=int, default=[0], help="seeds that impute as well"
    )
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sc.settings.verbosity = 0
    rows = []
    for seed in arguments.seeds:
        for case in cases(arguments.folder, seed):
            labels = {"scenario": case.scenario, "data": case.data, "seed": seed}
            for test, pvals in p_values(case, seed, imputed=seed in arguments.imputed_seeds):
                rows.append({**labels, "test": test, **scores(case, pvals)})
            print(*labels.values(), file=sys.stderr)
            if arguments.out is not None:
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(table(pd.DataFrame(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
