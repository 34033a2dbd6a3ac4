"""Preprocessing: imputation in one call."""

from scdtl.pp._impute import impute
from scdtl.pp._unmeasured import impute_unmeasured

__all__ = ["impute", "impute_unmeasured"]
