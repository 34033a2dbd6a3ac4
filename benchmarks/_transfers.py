"""Ways to bring bulk weights to cells. The package has one; the others are replacements of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from scdtl import SCDTL
from scdtl.noise._multinomial import multinomial_nll
from scdtl.train._plan import SCDTLTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

GENE_MATRICES = ("dae.encoder.genes.weight", "dae.decoder.genes.weight", "dae.decoder.genes.bias")


class StartOnly(SCDTLTrainingPlan):
    """Starts from bulk and forgets it: no MMD."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, mmd_weight=0)


class FrozenDecoderFirst(SCDTLTrainingPlan):
    """The decoder's gene vectors stay as bulk left them for the first steps."""

    n_frozen_steps = 60

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.global_step < self.n_frozen_steps:
            for parameter in self.module.dae.decoder.genes.parameters():
                parameter.grad = None  # AdamW leaves out what has no gradient


class SlowGeneMatrices(SCDTLTrainingPlan):
    """Layer-wise rates: the gene matrices of the DAE at a fifth of the rate of the rest."""

    fraction = 0.2

    def configure_optimizers(self) -> dict[str, Any]:
        configured = super().configure_optimizers()
        group = configured["optimizer"].param_groups[0]
        slow = [dict(self.module.named_parameters())[name] for name in GENE_MATRICES]
        group["params"] = [p for p in group["params"] if all(p is not s for s in slow)]
        optimizer = torch.optim.AdamW(
            [{"params": group["params"]}, {"params": slow, "lr": self.fraction * self.lr}],
            lr=self.lr,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return configured | {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class PulledToStart(SCDTLTrainingPlan):
    """Bulk as a prior of the weights: the DAE decays towards its start, not towards zero."""

    pull = 10.0

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._start = [p.detach().clone() for p in self.module.dae.parameters()]

    def on_train_batch_end(self, *args: Any) -> None:
        with torch.no_grad():
            parameters = list(self.module.dae.parameters())
            torch._foreach_lerp_(parameters, self._start, self.lr * self.pull)
        super().on_train_batch_end(*args)


class Replay(SCDTLTrainingPlan):
    """Pseudo-cells distilled from the bulk decoder are trained on beside the cells."""

    weight = 0.3

    def on_fit_start(self) -> None:
        super().on_fit_start()
        module = self.module
        with torch.inference_mode():
            first_batch = torch.zeros(len(module.bulk_latents), dtype=torch.long)
            ratios = module.dae.eval().decoder(module.bulk_latents, first_batch)
            self._profiles = torch.softmax(module.log_mean[0] + ratios, 1).clone()
        module.train()

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        depth = batch["X"].sum(1)
        profiles = self._profiles[torch.randint(len(self._profiles), (len(depth),))]
        counts = torch.poisson(profiles * depth[:, None])
        module, first_batch = self.module, torch.zeros(len(depth), dtype=torch.long)
        latent = module.dae.encoder(module.deviation(counts, first_batch))
        logits = module.dae.decoder(latent, first_batch)
        nll = multinomial_nll(logits, module.log_mean[:1], profiles)
        return loss + self.weight * nll.mean()


def _models() -> Iterator[tuple[str, type[SCDTL]]]:
    for name, plan in {
        "start only": StartOnly,
        "start, MMD": SCDTLTrainingPlan,
        "frozen decoder first": FrozenDecoderFirst,
        "slow gene matrices": SlowGeneMatrices,
        "pulled to the start": PulledToStart,
        "pseudo-cells replayed": Replay,
    }.items():
        yield name, type(plan.__name__, (SCDTL,), {"_training_plan_cls": plan})


DEFAULT = "start, MMD"
MODELS = dict(_models())
"""Model class for each way of transfer; `DEFAULT` is the package's own."""
