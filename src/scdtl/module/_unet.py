"""The 1D U-Net over the gene axis: genes in co-expression order, read coarse to fine."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

_KERNEL = 5
_N_CHANNELS = 8


def _convolution(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    # Conv2d of height 1 in channels-last memory is several times faster on CPU than Conv1d.
    return nn.Conv2d(n_in, n_out, (1, _KERNEL), stride=(1, stride), padding=(0, _KERNEL // 2))


class UNet(nn.Module):
    """Encoder–decoder of 1D convolutions over patches of neighbouring genes.

    Genes come in co-expression order. Each gene has its own weights for reading into its patch's
    channels and out of them; the convolutions over patches are shared along the gene axis. The
    read-out starts at zero, so that an untrained U-Net leaves the mean profile as it is.

    Parameters
    ----------
    n_genes
        Number of genes.
    patch_size
        Number of neighbouring genes in a patch.
    n_levels
        Number of resolutions, each half as fine as the one before and twice as wide.
    """

    def __init__(self, n_genes: int, patch_size: int = 64, n_levels: int = 2):
        super().__init__()
        self.n_genes = n_genes
        self.patch_size = patch_size
        channels = [_N_CHANNELS * 2**level for level in range(n_levels)]
        self.n_context = channels[-1]
        coarsest = 2 ** (n_levels - 1)
        n_patches = -(-self.n_genes // patch_size)
        self.n_patches = -(-n_patches // coarsest) * coarsest

        self.read_in = nn.Parameter(
            torch.randn(self.n_patches, patch_size, _N_CHANNELS) / patch_size**0.5
        )
        self.read_out = nn.Parameter(torch.zeros(self.n_patches, _N_CHANNELS, patch_size))
        self.first = _convolution(_N_CHANNELS, _N_CHANNELS)
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList(_convolution(fine, coarse, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(_convolution(coarse, fine) for fine, coarse in reversed(pairs))
        self.last = _convolution(_N_CHANNELS, _N_CHANNELS)

    def forward(self, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-ratios (cells × genes) and the coarsest level's mean (× ``n_context``)."""
        n_cells = len(deviation)
        n_padding = self.n_patches * self.patch_size - self.n_genes
        padded = F.pad(deviation, (0, n_padding))
        patches = padded.view(n_cells, self.n_patches, self.patch_size).transpose(0, 1)
        channels = torch.bmm(patches.contiguous(), self.read_in)  # patches × cells × channels
        channels = channels.permute(1, 2, 0).unsqueeze(2)
        level = F.relu(self.first(channels.contiguous(memory_format=torch.channels_last)))

        skips = []
        for convolution in self.down:
            skips.append(level)
            level = F.relu(convolution(level))
        context = level.mean((2, 3))
        for convolution in self.up:
            upsampled = F.interpolate(convolution(level), scale_factor=(1, 2))
            level = F.relu(upsampled + skips.pop())
        level = self.last(level)

        out = torch.bmm(level.squeeze(2).permute(2, 0, 1).contiguous(), self.read_out)
        return out.transpose(0, 1).reshape(n_cells, -1)[:, : self.n_genes], context
