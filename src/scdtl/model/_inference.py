"""Results of a trained SCDTL: imputed expression, draws, latent, attention."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi import settings
from scvi.model.base import BaseModelClass

from scdtl._constants import REGISTRY_KEYS
from scdtl.data._batches import batch_names
from scdtl.data._gene_order import cells_for_order
from scdtl.data._raw_counts import canonical_csr
from scdtl.model._genes import columns_of
from scdtl.model._mean_profile import masked_log_mean
from scdtl.model._predict import Predictor
from scdtl.model._query import Query, read_cells
from scdtl.model._scales import check_scale, on_scale
from scdtl.model._silent import MAX_CELLS, cut_offs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scdtl.model._scales import Replace, Scale
    from scdtl.module._scdtl import SCDTLModule


class ImputationModel(BaseModelClass):
    """What :class:`scdtl.SCDTL` can do once it is trained."""

    if TYPE_CHECKING:
        module: SCDTLModule
        gene_keys_: np.ndarray
        held_out_: dict[str, Any]

    @property
    def noise(self) -> Any:
        """Which noise model the counts were taken for, ``"umi"`` or ``"reads"``."""
        return self.registry["setup_args"].get("noise", "umi")  # 0.1 had no other

    @property
    def trusted_genes(self) -> np.ndarray:
        """For each gene, whether held-out data were predicted better than by its mean.

        For UMIs, the gain has to exceed sampling error (a one-sided test over the gains of single
        cells, at the 5 % level). For reads, the same number of unseen entries has to be predicted
        better than by the mean with a probability of 85 %. Genes with too little data (fewer than
        20 held-out molecules, or fewer than 5 held-out entries that are not zero) are False.
        """
        return self.held_out_["trusted_genes"]

    @torch.inference_mode()
    def get_imputed_expression(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        transform_batch: str | int | None = None,
        gene_list: Sequence[str] | None = None,
        library_size: float | Sequence[float] | None = None,
        scale: Scale = "log1p",
        replace: Replace = "all",
        false_zero_rate: float | None = None,
        own_counts: bool = True,
        dropout_threshold: float = 0.5,
        batch_size: int | None = None,
        silent: bool = True,
        return_std: bool = False,
        return_dropout: bool = False,
        return_numpy: bool | None = None,
    ) -> np.ndarray | pd.DataFrame | sparse.csr_matrix | tuple:
        """Impute: the mean rate of each gene in each cell, given its observed count.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training. In other data the genes may be in
            another order. Genes that they lack are masked, and are not in the result; genes that
            the model does not know are left out.
        indices
            Cells to impute, in the order of the result; ``None`` for all.
        transform_batch
            Batch for which the rates are predicted; ``None`` for each cell's own.
        gene_list
            Genes of the result; ``None`` for all that the data have, in the data's order.
        library_size
            Counts per cell that the result is for, a number or one per cell; ``None`` for the
            cell's own. Used by ``scale="counts"`` and ``scale="expected_log1p"``.
        scale
            ``"log1p"``: log1p of the mean rate per 10,000 counts. ``"normalized"``: the same
            without the logarithm. ``"counts"``: counts at the library size.
            ``"expected_log1p"``: the mean of log1p(CP10k) over the posterior and the sampling
            noise, comparable with an observed log-normalised matrix of that library size.
        replace
            ``"all"`` denoises every entry, ``"zeros"`` keeps observed values and fills zeros,
            ``"trusted"`` denoises the :attr:`trusted_genes` and leaves the others as observed,
            ``"dropouts"`` keeps observed values, fills likely dropouts (see ``return_dropout``)
            with the value expected if the gene is expressed, and leaves the other zeros.
        false_zero_rate
            Share of each gene's expected molecules, over all cells of the data, that may be lost
            to exact zeros: entries without a count that have the lowest rates become zero.
            ``None`` for no zeros.
        own_counts
            ``False`` predicts each entry from the other genes alone, without its own value: genes
            are hidden in turn, in five folds.
        dropout_threshold
            Probability above which ``replace="dropouts"`` fills a zero.
        batch_size
            Cells per block.
        silent
            Show no progress bar.
        return_std
            Also return the standard deviation of the posterior, on the same scale (to first
            order on ``"log1p"``).
        return_dropout
            Also return for each zero the probability that it is a dropout: that a second,
            independent measurement of the cell would detect the gene, judging by the other genes.
            For UMIs, that is a second sample of the same depth. 0 where there is a count, and
            where it would be below 0.01.
        return_numpy
            Return an array instead of a DataFrame.

        Returns
        -------
        Cells × genes, float32: a DataFrame, an array with ``return_numpy=True``, a CSR matrix with
        a ``false_zero_rate`` or ``replace="dropouts"``; then, if requested, the standard
        deviation, never sparse, and the probability of a dropout, a CSR matrix.

        Raises
        ------
        ValueError
            If the genes differ, a gene, batch or scale is unknown, or arguments contradict each
            other.
        """
        query = self._query(adata)
        cells = query.of(indices)
        n_cells = len(cells.names)
        sizes = check_scale(
            scale, replace, library_size, return_std, false_zero_rate, n_cells, dropout_threshold
        )
        predictor = self._predictor(
            query,
            gene_list,
            transform_batch,
            false_zero_rate,
            batch_size,
            scale=scale,
            replace=replace,
            own_counts=own_counts,
            dropout_threshold=dropout_threshold,
            return_std=return_std,
            return_dropout=return_dropout,
        )
        results: list = predictor.expression(cells.counts, cells.batch_index, sizes, not silent)
        if not return_numpy:
            genes = self.get_var_names()[self._genes_of(query, gene_list)]
            labels = {"index": cells.names, "columns": genes, "copy": False}
            results = [r if sparse.issparse(r) else pd.DataFrame(r, **labels) for r in results]
        return tuple(results) if len(results) > 1 else results[0]

    def get_normalized_expression(self, *args: Any, **kwargs: Any) -> Any:
        """Alias of :meth:`~scdtl.SCDTL.get_imputed_expression`, scvi-tools' name for it."""
        return self.get_imputed_expression(*args, **kwargs)

    @torch.inference_mode()
    def posterior_predictive_sample(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        library_size: float | Sequence[float] | None = None,
        batch_size: int | None = None,
        random_state: int = 0,
    ) -> sparse.csr_matrix:
        """Draw counts that a new measurement of the same cells might give.

        A rate is drawn from its gamma posterior, then a count from a Poisson distribution. Unlike
        the mean rates, such counts are as noisy as real ones: compare their correlations and
        variability with those of observed counts of that library size.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training.
        indices
            Cells, in the order of the result; ``None`` for all.
        gene_list
            Genes of the result; ``None`` for all.
        library_size
            Expected counts per cell over all genes, a number or one per cell; ``None`` for the
            cell's own.
        batch_size
            Cells per block.
        random_state
            Seed; another one, or another ``batch_size``, gives another draw.

        Returns
        -------
        Counts, cells × genes, float32.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy()
        >>> model = scdtl.pp.impute(adata, bulk=None, max_epochs=1, return_model=True)
        >>> model.posterior_predictive_sample().shape
        (60, 40)
        """
        query = self._query(adata).of(indices)
        sizes = check_scale("counts", "all", library_size, True, None, len(query.names))
        predictor = self._predictor(query, gene_list, batch_size=batch_size)
        generator = np.random.default_rng(random_state)
        columns, noise = predictor.columns, query.module.noise
        drawn = [sparse.csr_matrix((0, len(columns)), dtype=np.float32)]
        for rows, counts, batch in predictor.minibatches(query.counts, query.batch_index):
            size = None if sizes is None else sizes[rows]
            imputed = on_scale(query.module, counts, batch, "counts", size)
            mean, std = imputed.value[:, columns], imputed.std()[:, columns]
            draws = noise.draw_counts(mean, std, generator)
            drawn.append(sparse.csr_matrix(draws, dtype=np.float32))
        return sparse.vstack(drawn, format="csr")

    @torch.inference_mode()
    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Return the latent of each cell.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training.
        indices
            Cells, in the order of the result; ``None`` for all.
        batch_size
            Cells per block.

        Returns
        -------
        Array of cells × ``n_latent``.
        """
        query = self._query(adata).of(indices)
        predictor = self._predictor(query, batch_size=batch_size)
        return predictor.latent(query.counts, query.batch_index)

    @torch.inference_mode()
    def get_attention(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """Return the weight of each branch of the network for each gene.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training.
        indices
            Cells to average over; ``None`` for all.
        gene_list
            Genes of the result; ``None`` for all.
        batch_size
            Cells per block.

        Returns
        -------
        Genes × branches (``"dae"``, ``"unet"``): the mean over cells of the weights of the
        cross-channel attention. Each row sums to 1; NaN without cells.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy()
        >>> model = scdtl.pp.impute(adata, bulk=None, max_epochs=1, return_model=True)
        >>> list(model.get_attention().columns)
        ['dae', 'unet']
        """
        query = self._query(adata).of(indices)
        predictor = self._predictor(query, gene_list, batch_size=batch_size)
        total = torch.zeros(query.counts.shape[1], device=query.module.device)
        for _, counts, batch in predictor.minibatches(query.counts, query.batch_index):
            total += query.module.attention_to_dae(counts, batch).sum(0)
        dae = (total / len(query.names)).cpu().numpy()[predictor.columns]
        genes = self.get_var_names()[self._genes_of(query, gene_list)]
        return pd.DataFrame({"dae": dae, "unet": 1 - dae}, index=genes)

    # The cells and genes of a query

    def _gene_position(self) -> np.ndarray:
        """For each gene of the data its position among the module's genes."""
        return np.argsort(self.module.gene_order.cpu().numpy())

    def _registered(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Counts of the model's own cells as CSR, and the batch of each cell."""
        counts = canonical_csr(self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY))
        batch_index = self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)
        return counts, np.asarray(batch_index).ravel().astype(np.int64)

    @property
    def _batches(self) -> list[str]:
        """Names of the batches, in the order of their codes."""
        fields = self.registry["field_registries"]
        return batch_names(
            fields[REGISTRY_KEYS.BATCH_KEY]["state_registry"]["categorical_mapping"]
        )

    def _query(self, adata: AnnData | None) -> Query:
        """Check the data of a query, and bring them to the genes of the model."""
        self._check_if_trained(warn=False)
        self.module.eval()
        names = self.get_var_names()
        if adata is None and self.adata is None:
            raise ValueError("The model was loaded without data: give some, as adata=.")
        if adata is None or adata is self.adata:
            counts, batch_index = self._registered()
            genes = np.arange(len(names))
            return Query(counts, batch_index, self.adata.obs_names, genes, self.module)
        setup = self.registry["setup_args"]
        counts, batch_index, genes = read_cells(
            adata, names, setup["layer"], setup["batch_key"], self._batches, self.noise
        )
        module = self.module
        if len(genes) < len(names):
            measured = np.isin(np.arange(len(names)), genes)
            module = masked_log_mean(module, measured[module.gene_order.cpu().numpy()])
        return Query(counts, batch_index, adata.obs_names, genes, module)

    def _genes_of(self, query: Query, gene_list: Sequence[str] | None) -> np.ndarray:
        """Positions among the model's genes of those asked for."""
        if gene_list is None:
            return query.genes
        genes = columns_of(gene_list, self.get_var_names())
        missing = ~np.isin(genes, query.genes)
        if missing.any():
            named = ", ".join(map(str, self.get_var_names()[genes[missing]][:5]))
            raise ValueError(f"Genes that adata lacks can't be imputed: {named}.")
        return genes

    def _predictor(
        self,
        query: Query,
        gene_list: Sequence[str] | None = None,
        transform_batch: str | int | None = None,
        false_zero_rate: float | None = None,
        batch_size: int | None = None,
        **wanted: Any,
    ) -> Predictor:
        """What predicts the cells of a query and others like them."""
        position = self._gene_position()
        predictor = Predictor(
            query.module,
            position,
            position[self._genes_of(query, gene_list)],
            batch_size or settings.batch_size,
            target_batch=self._batch_code(transform_batch),
            **wanted,
        )
        if predictor.replace != "all" and transform_batch is not None:
            raise ValueError(
                f"replace={predictor.replace!r} keeps observed values, which have their own "
                "batch: leave transform_batch at None."
            )
        if predictor.replace == "trusted":
            untrusted = ~self.trusted_genes[self.module.gene_order.cpu().numpy()]
            predictor = dataclasses.replace(predictor, untrusted=untrusted)
        if false_zero_rate is not None:
            cut_off = self._cut_offs(query, predictor, false_zero_rate)
            predictor = dataclasses.replace(predictor, cut_off=cut_off)
        return predictor

    def _cut_offs(
        self, query: Query, predictor: Predictor, false_zero_rate: float
    ) -> torch.Tensor:
        """Rates below which genes are silent, from at most 2,000 cells, in the module's order."""
        drawn = cells_for_order(query.counts, query.batch_index, self.gene_keys_)[:MAX_CELLS]
        cells = query.of(np.sort(drawn))
        predictor = dataclasses.replace(predictor, batch_size=settings.batch_size)
        target = predictor.target_batch
        rates = (
            (
                counts,
                on_scale(
                    query.module, counts, batch, "normalized", None, target, predictor.own_counts
                ).value,
            )
            for _, counts, batch in predictor.minibatches(cells.counts, cells.batch_index)
        )
        return cut_offs(rates, false_zero_rate)

    def _batch_code(self, batch: str | int | None) -> int | None:
        if batch is None:
            return None
        name, known = batch_names([batch])[0], self._batches
        if name not in known:
            raise ValueError(f"transform_batch={batch!r} is not one of {', '.join(known)}.")
        return known.index(name)
