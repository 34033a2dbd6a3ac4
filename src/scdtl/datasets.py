"""Data sets: real counts from inside scanpy or fetched once, and seeded toys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

__all__ = ["brain_reads", "mouse_spleen", "pbmc68k_counts", "toy", "toy_bulk"]

_N_PROGRAMMES = 6


def pbmc68k_counts() -> AnnData:
    """Real counts of 700 blood cells and 765 genes, recovered from a file inside scanpy.

    :func:`scanpy.datasets.pbmc68k_reduced` holds ``log1p`` of counts that were scaled per cell.
    The smallest positive value of a cell is one molecule, from which the counts are recovered.

    Returns
    -------
    An AnnData with the counts in ``X`` (CSR, float32) and the ten cell types that
    Zheng et al. (2017) gave by correlation with sorted cells in ``obs["bulk_labels"]``.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.datasets.pbmc68k_counts().shape
    (700, 765)
    """
    import anndata
    import pandas as pd
    import scanpy

    reduced = scanpy.datasets.pbmc68k_reduced()
    labels = reduced.obs["bulk_labels"].astype(str).astype("category")
    return anndata.AnnData(
        X=_counts_from_log(reduced.raw.X),
        obs=pd.DataFrame({"bulk_labels": labels}, index=reduced.obs_names.copy()),
        var=pd.DataFrame(index=reduced.raw.var_names.copy()),
    )


def mouse_spleen() -> AnnData:
    """Fetch shallow counts of 1,970 cells of mouse spleen: the Mouse Cell Atlas, Microwell-seq.

    15,768 genes, half of the cells with fewer than 700 molecules. None of these cells is in the
    weights ``"mouse"``. The file (3 MB) is looked for, checked and cached as weights are
    (:func:`scdtl.pretrained.fetch`).

    Returns
    -------
    An AnnData with molecules in ``X`` (CSR, float32) and the authors' eleven cell types, which
    they took from clusters, in ``obs["cell_type"]``. ``uns["source"]`` names the table.

    Raises
    ------
    FileNotFoundError, ConnectionError, ValueError, OSError
        If the file can't be had, as of :func:`scdtl.pretrained.fetch`.

    Notes
    -----
    Han et al., Cell 172, 1091 (2018), in the copy of the repository
    tanlabcode/SCRABBLE_PAPER, which states no licence; the atlas is open data.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.datasets.mouse_spleen().shape  # doctest: +SKIP
    (1970, 15768)
    """
    return _fetched("mouse_spleen")


def brain_reads() -> AnnData:
    """Fetch full-length reads of 466 cells of human brain: SMARTer on Fluidigm C1.

    21,627 genes, half a million reads per cell, 80 % zeros. The file (7 MB) is looked for, checked
    and cached as weights are (:func:`scdtl.pretrained.fetch`).

    Returns
    -------
    An AnnData with read counts in ``X`` (CSR, float32). In ``obs``, ``"cell_type"`` has the
    authors' nine types, which they took from clusters ("hybrid" look like two cells), and
    ``"age"`` and ``"stage"`` (adult or fetal) are those of the donor. ``uns["source"]`` names the
    table.

    Raises
    ------
    FileNotFoundError, ConnectionError, ValueError, OSError
        If the file can't be had, as of :func:`scdtl.pretrained.fetch`.

    Notes
    -----
    Darmanis et al., PNAS 112, 7285 (2015), GSE67835, in the copy of the repository
    numpde/sta426_deconvo, which states no licence; the data are public at GEO.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.datasets.brain_reads().shape  # doctest: +SKIP
    (466, 21627)
    """
    return _fetched("brain_reads")


def toy(
    n_obs: int = 60,
    n_vars: int = 40,
    n_types: int = 3,
    n_batches: int = 1,
    seed: int = 0,
) -> AnnData:
    """Draw single-cell counts whose true rates are known.

    Every cell type has its own activity of a few gene programmes, the same programmes as in
    :func:`toy_bulk`; every batch but the first multiplies each gene by a gain of its own.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes, named ``GENE0``, ``GENE1``, and so on.
    n_types
        Number of cell types.
    n_batches
        Number of batches.
    seed
        Seed of the draw; the gene programmes do not depend on it.

    Returns
    -------
    An AnnData with Poisson counts in ``X`` (CSR, float32), their expected values in
    ``layers["rates"]``, and ``obs["cell_type"]`` and ``obs["batch"]``.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy(n_batches=2)
    >>> adata.layers["rates"].shape
    (60, 40)
    """
    rng = np.random.default_rng(seed)
    baseline, programmes = _gene_programmes(n_vars)
    activity = rng.normal(scale=1.2, size=(n_types, _N_PROGRAMMES))
    types, batches = np.arange(n_obs) % n_types, rng.permutation(np.arange(n_obs) % n_batches)
    jitter = rng.normal(scale=0.3, size=(n_obs, _N_PROGRAMMES))
    gains = np.vstack([np.zeros(n_vars), rng.normal(scale=0.7, size=(n_batches - 1, n_vars))])
    library_size = n_vars * rng.lognormal(mean=np.log(3), sigma=0.4, size=(n_obs, 1))
    logits = baseline + (activity[types] + jitter) @ programmes.T + gains[batches]
    return _poisson_anndata(
        library_size * _softmax(logits),
        rng,
        {
            "cell_type": [f"type{number}" for number in types],
            "batch": [f"batch{number}" for number in batches],
        },
        prefix="CELL",
    )


def toy_bulk(n_samples: int = 30, n_vars: int = 40, seed: int = 0) -> AnnData:
    """Draw bulk counts that share gene programmes with :func:`~scdtl.datasets.toy`.

    Parameters
    ----------
    n_samples
        Number of samples.
    n_vars
        Number of genes, named as in :func:`~scdtl.datasets.toy`.
    seed
        Seed of the draw; the gene programmes do not depend on it.

    Returns
    -------
    An AnnData with Poisson counts in ``X`` (CSR, float32), their expected values in
    ``layers["rates"]``, and ``obs["study"]`` and ``obs["tissue"]``.

    Examples
    --------
    >>> import scdtl
    >>> bulk = scdtl.datasets.toy_bulk()
    >>> bulk.obs["study"].nunique()
    3
    """
    n_studies, n_tissues = 3, 5
    rng = np.random.default_rng([seed, 1])
    baseline, programmes = _gene_programmes(n_vars)
    activity = rng.normal(scale=1.0, size=(n_tissues, _N_PROGRAMMES))
    studies, tissues = np.arange(n_samples) % n_studies, rng.integers(n_tissues, size=n_samples)
    jitter = rng.normal(scale=0.5, size=(n_samples, _N_PROGRAMMES))
    gains = rng.normal(scale=0.3, size=(n_studies, n_vars))
    library_size = n_vars * rng.lognormal(mean=np.log(2_000), sigma=0.3, size=(n_samples, 1))
    logits = baseline + (activity[tissues] + jitter) @ programmes.T + gains[studies]
    return _poisson_anndata(
        library_size * _softmax(logits),
        rng,
        {
            "study": [f"study{number}" for number in studies],
            "tissue": [f"tissue{number}" for number in tissues],
        },
        prefix="SAMPLE",
    )


def _fetched(name: str) -> AnnData:
    import anndata

    from scdtl.pretrained._fetch import fetch_file
    from scdtl.pretrained._registry import data_sets

    return anndata.read_h5ad(fetch_file(data_sets()[name]))


def _counts_from_log(scaled: csr_matrix) -> csr_matrix:
    from scipy.sparse import csr_matrix

    counts = csr_matrix(scaled, dtype=np.float64, copy=True)
    np.expm1(counts.data, out=counts.data)
    one_molecule = np.minimum.reduceat(counts.data, counts.indptr[:-1])
    counts.data /= np.repeat(one_molecule, np.diff(counts.indptr))
    whole = np.rint(counts.data)
    if np.abs(counts.data - whole).max() > 0.2:
        raise ValueError(
            "The values of scanpy.datasets.pbmc68k_reduced() are not scaled integers: this "
            "version of scanpy ships another file. Please report it at scdtl's issue tracker."
        )
    counts.data = whole
    return counts.astype(np.float32)


def _gene_programmes(n_vars: int) -> tuple[np.ndarray, np.ndarray]:
    """Log baseline and programme loadings; a gene's do not depend on the number of genes."""
    draws = np.random.default_rng(68).normal(size=(n_vars, 1 + _N_PROGRAMMES))
    return draws[:, 0], 0.6 * draws[:, 1:]


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _poisson_anndata(
    rates: np.ndarray, rng: np.random.Generator, labels: dict[str, list[str]], prefix: str
) -> AnnData:
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    n_obs, n_vars = rates.shape
    names = [f"{prefix}{number}" for number in range(n_obs)]
    return anndata.AnnData(
        X=csr_matrix(rng.poisson(rates), dtype=np.float32),
        obs=pd.DataFrame(labels, index=names, dtype="category"),
        var=pd.DataFrame(index=[f"GENE{number}" for number in range(n_vars)]),
        layers={"rates": rates.astype(np.float32)},
    )
