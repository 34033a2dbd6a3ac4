"""Dropouts of full-length reads: entries that were hidden, and those of shallow counts.

    python benchmarks/reads.py DATA_FOLDER READS_FOLDER --out reads.csv

Every method sees a matrix in a process of its own; all values are log1p of counts per 10,000,
predictions by their own sums unless a method gives logarithms (MAGIC on logs, the mean of logs) or
is scdtl. scdtl has two lines, its default layer ("own posterior") and `own_counts=False` ("other
genes alone"). There are three parts.

hidden  10 % of all entries, zeros among them, are set to zero; scores are at these.
        rmse, r             over all hidden entries
        ..._nonzero         over those that were not zero
        auc                 those that were not zero against those that were, by the predicted
                            value; of scdtl by its probability of a dropout, as all are zero in X
        explained           share of the squared error of the mean of logs that is gone
        own_score           what scdtl itself says of that, by entries that it held out
        trusted             genes that scdtl calls trusted, of `genes`
        better_if_trusted   share of those with at least 5 non-zero hidden entries (`judged`) that
                            have a smaller squared error than their mean of logs
        better_if_not       the same of the other genes
pairs   Reads are thinned to a fortieth; the whole ones of the same cells are the truth.
        rmse, r             over all entries
        auc                 entries that are zero in the shallow counts alone against those that
                            are zero in both, called as above
        false_fills         share of the latter above the threshold at which half of the former
                            are found
        Of peers a second line has the observed values where there are any, and of scdtl a third
        one is `replace="dropouts"`.
tpm     As hidden, of counts, of the same as TPM with made-up gene lengths, and of these rounded.

The method "detection" knows how often a gene is detected and how many genes a cell shows; it only
calls dropouts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from _data import keep_detected_genes, read_counts
from _dropouts import as_tpm, detection_scores, hide, thin
from _entry_tables import reads as table
from _peers import METHODS
from _report import Results, installed
from _scores import HIDDEN, PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad

TPM = "tpm"
DATASETS = {
    HIDDEN: (
        "pollen_11types_smarter",
        "pollen2014_lines",
        "darmanis2015_brain",
        "deng2014",
        "mahata2014_th2",
        "ziegenhain2017_mesc",
    ),
    PAIRS: ("deng2014", "darmanis2015_brain"),
    TPM: ("deng2014", "darmanis2015_brain"),
}
PEERS = (
    "mean-of-logs",
    "mean",
    "knn-smoothing-15",
    "magic",
    "magic-logs",
    "alra",
    "cellmapper",
    "scvi-30-zinb",
)
OWN = ("scdtl-no-bulk", "scdtl", "scdtl-umi")
SHALLOW = 1 / 40
BULK = {
    "darmanis2015_brain": "human-bulk",  # "human" knows the mean profiles of these very cells
    "deng2014": "mouse",
    "mahata2014_th2": "mouse",
    "ziegenhain2017_mesc": "mouse",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of .h5ad files")
    parser.add_argument("--parts", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="those of a part by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    methods = ["observed", *PEERS, *OWN]
    parser.add_argument("--methods", nargs="+", default=methods, choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def inputs(part: str, whole: ad.AnnData, seed: int) -> Iterator[tuple[str, ad.AnnData]]:
    """What methods see in a part, and what its values are."""
    if part == PAIRS:
        yield "counts", keep_detected_genes(thin(whole, seed, SHALLOW))
        return
    yield "counts", hide(whole, seed)
    if part == TPM:
        yield "TPM", hide(as_tpm(whole, seed, rounded=False), seed)
        yield "rounded TPM", hide(as_tpm(whole, seed, rounded=True), seed)


def methods_of(part: str, methods: list[str]) -> list[str]:
    """Methods that a part has a use for."""
    if part == TPM:
        return [method for method in methods if method == "scdtl"]
    return [method for method in methods if part == PAIRS or method != "observed"]


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    methods = installed(arguments.methods)
    for part in arguments.parts:
        for name in DATASETS[part]:
            if arguments.datasets is not None and name not in arguments.datasets:
                continue
            folder = next(f for f in arguments.folders if (f / f"{name}.h5ad").exists())
            whole = keep_detected_genes(read_counts(folder, name))
            bulk = BULK.get(name, "human")
            for seed in arguments.seeds:
                for values, adata in inputs(part, whole, seed):
                    adata.uns["bulk"] = bulk
                    labels = {"part": part, "dataset": name, "values": values}
                    if part != TPM:
                        detection = {"seed": seed, "method": "detection", "line": "no values"}
                        results.rows.append({**labels, **detection, **detection_scores(adata)})
                    for method in methods_of(part, methods):
                        scores = PAIRS if part == PAIRS else HIDDEN
                        results.add(adata, method, seed, scores, **labels)
    if results.rows:
        print(table(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
