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
    :math:`h` from the other genes.

    Parameters
    ----------
    n_genes, n_components
        Number of genes and components; without components the prediction is 0.
    """

    loadings: torch.Tensor
    solve: torch.Tensor
    leverage: torch.Tensor
    correction: torch.Tensor
    by_own: torch.Tensor

    def __init__(self, n_genes: int, n_components: int):
        super().__init__()
        self.register_buffer("loadings", torch.zeros(n_genes, n_components))
        self.register_buffer("solve", torch.zeros(n_components, n_components))
        self.register_buffer("leverage", torch.zeros(n_genes))
        self.register_buffer("correction", torch.zeros(n_genes, n_components))
        self.register_buffer(
            "by_own", torch.zeros(n_genes)
        )  # what a residual does to itself by it

    def regress_on(self, measured: torch.Tensor, noise: float) -> None:
        """Fit the regression on the genes that are measured, with that variance of the noise."""
        self.solve.copy_(ridge_inverse(self.loadings[measured], RIDGE * max(noise, 1e-6)))
        of_own = (self.loadings @ self.solve * self.loadings).sum(1)
        self.leverage.copy_(of_own * measured)  # genes that were not measured add nothing

    def correct(self, correction: torch.Tensor) -> None:
        """Take what the cells say of each gene, genes × components, besides bulk."""
        self.correction.copy_(correction)
        self.by_own.copy_((correction * self.of_own).sum(1))

    def forget_cells(self) -> None:
        """Go by bulk alone."""
        self.correction.zero_()
        self.by_own.zero_()

    def clear(self) -> None:
        """Predict nothing."""
        self.loadings.zero_()
        self.solve.zero_()
        self.leverage.zero_()
        self.forget_cells()

    def forward(self, deviation: torch.Tensor) -> torch.Tensor:
        """Log-ratios of cells × genes."""
        if not self.solve.any():
            return torch.zeros_like(deviation)
        components = self.components(deviation)
        by_bulk = self.by_bulk(components, deviation)
        if not self.by_own.any():
            return by_bulk
        return by_bulk + self.by_cells(components, deviation - by_bulk)

    def components(self, deviation: torch.Tensor) -> torch.Tensor:
        """Components of cells, by all of their genes."""
        return deviation @ self.loadings @ self.solve

    @property
    def of_own(self) -> torch.Tensor:
        """What the own residual of each gene adds to the components of its cell."""
        return self.loadings @ self.solve

    def by_bulk(self, components: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """What bulk says, by the other genes."""
        with_own = components @ self.loadings.T
        return (with_own - self.leverage * deviation) / (1 - self.leverage)

    def by_cells(self, components: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """What the correction adds, by the other genes.

        Residuals are deviations less what bulk says of them.
        """
        return components @ self.correction.T - self.by_own * residual


def ridge_inverse(loadings: torch.Tensor, ridge: float) -> torch.Tensor:
    """Inverse of the components' inner products plus the ridge."""
    inner = (loadings.T @ loadings).double()
    inner.diagonal().add_(ridge)
    return torch.linalg.inv(inner).to(loadings.dtype)
