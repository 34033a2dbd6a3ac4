"""Scores of imputed expression: arrays in, numbers or arrays out.

Matrices are cells × genes, dense or SciPy sparse. A sparse one is made dense at most a block of
rows at a time.
"""

from scdtl.metrics._errors import l1, mse, pearson, rmse
from scdtl.metrics._poisson import gene_deviance_explained, poisson_deviance, poisson_score

__all__ = [
    "gene_deviance_explained",
    "l1",
    "mse",
    "pearson",
    "poisson_deviance",
    "poisson_score",
    "rmse",
]
