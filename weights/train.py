"""Train released bulk weights from folders of .h5ad tables, and write their model card.

Every table is one study: samples × genes on a linear scale, gene symbols in ``var_names``, and
``uns["bulk"]`` with ``unit``, ``species``, ``tissues``, ``publication``, ``source`` and
``licence``; ``obs["kind"]`` where samples are other than bulk of a tissue ("sorted", "cell_line",
"pseudobulk"), ``obs["unit"]`` where units differ. A gene that a table lacks is unknown there, not
zero. ``obs["eval_overlap"]``, if there, says which samples are of a line in an evaluation set
("none" for the others). One of the folders has ``genes_SPECIES.tsv.gz``: symbols and Ensembl ids.

    python weights/train.py FOLDER [FOLDER ...] --name human-bulk

What each release is trained on, in what episodes and for how long stands in releases.json.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import torch

import scdtl
from scdtl._constants import DEFAULT_BULK

HERE = Path(__file__).parent
LENGTH_NORMALISED = ("TPM", "FPKM", "RPKM")
MIN_MEASURED = 0.5
SHIPPED = (DEFAULT_BULK, "mouse")
KINDS = ("tissue", "sorted", "cell_line", "pseudobulk")


def read_tables(folders: list[Path], release: dict[str, Any]) -> dict[str, ad.AnnData]:
    """Read the tables of a release, sorted by name: all of its species, of the kinds it lists."""
    paths = {path.stem: path for folder in folders for path in folder.glob("*.h5ad")}
    species = release["species"]
    chosen = {}
    for name in sorted(paths):
        table = ad.read_h5ad(paths[name])
        is_of_species = table.uns["bulk"]["species"] == species
        if is_of_species and kind_of(table) in release.get("kinds", KINDS):
            chosen[name] = table
    if not chosen:
        raise SystemExit(f"There is no .h5ad table of species {species!r} in {folders}.")
    return chosen


def gene_table(folders: list[Path], species: str) -> pd.DataFrame:
    """Symbols and Ensembl ids of a species' genes."""
    paths = (folder / f"genes_{species}.tsv.gz" for folder in folders)
    return pd.read_csv(next(path for path in paths if path.exists()), sep="\t")


def kind_of(table: ad.AnnData) -> str:
    """What the samples of a table are."""
    return str(table.obs["kind"].iloc[0]) if "kind" in table.obs else "tissue"


def unit_of(table: ad.AnnData) -> np.ndarray:
    """For each sample which others it can be mixed with: gene length cancels among one kind."""
    units = table.obs.get("unit", pd.Series(table.uns["bulk"]["unit"], table.obs_names))
    per_length = units.astype(str).str.contains("|".join(LENGTH_NORMALISED)).to_numpy()
    unit = np.where(per_length, "per length", "per gene")
    return np.char.add(unit, " of cells") if kind_of(table) == "pseudobulk" else unit


def join(tables: dict[str, ad.AnnData], genes: pd.DataFrame) -> ad.AnnData:
    """Join tables over the genes that at least half of all samples measured; NaN elsewhere."""
    parts = []
    for name, table in tables.items():
        obs = pd.DataFrame(
            {"study": name, "unit": unit_of(table)}, index=name + "-" + table.obs_names.astype(str)
        )
        matrix = table.X.toarray() if hasattr(table.X, "toarray") else table.X
        parts.append(ad.AnnData(np.asarray(matrix, np.float32), obs, table.var[[]]))
    joined = ad.concat(parts, join="outer", fill_value=np.nan)
    measured = np.mean(~np.isnan(joined.X), axis=0) >= MIN_MEASURED
    joined = joined[:, measured].copy()
    ensembl = genes.drop_duplicates("symbol").set_index("symbol")["ensgene"]
    joined.var["ensembl_id"] = ensembl.reindex(joined.var_names).fillna("").to_numpy()
    return joined


def train(bulk: ad.AnnData, epochs: int, episodes: dict[str, Any]) -> scdtl.BulkDAE:
    """Train on episodes; the seed fixes everything."""
    torch.manual_seed(0)
    scdtl.BulkDAE.setup_anndata(bulk, study_key="study", unit_key="unit")
    model = scdtl.BulkDAE(bulk)
    model.train(
        max_epochs=epochs,
        batch_size=128,
        n_episodes=100,
        datasplitter_kwargs=episodes,
        check_val_every_n_epoch=5,
        plan_kwargs={"lr": 2e-3, "weight_decay": 1e-4, "ema_decay": 0.98},
        callbacks=[_PrintEpoch()],
        enable_progress_bar=False,
    )
    return model


