"""Gene names: what they mean, and how they are matched to bulk weights."""

from scdtl.genes._match import (
    MIN_MATCHED_FRACTION,
    GeneMatches,
    in_words,
    match_genes,
    warn_of_ambiguous,
)
from scdtl.genes._names import as_in_r, read_name
from scdtl.genes._tables import orthologs

__all__ = [
    "MIN_MATCHED_FRACTION",
    "GeneMatches",
    "as_in_r",
    "in_words",
    "match_genes",
    "orthologs",
    "read_name",
    "warn_of_ambiguous",
]
