"""Bulk weights: those that ship with the package, and the format of the files."""

from scdtl.pretrained._genes import match_genes
from scdtl.pretrained._weights import BulkWeights, load_weights, save_weights, shipped

__all__ = ["BulkWeights", "load_weights", "match_genes", "save_weights", "shipped"]
