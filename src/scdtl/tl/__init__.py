"""Tools: whether the imputation is right on the data at hand, and tests that are."""

from scdtl.tl._evaluate import evaluate
from scdtl.tl._evaluation import Evaluation
from scdtl.tl._rank_genes_groups import rank_genes_groups

__all__ = ["Evaluation", "evaluate", "rank_genes_groups"]