class _PrintEpoch(lightning.pytorch.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        values = {k: round(float(v), 4) for k, v in trainer.callback_metrics.items()}
        print(trainer.current_epoch + 1, values, flush=True)


def score(path: Path, cells: ad.AnnData) -> pd.DataFrame:
    """Deviance of held-out molecules explained, by transfer."""
    rows = {}
    for n_cells in (100, 700):
        explained = {}
        for label, bulk, max_epochs in (
            ("without bulk", None, None),
            ("bulk, not trained", path, 0),
            ("bulk, trained", path, None),
        ):
            imputed = scdtl.pp.impute(
                cells[:n_cells].copy(), bulk=bulk, max_epochs=max_epochs, copy=True, verbose=False
            )
            explained[label] = imputed.uns["scdtl"]["held_out_deviance_explained"]
        rows[n_cells] = explained
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cells")


def card(name: str, tables: dict[str, ad.AnnData], cells: ad.AnnData, of_cells: str) -> str:
    """Model card in Markdown, from the weight file, its tables, and cells to score it on."""
    path = weight_file(name)
    weights = scdtl.pretrained.load_weights(path)
    about = weights.provenance
    lines = [
        f"# Bulk weights: {name}",
        "",
        f"- Trained on: {about['description']}",
        f"- Species: {about['species']}",
        f"- Studies: {len(tables)}; samples: {about['n_samples']}; genes: {len(weights.genes)}",
        f"- File: `{path.name}`, {path.stat().st_size / 1e6:.1f} MB, sha256 `{weights.sha256}`",
        f"- Trained: {about['trained']}",
        f"- Command: `{about['command']}`",
        "- Licence of the weights: BSD-3-Clause. The tables keep their own licences, below; none "
        "of them is part of the file.",
        "",
        "## Scores",
        "",
        f"Loss on pseudo-cells from held-out samples (nats per cell): "
        f"{about['validation_loss_first']:.4f} at first, {about['validation_loss_last']:.4f} at "
        "the end.",
        "",
        f"Deviance of held-out molecules explained beyond the mean profile, on {of_cells}, which "
        "are in no table below:",
        "",
        score(path, cells).to_markdown(floatfmt=".4f"),
        "",
        "## Tables",
        "",
        *in_words(tables),
        *overlaps(tables),
        "",
        "| table | kind | samples | genes | unit | tissues | publication | source | licence |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for table_name, table in tables.items():
        origin = table.uns["bulk"]
        facts = (origin[k] for k in ("unit", "tissues", "publication", "source", "licence"))
        values = (table_name, kind_of(table), table.n_obs, table.n_vars, *facts)
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in values) + " |")
    return "\n".join(lines) + "\n"


def in_words(tables: dict[str, ad.AnnData]) -> list[str]:
    """How many tables and samples of each kind there are, and what pseudobulk is."""
    kinds = pd.Series({name: kind_of(table) for name, table in tables.items()})
    samples = pd.Series({name: table.n_obs for name, table in tables.items()})
    counts = [
        f"- {kind}: {(kinds == kind).sum()} tables, {samples[kinds == kind].sum()} samples"
        for kind in KINDS
        if (kinds == kind).any()
    ]
    if (kinds == "pseudobulk").any():
        counts[-1] += ", means of the single cells of one annotated type; the others are bulk"
    return counts


def overlaps(tables: dict[str, ad.AnnData]) -> list[str]:
    """Which samples are bulk of what the benchmarks are evaluated on."""
    return [
        f"- {name}: {', '.join(samples)}: {overlap}"
        for name, table in tables.items()
        if "eval_overlap" in table.obs
        for overlap, samples in table.obs.groupby("eval_overlap", observed=True).groups.items()
        if overlap != "none"
    ]


def weight_file(name: str) -> Path:
    """Where weights lie: those of a species inside the package, others here, to be released."""
    folder = HERE.parent / "src" / "scdtl" / "pretrained" if name in SHIPPED else HERE
    return folder / f"{name}.safetensors"


def export_trained(
    name: str, release: dict[str, Any], tables: dict[str, ad.AnnData], bulk: ad.AnnData
) -> None:
    """Train on the joined tables of a release, and write the weights."""
    model = train(bulk, release["epochs"], release["episodes"])
    loss = model.history["validation_loss"]["validation_loss"].astype(float)
    model.export(
        weight_file(name),
        name=name,
        description=release["description"],
        species=release["species"],
        licence="BSD-3-Clause",
        studies={n: str(t.uns["bulk"]["publication"]) for n, t in tables.items()},
        licences={n: str(t.uns["bulk"]["licence"]) for n, t in tables.items()},
        trained=f"{date.today().isoformat()}, scdtl {scdtl.__version__}, "
        f"torch {torch.__version__.split('+')[0]}",
        command=f"python weights/train.py FOLDER [FOLDER ...] --name {name}",
        validation_loss_first=round(float(loss.iloc[0]), 4),
        validation_loss_last=round(float(loss.iloc[-1]), 4),
    )


def main() -> None:
    releases = json.loads((HERE / "releases.json").read_text())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of .h5ad tables")
    parser.add_argument("--name", default=DEFAULT_BULK, choices=list(releases))
    parser.add_argument("--cells", type=Path, help=".h5ad with raw counts to score them on")
    arguments = parser.parse_args()
    name, release = arguments.name, releases[arguments.name]
    tables = read_tables(arguments.folders, release)
    bulk = join(tables, gene_table(arguments.folders, release["species"]))
    print(f"{name}: {len(tables)} tables, {bulk.n_obs} samples, {bulk.n_vars} genes", flush=True)
    export_trained(name, release, tables, bulk)
    cells = scdtl.datasets.pbmc68k_counts()
    of_cells = "the blood cells inside scanpy (`scdtl.datasets.pbmc68k_counts`)"
    if arguments.cells is not None:
        cells, of_cells = ad.read_h5ad(arguments.cells), f"the cells of `{arguments.cells.stem}`"
    (HERE / f"{name}.md").write_text(card(name, tables, cells, of_cells))


if __name__ == "__main__":
    main()
