"""Figures for the API pages of scdtl.pl, drawn from real cells when the site is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

import scdtl

if TYPE_CHECKING:
    from pathlib import Path

# What comes before a call on its page, by what the call takes, and a call for each function.
BEFORE = {
    "adata": "scdtl.pp.impute(adata, return_dropout=True)",
    "expected": 'expected = scdtl.pp.impute(adata, scale="expected_log1p", copy=True)',
    "others": "others = scdtl.pp.impute_unmeasured(adata[:, ::2].copy())",
    "model": "model = scdtl.pp.impute(adata, return_model=True)",
    "evaluation": "evaluation = scdtl.tl.evaluate(adata)",
}
CALLS = {
    "attention": "scdtl.pl.attention(model, n_genes=10)",
    "dropout": 'scdtl.pl.dropout(adata, "CD3G", groupby="bulk_labels")',
    "evaluate": "scdtl.pl.evaluate(evaluation)",
    "evaluate_genes": "scdtl.pl.evaluate_genes(evaluation)",
    "gene_scatter": 'scdtl.pl.gene_scatter(expected, "CD3D", "CD79A", color="bulk_labels")',
    "history": "scdtl.pl.history(adata)",
    "observed_vs_imputed": 'scdtl.pl.observed_vs_imputed(expected, ["CD3D", "CD79A", "NKG7"])',
    "trust": 'scdtl.pl.trust(adata, genes=["CD3D", "NKG7", "CST3", "MS4A1"])',
    "unmeasured": "scdtl.pl.unmeasured(others)",
}


def draw(folder: Path) -> None:
    """Draw them all; a short evaluation will do."""
    adata = scdtl.datasets.pbmc68k_counts()
    options = {"return_dropout": True, "return_model": True, "verbose": False}
    model = scdtl.pp.impute(adata, **options)
    expected = adata.copy()
    expected.layers["scdtl"] = model.get_imputed_expression(
        scale="expected_log1p", return_numpy=True, silent=True
    )
    expected.uns["scdtl"]["params"]["scale"] = "expected_log1p"
    others = scdtl.pp.impute_unmeasured(adata[:, ::2].copy(), verbose=False)
    methods = ["mean profile", "scdtl", "knn smoothing", "alra"]
    evaluation = scdtl.tl.evaluate(adata, methods=methods, verbose=False)
    names = {
        "scdtl": scdtl,
        "adata": adata,
        "expected": expected,
        "others": others,
        "model": model,
        "evaluation": evaluation,
    }
    for name, call in CALLS.items():
        eval(call, names)
        plt.savefig(folder / f"pl_{name}.png", dpi=90, bbox_inches="tight")
        plt.close("all")


def lines_for(name: str) -> list[str]:
    """Lines of reStructuredText that show a function's figure below its docstring."""
    if name not in CALLS:
        return []
    takes = CALLS[name].split("(")[1].split(",")[0].rstrip(")")
    code = ["adata = scdtl.datasets.pbmc68k_counts()", BEFORE[takes], CALLS[name]]
    return [
        "",
        "On 700 real blood cells:",
        "",
        ".. code-block:: python",
        "",
        *(f"   {line}" for line in code),
        "",
        f".. image:: ../pl_{name}.png",
        f"   :alt: {getattr(scdtl.pl, name).__doc__.splitlines()[0]}",
        "",
    ]
