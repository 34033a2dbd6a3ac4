"""Co-expression: a linear prediction of each gene from the others, as bulk knows them to go."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import nn

from scdtl.module._dae import CP10K

MAX_COMPONENTS = 128
RIDGE = 100.0
"""Ridge, as a multiple of the noise: loadings add up over the studies."""
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
    shared = ~np.isnan(expression).any(0)
    if not (expression[:, shared] > 0).any(1).all():
        shared = np.ones_like(shared)
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
    n_components = min(MAX_COMPONENTS, min(deviation.shape) - 1)
    _, values, components = randomized_svd(deviation, n_components, n_iter=_N_ITER, random_state=0)
    return (components.T * values).astype(np.float32)


class CoExpression(nn.Module):
    r"""Log-ratios by ridge regression on what a cell shows; nothing here is trained.

    With loadings :math:`V` (genes × components), the components of a cell with deviations
    :math:`x` are :math:`h = (V^T V + \lambda I)^{-1} V^T x`, and its log-ratios :math:`V h`: the
    best linear prediction if genes have the covariance :math:`V V^T`, in noise that is alike for
    all. Each gene is predicted from the others: what its own count adds is taken out, in closed
    form, :math:`(Vh - a x) / (1 - a)` with the leverage :math:`a`, the diagonal of
    :math:`V (V^T V + \lambda I)^{-1} V^T`. The posterior looks at the own count.

    Parameters
    ----------
    n_genes, n_components
        Number of genes and components; without components the prediction is 0.
    """

    loadings: torch.Tensor
    solve: torch.Tensor
    leverage: torch.Tensor

    def __init__(self, n_genes: int, n_components: int):
        super().__init__()
        self.register_buffer("loadings", torch.zeros(n_genes, n_components))
        self.register_buffer("solve", torch.zeros(n_components, n_components))
        self.register_buffer("leverage", torch.zeros(n_genes))

    def regress_on(self, measured: torch.Tensor, noise: float) -> None:
        """Fit the regression on the genes that are measured, with that variance of the noise."""
        self.solve.copy_(ridge_inverse(self.loadings[measured], RIDGE * max(noise, 1e-6)))
        of_own = (self.loadings @ self.solve * self.loadings).sum(1)
        self.leverage.copy_(of_own * measured)  # genes that were not measured add nothing

    def clear(self) -> None:
        """Predict nothing."""
        self.loadings.zero_()
        self.solve.zero_()
        self.leverage.zero_()

    def forward(self, deviation: torch.Tensor) -> torch.Tensor:
        """Log-ratios of cells × genes."""
        if not self.solve.any():
            return torch.zeros_like(deviation)
        with_own = deviation @ self.loadings @ self.solve @ self.loadings.T
        return (with_own - self.leverage * deviation) / (1 - self.leverage)


def ridge_inverse(loadings: torch.Tensor, ridge: float) -> torch.Tensor:
    """Inverse of the components' inner products plus the ridge."""
    inner = (loadings.T @ loadings).double()
    inner.diagonal().add_(ridge)
    return torch.linalg.inv(inner).to(loadings.dtype)
