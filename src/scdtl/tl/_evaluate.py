"""evaluate(): cross-validation of imputation on the user's own counts."""

from __future__ import annotations

import importlib
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from tqdm.auto import tqdm

from scdtl._constants import DEFAULT_BULK
from scdtl._random import local_seed
from scdtl._settings import only_warnings
from scdtl.data._checks import check_input
from scdtl.data._counts import gene_totals
from scdtl.data._features import genes_only
from scdtl.model._bulk_weights import are_samples, as_weights
from scdtl.tl._entries import Entries
from scdtl.tl._evaluation import Evaluation
from scdtl.tl._measures import WITH_POSTERIOR
from scdtl.tl._posterior import are_counts, with_posterior
from scdtl.tl._scores import Molecules
from scdtl.tl.peers._chosen import chosen
from scdtl.tl.peers._peer import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scdtl.data._noise_of import Noise
    from scdtl.model import BulkDAE
    from scdtl.pretrained import BulkWeights
    from scdtl.tl.peers._peer import Peer

logger = logging.getLogger("scdtl")

_IMPUTE_KWARGS = (
    "max_epochs",
    "batch_size",
    "accelerator",
    "devices",
    "model_kwargs",
    "train_kwargs",
)


def evaluate(
    adata: AnnData,
    *,
    layer: str | None = None,
    noise: Noise = "auto",
    methods: Sequence[str | Callable[[AnnData], Any]] | None = None,
    bulk: str | Path | BulkDAE | BulkWeights | AnnData | None = DEFAULT_BULK,
    batch_key: str | None = None,
    held_out_fraction: float = 0.1,
    n_splits: int = 1,
    random_state: int = 0,
    verbose: bool | None = None,
    **impute_kwargs: Any,
) -> Evaluation:
    r"""Measure on your own counts how well imputation predicts held-out data.

    For UMIs, every molecule is held out with probability `held_out_fraction` (molecular
    cross-validation). Each method sees only the other molecules. Its rates, scaled to the cell's
    number of held-out molecules, are scored on the held-out ones: once as the method returned them
    and once, in a separate row, with the gamma-Poisson posterior that is built into scdtl.

    For reads, which are copies of few molecules, every entry is held out with that probability,
    zeros included. The methods see a zero there, and are scored on log1p of counts per 10,000 at
    these entries.

    ``adata`` is not changed.

    Parameters
    ----------
    adata
        Cells × genes with raw counts (sparse or dense), gene names in ``var_names``; features of
        other types are left out.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.
    noise
        As in :func:`scdtl.pp.impute`.
    methods
        Some of ``"observed"`` (no denoising), ``"mean profile"`` (of all cells), ``"scdtl"``,
        ``"knn smoothing"`` (15 neighbours), ``"alra"``, ``"magic"`` and ``"magic on logs"`` (need
        magic-impute), ``"cellmapper"`` (needs cellmapper) and ``"scvi"`` (slow); or functions of
        your own that take an AnnData with the kept counts in ``X`` (CSR) and return rates, cells ×
        genes, not negative and on a linear scale. ``None`` for all of these that are installed,
        except ``"scvi"`` and, for UMIs, ``"magic on logs"``.
    bulk
        As in :func:`scdtl.pp.impute`; for ``"scdtl"``.
    batch_key
        Column of ``obs`` with the batch of each cell; for ``"scdtl"`` and ``"scvi"``.
    held_out_fraction
        Probability that a molecule (for reads, an entry) is held out, between 0 and 1.
    n_splits
        Number of random splits; scores are means over them.
    random_state
        Seed. Split i (from 0) uses the seed ``random_state + i``.
    verbose
        Show a progress bar; as in :func:`scdtl.pp.impute`.
    **impute_kwargs
        ``max_epochs``, ``batch_size``, ``accelerator``, ``devices``, ``model_kwargs`` and
        ``train_kwargs`` of :func:`scdtl.pp.impute`; for ``"scdtl"``.

    Returns
    -------
    The scores per method and per gene, with a verdict in words, a plot and a report.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the input is not raw counts, or an argument is not as described.
    ImportError
        If a method requested by name is not installed.

    Notes
    -----
    The methods see less data than you have, so each does a little better on all of it.

    Rows called ``"... + posterior"`` (UMIs only) are a method's rates, scaled to the cell's
    library size and corrected by the cell's own count :math:`c` to :math:`\mu (1 + \varphi c) /
    (1 + \varphi \mu)`, with each gene's dispersion :math:`\varphi` estimated by moments. ``"mean
    profile + posterior"`` uses only each gene's mean and the cell's own counts; it is the baseline
    that imputation has to beat.

    For reads, the mean profile is the mean of each gene's logarithms, and scdtl runs with
    ``own_counts=False``, as held-out entries count as not measured.

    References
    ----------
    Batson, Royer and Webber, bioRxiv 786269 (2019): molecular cross-validation.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> evaluation = scdtl.tl.evaluate(adata, methods=["observed", "mean profile"])
    >>> evaluation.scores["poisson_score"].round(2).to_dict()
    {'observed': 0.0, 'mean profile': 0.48, 'mean profile + posterior': 0.56}
    >>> scdtl.tl.evaluate(adata).to_html("evaluation.html")  # doctest: +SKIP
    """
    counts, found = check_input(adata, layer=layer, batch_key=batch_key, noise=noise)
    adata = genes_only(adata)
    _check_settings(held_out_fraction, n_splits, random_state, impute_kwargs)
    peers = chosen(methods, found.noise)
    obs = adata.obs[[]] if batch_key is None else adata.obs[[batch_key]]
    scores: list[pd.DataFrame] = []
    explained: list[pd.DataFrame] = []
    n_held_out = np.zeros(adata.n_vars)
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)
    if verbose and noise == "auto":
        logger.info("Counts treated as %s: %s.", found.noise.replace("umi", "UMIs"), found.why)
    start = bulk
    if "scdtl" in peers and are_samples(bulk):  # trained once, and not for each split
        with local_seed(random_state):
            start = as_weights(bulk, adata.var_names, verbose)
    n_runs = n_splits * len(peers)
    with tqdm(total=n_runs, desc="Evaluating", unit="method", disable=not verbose) as bar:
        for i in range(n_splits):
            options = Options(
                random_state + i, batch_key, start, {"verbose": False} | impute_kwargs, found.noise
            )
            hold_out = Entries.split if found.noise == "reads" else Molecules.split
            split = hold_out(counts, held_out_fraction, options.seed)
            n_held_out += split.n_held_out / n_splits
            rows, columns = {}, {}
            for name, peer in peers.items():
                bar.set_postfix_str(name)
                # A copy for each, so that none can change what the next one gets.
                cells = AnnData(split.kept.copy(), obs=obs.copy(), var=adata.var[[]].copy())
                for line, row, column in _scored(name, peer, cells, options, split):
                    rows[line], columns[line] = row, column
                bar.update()
            scores.append(pd.DataFrame.from_dict(rows, orient="index"))
            explained.append(pd.DataFrame(columns, index=adata.var_names))
    genes = sum(explained[1:], explained[0]) / n_splits  # NaN unless scored in every split
    genes["n_held_out"] = n_held_out
    genes["mean_count"] = gene_totals(counts) / adata.n_obs
    return Evaluation(
        scores=(sum(scores[1:], scores[0]) / n_splits).rename_axis("method"),
        genes=genes.rename_axis("gene"),
        settings={
            "n_cells": adata.n_obs,
            "n_genes": adata.n_vars,
            "layer": layer,
            "noise": found.noise,
            "methods": list(peers),
            "bulk": bulk if bulk is None or isinstance(bulk, str) else _described(bulk),
            "batch_key": batch_key,
            "held_out_fraction": held_out_fraction,
            "n_splits": n_splits,
            "random_state": random_state,
            **impute_kwargs,
        },
        packages=tuple(peer.package for peer in peers.values() if peer.package),
    )


