"""Counts of which it is known which genes differ between two groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from _data import read_counts
from scipy import sparse, stats

from scdtl.data._thin import thin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POPULATIONS = {
    "293T": ("jurkat_293t_10x", "293T"),
    "Jurkat": ("jurkat_293t_10x", "Jurkat"),
    "NK cells": ("pbmc_sorted_10x", "nk"),
    "B cells": ("pbmc_sorted_10x", "bcells"),
    "A549": ("mixology_5cl_celseq2", "A549"),
    "H838": ("mixology_5cl_celseq2", "H838"),
}
"""Populations of one kind of cell: data set and label."""

PAIRS = {
    "Jurkat/293T": ("jurkat_293t_10x", "Jurkat", "293T"),
    "A549/H838": ("mixology_5cl_celseq2", "A549", "H838"),
    "NK/B cells": ("pbmc_sorted_10x", "nk", "bcells"),
    "memory/naive T": ("pbmc_sorted_10x", "memoryt", "naivet"),
}
"""Pairs of kinds whose markers the deep half of the cells tells."""

N_PLANTED = 300
IN_FIRST = "in_first_group"


class Case(NamedTuple):
    """Counts with two groups in `obs[IN_FIRST]`, and what is true of each gene."""

    scenario: str
    data: str
    adata: ad.AnnData
    differs: np.ndarray
    same: np.ndarray


def cases(folder: Path, seed: int) -> Iterator[Case]:
    """All scenarios, with a random state of their own each."""
    yield simulation(np.random.default_rng(seed))
    for name, (file, label) in POPULATIONS.items():
        adata = read_counts(folder, file)
        counts = _detected(adata[adata.obs["label"] == label].copy())
        generator = np.random.default_rng(seed)
        yield planted("planted, equal groups", name, counts, 0.5, 1.0, generator)
        yield planted("planted, 15 % against 85 %", name, counts, 0.15, 1.0, generator)
        yield planted("planted, 40 % of the depth", name, counts, 0.5, 0.4, generator)
        yield permuted(name, counts, generator)
        yield thinned_halves(name, counts, generator)
    for name, (file, *labels) in PAIRS.items():
        yield markers(name, read_counts(folder, file), labels, np.random.default_rng(seed))


def simulation(generator: np.random.Generator) -> Case:
    """1,000 cells × 1,000 independent genes, 30 of them with a two-fold change."""
    n = 1000
    first = np.arange(n) < n // 2
    differs = np.arange(n) < 30
    mean = generator.lognormal(-0.5, 1, n) * np.where(np.outer(first, differs), 2, 1)
    depth = generator.lognormal(0, 0.3, (n, 1))
    rates = depth * mean * generator.gamma(1 / 0.3, 0.3, (n, n))
    counts = ad.AnnData(sparse.csr_matrix(generator.poisson(rates), dtype=np.float32))
    return _case("simulation", "independent genes", counts, first, differs, ~differs)


def planted(
    scenario: str,
    name: str,
    adata: ad.AnnData,
    share: float,
    depth: float,
    generator: np.random.Generator,
) -> Case:
    """Real cells in two random groups; half of some genes' molecules removed in one of them.

    Removing each molecule with probability 1/2 halves the rate and keeps the noise that real
    counts have (Gerard, BMC Bioinformatics 2020). `depth` thins all genes of the first group.
    """
    counts = adata.X.tocsc()
    first = np.zeros(adata.n_obs, dtype=bool)
    first[generator.permutation(adata.n_obs)[: round(share * adata.n_obs)]] = True
    genes = generator.permutation(adata.n_vars)[: min(N_PLANTED, adata.n_vars // 10)]
    for gene, less_in_first in zip(genes, generator.random(len(genes)) < 0.5, strict=True):
        stored = slice(counts.indptr[gene], counts.indptr[gene + 1])
        chosen = first[counts.indices[stored]] == less_in_first
        values = counts.data[stored].astype(np.int64)
        counts.data[stored] = np.where(chosen, generator.binomial(values, 0.5), values)
    counts = counts.tocsr()
    if depth < 1:
        kept = np.where(np.repeat(first, np.diff(counts.indptr)), depth, 1.0)
        counts.data = generator.binomial(counts.data.astype(np.int64), kept).astype(np.float32)
    counts.eliminate_zeros()
    differs = np.isin(np.arange(adata.n_vars), genes)
    return _case(scenario, name, ad.AnnData(counts, var=adata.var[[]]), first, differs, ~differs)


def permuted(name: str, adata: ad.AnnData, generator: np.random.Generator) -> Case:
    """Cells of one kind in two random halves: nothing differs."""
    first = generator.permutation(adata.n_obs) < adata.n_obs // 2
    nothing = np.zeros(adata.n_vars, dtype=bool)
    counts = ad.AnnData(adata.X.copy(), var=adata.var[[]])
    return _case("null, permuted labels", name, counts, first, nothing, ~nothing)


def thinned_halves(name: str, adata: ad.AnnData, generator: np.random.Generator) -> Case:
    """Two thirds and one third of each cell's molecules as two groups: nothing differs."""
    parts = [part.copy() for part in thin(adata.X, 2 / 3, generator)]
    counts = sparse.vstack(parts, format="csr")
    counts.eliminate_zeros()
    nothing = np.zeros(adata.n_vars, dtype=bool)
    first = np.arange(2 * adata.n_obs) < adata.n_obs
    counts = ad.AnnData(counts, var=adata.var[[]])
    return _case("null, thinned parts", name, counts, first, nothing, ~nothing)


