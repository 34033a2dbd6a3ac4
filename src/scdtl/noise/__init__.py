"""Noise models: how counts arise, and everything that depends on it."""

from scdtl.noise._base import NoiseModel, Posterior, Tally, lowest
from scdtl.noise._reads import Reads
from scdtl.noise._umi import UMI

NOISE_MODELS: dict[str, type[NoiseModel]] = {"umi": UMI, "reads": Reads}
"""Noise models by the name that users give them."""

__all__ = ["NOISE_MODELS", "UMI", "NoiseModel", "Posterior", "Reads", "Tally", "lowest"]
