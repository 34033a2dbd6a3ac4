"""SCDTL: imputation by deep transfer learning from bulk, as an scvi-tools model."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField
from scvi.model.base import UnsupervisedTrainingMixin

from scdtl._compat import (
    check_one_device,
    device_of,
    fast_precision,
    forget_data_with,
    one_process,
    quiet_lightning,
    repeatable_convolutions,
)
from scdtl._constants import REGISTRY_KEYS, SAMPLE_KEY
from scdtl._random import next_seed
from scdtl.data._cell_order import sampled_cells
from scdtl.data._checks import check_input
from scdtl.data._features import refuse_other_features
from scdtl.data._gene_order import gene_keys, in_network_order, network_order
from scdtl.genes import warn_of_ambiguous
from scdtl.model._adapt import adapt, fit_scale
from scdtl.model._bulk_weights import as_weights
from scdtl.model._held_out_cells import HeldOutCells
from scdtl.model._inference import ImputationModel
from scdtl.model._saving import SavedAsData, refuse_checkpoints_to_open
from scdtl.model._transfer import architecture_of, keys_in_bulk, matches_of, transfer
from scdtl.model._trust import raise_noise_to_residuals, score, settle_bulk
from scdtl.module._scdtl import SCDTLModule
from scdtl.noise._multinomial import LOG_ZERO
from scdtl.train._held_out import MAX_TRAINING_CELLS, HeldOutSplitter
from scdtl.train._interrupt import StopOnInterrupt
from scdtl.train._plan import SCDTLTrainingPlan, ValidateAtTheEnd
from scdtl.train._progress import TrainingBar

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from scdtl.data._noise_of import Noise
    from scdtl.genes import GeneMatches
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)

_LR = 5e-3
_WEIGHT_DECAY = 0.5
_CELLS_AT_FULL_LR = 1_000
_MIN_LR_FRACTION = 1 / 32


class SCDTL(UnsupervisedTrainingMixin, ImputationModel, SavedAsData):
    """Imputation of single-cell counts by deep transfer learning from bulk RNA-seq.

    A denoising autoencoder (DAE) and a 1D U-Net over co-expressed genes predict each cell's
    profile, and attention fuses the two. With :meth:`from_bulk_model` the DAE starts from bulk,
    and what bulk knows of co-expression is added, corrected by the cells after training. A
    posterior weighs the prediction against the observed count. After Zhao et al., Briefings in
    Bioinformatics 2024 (bbae555); for UMIs, a likelihood of molecules replaces masked regression.

    Parameters
    ----------
    adata
        Cells × genes with raw counts, registered with :meth:`setup_anndata`.
    registry
        Registry of the data, for a saved model that is loaded without its data.
    n_hidden
        Width of the DAE's hidden layers.
    n_latent
        Dimensions of the latent.
    dropout_rate
        Dropout in the DAE.
    patch_size
        Number of neighbouring genes that the U-Net reads together.
    n_levels
        Number of resolutions of the U-Net.
    n_models
        Number of networks. They are trained one after the other, each with the cells in another
        order, and the prediction is their mean, which is more accurate. Training time is
        proportional to it. Latent and attention are those of the last network.
    n_components
        Number of components of bulk co-expression; :meth:`from_bulk_model` sets it.

    See Also
    --------
    scdtl.pp.impute : All steps in one call.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> scdtl.SCDTL.setup_anndata(adata)
    >>> model = scdtl.SCDTL.from_bulk_model("human", adata)
    >>> model.train()
    >>> adata.layers["scdtl"] = model.get_imputed_expression(return_numpy=True)
    """

    _module_cls = SCDTLModule
    _training_plan_cls = SCDTLTrainingPlan
    _data_splitter_cls = HeldOutSplitter
    history_: dict | None

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict | None = None,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
        patch_size: int = 64,
        n_levels: int = 2,
        n_models: int = 1,
        n_components: int = 0,
    ):
        # Once, for the first weights and for the split: molecules that were held out stay so when
        # training goes on. A sample of larger data was drawn with it already.
        sample = {} if adata is None else adata.uns.get(SAMPLE_KEY, {})
        self.seed_ = int(sample["seed"]) if sample else next_seed()
        super().__init__(adata, registry)
        forget_data_with(self)
        stats = self.summary_stats
        with torch.random.fork_rng(devices=[]):  # what is drawn later does not depend on its size
            torch.default_generator.manual_seed(self.seed_)
            self.module = self._module_cls(
                stats.n_vars,
                stats.n_batch,
                n_hidden,
                n_latent,
                dropout_rate,
                patch_size,
                n_levels,
                n_models,
                self.noise,
                n_components,
            )
        self.is_trained_: bool
        self.gene_keys_ = gene_keys(self.get_var_names())
        self.transfer_: dict = {}
        self.in_bulk_ = np.zeros(stats.n_vars, dtype=bool)
        self.training_end_: dict = {}
        self.held_out_: dict = {}
        self._model_summary_string = (
            f"SCDTL with n_hidden: {n_hidden}, n_latent: {n_latent}, dropout_rate: "
            f"{dropout_rate}, patch_size: {patch_size}, n_levels: {n_levels}, "
            f"n_models: {n_models}"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        noise: Noise = "auto",
        **kwargs: Any,
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
        noise
            Kind of counts: ``"umi"``, ``"reads"``, or ``"auto"`` to decide by their values; see
            :func:`scdtl.pp.impute`.
        **kwargs
            Passed on by :meth:`load`.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the layer does not hold raw counts of genes, or cells have no batch.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy(n_batches=2)
        >>> scdtl.SCDTL.setup_anndata(adata, batch_key="batch")
        """
        refuse_other_features(adata)
        noise = check_input(adata, layer=layer, batch_key=batch_key, noise=noise)[1].noise
        cls._register(adata, layer, batch_key, noise, **kwargs)

    @classmethod
    def _register(
        cls, adata: AnnData, layer: str | None, batch_key: str | None, noise: Noise, **kwargs: Any
    ) -> None:
        """Register counts and batches that were checked."""
        setup_method_args = cls._get_setup_method_args(**locals())
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False),  # not checked again
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def from_bulk_model(cls, bulk: Any, adata: AnnData, **model_kwargs: Any) -> SCDTL:
        """Build a model whose DAE starts from bulk weights.

        Parameters
        ----------
        bulk
            As in :func:`scdtl.pp.impute`, except ``None``.
        adata
            Cells × genes, registered with :meth:`setup_anndata`.
        **model_kwargs
            Arguments of :class:`SCDTL`; ``n_hidden``, ``n_latent`` and ``n_components`` come from
            the weights.

        Returns
        -------
        An untrained model. Its attribute ``transfer_`` records what was transferred, and how genes
        were matched (:func:`scdtl.pretrained.match_genes`).

        Raises
        ------
        ValueError
            If less than 10 % of the genes are in the weights.
        """
        weights = as_weights(bulk, adata.var_names)
        model = cls(adata, None, **architecture_of(weights), **model_kwargs)
        model._transfer(weights, matches_of(weights, adata.var_names))
        return model

    def _transfer(self, weights: BulkWeights, matches: GeneMatches) -> None:
        """Gather bulk weights by gene; genes unknown to bulk start at zero."""
        position = matches.position
        warn_of_ambiguous(list(self.get_var_names()), matches)
        self.gene_keys_ = keys_in_bulk(weights, self.get_var_names(), matches)
        rank = np.argsort(weights.tensors["gene_order"])
        self._sort_genes(np.where(position >= 0, rank[position], -1))
        transfer(weights, position[self.module.gene_order.numpy()], self.module)
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

    def _drop_bulk_that_misleads(self) -> None:
        """Start from scratch where bulk does not predict the cells at hand."""
        self.transfer_["dropped"] = not self.transfer_.get("helps", True)
        if not self.transfer_["dropped"]:
            return
        self.module.start_without_bulk()
        logger.warning(
            "The bulk weights %r do not predict held-out %s of these cells: they are "
            "dropped, and training starts from scratch.",
            self.transfer_["name"],
            self.module.noise.unit,
        )

    def _sort_genes(self, bulk_rank: np.ndarray | None = None) -> None:
        """Bring the module's genes into the order of bulk, or that of the data."""
        cells = self._registered()
        has_counts = (self.module.noise.log_mean(self._totals(*cells)) > LOG_ZERO).any(0).numpy()
        order = network_order(*cells, self.gene_keys_, has_counts, bulk_rank)
        self.module.gene_order.copy_(torch.from_numpy(order))

    def _totals(self, counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
        """The noise model's sums over all cells, those that the model's are a sample of."""
        if SAMPLE_KEY in self.adata.uns:
            return self.adata.uns[SAMPLE_KEY]["totals"]
        noise = self.module.noise
        return noise.totals(noise.prepared(counts), batch_index, self.summary_stats.n_batch)

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        batch_size: int = 64,
        early_stopping: bool = True,
        early_stopping_patience: int = 1,
        held_out_fraction: float = 0.1,
        max_training_cells: int = MAX_TRAINING_CELLS,
        plan_kwargs: dict | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train on a part of each cell, with early stopping on the held-out part.

        For UMIs, molecules are held out; for reads, whole entries of up to 2,000 cells. After
        training, bulk's co-expression is adapted to the cells in closed form, and the scale of the
        log-ratios and the noise of the posterior are fitted. Ctrl-C ends training with the best
        weights so far.

        Parameters
        ----------
        max_epochs
            Passes over the training cells, during which the learning rate falls to 0. ``None``
            sets them by the number of genes with counts: minibatches are 16,000 over its square
            root, above 1,000 cells times their number in thousands, at least 96, twice as many
            without bulk, at most 400; for reads 480. They are rounded to whole passes. 0 skips
            training: bulk is only adapted to the cells in closed form and scaled; without bulk,
            only the mean profile is left.
        accelerator, devices
            As in scvi-tools, but training takes one device.
        batch_size
            Cells per minibatch.
        early_stopping
            Stop when the held-out loss hardly decreases any more.
        early_stopping_patience
            Number of validations in a row with almost no gain after which training stops. There
            is one about every 64 minibatches (32 for reads), and one at the end.
        held_out_fraction
            Share of each cell's molecules or entries held out for early stopping, adaptation and
            trust, and for fitting the scale of the log-ratios and the noise of the posterior.
        max_training_cells
            If there are more cells, a random sample of this size is used for training, with at
            least some cells of each batch and none without counts.
        plan_kwargs
            Arguments of the training plan: ``lr``, ``anneal``, ``weight_decay``, ``ema_decay``,
            and of the loss: ``unet_weight``, ``mmd_weight``.
        **trainer_kwargs
            Arguments of :class:`~scvi.train.Trainer`. On CPUs with bfloat16 instructions
            ``precision`` is ``"bf16-mixed"``, which is faster and as accurate, else ``"32-true"``.

        Raises
        ------
        ValueError
            If a callback would open a pickle (scvi-tools' ``SaveCheckpoint`` with
            ``load_best_on_end`` or ``check_nan_gradients``), or if several devices or Apple's GPU
            are asked for.
        """
        refuse_checkpoints_to_open(trainer_kwargs.get("callbacks"))
        check_one_device(devices, trainer_kwargs.get("strategy"))
        device = device_of(accelerator, devices)
        split = self._split(batch_size, held_out_fraction, max_training_cells)
        self._start(split)
        steps_per_epoch = len(split.train_dataloader())
        if max_epochs is None:
            from_scratch = not (self.transfer_ and self.transfer_.get("helps", True))
            n_genes = self.module.n_with_counts
            n_steps = self.module.noise.n_steps(split.n_train, n_genes, from_scratch)
            max_epochs = max(1, round(n_steps / steps_per_epoch))
        if max_epochs > 0:
            if self.transfer_ and not self.history_:
                self._drop_bulk_that_misleads()
            if "check_val_every_n_epoch" not in trainer_kwargs:
                callbacks = trainer_kwargs.get("callbacks") or []
                trainer_kwargs["callbacks"] = [*callbacks, ValidateAtTheEnd()]
            interval = self.module.noise.steps_per_validation
            validations = {
                "check_val_every_n_epoch": max(1, round(interval / steps_per_epoch)),
                "val_check_interval": 1 / max(1, round(steps_per_epoch / interval)),
            }
            # Few cells are soon known by heart: smaller steps let the held-out molecules say when.
            pace = float(np.clip(split.n_train / _CELLS_AT_FULL_LR, _MIN_LR_FRACTION, 1))
            plan = {"lr": pace * _LR, "weight_decay": _WEIGHT_DECAY, "anneal": True}
            fit = partial(
                self._fit,
                split,
                patience=early_stopping_patience if early_stopping else None,
                least_gain=pace * self.module.noise.least_gain,
                max_epochs=max_epochs,
                accelerator=accelerator,
                devices=devices,
                plan_kwargs=plan | (plan_kwargs or {}),
                **(validations | fast_precision(device, trainer_kwargs) | trainer_kwargs),
            )
            fit()
            for other in self.module.others:
                self.module.exchange(other)
                self.history_ = None  # of networks that are trained one after the other, the last
                fit()
        else:
            self.to_device(device)
        cells = HeldOutCells(self.module, split.calibration_dataloader())
        self._calibrate(cells)
        self._score(cells, split)

    def _split(
        self, batch_size: int, held_out_fraction: float, max_training_cells: int
    ) -> HeldOutSplitter:
        """Draw the cells to train on and hold out a part of each."""
        if self._is_fresh:
            self._sort_genes()
        counts, batch_index = self._registered()
        n_batch = self.summary_stats.n_batch
        cells = sampled_cells(
            counts, batch_index, self.gene_keys_, self.seed_, max_training_cells, n_batch
        )
        order = self.module.gene_order.cpu().numpy()
        return self._data_splitter_cls(
            type(self.module.noise),
            in_network_order(counts[cells], self.gene_keys_, order),
            batch_index[cells],
            batch_size,
            held_out_fraction,
            self.seed_,
            cells,
        )

    def _start(self, split: HeldOutSplitter) -> None:
        """Begin at the mean profile of what training sees: what is held out stays unseen."""
        noise, n_batch = self.module.noise, self.summary_stats.n_batch
        totals = noise.totals(split.kept, split.batch_index, n_batch)
        self.module.log_mean.copy_(noise.log_mean(totals))
        if self._is_fresh:
            self.module.start_without_bulk()
        elif not self.history_:
            self.module.start_others()
        noise.start(*split.held_out_parts())
        if self.transfer_ and "helps" not in self.transfer_ and not self.is_trained_:
            self.transfer_["helps"] = settle_bulk(self.module, split)

    @property
    def _is_fresh(self) -> bool:
        """Whether neither bulk nor training have shaped the network."""
        return not (self.transfer_ or self.is_trained_)

    def _fit(
        self,
        split: HeldOutSplitter,
        *,
        patience: int | None,
        least_gain: float,
        max_epochs: int,
        **trainer_kwargs: Any,
    ) -> None:
        """Train the network until held-out data are predicted no better."""
        bar = TrainingBar(trainer_kwargs.pop("enable_progress_bar", True))
        callbacks = [*(trainer_kwargs.pop("callbacks", None) or []), bar]
        if patience is not None:
            callbacks.append(
                EarlyStopping("validation_loss", min_delta=least_gain, patience=patience)
            )
        self.module.log_ratio_scale.fill_(1)  # training goes without; fitted anew at the end
        self.module.co_expression.forget_cells()
        self.is_trained_ = bool(self.history_)  # whether there is a history to continue
        self.module.train()  # Lightning leaves a module that was trained before in eval mode
        with (
            quiet_lightning(),
            repeatable_convolutions(),
            one_process() as plugins,
            StopOnInterrupt() as interrupt,
        ):
            # Without a benchmark, which may choose another algorithm in another process.
            defaults = {"plugins": plugins, "benchmark": False}
            super().train(
                max_epochs=max_epochs,
                datamodule=split,
                callbacks=[*callbacks, interrupt],
                **(defaults | trainer_kwargs),
                enable_progress_bar=False,
            )
        n_epochs = self.trainer.current_epoch
        at_the_end = n_epochs == max_epochs and self.trainer.is_last_batch
        reason = "max_epochs" if at_the_end else "early stopping"
        self.training_end_ = {
            "reason": "interrupted" if interrupt.interrupted else reason,
            "n_epochs": n_epochs,
            "max_epochs": max_epochs,
            "precision": self.trainer.precision,
        }

    @torch.inference_mode()
    def _calibrate(self, cells: HeldOutCells) -> None:
        """Adapt what bulk says to the cells; fit scale and noise to held-out data."""
        self.module.eval()
        if self.transfer_ or self.history_:
            adapt(self.module, cells)
            fit_scale(self.module, cells, is_trained=bool(self.history_))
        else:
            self.module.log_ratio_scale.zero_()  # the mean profile is all there is to say
        self.module.noise.fit(cells.scores())

    def _score(self, cells: HeldOutCells, split: HeldOutSplitter) -> None:
        """Score on held-out data, then let the posterior know all of them."""
        explained, by_gene, trusted = score(self.module, cells)
        position = self._gene_position()
        self.held_out_ = {
            "deviance_explained": explained,
            "gene_deviance_explained": by_gene[position],
            "trusted_genes": trusted[position],
        }
        totals = self._totals(*self._registered())[..., self.module.gene_order.cpu().numpy()]
        self.module.log_mean.copy_(self.module.noise.log_mean(totals))
        raise_noise_to_residuals(self.module, split)
        self.is_trained_ = True
