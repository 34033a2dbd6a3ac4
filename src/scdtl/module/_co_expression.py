"""Co-expression: a linear prediction of each gene from the others, as bulk knows them to go."""

from __future__ import annotations

import torch
from torch import nn

RIDGE = 100.0
"""Ridge, as a multiple of the noise: loadings add up over the studies."""


class CoExpression(nn.Module):
    r"""Log-ratios by ridge regression on what a cell shows; no gradient trains it.

    With loadings :math:`V` (genes × components), the components of a cell with deviations
    :math:`x` are :math:`h = (V^T V + \lambda I)^{-1} V^T x`, and its log-ratios :math:`V h`: the
    best linear prediction if genes have the covariance :math:`V V^T`, in noise that is alike for
    all. Each gene is predicted from the others: what its own count adds is taken out, in closed
    form, :math:`(Vh - a x) / (1 - a)` with the leverage :math:`a`, the diagonal of
    :math:`V (V^T V + \lambda I)^{-1} V^T`. The posterior looks at the own count. Cells may correct
    what bulk says of a gene: with a correction :math:`D` of its row, :math:`D h` is added, with
    :math:`h` from the other genes. All of it is one product with rows and one with the own count.

    Parameters
    ----------
    n_genes, n_components
        Number of genes and components; without components the prediction is 0.
    """

    loadings: torch.Tensor
    solve: torch.Tensor
    leverage: torch.Tensor
    rows: torch.Tensor
    own: torch.Tensor

    def __init__(self, n_genes: int, n_components: int):
        super().__init__()
        self.register_buffer("loadings", torch.zeros(n_genes, n_components))
        self.register_buffer("solve", torch.zeros(n_components, n_components))
        self.register_buffer("leverage", torch.zeros(n_genes))
        # What a gene takes from the components, and what of that is its own count's to take out.
        self.register_buffer("rows", torch.zeros(n_genes, n_components))
        self.register_buffer("own", torch.zeros(n_genes))

    def regress_on(self, measured: torch.Tensor, noise: float) -> None:
        """Fit the regression on the genes that are measured, with that variance of the noise."""
        self.solve.copy_(ridge_inverse(self.loadings[measured], RIDGE * max(noise, 1e-6)))
        leverage = (self.loadings * self.of_own).sum(1)
        self.leverage.copy_(leverage * measured)  # genes that were not measured add nothing
        self.forget_cells()

    def correct(self, correction: torch.Tensor) -> None:
        """Take what the cells say of each gene, genes × components, besides bulk."""
        by_own = (correction * self.of_own).sum(1)
        others = 1 - self.leverage
        self.rows.copy_(self.loadings * ((1 + by_own) / others)[:, None] + correction)
        self.own.copy_((self.leverage + by_own) / others)

    def forget_cells(self) -> None:
        """Go by bulk alone."""
        self.correct(torch.zeros_like(self.loadings))

    def clear(self) -> None:
        """Predict nothing."""
        for buffer in self.buffers():
            buffer.zero_()

    def forward(self, deviation: torch.Tensor) -> torch.Tensor:
        """Log-ratios of cells × genes."""
        if not self.solve.any():
            return torch.zeros_like(deviation)
        return self.by_others(self.components(deviation), deviation)

    def components(self, deviation: torch.Tensor) -> torch.Tensor:
        """Components of cells, by all of their genes."""
        return deviation @ self.loadings @ self.solve

    @property
    def of_own(self) -> torch.Tensor:
        """What the own deviation of each gene adds to the components of its cell."""
        return self.loadings @ self.solve

    def by_others(self, components: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """Log-ratios by the other genes of each."""
        return torch.addcmul(components @ self.rows.T, deviation, self.own, value=-1)


def ridge_inverse(loadings: torch.Tensor, ridge: float) -> torch.Tensor:
    """Inverse of the components' inner products plus the ridge."""
    inner = (loadings.T @ loadings).double()
    inner.diagonal().add_(ridge)
    return torch.linalg.inv(inner).to(loadings.dtype)
