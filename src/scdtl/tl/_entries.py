"""Scores of predictions of the held-out entries of one split of reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scdtl import metrics
from scdtl.tl._scores import check_rates_of, dense, mean_of_logs, of_numbers, per_10k
from scdtl.tl.peers._peer import Logs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scdtl.tl.peers._peer import Rates

MIN_POSITIVE = 5
"""Held-out entries that are not zero that a gene needs to be scored."""

_BLOCK_CELLS = 512


class Entries:
    """Counts without the held-out entries, these entries, and scores of predictions of them.

    Parameters
    ----------
    kept
        Counts that are zero where an entry is held out, cells × genes, CSR without stored zeros.
    held_out
        log1p of counts per 10,000 of the whole cell. Stores the held-out entries, zeros too.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from scdtl.tl._entries import Entries
    >>> split = Entries.split(csr_matrix([[60.0, 0.0, 9.0]] * 20), 0.3, seed=0)
    >>> split.held_out.nnz, split.score("observed", split.kept)[0]["dropout_auc"]
    (18, 0.5)
    """

    def __init__(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        self.kept = kept
        self.held_out = held_out
        self._positive = held_out.data > 0
        self._mean = np.asarray(mean_of_logs(kept))[held_out.indices]

    @classmethod
    def split(cls, counts: sparse.csr_matrix, held_out_fraction: float, seed: int) -> Entries:
        """Hold out each entry, zero or not, with a probability."""
        generator = np.random.default_rng(seed)
        factor = per_10k(counts)
        kept, held_out = [], []
        for start in range(0, counts.shape[0], _BLOCK_CELLS):
            block = counts[start : start + _BLOCK_CELLS].toarray()
            hidden = generator.random(block.shape, dtype=np.float32) < held_out_fraction
            rows, columns = np.nonzero(hidden)
            truth = np.log1p(block[hidden] * factor[start + rows]).astype(np.float32)
            parts = (truth, (rows, columns))
            held_out.append(sparse.csr_matrix(parts, shape=block.shape))
            block[hidden] = 0
            kept.append(sparse.csr_matrix(block))
        split = cls(*(sparse.vstack(parts, format="csr") for parts in (kept, held_out)))
        if not (split.kept.nnz and split._positive.any()):
            raise ValueError(
                f"held_out_fraction {held_out_fraction} of {counts.shape[0]} × {counts.shape[1]} "
                f"entries, {counts.nnz} of them not zero, leaves no non-zero entry on one side of "
                "the split: give more cells, or another held_out_fraction."
            )
        return split

    @property
    def n_held_out(self) -> NDArray[np.float64]:
        """Held-out entries of each gene that are not zero."""
        return self._per_gene(self._positive)

    def score(
        self, name: str, predicted: Rates | Logs
    ) -> tuple[dict[str, float], NDArray[np.floating]]:
        """Scores over all held-out entries, and the squared error explained of each gene.

        Expected expression is not negative, of any library size per cell; or logarithms.
        """
        if isinstance(predicted, Logs):
            check_rates_of(name, predicted.values, self.kept)
            logs = self._at(predicted.values)
        else:
            check_rates_of(name, predicted, self.kept)
            factor = np.repeat(per_10k(predicted), np.diff(self.held_out.indptr))
            logs = np.log1p(self._at(predicted) * factor)
        detection = logs
        if isinstance(predicted, Logs) and predicted.detection is not None:
            detection = self._at(predicted.detection)
        explained = self._explained(logs)
        truth, positive = self.held_out.data[:, None], self._positive
        logs = logs[:, None]
        return {
            "r": metrics.pearson(truth, logs),
            "rmse": metrics.rmse(truth, logs),
            "r_nonzero": metrics.pearson(truth[positive], logs[positive]),
            "rmse_nonzero": metrics.rmse(truth[positive], logs[positive]),
            "dropout_auc": self._auc(detection),
            "gene_error_explained": of_numbers(np.mean, explained),
        }, explained

    def _at(self, matrix: Rates) -> NDArray[np.float64]:
        """Values at the held-out entries, in their order."""
        values = np.empty(self.held_out.nnz)
        starts, columns = self.held_out.indptr, self.held_out.indices
        for first in range(0, matrix.shape[0], _BLOCK_CELLS):
            block = dense(matrix[first : first + _BLOCK_CELLS])
            rows = np.repeat(
                np.arange(len(block)), np.diff(starts[first : first + len(block) + 1])
            )
            these = slice(starts[first], starts[first + len(block)])
            values[these] = block[rows, columns[these]]
        return values

    def _explained(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        truth = self.held_out.data
        of_method, of_mean = (self._per_gene((x - truth) ** 2) for x in (logs, self._mean))
        scored = (self.n_held_out >= MIN_POSITIVE) & (of_mean > 0)
        share = np.divide(of_method, of_mean, out=np.full_like(of_mean, np.nan), where=scored)
        return 1 - share

    def _per_gene(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        n_genes = self.held_out.shape[1]
        return np.bincount(self.held_out.indices, values, n_genes).astype(np.float64)

    def _auc(self, detection: NDArray[np.float64]) -> float:
        from sklearn.metrics import roc_auc_score

        if self._positive.all():
            return float("nan")
        return float(roc_auc_score(self._positive, detection))
