"""Noise models: what counts are made of, and all that follows from it."""

from scdtl.noise._base import NoiseModel, Posterior
from scdtl.noise._umi import UMI

__all__ = ["UMI", "NoiseModel", "Posterior"]
