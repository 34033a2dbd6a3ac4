"""SCDTL: imputation by deep transfer learning from bulk, as an scvi-tools model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping
from scipy import sparse
from scvi import settings
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField
from scvi.model.base import BaseModelClass, UnsupervisedTrainingMixin

from scdtl._compat import quiet_lightning
from scdtl._constants import REGISTRY_KEYS, TRUST_THRESHOLD
from scdtl.model._calibration import (
    bulk_helps,
    calibrate,
    mean_profile_dispersion,
    raise_to_residual_dispersion,
)
from scdtl.model._genes import check_genes, columns_of
from scdtl.model._profiles import log_mean_of_batches
from scdtl.model._scales import check_scale, draw_gamma, on_scale
from scdtl.model._silent import MAX_CELLS, cut_offs
from scdtl.model._transfer import co_expression_order, transfer
from scdtl.module._gene_order import gene_vectors, order_by_similarity
from scdtl.module._scdtl import SCDTLModule
from scdtl.pretrained import match_genes
from scdtl.pretrained._genes import warn_of_ambiguous
from scdtl.train._molecules import MoleculeSplitter
from scdtl.train._plan import SCDTLTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scdtl.model._scales import Replace, Scale
    from scdtl.pretrained import BulkWeights, GeneMatches

logger = logging.getLogger(__name__)

_MAX_STEPS = 400
_STEPS_PER_VALIDATION = 16
_LR = 4e-3
_CELLS_AT_FULL_LR = 1_000
_MIN_LR_FRACTION = 1 / 8


class SCDTL(UnsupervisedTrainingMixin, BaseModelClass):
    """Imputation of single-cell counts by deep transfer learning from bulk RNA-seq.

    A denoising autoencoder, initialised from bulk where :meth:`from_bulk_model` builds the
    model, and a 1D U-Net over co-expressed genes predict each cell's profile; attention fuses
    the two; a gamma-Poisson posterior weighs the prediction against the observed count. After
    Zhao et al., Briefings in Bioinformatics 2024 (bbae555), with a likelihood of molecules in
    place of masked regression.

    Parameters
    ----------
    adata
        Cells × genes with raw counts, registered with :meth:`setup_anndata`.
    registry
        Registry of the data, where a saved model is loaded without them.
    n_hidden
        Width of the DAE's hidden layers.
    n_latent
        Dimensions of the latent.
    dropout_rate
        Dropout in the DAE.
    patch_size
        Neighbouring genes that the U-Net reads together.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> scdtl.SCDTL.setup_anndata(adata)
    >>> model = scdtl.SCDTL.from_bulk_model("human", adata)
    >>> model.train()
    >>> adata.layers["scdtl"] = model.get_imputed_expression(return_numpy=True)

    See Also
    --------
    scdtl.pp.impute : the same in one call.
    """

    _module_cls = SCDTLModule
    _training_plan_cls = SCDTLTrainingPlan
    _data_splitter_cls = MoleculeSplitter

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict | None = None,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
        patch_size: int = 64,
    ):
        super().__init__(adata, registry)
        stats = self.summary_stats
        self.module = self._module_cls(
            stats.n_vars, stats.n_batch, n_hidden, n_latent, dropout_rate, patch_size
        )
        self.is_trained_: bool
        self.transfer_: dict = {}
        self.in_bulk_ = np.zeros(stats.n_vars, dtype=bool)
        self.held_out_: dict = {}
        self._model_summary_string = (
            f"SCDTL with n_hidden: {n_hidden}, n_latent: {n_latent}, dropout_rate: "
            f"{dropout_rate}, patch_size: {patch_size}"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        **kwargs,
    ) -> None:
        """Register raw counts and, optionally, a batch.

        Parameters
        ----------
        adata
            Cells × genes; registration notes are written to ``uns`` and ``obs``, as by every
            scvi-tools model.
        layer
            Layer with raw counts; ``None`` for ``adata.X``.
        batch_key
            Column of ``obs`` with the batch of each cell.
        **kwargs
            Passed on by :meth:`load`.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy(n_batches=2)
        >>> scdtl.SCDTL.setup_anndata(adata, batch_key="batch")
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=True),
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def from_bulk_model(cls, bulk, adata: AnnData, **model_kwargs) -> SCDTL:
        """Build a model whose DAE starts from bulk weights.

        Parameters
        ----------
        bulk
            Name of released weights (``"human"``), path of a weight file, a trained
            :class:`~scdtl.BulkDAE`, or :class:`~scdtl.pretrained.BulkWeights`.
        adata
            Cells × genes, registered with :meth:`setup_anndata`.
        **model_kwargs
            Arguments of :class:`SCDTL`; ``n_hidden`` and ``n_latent`` come from the weights.

        Returns
        -------
        An untrained model. ``transfer_`` says what was transferred, and how genes were matched
        (:func:`scdtl.pretrained.match_genes`).

        Raises
        ------
        ValueError
            If less than 10 % of the genes are known to the weights.
        """
        from scdtl.model._bulk import as_weights

        weights = as_weights(bulk)
        matches = match_genes(
            list(adata.var_names),
            weights.genes,
            weights.ensembl_ids,
            weights.provenance.get("species"),
        )
        warn_of_ambiguous(list(adata.var_names), matches)
        model = cls(adata, None, **weights.architecture, **model_kwargs)
        model._transfer(weights, matches)
        return model

    def _transfer(self, weights: BulkWeights, matches: GeneMatches) -> None:
        """Gather bulk weights by gene; genes unknown to bulk start at zero."""
        position = matches.position
        counts, _ = self._registered(self.adata)
        self._set_gene_order(co_expression_order(weights, position, counts))
        transfer(weights, position[self.module.gene_order.numpy()], self.module.dae)
        self.module.bulk_latents.copy_(
            torch.from_numpy(np.resize(weights.tensors["latents"], self.module.bulk_latents.shape))
        )
        self.in_bulk_ = position >= 0
        self.transfer_ = {
            "name": weights.name,
            "sha256": weights.sha256,
            "n_genes_matched": matches.n_matched,
            "n_genes": len(position),
            "matched_by": matches.counts,
        }

    def _drop_bulk_that_misleads(self, molecules: MoleculeSplitter) -> None:
        """Start from scratch where bulk does not predict the cells at hand."""
        self.module.eval()
        self.transfer_["dropped"] = not bulk_helps(self.module, molecules)
        if self.transfer_["dropped"]:
            logger.warning(
                "The bulk weights %r do not predict held-out molecules of these cells: they are "
                "dropped, and training starts from scratch.",
                self.transfer_["name"],
            )
            self.module.forget_bulk()

    def _set_gene_order(self, order: np.ndarray) -> None:
        """Sort the module's genes."""
        self.module.gene_order.copy_(torch.from_numpy(np.asarray(order)))

    def _gene_position(self) -> np.ndarray:
        """For each gene of the data its position among the module's genes."""
        return np.argsort(self.module.gene_order.cpu().numpy())

    def _set_log_mean(self, counts: sparse.csr_matrix, batch_index: np.ndarray) -> None:
        profiles = log_mean_of_batches(counts, batch_index, self.summary_stats.n_batch)
        self.module.log_mean.copy_(profiles)

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        batch_size: int = 64,
        early_stopping: bool = True,
        early_stopping_patience: int = 2,
        held_out_fraction: float = 0.1,
        plan_kwargs: dict | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train on thinned cells, and stop by molecules that were held out.

        Parameters
        ----------
        max_epochs
            Passes over the training cells (at most 50,000 of them, drawn at random); ``None``
            allows 400 minibatches, and early stopping usually ends sooner. 0 trains nothing and
            only fits how far the bulk's predictions reach.
        accelerator, devices
            As in scvi-tools.
        batch_size
            Cells per minibatch.
        early_stopping
            Stop when the loss of the held-out molecules no longer falls.
        early_stopping_patience
            Validations (one in about 16 minibatches) without a better loss before the end.
        held_out_fraction
            Share of each cell's molecules set aside for that, and for the posterior's
            dispersion.
        plan_kwargs
            Arguments of the training plan: ``lr``, ``weight_decay``, ``ema_decay``, and of the
            loss: ``branch_weight``, ``mmd_weight``.
        **trainer_kwargs
            Arguments of :class:`~scvi.train.Trainer`.
        """
        if not (self.transfer_ or self.is_trained_):
            unordered, _ = self._registered(self.adata)
            self._set_gene_order(order_by_similarity(gene_vectors(unordered)))
        counts, batch_index = self._ordered(self.adata)
        molecules = self._data_splitter_cls(
            counts, batch_index, batch_size, held_out_fraction, int(torch.randint(2**31, (1,)))
        )
        # Training sees the mean of its own molecules only: the held-out ones stay unseen.
        self._set_log_mean(molecules.kept, molecules.batch_index)
        kept, held_out = molecules.held_out_parts()
        for fold in (0, 1):
            self.module.fold_dispersion[fold] = mean_profile_dispersion(
                kept[fold::2], held_out[fold::2]
            )
        steps_per_epoch = -(-molecules.n_train // batch_size)
        if max_epochs is None:
            max_epochs = -(-_MAX_STEPS // steps_per_epoch)
        if max_epochs > 0:
            if self.transfer_ and not self.history_:
                self._drop_bulk_that_misleads(molecules)
            callbacks = list(trainer_kwargs.pop("callbacks", []))
            if early_stopping:
                callbacks.append(
                    EarlyStopping("validation_loss", patience=early_stopping_patience)
                )
            every = max(1, round(_STEPS_PER_VALIDATION / steps_per_epoch))
            # Few cells are soon known by heart: smaller steps let the held-out molecules say when.
            lr = _LR * float(np.clip(molecules.n_train / _CELLS_AT_FULL_LR, _MIN_LR_FRACTION, 1))
            self.module.log_ratio_scale.fill_(1)  # a fit without training may have set it
            self.is_trained_ = bool(self.history_)  # whether there is a history to continue
            self.module.train()  # Lightning leaves a module that was trained before in eval mode
            with quiet_lightning():
                super().train(
                    max_epochs=max_epochs,
                    accelerator=accelerator,
                    devices=devices,
                    datamodule=molecules,
                    plan_kwargs={"lr": lr} | (plan_kwargs or {}),
                    callbacks=callbacks,
                    **(
                        {"check_val_every_n_epoch": every, "gradient_clip_val": 1.0}
                        | trainer_kwargs
                    ),
                )
        self.module.eval()
        explained, by_gene = calibrate(self.module, molecules, fit_scale=not self.history_)
        self.held_out_ = {
            "deviance_explained": explained,
            "gene_deviance_explained": by_gene[self._gene_position()],
        }
        self._set_log_mean(counts, batch_index)
        raise_to_residual_dispersion(self.module, molecules)
        self.is_trained_ = True

    def _registered(self, adata: AnnData) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Counts as CSR and the batch of each cell."""
        manager = self.get_anndata_manager(adata, required=True)
        counts = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        batch_index = np.asarray(manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)).ravel()
        return sparse.csr_matrix(counts, dtype=np.float32), batch_index.astype(np.int64)

    def _ordered(self, adata: AnnData) -> tuple[sparse.csr_matrix, np.ndarray]:
        """The same with the genes in the module's order: only column indices change."""
        counts, batch_index = self._registered(adata)
        ordered = (counts.data, self._gene_position()[counts.indices], counts.indptr)
        return sparse.csr_matrix(ordered, shape=counts.shape), batch_index

    # Inference

    def _blocks(
        self, adata: AnnData, cells: np.ndarray, batch_size: int | None
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield, block by block: rows of the result, counts and batch."""
        counts, batch_index = self._ordered(adata)
        self.module.eval()
        step = batch_size or settings.batch_size
        for start in range(0, len(cells), step):
            rows = cells[start : start + step]
            block = torch.from_numpy(counts[rows].toarray()).to(self.device)
            batch = torch.from_numpy(batch_index[rows]).to(self.device)
            yield slice(start, start + len(rows)), block, batch

    def _query(
        self, adata: AnnData | None, indices: Sequence[int] | None
    ) -> tuple[AnnData, np.ndarray]:
        """Check the data of a query; return them with the rows asked for."""
        self._check_if_trained(warn=False)
        query: AnnData = self._validate_anndata(adata)
        check_genes(query, self.get_var_names())
        cells = np.arange(query.n_obs) if indices is None else np.asarray(indices)
        return query, np.flatnonzero(cells) if cells.dtype == bool else cells.astype(int)

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
        batch_size: int | None = None,
        return_std: bool = False,
        return_numpy: bool | None = None,
    ) -> np.ndarray | pd.DataFrame | sparse.csr_matrix | tuple:
        """Impute: the mean rate of each gene in each cell, given its observed count.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training. Other data need the same genes in
            the same order.
        indices
            Cells to impute, in the order of the result; ``None`` for all.
        transform_batch
            Batch as whose cells the rates are predicted; ``None`` for each cell's own.
        gene_list
            Genes of the result; ``None`` for all.
        library_size
            Counts per cell that the result is for, a number or one per cell; ``None`` for the
            cell's own depth. Used by ``scale="counts"`` and ``scale="expected_log1p"``.
        scale
            ``"log1p"``: log1p of counts per 10,000 of the mean rate. ``"normalized"``: counts
            per 10,000. ``"counts"``: counts at the library size. ``"expected_log1p"``: mean
            over the posterior and the sampling noise of log1p(CP10k), comparable with an
            observed log-normalised matrix of that library size.
        replace
            ``"all"`` denoises every entry, ``"zeros"`` keeps observed values and fills zeros,
            ``"trusted"`` denoises the :attr:`trusted_genes` and leaves the others as observed.
        false_zero_rate
            Share of each gene's expected molecules that may be given up for exact zeros: those
            of unobserved entries with the lowest rates. ``None`` for none.
        batch_size
            Cells per block.
        return_std
            Also return the standard deviation of the posterior, on the same scale (to first
            order on ``"log1p"``).
        return_numpy
            Return an array in place of a DataFrame.

        Returns
        -------
        Cells × genes, float32: a DataFrame, an array with ``return_numpy=True``, a CSR matrix
        with a ``false_zero_rate``; with ``return_std=True`` also the standard deviation, never
        sparse.

        Raises
        ------
        ValueError
            If the genes differ, a gene, batch or scale is unknown, or the arguments contradict.
        """
        query, cells = self._query(adata, indices)
        sizes = check_scale(scale, replace, library_size, return_std, false_zero_rate, len(cells))
        if replace != "all" and transform_batch is not None:
            raise ValueError(
                f"replace={replace!r} keeps observed values, which have their own batch: leave "
                "transform_batch at None."
            )
        names = self.get_var_names()
        genes = columns_of(gene_list, names)
        columns = self._gene_position()[genes]
        target_batch = self._batch_code(transform_batch)
        cut_off = None
        if false_zero_rate is not None:
            cut_off = self._cut_offs(query, false_zero_rate, batch_size)
        untrusted = torch.from_numpy(~self.trusted_genes[self.module.gene_order.cpu().numpy()])

        blocks: list[sparse.csr_matrix] = []
        values = np.empty((0 if cut_off is not None else len(cells), len(genes)), dtype=np.float32)
        stds = np.empty((len(cells), len(genes)), dtype=np.float32) if return_std else None
        for rows, counts, batch in self._blocks(query, cells, batch_size):
            size = None if sizes is None else sizes[rows]
            value, observed, std, per_10k = on_scale(
                self.module, counts, batch, scale, size, target_batch
            )
            if replace != "all":
                keep = counts > 0 if replace == "zeros" else untrusted.to(counts.device)
                value = torch.where(keep, observed, value)
            if cut_off is not None:
                value = torch.where((counts == 0) & (per_10k < cut_off), 0, value)
                blocks.append(sparse.csr_matrix(value[:, columns].cpu().numpy()))
            else:
                values[rows] = value[:, columns].cpu().numpy()
            if stds is not None:
                stds[rows] = std[:, columns].cpu().numpy()
        results: list = [values if cut_off is None else sparse.vstack(blocks, format="csr")]
        if stds is not None:
            results.append(stds)
        if not return_numpy:
            labels = {"index": query.obs_names[cells], "columns": names[genes], "copy": False}
            results = [r if sparse.issparse(r) else pd.DataFrame(r, **labels) for r in results]
        return results[0] if stds is None else tuple(results)

    @property
    def trusted_genes(self) -> np.ndarray:
        """For each gene whether its held-out molecules were predicted better than by its mean.

        False also for genes with too few held-out molecules to tell (below 20).
        """
        with np.errstate(invalid="ignore"):
            return self.held_out_["gene_deviance_explained"] > TRUST_THRESHOLD

    def _cut_offs(
        self, query: AnnData, false_zero_rate: float, batch_size: int | None
    ) -> torch.Tensor:
        """Rates below which genes are silent, from at most 2,000 cells, in the module's order."""
        drawn = np.random.default_rng(0).permutation(query.n_obs)[:MAX_CELLS]
        rates = (
            (counts, on_scale(self.module, counts, batch, "normalized").value)
            for _, counts, batch in self._blocks(query, np.sort(drawn), batch_size)
        )
        return cut_offs(rates, false_zero_rate)

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

        A rate is drawn from its gamma posterior, then a count from a Poisson distribution. In
        contrast to the mean rates, such counts have the noise of real ones: compare their
        correlations and spread with those of observed counts of that depth.

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
            cell's own depth.
        batch_size
            Cells per block.
        random_state
            Seed; another one gives another draw.

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
        query, cells = self._query(adata, indices)
        sizes = check_scale("counts", "all", library_size, True, None, len(cells))
        columns = self._gene_position()[columns_of(gene_list, self.get_var_names())]
        generator = np.random.default_rng(random_state)
        blocks = []
        for rows, counts, batch in self._blocks(query, cells, batch_size):
            size = None if sizes is None else sizes[rows]
            mean, _, std, _ = on_scale(self.module, counts, batch, "counts", size)
            rate = draw_gamma(mean[:, columns], std[:, columns], generator)
            blocks.append(sparse.csr_matrix(generator.poisson(rate), dtype=np.float32))
        shape = (len(cells), len(columns))
        return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix(shape)

    def get_normalized_expression(self, *args, **kwargs):
        """Alias of :meth:`~scdtl.SCDTL.get_imputed_expression`, for utilities of scvi-tools."""
        return self.get_imputed_expression(*args, **kwargs)

    @torch.inference_mode()
    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Return the latent of each cell, cells × ``n_latent``.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training.
        indices
            Cells, in the order of the result; ``None`` for all.
        batch_size
            Cells per block.
        """
        query, cells = self._query(adata, indices)
        n_latent = self.module.bulk_latents.shape[1]
        latent = np.empty((len(cells), n_latent), dtype=np.float32)
        for rows, counts, batch in self._blocks(query, cells, batch_size):
            deviation = self.module.deviation(counts, batch)
            latent[rows] = self.module.dae.encoder(deviation).cpu().numpy()
        return latent

    @torch.inference_mode()
    def get_attention(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """Return how much each branch of the network speaks for each gene.

        Parameters
        ----------
        adata
            Cells × genes; ``None`` for the data of training.
        indices
            Cells that the mean is over; ``None`` for all.
        gene_list
            Genes of the result; ``None`` for all.
        batch_size
            Cells per block.

        Returns
        -------
        Genes × branches (``"dae"``, ``"unet"``): the mean over cells of the weights of the
        cross-channel attention. Each row sums to 1.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy()
        >>> model = scdtl.pp.impute(adata, bulk=None, max_epochs=1, return_model=True)
        >>> list(model.get_attention().columns)
        ['dae', 'unet']
        """
        query, cells = self._query(adata, indices)
        names = self.get_var_names()
        genes = columns_of(gene_list, names)
        total = torch.zeros(len(names), device=self.device)
        for _, counts, batch in self._blocks(query, cells, batch_size):
            total += self.module.attention_to_dae(counts, batch).sum(0)
        dae = (total / max(len(cells), 1)).cpu().numpy()[self._gene_position()[genes]]
        return pd.DataFrame({"dae": dae, "unet": 1 - dae}, index=names[genes])

    def _batch_code(self, batch: str | int | None) -> int | None:
        if batch is None:
            return None
        state = self.adata_manager.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
        codes = {str(name): code for code, name in enumerate(state.categorical_mapping)}
        if str(batch) not in codes:
            raise ValueError(f"transform_batch={batch!r} is none of {', '.join(codes)}.")
        return codes[str(batch)]
