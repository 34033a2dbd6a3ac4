"""Preprocessing: imputation in one call."""

from scdtl.pp._impute import impute

__all__ = ["impute"]
