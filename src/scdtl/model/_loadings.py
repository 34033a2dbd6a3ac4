"""Which genes go together in bulk: loadings, that weights keep."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from scdtl.model._bulk_samples import shared_genes
from scdtl.module._dae import CP10K

_MAX_COMPONENTS = 128
_N_ITER = 4


def co_expression_loadings(
    expression: np.ndarray, studies: np.ndarray, log_mean: np.ndarray
) -> np.ndarray:
    """Loadings of the genes on the leading components of bulk, genes × components.

    Their products are covariances of genes, in log1p of counts per 10,000 and within studies,
    each of which counts as one sample.

    Parameters
    ----------
    expression
        Samples × genes on a linear scale; NaN where a gene was not measured.
    studies
        Study of each sample.
    log_mean
        Log of the mean profile, genes.
    """
    shared = shared_genes(expression)
    library_size = np.nansum(expression[:, shared], axis=1, keepdims=True)
    library_size = library_size / np.exp(log_mean[shared]).sum()
    deviation = np.log1p(CP10K * expression / library_size)
    for study in np.unique(studies):
        samples = studies == study
        measured = ~np.isnan(deviation[samples]).all(0)
        deviation[np.ix_(samples, measured)] -= np.nanmean(
            deviation[np.ix_(samples, measured)], axis=0
        )
        deviation[samples] /= np.sqrt(samples.sum())
    deviation = np.nan_to_num(deviation)
    n_components = min(_MAX_COMPONENTS, min(deviation.shape) - 1)
    _, values, components = randomized_svd(deviation, n_components, n_iter=_N_ITER, random_state=0)
    return (components.T * values).astype(np.float32)
