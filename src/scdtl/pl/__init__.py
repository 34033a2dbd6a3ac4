"""Plotting: figures of the imputation and of how far to trust it."""

from scdtl.pl._attention import attention
from scdtl.pl._dropout import dropout
from scdtl.pl._evaluate import evaluate, evaluate_genes
from scdtl.pl._history import history
from scdtl.pl._observed import gene_scatter, observed_vs_imputed
from scdtl.pl._trust import trust
from scdtl.pl._unmeasured import unmeasured

__all__ = [
    "attention",
    "dropout",
    "evaluate",
    "evaluate_genes",
    "gene_scatter",
    "history",
    "observed_vs_imputed",
    "trust",
    "unmeasured",
]