def _scored(
    name: str, peer: Peer, cells: AnnData, options: Options, split: Molecules | Entries
) -> Iterator[tuple[str, dict[str, float], NDArray[np.floating]]]:
    """Row and column of a method as it is and, of UMIs, with the posterior."""
    with only_warnings():
        predicted, seconds = _timed(peer, cells, options)
    row, column = split.score(name, predicted)
    yield name, row | {"seconds": seconds}, column
    if isinstance(split, Entries) or peer.has_posterior or are_counts(predicted, split.kept):
        return
    predicted = with_posterior(predicted, split.kept)
    name += WITH_POSTERIOR
    row, column = split.score(name, predicted)
    yield name, row | {"seconds": seconds}, column


def _timed(peer: Peer, cells: AnnData, options: Options) -> tuple[Any, float]:
    for module in peer.modules:  # importing is not the method's time
        importlib.import_module(module)
    start = time.perf_counter()
    rates = peer.run(cells, options)
    return rates, time.perf_counter() - start


def _check_settings(
    held_out_fraction: float, n_splits: int, random_state: int, impute_kwargs: dict[str, Any]
) -> None:
    if not (isinstance(held_out_fraction, int | float | np.number) and 0 < held_out_fraction < 1):
        raise ValueError(
            f"held_out_fraction must lie between 0 and 1, as 0.1; got {held_out_fraction!r}."
        )
    if not isinstance(n_splits, int | np.integer) or n_splits < 1:
        raise ValueError(f"n_splits must be a whole number, 1 or more; got {n_splits!r}.")
    if not isinstance(random_state, int | np.integer) or random_state < 0:
        raise ValueError(f"random_state must be a whole number, 0 or more; got {random_state!r}.")
    unknown = [name for name in impute_kwargs if name not in _IMPUTE_KWARGS]
    if unknown:
        raise TypeError(
            f"evaluate() has no argument {', '.join(unknown)}; of impute's it takes "
            f"{', '.join(_IMPUTE_KWARGS)}."
        )


def _described(bulk: Any) -> str:
    from pathlib import Path

    return str(bulk) if isinstance(bulk, Path) else type(bulk).__name__
