"""Models in the manner of scvi-tools: SCDTL for cells, BulkDAE for bulk samples."""

from scdtl.model._bulk import BulkDAE
from scdtl.model._scdtl import SCDTL

__all__ = ["SCDTL", "BulkDAE"]
