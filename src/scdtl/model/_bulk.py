"""BulkDAE: the denoising autoencoder of bulk RNA-seq, as an scvi-tools model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField
from scvi.model.base import UnsupervisedTrainingMixin

from scdtl._compat import check_one_device, forget_data_with, one_process, quiet_lightning
from scdtl._constants import REGISTRY_KEYS
from scdtl.data._checks import check_has
from scdtl.model._bulk_samples import check_bulk, dense
from scdtl.model._export import weights_of
from scdtl.model._genes import check_genes, columns_of
from scdtl.model._mean_profile import log_mean_of_samples
from scdtl.model._saving import SavedAsData, refuse_checkpoints_to_open
from scdtl.module._bulk import BulkDAEModule
from scdtl.noise._multinomial import LOG_ZERO
from scdtl.pretrained import BulkWeights, save_weights
from scdtl.train._episodes import EpisodeSplitter
from scdtl.train._plan import AveragedTrainingPlan
from scdtl.train._progress import TrainingBar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

_MIN_EPOCHS, _MAX_EPOCHS = 8, 20


class BulkDAE(UnsupervisedTrainingMixin, SavedAsData):
    """Denoising autoencoder of bulk expression profiles, from which SCDTL starts.

    It is trained on pseudo-cells: samples are mixed, their deviations from the mean sharpened,
    and counts drawn at the library size of single cells; the noise-free profile is the target.

    Parameters
    ----------
    adata
        Samples × genes, registered with :meth:`setup_anndata`.
    registry
        Registry of the data, for a saved model that is loaded without its data.
    n_hidden
        Width of the hidden layers.
    n_latent
        Dimensions of the latent.
    dropout_rate
        Dropout of hidden units.

    Examples
    --------
    >>> import scdtl
    >>> bulk = scdtl.datasets.toy_bulk()
    >>> scdtl.BulkDAE.setup_anndata(bulk, study_key="study")
    >>> model = scdtl.BulkDAE(bulk, n_hidden=32, n_latent=8)
    >>> model.train(max_epochs=2, n_episodes=10)
    >>> sha256 = model.export("my_bulk.safetensors")  # doctest: +SKIP
    """

    _module_cls = BulkDAEModule
    _training_plan_cls = AveragedTrainingPlan
    _data_splitter_cls = EpisodeSplitter

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict | None = None,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
    ):
        super().__init__(adata, registry)
        forget_data_with(self)
        self.module = self._module_cls(self.summary_stats.n_vars, n_hidden, n_latent, dropout_rate)
        if adata is not None:
            self.module.log_mean.copy_(log_mean_of_samples(self._samples()[0]))
        self._model_summary_string = (
            f"BulkDAE with n_hidden: {n_hidden}, n_latent: {n_latent}, "
            f"dropout_rate: {dropout_rate}"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        study_key: str | None = None,
        unit_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register bulk expression on a linear scale.

        Parameters
        ----------
        adata
            Samples × genes: counts, TPM or FPKM; NaN where a study did not measure a gene. Symbols
            or Ensembl ids in ``var_names``; the others can be in a column of ``var``, such as
            ``gene_name`` or ``gene_ids``.
        layer
            Layer with the expression; ``None`` for ``adata.X``.
        study_key
            Column of ``obs`` with the study of each sample.
        unit_key
            Column of ``obs`` with the unit (counts, TPM, ...); only studies of one unit are mixed.
        **kwargs
            Passed on by :meth:`load`.

        Raises
        ------
        ValueError
            If names of genes are not unique, there are fewer than 3 samples, a sample has no
            expression, or values are negative, infinite, or look like logarithms.
        TypeError
            If the expression is not in memory, or not numbers.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        check_bulk(adata, layer)
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False, correct_data_format=False),
            CategoricalObsField(REGISTRY_KEYS.STUDY_KEY, study_key),
            CategoricalObsField(REGISTRY_KEYS.UNIT_KEY, unit_key),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        batch_size: int = 32,
        n_episodes: int = 100,
        num_workers: int = 0,
        datasplitter_kwargs: dict | None = None,
        plan_kwargs: dict | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train on pseudo-cells made of the samples.

        Parameters
        ----------
        max_epochs
            Number of epochs; the learning rate falls to 0 over them. ``None`` takes a quarter of
            the number of samples, at least 8 and at most 20.
        accelerator, devices
            As in scvi-tools.
        batch_size
            Pseudo-cells per episode.
        n_episodes
            Episodes (minibatches) per epoch.
        num_workers
            Processes that make episodes.
        datasplitter_kwargs
            How pseudo-cells are simulated. ``power``: range of the powers to which a sample's
            ratios to the mean are raised, by default (1, 2.5); cell types need lower ones than
            tissues. ``library_size``: range of the median library size, by default (500, 20000).
            ``alike``, ``reads`` and ``panels``: shares of the episodes that mix the most similar
            samples, that have dropouts and amplification noise, and that show only a few hundred
            or thousand genes; by default 0. ``hidden``: largest share of a cell's entries that is
            hidden in episodes that show all genes, by default 0.
        plan_kwargs
            Arguments of the training plan, such as ``lr``, by default 0.004.
        **trainer_kwargs
            Arguments of :class:`~scvi.train.Trainer`.

        Raises
        ------
        ValueError
            As by :meth:`scdtl.SCDTL.train`.
        """
        refuse_checkpoints_to_open(trainer_kwargs.get("callbacks"))
        check_one_device(devices, trainer_kwargs.get("strategy"))
        if max_epochs is None:
            max_epochs = min(max(self.adata.n_obs // 4, _MIN_EPOCHS), _MAX_EPOCHS)
        episodes = self._data_splitter_cls(
            *self._samples(),
            batch_size=batch_size,
            n_episodes=n_episodes,
            num_workers=num_workers,
            **(datasplitter_kwargs or {}),
        )
        no_validation = {} if episodes.n_val else {"limit_val_batches": 0}
        bar = TrainingBar(trainer_kwargs.pop("enable_progress_bar", True), "Training on bulk")
        self.module.train()  # Lightning leaves a module that was trained before in eval mode
        with quiet_lightning(), one_process() as plugins:
            super().train(
                max_epochs=max_epochs,
                accelerator=accelerator,
                devices=devices,
                datamodule=episodes,
                plan_kwargs={"lr": 4e-3, "anneal": True} | (plan_kwargs or {}),
                callbacks=[*(trainer_kwargs.pop("callbacks", None) or []), bar],
                **(
                    {"check_val_every_n_epoch": 1, "plugins": plugins}
                    | no_validation
                    | trainer_kwargs
                ),
                enable_progress_bar=False,
            )

    def _samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expression of each sample, and codes of its study and of its unit."""
        read = self.adata_manager.get_from_registry
        study, unit = (
            np.asarray(read(key)).ravel()
            for key in (REGISTRY_KEYS.STUDY_KEY, REGISTRY_KEYS.UNIT_KEY)
        )
        return dense(read(REGISTRY_KEYS.X_KEY)), study, unit

    def to_weights(self, **provenance: Any) -> BulkWeights:
        """Return the trained weights in the form of released ones.

        Parameters
        ----------
        **provenance
            What the file should say about its origin: ``name``, ``species``, ``studies``, ...

        Returns
        -------
        The weights, independent of torch and the data.

        Raises
        ------
        ValueError
            If the model was loaded without its data: weights hold latents of pseudo-cells.
        """
        self._check_if_trained()
        if self.adata is None:
            raise ValueError(
                "Weights hold latents of pseudo-cells, which are drawn from the bulk samples: "
                "load the model with them, BulkDAE.load(path, adata)."
            )
        return weights_of(self.module, self._samples(), self.adata.var, provenance)

    def export(self, path: str | Path, **provenance: Any) -> str:
        """Write the trained weights to a file that ``bulk=`` accepts.

        Parameters
        ----------
        path
            File to write, ``.safetensors`` by convention.
        **provenance
            As in :meth:`to_weights`.

        Returns
        -------
        The file's sha256.
        """
        return save_weights(self.to_weights(**provenance), path)

    @torch.inference_mode()
    def get_latent_representation(
        self, adata: AnnData | None = None, indices: Sequence[int] | None = None
    ) -> np.ndarray:
        """Return the latent of each sample.

        Parameters
        ----------
        adata
            Samples × genes; ``None`` for the samples of training. Others need the same genes in
            the same order.
        indices
            Samples, in the order of the result; ``None`` for all.

        Returns
        -------
        Array of samples × ``n_latent``.
        """
        return self._latent(self._query(adata, indices)[1]).cpu().numpy()

    @torch.inference_mode()
    def get_imputed_expression(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        library_size: float = 1e6,
        return_numpy: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Predict the complete profile of each sample, including genes that were not measured.

        Parameters
        ----------
        adata
            Samples × genes, NaN where not measured; ``None`` for the samples of training.
            Others need the same genes in the same order.
        indices
            Samples, in the order of the result; ``None`` for all.
        gene_list
            Genes of the result; ``None`` for all.
        library_size
            Sum of a sample over all genes; the default gives counts (or transcripts) per million.
        return_numpy
            Return an array instead of a DataFrame.

        Returns
        -------
        Samples × genes.

        Raises
        ------
        ValueError
            If the genes differ, or a gene is unknown.
        """
        samples, profiles = self._query(adata, indices)
        names = self.get_var_names()
        columns = columns_of(gene_list, names)
        latent = self._latent(profiles)
        logits = self.module.generative(latent)["logits"]
        predicted = library_size * torch.softmax(self.module.log_mean + logits, dim=1)
        values = predicted.cpu().numpy()[:, columns]
        return values if return_numpy else pd.DataFrame(values, samples, names[columns])

    def _query(
        self, adata: AnnData | None, indices: Sequence[int] | None
    ) -> tuple[pd.Index, np.ndarray]:
        """Names and expression of the samples asked for."""
        self._check_if_trained(warn=False)
        samples = self.adata if adata is None else adata
        if samples is None:
            raise ValueError("The model was loaded without data: give some, as adata=.")
        check_genes(samples, self.get_var_names())
        layer = self.registry["setup_args"]["layer"]
        check_has(samples, layer, [])
        expression = dense(samples.X if layer is None else samples.layers[layer], "adata's matrix")
        rows = slice(None) if indices is None else np.asarray(indices)
        return samples.obs_names[rows], expression[rows]

    def _latent(self, profiles: np.ndarray) -> torch.Tensor:
        """Latent of each sample, compared with the mean of the genes that it measured."""
        self.module.eval()
        expression = torch.from_numpy(profiles).to(self.device)
        log_mean = self.module.log_mean.masked_fill(expression.isnan(), LOG_ZERO)
        log_mean = log_mean - log_mean.logsumexp(1, keepdim=True)
        return self.module.inference(expression.nan_to_num(0), log_mean)["latent"]
