"""Bulk weights: those that are released, how they are fetched, and the format of the files."""

from scdtl.genes import GeneMatches, match_genes
from scdtl.pretrained._available import available, info
from scdtl.pretrained._fetch import clear_cache, fetch
from scdtl.pretrained._weights import BulkWeights, load_weights, save_weights

__all__ = [
    "BulkWeights",
    "GeneMatches",
    "available",
    "clear_cache",
    "fetch",
    "info",
    "load_weights",
    "match_genes",
    "save_weights",
]