def markers(
    name: str, adata: ad.AnnData, labels: list[str], generator: np.random.Generator
) -> Case:
    """Two kinds of cells; half of the cells at full depth tell the truth, 30 thinned ones each
    of the other half are tested.

    Different: at least two-fold, p below 1e-4 in Welch's test of log-normalised values. The
    same: less than 1.15-fold with 200 molecules or more. Genes in between are not counted.
    """
    is_first = adata.obs["label"] == labels[0]
    adata = adata[is_first | (adata.obs["label"] == labels[1])].copy()
    first = (adata.obs["label"] == labels[0]).to_numpy()
    order = generator.permutation(adata.n_obs)
    deep, shallow = order[: adata.n_obs // 2], order[adata.n_obs // 2 :]
    shallow = np.concatenate([shallow[first[shallow] == side][:30] for side in (True, False)])
    groups = [adata.X[deep[first[deep] == side]] for side in (True, False)]
    pooled = [np.asarray(group.sum(0)).ravel() for group in groups]
    fold = np.log2([(molecules + 0.5) / molecules.sum() for molecules in pooled])
    fold = np.abs(fold[0] - fold[1])
    logs = [_log_normalised(group) for group in groups]
    pvals = stats.ttest_ind(*logs, equal_var=False).pvalue
    counts = thin(adata.X[shallow], 0.3, generator)[0].copy()
    counts.eliminate_zeros()
    return _case(
        "markers, 30 shallow cells each",
        name,
        ad.AnnData(counts, var=adata.var[[]]),
        first[shallow],
        (fold >= 1) & (pvals < 1e-4),
        (fold < np.log2(1.15)) & (sum(pooled) >= 200),
    )


def _case(
    scenario: str,
    data: str,
    adata: ad.AnnData,
    first: np.ndarray,
    differs: np.ndarray,
    same: np.ndarray,
) -> Case:
    adata.obs[IN_FIRST] = pd.Categorical(np.where(first, "first", "second"))
    detected = np.asarray((adata.X > 0).sum(0)).ravel() >= 3
    return Case(scenario, data, adata[:, detected].copy(), differs[detected], same[detected])


def _detected(adata: ad.AnnData) -> ad.AnnData:
    return adata[:, np.asarray((adata.X > 0).sum(0)).ravel() >= 3].copy()


def _log_normalised(counts: sparse.csr_matrix) -> np.ndarray:
    dense = counts.toarray().astype(np.float64)
    return np.log1p(1e4 * dense / np.maximum(dense.sum(1, keepdims=True), 1))
