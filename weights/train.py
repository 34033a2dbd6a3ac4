"""Train released bulk weights from a folder of .h5ad tables, and write their model card.

Every table is one study: samples × genes on a linear scale, gene symbols in ``var_names``, and
``uns["bulk"]`` with ``unit``, ``species``, ``tissues``, ``publication``, ``source`` and
``licence``. A gene that a table lacks is unknown there, not zero.

    python weights/train.py FOLDER --name human-blood

What each release is trained on and for how long stands in releases.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import torch
from scipy import sparse

import scdtl
from scdtl._constants import DEFAULT_BULK
from scdtl.genes import orthologs

if TYPE_CHECKING:
    from scdtl.pretrained import BulkWeights

HERE = Path(__file__).parent
LENGTH_NORMALISED = ("TPM", "FPKM", "RPKM")
MIN_MEASURED = 0.5
N_PSEUDO_CELLS = 700


def read_tables(folder: Path, release: dict[str, Any]) -> dict[str, ad.AnnData]:
    """Read the tables of a release, sorted by name: those it lists, or all of its species."""
    names = release.get("tables", [path.stem for path in folder.glob("*.h5ad")])
    tables = {name: ad.read_h5ad(folder / f"{name}.h5ad") for name in sorted(names)}
    species = release["species"]
    chosen = {name: t for name, t in tables.items() if t.uns["bulk"]["species"] == species}
    if not chosen:
        raise SystemExit(f"{folder} has no .h5ad table of species {species!r}.")
    return chosen


def join(tables: dict[str, ad.AnnData], genes: pd.DataFrame) -> ad.AnnData:
    """Join tables over the genes that at least half of all samples measured; NaN elsewhere."""
    parts = []
    for name, table in tables.items():
        unit = str(table.uns["bulk"]["unit"])
        length_normalised = any(word in unit for word in LENGTH_NORMALISED)
        obs = pd.DataFrame(
            {"study": name, "unit": "per length" if length_normalised else "per gene"},
            index=name + "-" + table.obs_names.astype(str),
        )
        matrix = table.X.toarray() if hasattr(table.X, "toarray") else table.X
        parts.append(ad.AnnData(np.asarray(matrix, np.float32), obs, table.var[[]]))
    joined = ad.concat(parts, join="outer", fill_value=np.nan)
    measured = np.mean(~np.isnan(joined.X), axis=0) >= MIN_MEASURED
    joined = joined[:, measured].copy()
    ensembl = genes.drop_duplicates("symbol").set_index("symbol")["ensgene"]
    joined.var["ensembl_id"] = ensembl.reindex(joined.var_names).fillna("").to_numpy()
    return joined


def train(bulk: ad.AnnData, epochs: int) -> scdtl.BulkDAE:
    """Train on episodes; the seed fixes everything."""
    torch.manual_seed(0)
    scdtl.BulkDAE.setup_anndata(bulk, study_key="study", unit_key="unit")
    model = scdtl.BulkDAE(bulk)
    model.train(
        max_epochs=epochs,
        batch_size=128,
        n_episodes=100,
        num_workers=1,
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


def through_orthologs(weights: BulkWeights) -> BulkWeights:
    """Human weights under the names of mouse: the genes that are one-to-one orthologs."""
    of_human = orthologs("human", "mouse")
    candidates = [of_human.get(gene, frozenset()) for gene in weights.ensembl_ids]
    mouse = {row: next(iter(one)) for row, one in enumerate(candidates) if len(one) == 1}
    times_named = Counter(gene.symbol for gene in mouse.values())
    mouse = {row: gene for row, gene in mouse.items() if times_named[gene.symbol] == 1}
    mouse = {row: gene for row, gene in mouse.items() if gene.symbol}
    rows = np.array(list(mouse))
    tensors = dict(weights.tensors)
    tensors["encoder.genes.weight"] = tensors["encoder.genes.weight"][:, rows]
    for name in ("decoder.genes.weight", "decoder.genes.bias", "log_mean"):
        tensors[name] = tensors[name][rows]
    tensors["gene_order"] = np.argsort(np.argsort(tensors["gene_order"])[rows])
    return replace(
        weights,
        tensors=tensors,
        genes=[gene.symbol for gene in mouse.values()],
        ensembl_ids=[gene.ensembl_id for gene in mouse.values()],
    )


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


def pseudo_cells(table: ad.AnnData) -> ad.AnnData:
    """Poisson counts of mixtures of two samples, mostly of one, at some 3,000 molecules."""
    generator = np.random.default_rng(0)
    samples = np.asarray(table.X.toarray() if hasattr(table.X, "toarray") else table.X)
    samples = samples / samples.sum(1, keepdims=True)
    mixed = generator.dirichlet([8, 1], N_PSEUDO_CELLS)
    first, second = generator.integers(0, len(samples), (2, N_PSEUDO_CELLS))
    profiles = mixed[:, :1] * samples[first] + mixed[:, 1:] * samples[second]
    depths = generator.lognormal(np.log(3_000), 0.4, (N_PSEUDO_CELLS, 1))
    counts = generator.poisson(profiles * depths).astype(np.float32)
    return ad.AnnData(sparse.csr_matrix(counts), var=table.var[[]])


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
        "| table | samples | genes | unit | tissues | publication | source | licence |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for table_name, table in tables.items():
        origin = table.uns["bulk"]
        facts = (origin[k] for k in ("unit", "tissues", "publication", "source", "licence"))
        values = (table_name, table.n_obs, table.n_vars, *facts)
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in values) + " |")
    return "\n".join(lines) + "\n"


def weight_file(name: str) -> Path:
    """Where weights lie: the default inside the package, the others here, to be released."""
    folder = HERE.parent / "src" / "scdtl" / "pretrained" if name == DEFAULT_BULK else HERE
    return folder / f"{name}.safetensors"


def export_trained(name: str, release: dict[str, Any], folder: Path, command: str) -> None:
    """Train on the tables of a release, and write the weights and their card."""
    species = release["species"]
    tables = read_tables(folder, release)
    bulk = join(tables, pd.read_csv(folder / f"genes_{species}.tsv.gz", sep="\t"))
    print(f"{name}: {len(tables)} tables, {bulk.n_obs} samples, {bulk.n_vars} genes", flush=True)
    model = train(bulk, release["epochs"])
    loss = model.history["validation_loss"]["validation_loss"].astype(float)
    model.export(
        weight_file(name),
        name=name,
        description=release["description"],
        species=species,
        licence="BSD-3-Clause",
        studies={n: str(t.uns["bulk"]["publication"]) for n, t in tables.items()},
        licences={n: str(t.uns["bulk"]["licence"]) for n, t in tables.items()},
        trained=f"{date.today().isoformat()}, scdtl {scdtl.__version__}, "
        f"torch {torch.__version__.split('+')[0]}",
        command=command,
        validation_loss_first=round(float(loss.iloc[0]), 4),
        validation_loss_last=round(float(loss.iloc[-1]), 4),
    )
    cells = scdtl.datasets.pbmc68k_counts()
    of_cells = "the blood cells inside scanpy (`scdtl.datasets.pbmc68k_counts`)"
    (HERE / f"{name}.md").write_text(card(name, tables, cells, of_cells))


def export_orthologs(
    name: str, release: dict[str, Any], releases: dict[str, Any], folder: Path, command: str
) -> None:
    """Rename the genes of another release, and write the weights and their card."""
    source = release["orthologs_of"]
    weights = through_orthologs(scdtl.pretrained.load_weights(weight_file(source)))
    about = {"name": name, "description": release["description"], "command": command}
    about |= {"species": release["species"]}
    scdtl.pretrained.save_weights(
        replace(weights, provenance=weights.provenance | about), weight_file(name)
    )
    test = release["test_table"]
    cells = pseudo_cells(ad.read_h5ad(folder / f"{test}.h5ad"))
    of_cells = f"pseudo-cells drawn from the tissues of the table `{test}`"
    tables = read_tables(folder, releases[source])
    (HERE / f"{name}.md").write_text(card(name, tables, cells, of_cells))


def main() -> None:
    releases = json.loads((HERE / "releases.json").read_text())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad tables, one per study")
    parser.add_argument("--name", default=DEFAULT_BULK, choices=list(releases))
    arguments = parser.parse_args()
    name, release = arguments.name, releases[arguments.name]
    command = f"python weights/train.py FOLDER --name {name}"
    if "orthologs_of" in release:
        export_orthologs(name, release, releases, arguments.folder, command)
    else:
        export_trained(name, release, arguments.folder, command)


if __name__ == "__main__":
    main()
