"""The denoising autoencoder (DAE): one architecture, trained on bulk and transferred to cells."""

from __future__ import annotations

import torch
from torch import nn

CP10K = 1e4


def log1p_deviation(counts: torch.Tensor, log_mean: torch.Tensor) -> torch.Tensor:
    r"""Log-normalised counts relative to the mean profile of their own data set.

    :math:`x = \log(1 + 10^4 c / L) - \log(1 + 10^4 m)`. Gene-level effects of a platform
    (gene length, capture) cancel; a gene that a data set lacks (:math:`m = 0`) is 0, and so is
    an entry that is hidden. The library size is then that of the others, by their share in m.

    Parameters
    ----------
    counts
        Counts, cells × genes; NaN where an entry is hidden.
    log_mean
        Log of the mean profile (proportions), genes; ``LOG_ZERO`` where a gene is absent.
    """
    profile = log_mean.exp()
    shown = (counts >= 0).to(profile.dtype)  # comparison with NaN is false
    counts = counts.nan_to_num(0.0)
    whole = profile.sum(-1, keepdim=True).clamp(min=1e-12)
    share = (shown * profile).sum(1, keepdim=True) / whole
    library_size = (counts.sum(1, keepdim=True) / share.clamp(min=1e-6)).clamp(min=1.0)
    log_normalised = torch.log1p(counts * (CP10K / library_size))
    return (log_normalised - torch.log1p(CP10K * profile)) * shown


class Encoder(nn.Module):
    """Deviations (cells × genes) to a latent (cells × ``n_latent``)."""

    def __init__(self, n_genes: int, n_hidden: int, n_latent: int, dropout_rate: float):
        super().__init__()
        self.genes = nn.Linear(n_genes, n_hidden)
        self.hidden = nn.Sequential(nn.LayerNorm(n_hidden), nn.GELU(), nn.Dropout(dropout_rate))
        self.latent = nn.Linear(n_hidden, n_latent)

    def forward(self, deviation: torch.Tensor) -> torch.Tensor:
        return self.latent(self.hidden(self.genes(deviation)))


class Decoder(nn.Module):
    """Latent (cells × ``n_latent``) to log-ratios to the mean profile (cells × genes)."""

    def __init__(
        self, n_genes: int, n_hidden: int, n_latent: int, dropout_rate: float, n_batch: int
    ):
        super().__init__()
        self.latent = nn.Linear(n_latent, n_hidden)
        self.batch = nn.Embedding(n_batch, n_hidden)
        nn.init.zeros_(self.batch.weight)
        self.hidden = nn.Sequential(nn.LayerNorm(n_hidden), nn.GELU(), nn.Dropout(dropout_rate))
        self.genes = nn.Linear(n_hidden, n_genes)

    def forward(self, latent: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        return self.genes(self.hidden(self.latent(latent) + self.batch(batch_index)))


class DAE(nn.Module):
    """Encoder and decoder over one list of genes."""

    def __init__(
        self,
        n_genes: int,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
        n_batch: int = 1,
    ):
        super().__init__()
        self.encoder = Encoder(n_genes, n_hidden, n_latent, dropout_rate)
        self.decoder = Decoder(n_genes, n_hidden, n_latent, dropout_rate, n_batch)

    @torch.no_grad()
    def draw(self, n_with_counts: int) -> None:
        """Draw first weights for data of which so many genes, the first ones, have counts.

        They are spread as PyTorch's, with those genes as the inputs. Each tensor has random
        numbers of its own, gene by gene: genes without counts change neither the weights of the
        others nor what is drawn later.

        Parameters
        ----------
        n_with_counts
            Number of genes with counts.
        """
        for layer in self.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.reset_parameters()
            elif isinstance(layer, nn.Linear):
                reads_genes = layer is self.encoder.genes
                bound = (n_with_counts if reads_genes else layer.in_features) ** -0.5
                for parameter in (layer.weight.T if reads_genes else layer.weight, layer.bias):
                    seed = int(torch.randint(2**31, (1,)))
                    generator = torch.Generator().manual_seed(seed)
                    drawn = torch.empty(parameter.shape)
                    parameter.copy_(drawn.uniform_(-bound, bound, generator=generator))
