"""Names shared by the whole package: registry keys and default AnnData keys."""

from __future__ import annotations

from typing import NamedTuple


class _RegistryKeys(NamedTuple):
    X_KEY: str = "X"
    BATCH_KEY: str = "batch"
    TARGET_KEY: str = "target"
    LOG_MEAN_KEY: str = "log_mean"
    STUDY_KEY: str = "study"
    UNIT_KEY: str = "unit"


REGISTRY_KEYS = _RegistryKeys()
DEFAULT_KEY = "scdtl"
DEFAULT_BULK = "human"

LAYER_ENDINGS = ("", "_std", "_dropout")
"""What may follow ``key_added`` in the names of layers that are written."""

SAMPLE_KEY = "_scdtl_sample"
"""In ``uns`` of data that are a sample: the seed that drew it, the noise model's sums over all."""
