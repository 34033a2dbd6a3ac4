"""Train released bulk weights from a folder of .h5ad tables, and write their model card.

Every table is one study: samples × genes on a linear scale, gene symbols in ``var_names``, and
``uns["bulk"]`` with ``unit``, ``species``, ``tissues``, ``publication``, ``source`` and
``licence``. A gene that a table lacks is unknown there, not zero.

    python weights/train.py FOLDER --name human --genes genes_human.tsv.gz
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import torch

import scdtl

HERE = Path(__file__).parent
LENGTH_NORMALISED = ("TPM", "FPKM", "RPKM")
MIN_MEASURED = 0.5


def read_tables(folder: Path, species: str) -> dict[str, ad.AnnData]:
    """Read the tables of one species, sorted by name."""
    tables = {path.stem: ad.read_h5ad(path) for path in sorted(folder.glob("*.h5ad"))}
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


def train(bulk: ad.AnnData, epochs: int, episodes: int, lr: float, seed: int) -> scdtl.BulkDAE:
    """Train on episodes; the seed fixes everything."""
    torch.manual_seed(seed)
    scdtl.BulkDAE.setup_anndata(bulk, study_key="study", unit_key="unit")
    model = scdtl.BulkDAE(bulk)
    model.train(
        max_epochs=epochs,
        n_episodes=episodes,
        num_workers=1,
        check_val_every_n_epoch=5,
        plan_kwargs={"lr": lr, "weight_decay": 1e-4, "ema_decay": 0.98},
        callbacks=[_PrintEpoch()],
        enable_progress_bar=False,
    )
    return model


class _PrintEpoch(lightning.pytorch.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        values = {k: round(float(v), 4) for k, v in trainer.callback_metrics.items()}
        print(trainer.current_epoch + 1, values, flush=True)


def score(path: Path) -> pd.DataFrame:
    """Deviance of held-out molecules explained on the counts inside scanpy, by transfer."""
    rows = {}
    for n_cells in (100, 700):
        adata = scdtl.datasets.pbmc68k_counts()[:n_cells].copy()
        explained = {}
        for label, bulk, max_epochs in (
            ("without bulk", None, None),
            ("bulk, not trained", path, 0),
            ("bulk, trained", path, None),
        ):
            imputed = scdtl.pp.impute(
                adata, bulk=bulk, max_epochs=max_epochs, copy=True, verbose=False
            )
            explained[label] = imputed.uns["scdtl"]["held_out_deviance_explained"]
        rows[n_cells] = explained
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cells")


def card(name: str, tables: dict[str, ad.AnnData]) -> str:
    """Model card in Markdown, from the weight file and the tables."""
    path = weight_file(name)
    weights = scdtl.pretrained.load_weights(path)
    about = weights.provenance
    lines = [
        f"# Bulk weights: {name}",
        "",
        f"- Species: {next(iter(tables.values())).uns['bulk']['species']}",
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
        "Deviance of held-out molecules explained beyond the mean profile, on the blood cells "
        "inside scanpy (`scdtl.datasets.pbmc68k_counts`), which are in no table below:",
        "",
        score(path).to_markdown(floatfmt=".4f"),
        "",
        "## Tables",
        "",
        "| table | samples | genes | unit | tissues | publication | source | licence |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for table_name, table in tables.items():
        origin = table.uns["bulk"]
        facts = (origin[k] for k in ("unit", "tissues", "publication", "source", "licence"))
        cells = (table_name, table.n_obs, table.n_vars, *facts)
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def weight_file(name: str) -> Path:
    """Where weights lie: inside the package."""
    return HERE.parent / "src" / "scdtl" / "pretrained" / f"{name}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of .h5ad tables, one per study")
    parser.add_argument("--name", default="human")
    parser.add_argument("--species", default="human")
    parser.add_argument("--genes", default="genes_human.tsv.gz", help="symbol, ensgene; in folder")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=100, help="per epoch")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    tables = read_tables(arguments.folder, arguments.species)
    genes = pd.read_csv(arguments.folder / arguments.genes, sep="\t")
    bulk = join(tables, genes)
    model = train(bulk, arguments.epochs, arguments.episodes, arguments.lr, arguments.seed)
    command = (
        f"python weights/train.py FOLDER --name {arguments.name} --species {arguments.species} "
        f"--epochs {arguments.epochs} --episodes {arguments.episodes} --lr {arguments.lr} "
        f"--seed {arguments.seed}"
    )
    loss = model.history["validation_loss"]["validation_loss"].astype(float)
    model.export(
        weight_file(arguments.name),
        name=arguments.name,
        species=arguments.species,
        licence="BSD-3-Clause",
        studies={n: str(t.uns["bulk"]["publication"]) for n, t in tables.items()},
        licences={n: str(t.uns["bulk"]["licence"]) for n, t in tables.items()},
        trained=f"{date.today().isoformat()}, scdtl {scdtl.__version__}, "
        f"torch {torch.__version__.split('+')[0]}",
        command=command,
        validation_loss_first=round(float(loss.iloc[0]), 4),
        validation_loss_last=round(float(loss.iloc[-1]), 4),
    )
    (HERE / f"{arguments.name}.md").write_text(card(arguments.name, tables))


if __name__ == "__main__":
    main()
