"""What a trained model gives: layers and latent, at once or computed on access."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from scdtl.pp._blocks import each_block
from scdtl.pp._lazy import BlockImputer, in_place_of, lazy_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array

    from scdtl.model import SCDTL
    from scdtl.model._scales import Replace, Scale


@dataclass(frozen=True)
class Wanted:
    """What the user asked for.

    Parameters
    ----------
    genes, scale, replace, false_zero_rate, return_std, batch_size
        As in :func:`scdtl.pp.impute`.
    library_size
        Depth of the result per cell; ``None`` for the cell's own.
    columns
        Positions among all features of the genes to give; ``None`` where all features are.
    n_features
        Number of all features.
    """

    genes: Sequence[str] | None
    scale: Scale
    replace: Replace
    false_zero_rate: float | None
    return_std: bool
    batch_size: int
    library_size: np.ndarray | None
    columns: np.ndarray | None
    n_features: int

    def block_imputer(self, model: SCDTL) -> BlockImputer:
        """What imputes a block of cells, whatever becomes of the model.

        Parameters
        ----------
        model
            Trained.
        """
        imputer = model._imputer(
            model._query(None), self.genes, self.scale, self.replace, self.false_zero_rate
        )
        return BlockImputer(
            imputer.copied(),
            self.columns,
            self.n_features,
            self.genes is not None,
            self.batch_size,
        )


def at_once(model: SCDTL, wanted: Wanted, verbose: bool) -> tuple[list[Any], np.ndarray]:
    """Layers (imputed, and the standard deviation if wanted) and latent of the model's cells.

    Parameters
    ----------
    model
        Trained on all cells.
    wanted
        What to give.
    verbose
        Show a progress bar.
    """
    imputed = model.get_imputed_expression(
        gene_list=wanted.genes,
        library_size=cast("Sequence[float] | None", wanted.library_size),
        scale=wanted.scale,
        replace=wanted.replace,
        false_zero_rate=wanted.false_zero_rate,
        batch_size=wanted.batch_size,
        silent=not verbose,
        return_std=wanted.return_std,
        return_numpy=True,
    )
    arrays = imputed if isinstance(imputed, tuple) else (imputed,)
    stores_columns = wanted.genes is not None
    layers = [
        in_place_of(array, wanted.columns, wanted.n_features, stores_columns) for array in arrays
    ]
    return layers, model.get_latent_representation(batch_size=wanted.batch_size)


def on_access(
    imputer: BlockImputer,
    wanted: Wanted,
    blocks: dask.array.Array,
    batch_index: np.ndarray,
    verbose: bool,
) -> tuple[list[Any], np.ndarray]:
    """The same with layers that are computed when they are looked at; the latent is there.

    Parameters
    ----------
    imputer
        What imputes a block.
    wanted
        What to give.
    blocks
        Counts of all cells.
    batch_index
        Batch of each cell.
    verbose
        Show a progress bar.
    """
    layers = lazy_layers(blocks, imputer, batch_index, wanted.library_size, wanted.return_std)

    def arguments(rows: slice) -> tuple:
        return (batch_index[rows],)

    done = each_block(blocks, BlockImputer.latent, imputer, arguments, verbose=verbose)
    return layers, np.concatenate([latent for _, latents in done for latent in latents])
