"""What the tables share: names of data sets and methods, means over seeds, Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scdtl.pl._methods import colour_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DATASETS = {
    "pbmc1k_v3_10x": "PBMC 1k",
    "pbmc_sorted_10x": "PBMC sorted",
    "mixology_5cl_celseq2": "mixology",
    "jurkat_293t_10x": "Jurkat/293T",
    "baron_saver_ref": "Baron",
    "pollen_11types_smarter": "Pollen",
    "pollen2014_lines": "Pollen, lines",
    "darmanis2015_brain": "Darmanis",
    "deng2014": "Deng",
    "mahata2014_th2": "Mahata",
    "ziegenhain2017_mesc": "Ziegenhain",
    "mouse_spleen_mca": "mouse spleen",
    "sp_starmap_v1": "STARmap, visual cortex",
    "sp_starmap_mpfc": "STARmap, prefrontal cortex",
    "ref_mop10x_dot": "mouse motor cortex",
}
METHODS = {
    "observed": "no denoising",
    "gene-mean": "gene mean of non-zeros",
    "detection": "detection rates of gene and cell",
    "mean": "mean profile",
    "mean-of-logs": "mean of logs",
    "knn-smoothing-15": "kNN-smoothing 15",
    "knn-smoothing-30": "kNN-smoothing 30",
    "neighbour-sum-15": "neighbour sum 15",
    "neighbour-sum-30": "neighbour sum 30",
    "magic": "MAGIC",
    "magic-auto": "MAGIC, t auto",
    "magic-logs": "MAGIC on logs",
    "cellmapper": "CellMapper",
    "alra": "ALRA",
    "recode": "RECODE",
    "scvi-30": "scVI, 30 epochs",
    "scvi-default": "scVI, default epochs",
    "scvi-30-zinb": "scVI, ZINB, 30 epochs",
    "scdtl-no-bulk": "scdtl without bulk",
    "scdtl": "scdtl",
    "scdtl-latent": "scdtl, latent",
    "scdtl-umi": "scdtl, reads taken for UMIs",
}
COLOURS = {
    "scdtl": colour_of("scdtl"),
    "scdtl-no-bulk": colour_of("scdtl without bulk"),
    "cellmapper": colour_of("CellMapper"),
    "magic": colour_of("MAGIC"),
    "knn-smoothing-30": colour_of("kNN-smoothing"),
    "scvi-30": colour_of("scVI"),
    "recode": colour_of("RECODE"),
    "alra": colour_of("ALRA"),
}
LINE = ["method", "line"]
OWN = ("scdtl", "scdtl-no-bulk")


def as_markdown(cells: pd.DataFrame) -> str:
    """Write a table of texts; the index comes first."""
    header = [*map(str, cells.index.names), *map(str, cells.columns)]
    rows = [header, ["---"] * len(header)]
    for index, texts in zip(cells.index, cells.values, strict=True):
        rows.append([*(index if isinstance(index, tuple) else (index,)), *texts])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with data sets by their short names."""
    return rows.assign(dataset=rows["dataset"].replace(DATASETS))


def by_cells(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each number of cells, under a title."""
    for n_cells, group in rows.groupby("cells", sort=False):
        yield ("all cells" if n_cells == "all" else f"{int(n_cells):,} cells"), group


def side_by_side(rows: pd.DataFrame, value: str, index: list[str]) -> pd.DataFrame:
    """Means over seeds, lines × data sets, both in the order of the rows."""
    means = rows.pivot_table(
        index=index, columns="dataset", values=value, sort=False, dropna=False, observed=True
    )
    present = list(dict.fromkeys(rows[index].itertuples(index=False, name=None)))
    keys = present if len(index) > 1 else [key for (key,) in present]
    return means.loc[keys, list(dict.fromkeys(rows["dataset"]))].rename_axis(columns=None)


def as_texts(
    means: pd.DataFrame, digits: int = 3, *, best: bool = True, lowest: bool = False
) -> pd.DataFrame:
    """Numbers as texts, the highest (or lowest) of each column bold, methods by their names."""
    texts = means.map(lambda value: "" if pd.isna(value) else f"{value:.{digits}f}")
    if best:
        for column in texts:
            chosen = means[column].min() if lowest else means[column].max()
            bold = f"{chosen:.{digits}f}"
            texts[column] = [f"**{text}**" if text == bold else text for text in texts[column]]
    return texts.rename(index=METHODS)
