"""The demo: few and shallow cells imputed, judged by molecules that were taken from them."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scdtl.tl import Evaluation

logger = logging.getLogger("scdtl")

N_CELLS, HELD_OUT, SEED = 100, 2 / 3, 0

KINDS = {
    "T": ("CD4+", "CD8+"),
    "NK": ("CD56+",),
    "B": ("CD19+",),
    "Monocytes": ("CD14+",),
    "Dendritic": ("Dendritic",),
}
BROKEN = {"Monocytes": "Mono-\ncytes", "Dendritic": "Den-\ndritic"}
MARKERS = ("CD3D", "CD3E", "IL32", "NKG7", "GNLY", "CD79A", "MS4A1", "LYZ", "CST3", "FCER1A")
"""Genes whose cells are known, in the order of the kinds."""


def run_demo(out_dir: Path) -> pd.DataFrame:
    """Write ``pbmc68k_imputed.h5ad`` and ``demo.png``, say what was gained; return the scores."""
    from scdtl.tl import evaluate
    from scdtl.tl.peers import load

    out_dir.mkdir(parents=True, exist_ok=True)
    deep = _cells()
    others = ["observed", "mean profile", "knn smoothing", "magic"]
    installed = [name for name in others if load(name).is_installed]
    with _one_thread():
        logger.info("comparing methods on held-out molecules of %d × %d", *deep.shape)
        evaluation = evaluate(
            deep,
            methods=[*installed, _without_bulk, "scdtl"],
            held_out_fraction=HELD_OUT,
            random_state=SEED,
            verbose=False,
        )
        logger.info("imputing")
        shallow = _imputed(deep)
    scores = _scores(evaluation)
    shallow.write_h5ad(out_dir / "pbmc68k_imputed.h5ad")
    _draw(shallow, scores).savefig(out_dir / "demo.png", dpi=150)
    print(_words(shallow, evaluation, scores))
    print(f"\nWrote {out_dir / 'pbmc68k_imputed.h5ad'} and {out_dir / 'demo.png'}.")
    return scores


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, as small data on a busy machine mostly wait for a second."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _cells() -> AnnData:
    """Some cells at random, sorted by kind."""
    from scdtl.datasets import pbmc68k_counts

    cells = pbmc68k_counts()
    chosen = np.random.default_rng(SEED).choice(cells.n_obs, N_CELLS, replace=False)
    cells = cells[chosen].copy()
    labels = cells.obs["bulk_labels"].astype(str)
    cells.obs["kind"] = "other"
    for kind, starts in KINDS.items():
        cells.obs.loc[labels.str.startswith(starts), "kind"] = kind
    position = cells.obs["kind"].map({kind: at for at, kind in enumerate(KINDS)})
    return cells[np.argsort(position.fillna(len(KINDS)).to_numpy(), kind="stable")].copy()


def _imputed(deep: AnnData) -> AnnData:
    """The molecules that evaluate() shows the methods, imputed, and the held-out ones beside."""
    from scdtl.pp import impute
    from scdtl.tl._scores import Molecules

    split = Molecules.split(deep.X, HELD_OUT, SEED)
    shallow = deep.copy()
    shallow.X, shallow.layers["held_out"] = split.kept, split.held_out
    depth = np.asarray(split.held_out.sum(axis=1)).ravel().tolist()
    # As the held-out molecules would look on average, to be compared with just these.
    impute(shallow, scale="expected_log1p", library_size=depth, verbose=False)
    return shallow


def _without_bulk(cells: AnnData) -> NDArray[np.floating]:
    from scdtl.pp import impute

    impute(cells, bulk=None, scale="counts", verbose=False)
    return cells.layers["scdtl"]


def _scores(evaluation: Evaluation) -> pd.DataFrame:
    """Mean deviance explained and Poisson score; others with scdtl's posterior, as it helps."""
    from scdtl.pl._methods import name_of

    own = {"observed": "raw counts", "_without_bulk": "scdtl without bulk"}
    shown = [
        "observed",
        "mean profile",
        "mean profile + posterior",
        "knn smoothing + posterior",
        "magic + posterior",
        "_without_bulk",
        "scdtl",
    ]
    columns = {
        "gene_deviance_explained": "deviance explained",
        "poisson_score": "Poisson score",
    }
    scores = evaluation.scores.loc[[name for name in shown if name in evaluation.scores.index]]
    scores = scores[list(columns)].rename_axis(None).rename(columns=columns)
    return scores.rename(index=lambda name: own.get(name, name_of(name)))


