"""The counts of an AnnData: where they are, whether they are counts, cells and genes in order."""
