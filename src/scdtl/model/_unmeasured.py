"""Genes that were not measured, from those that were, as bulk knows them to go together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import RidgeCV

from scdtl.data._cell_order import sampled_cells
from scdtl.model._transfer import matches_of
from scdtl.module._co_expression import ridge_inverse
from scdtl.module._dae import CP10K

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scdtl.model import SCDTL
    from scdtl.pretrained import BulkWeights

_RIDGE = 3.0  # times the components' mean square
_N_FOLDS = 5
_MAX_CELLS = 2_000  # that folds are hidden from
_MIN_GENES = 20
_CLOSENESS = 4  # power of the cosine by which co-expressed genes count
_PENALTIES = np.logspace(-2, 2, 9)


@dataclass(frozen=True)
class Genes:
    """What bulk says of some genes."""

    loadings: np.ndarray  # genes × components of co-expression
    level: np.ndarray  # proportions in the mean profile

    @classmethod
    def of(cls, weights: BulkWeights, position: np.ndarray) -> Genes:
        """Those at some positions of the weights."""
        level = np.exp(weights.tensors["log_mean"][position])
        return cls(weights.tensors["co_expression"][position], level)

    def at(self, chosen: np.ndarray) -> Genes:
        """Some of these."""
        return Genes(self.loadings[chosen], self.level[chosen])

    def rates(self, log_ratios: np.ndarray) -> np.ndarray:
        """Proportions, cells × genes, whose mean over the cells is the level."""
        ratios = np.exp(log_ratios)
        return ratios * (self.level / ratios.mean(0))


class Unmeasured:
    """Predicts genes that the cells of a trained model lack.

    A cell's components follow from its measured genes by ridge regression on their loadings; what
    is regressed is the mean of what was measured and what the network predicts, as deviations
    from the mean profile. Measured genes that are hidden, in folds, tell how far that reaches.

    Parameters
    ----------
    model
        Trained on the measured genes.
    weights
        Bulk weights with co-expression.
    """

    def __init__(self, model: SCDTL, weights: BulkWeights):
        self.predictor = model._predictor(model._query(None))
        self.counts, self.batch_index = model._registered()
        module = model.module
        matched = matches_of(weights, model.get_var_names()).position[
            module.gene_order.cpu().numpy()
        ]
        self.columns = np.flatnonzero((matched >= 0) & module.has_counts.cpu().numpy())
        self.measured = Genes.of(weights, matched[self.columns])
        self.some = sampled_cells(
            self.counts,
            self.batch_index,
            model.gene_keys_,
            0,
            _MAX_CELLS,
            module.log_mean.shape[0],
        )
        library_size = np.asarray(self.counts[self.some].sum(1)).ravel()
        self.library_size = float(np.median(library_size)) / self.measured.level.sum()

    def log_ratios(self, genes: Genes) -> np.ndarray:
        """Log-ratios of genes to their mean, cells × genes."""
        everything = np.ones(len(self.columns), dtype=bool)
        return self._reach * self._predict(everything, genes, slice(None))

    def expected_r(self, genes: Genes, log_ratios: np.ndarray) -> np.ndarray:
        """Correlation over cells with what a measurement as deep as that of the others would give.

        By two features without intercept, so that what is predicted flat promises nothing: the
        correlation that counting noise would leave if the prediction were true; and what
        co-expressed genes reached, times the root of the prediction's spread. NaN where fewer than
        20 measured genes can tell.
        """
        if len(self.columns) < _MIN_GENES:
            return np.full(len(genes.level), np.nan)
        reached, features = np.empty(len(self.columns)), np.empty((len(self.columns), 2))
        predicted = [(hidden, self._reach * values) for hidden, values in self._blind]
        for hidden, values in predicted:
            reached[hidden] = _correlation(values, self._observed[:, hidden])
        for hidden, values in predicted:
            asked, shown = self.measured.at(hidden), self.measured.at(~hidden)
            features[hidden] = self._features(asked, values, shown, reached[~hidden])
        size = features.std(0).clip(1e-12)
        fit = RidgeCV(_PENALTIES, fit_intercept=False).fit(features / size, reached)
        asked_features = self._features(genes, log_ratios, self.measured, reached)
        return fit.predict(asked_features / size).clip(-1, 1)

    def _features(
        self, genes: Genes, log_ratios: np.ndarray, shown: Genes, reached: np.ndarray
    ) -> np.ndarray:
        rates = genes.rates(log_ratios)
        spread = rates.std(0)
        if_true = spread / np.sqrt(spread**2 + rates.mean(0) / self.library_size + 1e-30)
        closeness = _directions(genes.loadings) @ _directions(shown.loadings).T
        closeness = closeness.clip(0) ** _CLOSENESS
        of_neighbours = closeness @ reached / (closeness.sum(1) + 1e-9)
        return np.column_stack([if_true, np.sqrt(log_ratios.std(0)) * of_neighbours])

    @cached_property
    def _blind(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folds of measured genes, and their log-ratios as the others predict them."""
        # Neighbours along the U-Net are in different folds.
        fold_of = np.arange(len(self.columns)) % _N_FOLDS
        folds = [fold_of == fold for fold in range(min(_N_FOLDS, len(self.columns)))]
        return [
            (hidden, self._predict(~hidden, self.measured.at(hidden), self.some))
            for hidden in folds
        ]

    @cached_property
    def _observed(self) -> np.ndarray:
        """Log-normalised counts of the measured genes in the same cells."""
        counts = self._minibatches(self.some)
        blocks = [
            torch.log1p(CP10K * block / block.sum(1, keepdim=True).clamp(min=1)).cpu().numpy()
            for _, block, _ in counts
        ]
        return np.concatenate(blocks)[:, self.columns]

    @cached_property
    def _reach(self) -> float:
        """Factor under which blind predictions fit best."""
        products = squares = 0.0
        for hidden, values in self._blind:
            observed = self._observed[:, hidden] - self._observed[:, hidden].mean(0)
            products += float((values * observed).sum())
            squares += float((values * values).sum())
        return max(products / squares, 0.0) if squares > 0 else 0.0

    @torch.inference_mode()
    def _predict(self, shown: np.ndarray, genes: Genes, cells: np.ndarray | slice) -> np.ndarray:
        """Log-ratios of genes as some of the measured ones tell them, centred on their mean."""
        module = self.predictor.module
        loadings = torch.from_numpy(self.measured.loadings[shown])
        size = float(loadings.square().sum(0).mean().clamp(min=1e-12))
        regression = loadings @ ridge_inverse(loadings, _RIDGE * size)
        hidden = torch.zeros(module.log_mean.shape[1], dtype=torch.bool, device=module.device)
        hidden[self.columns[~shown]] = True
        components = []
        for _, counts, batch in self._minibatches(cells):
            counts = counts.masked_fill(hidden, torch.nan)
            both = module.log_ratios(counts, batch, batch) + module.deviation(counts, batch)
            components.append((both / 2)[:, self.columns[shown]].cpu() @ regression)
        of_cells = torch.cat(components)
        return ((of_cells - of_cells.mean(0)).numpy() @ genes.loadings.T).astype(np.float32)

    def _minibatches(
        self, cells: np.ndarray | slice
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        return self.predictor.minibatches(self.counts[cells], self.batch_index[cells])


def _directions(loadings: np.ndarray) -> np.ndarray:
    return loadings / np.linalg.norm(loadings, axis=1, keepdims=True).clip(1e-9)


def _correlation(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Of each gene over the cells; 0 where either is constant."""
    predicted, observed = (x - x.mean(0) for x in (predicted, observed))
    norms = np.linalg.norm(predicted, axis=0) * np.linalg.norm(observed, axis=0)
    return (predicted * observed).sum(0) / np.maximum(norms, 1e-12)