def _words(shallow: AnnData, evaluation: Evaluation, scores: pd.DataFrame) -> str:
    """Better than what, by how much, for which genes, with bulk and without."""
    explained = scores["deviance explained"]
    others = explained.drop(["scdtl", "scdtl without bulk"])
    genes = evaluation.genes["scdtl"].dropna().sort_values(ascending=False)
    trusted = shallow.var["scdtl_trusted"].reindex(genes.index)
    most = evaluation.genes["mean_count"].reindex(trusted.index[~trusted]).nlargest(5).index
    depth = np.median(np.asarray(shallow.X.sum(axis=1)))
    return f"""
{shallow.n_obs} blood cells, {shallow.n_vars} genes. Every method saw a third of the molecules
(about {depth:.0f} per cell) and predicted the other two thirds.

{scores.to_string(float_format="{:.3f}".format)}

Deviance explained, mean over genes: 0 is as good as the gene's mean, below it is worse, 1 is
perfect. Poisson score, all entries: 0 is the raw counts, 1 is perfect.

Better than what?  scdtl explains {explained["scdtl"]:.1%}, the best of the others
                   ({others.idxmax()}) {others.max():.1%}.
What is bulk worth?  Without bulk it would be {explained["scdtl without bulk"]:.1%}.
For which genes?  Best: {_list(genes.head(5))}.
                  Worst: {_list(genes.tail(5)[::-1])}.
Which to trust?  scdtl trusts {trusted.sum()} of {len(genes)} genes, judging by the third alone.
                 {(genes[trusted] > 0).mean():.0%} of these are predicted better than by their mean
                 and {(genes[~trusted] > 0).mean():.0%} of the others.
                 Not trusted, of the most abundant: {", ".join(most)}."""


def _list(genes: pd.Series) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in genes.items())


def _draw(shallow: AnnData, scores: pd.DataFrame) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.5, 1))
    panels = {
        "Measured: a third of the molecules": _log1p(shallow, shallow.X),
        "Imputed from these by scdtl": _markers(shallow, shallow.layers["scdtl"]),
        "Truth: the other two thirds": _log1p(shallow, shallow.layers["held_out"]),
    }
    axes = [figure.add_subplot(grid[0, column]) for column in range(3)]
    highest = max(values.max() for values in panels.values())
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(values.T, aspect="auto", vmin=0, vmax=highest, interpolation="none")
        axis.set(title=title, yticks=[])
        _mark_kinds(axis, shallow.obs["kind"])
    axes[0].set_yticks(range(len(MARKERS)), MARKERS, style="italic")
    figure.colorbar(image, ax=axes, label="log1p of counts per 10,000", pad=0.01)
    _draw_scores(figure.add_subplot(grid[1, :]), scores["deviance explained"].iloc[2:])
    return figure


def _log1p(cells: AnnData, counts: object) -> NDArray[np.floating]:
    """Counts of the markers, log-normalised by the library sizes of all genes."""
    import scanpy as sc
    from anndata import AnnData

    normalised = AnnData(counts.copy(), var=cells.var[[]])  # type: ignore[attr-defined]
    sc.pp.normalize_total(normalised, target_sum=1e4)
    sc.pp.log1p(normalised)
    return _markers(cells, normalised.X.toarray())


def _markers(cells: AnnData, values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values[:, cells.var_names.get_indexer(MARKERS)]


def _mark_kinds(axis: Axes, kinds: pd.Series) -> None:
    """Name the kinds below the cells, and part them by lines."""
    edges, ticks, names = [], [], []
    for name in KINDS:
        at = np.flatnonzero(kinds == name)
        edges.append(at[-1] + 0.5)
        ticks.append(at.mean())
        names.append(BROKEN.get(name, name))
    for edge in edges:
        axis.axvline(edge, color="white", linewidth=1)
    axis.set_xticks(ticks, names)
    axis.tick_params(length=0)


def _draw_scores(axis: Axes, explained: pd.Series) -> None:
    from scdtl.pl._methods import colour_of

    bars = axis.barh(explained.index, explained, color=[*map(colour_of, explained.index)])
    axis.bar_label(bars, fmt="%.3f", padding=3)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set(
        title="How well the other two thirds are predicted",
        xlabel="deviance explained, mean over genes (0: the gene's mean, 1: perfect)",
    )
    axis.spines[["top", "right"]].set_visible(False)
