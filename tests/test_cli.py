"""Tests of the command line."""

from __future__ import annotations

import gzip
import html
import inspect
import re
import subprocess
import sys
import warnings

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy
import zarr
from scipy import sparse
from scipy.io import mmwrite

import scdtl
from scdtl.cli import main
from scdtl.datasets import pbmc68k_counts, toy


def scdtl_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "scdtl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def toy_file(tmp_path):
    path = tmp_path / "toy.h5ad"
    toy(n_batches=2).write_h5ad(path)
    return path


@pytest.fixture
def calls(monkeypatch):
    """Arguments that the command gives to impute, which does nothing but mark the layer."""
    seen = []

    def impute(adata, **options):
        seen.append(options)
        adata.layers[options["key_added"]] = np.ones(adata.shape, dtype=np.float32)

    monkeypatch.setattr("scdtl.pp.impute", impute)
    return seen


def test_version_is_printed():
    done = scdtl_command("--version")
    assert (done.returncode, done.stdout) == (0, f"scdtl {scdtl.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["impute", "--help"],
        ["unmeasured", "--help"],
        ["evaluate", "--help"],
        ["demo", "--help"],
        ["weights", "--help"],
    ],
)
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom scdtl.cli import main\n"
        f"try:\n    main({words})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'scvi', 'scanpy', 'anndata', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: scdtl")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["imputes"],
        ["impute", "in.h5ad"],
        ["impute", "a", "-o", "b", "--max-epochs", "x"],
        ["weights"],
        ["weights", "fetch"],
    ],
)
def test_wrong_usage_ends_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: scdtl" in capsys.readouterr().err


def test_impute_writes_the_layer_of_a_real_file(tmp_path):
    real = pbmc68k_counts()[::7].copy()
    real.write_h5ad(tmp_path / "real.h5ad")
    output = tmp_path / "imputed.h5ad"
    done = scdtl_command("impute", tmp_path / "real.h5ad", "-o", output, "--max-epochs", 1)
    assert done.returncode == 0, done.stderr
    imputed = anndata.read_h5ad(output)
    assert imputed.layers["scdtl"].shape == real.shape
    assert (imputed.X != real.X).nnz == 0
    assert f"wrote {output}" in done.stderr
    assert "Training" in done.stderr
    assert done.stdout == ""  # which is for results
    assert sorted(file.name for file in tmp_path.iterdir()) == ["imputed.h5ad", "real.h5ad"]


def test_an_error_is_exactly_one_line(tmp_path):
    logged = toy()
    logged.layers["counts"] = logged.X.copy()
    logged.X = logged.X.log1p()
    logged.write_h5ad(tmp_path / "logged.h5ad")
    done = scdtl_command("impute", tmp_path / "logged.h5ad", "-o", tmp_path / "out.h5ad")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("scdtl: error: adata.X contains values that are not integers")
    assert "pass layer='counts'" in done.stderr
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.h5ad", "-o", "out.h5ad"], "none.h5ad does not exist"),
        (["text.h5ad", "-o", "out.h5ad"], "text.h5ad is not an .h5ad file"),
        (["other.h5ad", "-o", "out.h5ad"], "other.h5ad is HDF5 but not an AnnData"),
        (["toy.h5ad", "-o", "no/out.h5ad"], "folder no does not exist"),
        (["toy.h5ad", "-o", "out.csv"], "must end in .h5ad"),
        (["toy.h5ad", "-o", "folder.h5ad"], "is a folder"),
        (["toy.h5ad", "-o", "out.h5ad", "--genes", "genes.txt"], "genes.txt does not exist"),
        (["toy.h5ad", "-o", "out.h5ad", "--bulk", "bulk.h5ad"], "bulk.h5ad does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_files_are_refused_before_any_work(
    words, message, toy_file, calls, capsys, monkeypatch
):
    folder = toy_file.parent
    monkeypatch.chdir(folder)
    (folder / "text.h5ad").write_text("cell,gene\n")
    (folder / "folder.h5ad").mkdir()
    h5py.File(folder / "other.h5ad", "w").close()
    assert main(["impute", *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("scdtl: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not calls
    assert not (folder / "out.h5ad").exists()


def test_defaults_are_those_of_the_python_call(toy_file, calls, monkeypatch):
    monkeypatch.undo()
    parameters = inspect.signature(scdtl.pp.impute).parameters
    monkeypatch.setattr("scdtl.pp.impute", lambda adata, **options: calls.append(options))
    assert main(["impute", str(toy_file), "-o", str(toy_file.with_name("out.h5ad"))]) == 0
    (options,) = calls
    assert options.pop("verbose") is True
    assert options == {name: parameters[name].default for name in options}


def test_every_option_reaches_the_python_call(toy_file, calls, capsys):
    genes = toy_file.with_name("genes.txt")
    genes.write_text("GENE1\n\n GENE7 \n")
    words = "--layer counts --bulk none --batch-key batch --key-added filled --scale counts"
    words += " --replace zeros --false-zero-rate 0.05 --max-epochs 2 --batch-size 32 --devices 1"
    words += f" --accelerator cpu --random-state 5 --return-std --quiet --genes {genes}"
    words += " --noise reads --no-own-counts --dropout-threshold 0.7 --return-dropout"
    output = toy_file.with_name("out.h5ad")
    assert main(["impute", str(toy_file), "-o", str(output), *words.split()]) == 0
    assert calls == [
        {
            "layer": "counts",
            "noise": "reads",
            "bulk": None,
            "batch_key": "batch",
            "key_added": "filled",
            "scale": "counts",
            "replace": "zeros",
            "false_zero_rate": 0.05,
            "own_counts": False,
            "dropout_threshold": 0.7,
            "genes": ["GENE1", "GENE7"],
            "max_epochs": 2,
            "batch_size": 32,
            "accelerator": "cpu",
            "devices": 1,
            "random_state": 5,
            "return_std": True,
            "return_dropout": True,
            "out": None,
            "verbose": False,
        }
    ]
    assert capsys.readouterr() == ("", "")


def test_a_backed_file_is_imputed_into_a_zarr_store(toy_file):
    before = toy_file.read_bytes()
    words = ["impute", str(toy_file), "--bulk", "none", "--max-epochs", "1"]
    whole, store = toy_file.with_name("out.h5ad"), toy_file.with_name("out.zarr")
    assert main([*words, "-o", str(whole)]) == 0
    assert main([*words, "-o", str(store), "--backed"]) == 0
    expected, imputed = anndata.read_h5ad(whole), anndata.read_zarr(store)
    np.testing.assert_array_equal(imputed.layers["scdtl"], expected.layers["scdtl"])
    np.testing.assert_array_equal(imputed.X.toarray(), expected.X.toarray())
    assert list(imputed.var) == list(expected.var)
    assert toy_file.read_bytes() == before
    assert main([*words, "-o", str(store), "--backed"]) == 1  # what is there stays


def test_zeros_are_written_sparse(toy_file):
    output = toy_file.with_name("out.h5ad")
    words = "--bulk none --max-epochs 2 --false-zero-rate 0.05 --quiet"
    assert main(["impute", str(toy_file), "-o", str(output), *words.split()]) == 0
    imputed = anndata.read_h5ad(output)
    layer = imputed.layers["scdtl"]
    assert sparse.isspmatrix_csr(layer)
    assert 0.5 < layer.nnz / np.prod(layer.shape) < 1
    assert (layer[imputed.X.nonzero()] > 0).all()


def test_genes_that_are_not_trusted_are_written_as_observed(toy_file):
    output = toy_file.with_name("out.h5ad")
    words = "--bulk none --max-epochs 2 --replace trusted --scale counts --quiet"
    assert main(["impute", str(toy_file), "-o", str(output), *words.split()]) == 0
    imputed = anndata.read_h5ad(output)
    trusted = imputed.var["scdtl_trusted"].to_numpy()
    counts, values = imputed.X.toarray(), imputed.layers["scdtl"]
    assert 0 < trusted.sum() < 40
    assert np.array_equal(values[:, ~trusted], counts[:, ~trusted])
    assert not (values[:, trusted] == counts[:, trusted]).all(axis=0).any()


def test_bulk_counts_are_read(toy_file, calls):
    output = toy_file.with_name("out.h5ad")
    assert main(["impute", str(toy_file), "-o", str(output), "--bulk", str(toy_file)]) == 0
    assert calls[0]["bulk"].shape == (60, 40)


def test_output_that_exists_is_refused_before_anything_is_read(toy_file, calls, capsys):
    output = toy_file.with_name("out.h5ad")
    output.write_text("old")
    words = ["impute", "none.h5ad", "-o", str(output)]
    assert main(words) == 1
    assert "out.h5ad exists: choose another one, or add --overwrite" in capsys.readouterr().err
    assert output.read_text() == "old"
    words[1] = str(toy_file)
    assert main([*words, "--overwrite"]) == 0
    assert "scdtl" in anndata.read_h5ad(output).layers
    page = toy_file.with_name("report.html")
    page.write_text("old")
    assert main(["evaluate", "none.h5ad", "--html", str(page)]) == 1
    assert "report.html exists" in capsys.readouterr().err
    words = ["evaluate", str(toy_file), "--methods", "observed,mean profile"]
    assert main([*words, "--html", str(page), "--overwrite"]) == 0
    assert page.read_text(encoding="utf-8") != "old"


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize(
    ("words", "output"),
    [
        ("toy.h5ad", "toy.h5ad"),
        ("toy.h5ad", "folder/../toy.h5ad"),
        ("toy.h5ad", "link.h5ad"),
        ("toy.h5ad", "hard.h5ad"),
        ("link.h5ad", "toy.h5ad"),
        ("other.h5ad --bulk toy.h5ad", "toy.h5ad"),
        ("other.h5ad --genes genes.h5ad", "genes.h5ad"),
        ("toy.zarr", "toy.zarr"),
        ("toy.zarr", "link.zarr"),
        ("toy.zarr/tables/table", "toy.zarr"),
    ],
)
def test_what_is_read_is_never_overwritten(toy_file, calls, capsys, monkeypatch, words, output):
    folder = toy_file.parent
    monkeypatch.chdir(folder)
    (folder / "folder").mkdir()
    (folder / "link.h5ad").symlink_to("toy.h5ad")
    (folder / "hard.h5ad").hardlink_to("toy.h5ad")
    (folder / "genes.h5ad").write_text("GENE1")
    toy().write_h5ad("other.h5ad")
    toy().write_zarr("toy.zarr")
    toy().write_zarr("toy.zarr/tables/table")
    (folder / "link.zarr").symlink_to("toy.zarr")
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["impute", *words.split(), "-o", output, "--overwrite"]) == 1
    assert f"output {output} is also the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == content
    assert not calls


def test_overwrite_replaces_stores_alone(toy_file, capsys):
    store = toy_file.with_name("out.zarr")
    words = ["impute", str(toy_file), "-o", str(store), "--overwrite", "--bulk", "none"]
    words += ["--max-epochs", "1"]
    store.mkdir()
    (store / "photo").touch()
    assert main(words) == 1
    assert "is a folder, but not a zarr store" in capsys.readouterr().err
    assert [path.name for path in store.iterdir()] == ["photo"]
    (store / "photo").unlink()
    store.rmdir()
    for key in ("first", "second"):
        assert main([*words, "--key-added", key]) == 0
    assert set(anndata.read_zarr(store).uns) == {"second"}
    assert sorted(path.name for path in store.parent.iterdir()) == ["out.zarr", "toy.h5ad"]


# What is read


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The toy in files of all kinds; not to be changed."""
    folder = tmp_path_factory.mktemp("files")
    adata = toy(n_batches=2)
    adata.raw = adata.copy()
    adata.obsm["table"] = adata.obs[["batch"]].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what mudata and zarr will do one day
        both = mudata.MuData({"prot": toy(n_vars=5), "rna": adata})
        adata.write_h5ad(folder / "in.h5ad")
        adata.write_zarr(folder / "in.zarr")
        zarr.open_group(folder / "spatial.zarr", zarr_format=2)
        adata.write_zarr(folder / "spatial.zarr" / "tables" / "table")
        both.write(folder / "in.h5mu")
        both.write_zarr(folder / "mu.zarr")
    (folder / "cellranger").mkdir()
    (folder / "counts.h5ad.gz").write_bytes(gzip.compress((folder / "in.h5ad").read_bytes()))
    with h5py.File(folder / "velocyto.loom", "w") as file:
        file.create_group("col_attrs")
    return folder


@pytest.fixture(scope="module")
def imputed_toy(files):
    """What Python makes of the file."""
    adata = anndata.read_h5ad(files / "in.h5ad")
    scdtl.pp.impute(adata, batch_key="batch", bulk=None, max_epochs=1, verbose=False)
    return adata


@pytest.mark.parametrize(
    "words",
    [
        "in.zarr",
        "in.zarr --backed",
        "in.h5mu --modality rna",
        "in.h5mu --modality rna --backed",
        "mu.zarr --modality rna",
        "mu.zarr --modality rna --backed",
        "spatial.zarr/tables/table",
    ],
)
def test_files_of_all_kinds_give_the_same(files, imputed_toy, words, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    output = tmp_path / "out.zarr"
    options = "--batch-key batch --bulk none --max-epochs 1 --quiet".split()
    assert main(["impute", *words.split(), "-o", str(output), *options]) == 0
    imputed = anndata.read_zarr(output)
    np.testing.assert_array_equal(imputed.layers["scdtl"], imputed_toy.layers["scdtl"])
    np.testing.assert_array_equal(imputed.raw.X.toarray(), imputed_toy.raw.X.toarray())
    assert list(imputed.obsm["table"]["batch"]) == list(imputed_toy.obs["batch"])


@pytest.mark.parametrize("command", ["impute", "evaluate"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("in.h5mu", "choose the RNA counts with --modality, which is one of: prot, rna"),
        ("in.h5mu --modality atac", "which is one of: prot, rna"),
        ("in.h5ad --modality rna", "in.h5ad has no modalities: leave --modality out"),
        ("spatial.zarr", "the AnnData inside it, such as spatial.zarr/tables/table"),
        ("cellranger", "10x folders with scanpy.read_10x_mtx"),
        ("counts.h5ad.gz", "decompress it if it ends in .gz"),
        ("velocyto.loom", ".loom files with scanpy.read_loom"),
    ],
    ids=lambda value: value.split(" --")[0] if "." in value else "",
)
def test_the_way_to_other_data_is_told(
    files, command, words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(files)
    output = ["-o", str(tmp_path / "out.h5ad")] if command == "impute" else []
    assert main([command, *words.split(), *output]) == 1
    captured = capsys.readouterr().err
    assert message in captured
    assert captured.count("\n") == 1


def test_a_modality_is_evaluated(files, capsys):
    words = ["--methods", "observed,mean profile"]
    assert main(["evaluate", str(files / "in.h5mu"), *words, "--modality", "rna"]) == 0
    of_modality = capsys.readouterr().out.splitlines()
    assert main(["evaluate", str(files / "in.h5ad"), *words]) == 0
    expected = capsys.readouterr().out.splitlines()
    assert of_modality[-1] == expected[-1]
    scores = [line.rsplit(maxsplit=1)[0] for line in expected[:-1]]  # without the seconds
    assert [line.rsplit(maxsplit=1)[0] for line in of_modality[:-1]] == scores


def write_10x(folder, kind):
    """The toy as Cell Ranger writes it: one file, or a folder of three."""
    counts = toy().X.astype(int)
    genes, cells = ([f"{name}{i}" for i in range(n)] for name, n in (("GENE", 40), ("cell", 60)))
    if kind == "h5":
        features = {"name": genes, "id": genes, "genome": ["GRCh38"] * 40}
        features["feature_type"] = ["Gene Expression"] * 40
        parts = {"shape": counts.shape[::-1], "barcodes": cells}
        parts |= {name: getattr(counts, name) for name in ("data", "indices", "indptr")}
        parts |= {f"features/{name}": values for name, values in features.items()}
        with h5py.File(folder / "counts.h5", "w") as file:
            for name, values in parts.items():
                values = np.asarray(values)
                kind = "S" if values.dtype.kind == "U" else values.dtype
                file[f"matrix/{name}"] = values.astype(kind)
        return folder / "counts.h5"
    tables = {
        "barcodes": cells,
        "features": [f"{gene}\t{gene}\tGene Expression" for gene in genes],
    }
    (folder / "counts").mkdir()
    for name, lines in tables.items():
        (folder / "counts" / f"{name}.tsv.gz").write_bytes(
            gzip.compress("\n".join(lines).encode())
        )
    with gzip.open(folder / "counts" / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, counts.T)
    return folder / "counts"


def write_csv(folder, _):
    path = folder / "counts.csv"
    toy().to_df().to_csv(path)
    return path


@pytest.mark.parametrize(
    ("write", "kind"),
    [(write_10x, "h5"), (write_10x, "mtx"), (write_csv, "csv")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_advice_for_other_files_works(write, kind, tmp_path, calls, capsys):
    source, read = write(tmp_path, kind), tmp_path / "in.h5ad"
    words = ["-o", str(tmp_path / "out.h5ad")]
    assert main(["impute", str(source), *words]) == 1
    advice = re.findall(r"(scanpy\.read_\w+).*(adata\.write_h5ad)\(\)", capsys.readouterr().err)
    adata = eval(advice[0][0], {"scanpy": scanpy})(source)
    eval(advice[0][1], {"adata": adata})(read)
    np.testing.assert_array_equal(adata.to_df(), toy().to_df())
    assert main(["impute", str(read), *words]) == 0
    assert len(calls) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_genes_are_read_as_excel_writes_them(toy_file, calls, encoding, end):
    genes = toy_file.with_name("genes.txt")
    text = ("\ufeff" if encoding == "utf-16-be" else "") + f"GENE1{end}GENE7{end}"
    genes.write_bytes(text.encode(encoding))
    words = ["-o", str(toy_file.with_name("out.h5ad")), "--genes", str(genes)]
    assert main(["impute", str(toy_file), *words]) == 0
    assert calls[0]["genes"] == ["GENE1", "GENE7"]


def test_a_spreadsheet_is_no_list_of_genes(toy_file, calls, capsys):
    genes = toy_file.with_name("genes.xlsx")
    genes.write_bytes(b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xa5\xff\xd2")
    words = ["-o", str(toy_file.with_name("out.h5ad")), "--genes", str(genes)]
    assert main(["impute", str(toy_file), *words]) == 1
    assert "genes.xlsx is not plain text in UTF-8" in capsys.readouterr().err


# What is written


def from_seurat(path, slot, names):
    """Make of a file what SeuratDisk makes: the names are in a column ``_index`` too."""
    with h5py.File(path, "a") as file:
        table = file[slot]
        index = table.create_dataset("features", data=table["_index"][:])
        index.attrs.update(dict(table["_index"].attrs))
        table["_index"][:] = names(table["_index"][:])
        table.attrs["_index"] = "features"
        order = [*table.attrs["column-order"], "_index"]
        table.attrs["column-order"] = np.array(order, dtype=object)


@pytest.mark.parametrize("slot", ["obs", "var", "raw/var"])
def test_files_converted_from_seurat_are_imputed(toy_file, slot, capsys):
    adata = toy(n_batches=2)
    adata.raw = adata.copy()
    adata.write_h5ad(toy_file)
    from_seurat(toy_file, slot, lambda names: names)
    words = ["impute", str(toy_file), "--bulk", "none", "--max-epochs", "1", "-o"]
    name = f"adata.{slot.replace('/', '.')}['_index']"
    for output in ("out.h5ad", "out.zarr"):
        assert main([*words, str(toy_file.with_name(output))]) == 0
        assert f"{name} repeats the names and is left out" in capsys.readouterr().err
    imputed = anndata.read_h5ad(toy_file.with_name("out.h5ad"))
    assert list(imputed.obs_names) == list(adata.obs_names)
    assert list(imputed.raw.var_names) == list(adata.var_names)


def test_what_can_not_be_written_is_told_before_training(toy_file, calls, capsys):
    from_seurat(toy_file, "var", lambda names: names[::-1])
    assert main(["impute", str(toy_file), "-o", str(toy_file.with_name("out.h5ad"))]) == 1
    message = capsys.readouterr().err
    assert "adata.var can't be written to a file" in message
    assert "'_index' is a reserved name" in message
    assert message.count("\n") == 1
    assert not calls
    assert list(toy_file.parent.iterdir()) == [toy_file]


@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr"])
def test_nullable_strings_are_written(toy_file, output):
    adata = toy()
    adata.obs_names = adata.obs_names.astype("string")
    adata.obs["donor"] = pd.array(["a", None, "b"] * 20, dtype="string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(toy_file, convert_strings_to_categoricals=False)
    words = ["-o", str(toy_file.with_name(output)), "--bulk", "none", "--max-epochs", "1"]
    assert main(["impute", str(toy_file), *words]) == 0
    read = anndata.read_zarr if output == "out.zarr" else anndata.read_h5ad
    imputed = read(toy_file.with_name(output))
    assert list(imputed.obs_names) == list(adata.obs_names)
    assert list(imputed.obs["donor"].isna()) == [False, True, False] * 20


def test_a_failed_write_leaves_the_old_output(toy_file, calls, capsys, monkeypatch):
    output = toy_file.with_name("out.h5ad")
    output.write_text("old")

    def fail(self, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
    assert main(["impute", str(toy_file), "-o", str(output), "--overwrite"]) == 1
    assert capsys.readouterr().err == "scdtl: error: disk full\n"
    assert output.read_text() == "old"
    assert sorted(file.name for file in output.parent.iterdir()) == ["out.h5ad", "toy.h5ad"]


def test_evaluate_prints_scores_and_verdict_and_writes_a_page(toy_file, capsys):
    page, csv = toy_file.with_name("report.html"), toy_file.with_name("scores.csv")
    words = ["--methods", "observed, mean profile,knn smoothing", "--held-out-fraction", "0.3"]
    words += ["--splits", "2", "--random-state", "5", "--html", str(page), "--csv", str(csv)]
    assert main(["evaluate", str(toy_file), *words]) == 0
    captured = capsys.readouterr()
    options = {"held_out_fraction": 0.3, "n_splits": 2, "random_state": 5}
    methods = ["observed", "mean profile", "knn smoothing"]
    expected = scdtl.tl.evaluate(anndata.read_h5ad(toy_file), methods=methods, **options)
    assert captured.out.splitlines()[-1] == expected.verdict
    table = pd.read_csv(csv, index_col="method").drop(columns="seconds")
    pd.testing.assert_frame_equal(table, expected.scores.drop(columns="seconds"))
    for score in table["poisson_score"]:
        assert f"{score:.3f}" in captured.out
    assert html.escape(expected.verdict) in page.read_text(encoding="utf-8")
    assert f"wrote {page}" in captured.err


def test_evaluate_of_reads_prints_scores_of_entries(toy_file, capsys):
    words = ["--noise", "reads", "--methods", "observed,mean profile"]
    assert main(["evaluate", str(toy_file), *words]) == 0
    printed = capsys.readouterr().out
    assert "dropout_auc" in printed
    assert "poisson_score" not in printed
    assert printed.splitlines()[-1].startswith("The correlation r of mean profile is")


def test_every_option_reaches_evaluate(toy_file, monkeypatch, capsys):
    seen = []

    def evaluate(adata, **options):
        seen.append(options)
        raise ValueError("seen enough")

    monkeypatch.setattr("scdtl.tl.evaluate", evaluate)
    words = "--layer counts --bulk none --batch-key batch --methods scdtl,magic --quiet"
    words += " --held-out-fraction 0.2 --splits 3 --random-state 7 --max-epochs 4 --noise reads"
    assert main(["evaluate", str(toy_file), *words.split()]) == 1
    assert main(["evaluate", str(toy_file)]) == 1
    assert capsys.readouterr().err == "scdtl: error: seen enough\n" * 2
    given, by_default = seen
    assert given == {
        "layer": "counts",
        "noise": "reads",
        "bulk": None,
        "batch_key": "batch",
        "methods": ["scdtl", "magic"],
        "held_out_fraction": 0.2,
        "n_splits": 3,
        "random_state": 7,
        "max_epochs": 4,
        "verbose": False,
    }
    monkeypatch.undo()
    parameters = inspect.signature(scdtl.tl.evaluate).parameters
    assert by_default.pop("verbose") is True
    assert by_default.pop("max_epochs") is None
    assert by_default == {name: parameters[name].default for name in by_default}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.h5ad"], "none.h5ad does not exist"),
        (["toy.h5ad", "--methods", "martian"], "unknown method 'martian'"),
        (["toy.h5ad", "--held-out-fraction", "2"], "held_out_fraction must lie between"),
        (["toy.h5ad", "--html", "report.pdf"], "must end in .html"),
        (["toy.h5ad", "--csv", "no/scores.csv"], "folder no does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_evaluate_refuses_in_one_line(words, message, toy_file, capsys, monkeypatch):
    monkeypatch.chdir(toy_file.parent)
    assert main(["evaluate", *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scdtl: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_demo_writes_where_it_is_told(tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr("scdtl._demo.run_demo", folders.append)
    assert main(["demo", "--out-dir", str(tmp_path / "here")]) == 0
    assert folders == [tmp_path / "here"]


def test_weights_are_listed(toy_registry, capsys):
    assert main(["weights", "list"]) == 0
    captured = capsys.readouterr()
    header, *rows = captured.out.splitlines()
    assert header.split()[:4] == ["name", "species", "studies", "samples"]
    assert [row.split()[0] for row in rows] == list(scdtl.pretrained.available().index)
    assert captured.err == ""


def test_weights_are_described(toy_registry, capsys):
    assert main(["weights", "info", "toy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{key}: {fact}" for key, fact in scdtl.pretrained.info("toy").items()]


def test_fetch_prints_the_path_alone(capsys):
    assert main(["weights", "fetch", "human"]) == 0
    assert capsys.readouterr() == (f"{scdtl.pretrained.fetch('human')}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch", "martian"], "No released weights 'martian'; there are: human"),
        (["info", "martian"], "No released weights 'martian'; there are: human"),
        (["fetch", "toy"], "no toy.safetensors with the registry's sha256 was found"),
    ],
)
def test_weights_that_cannot_be_had_are_one_line(toy_registry, capsys, words, message):
    assert main(["weights", *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scdtl: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyError("no layer 'a';\n there are: b"), 1, "error: no layer 'a'; there are: b"),
        (RuntimeError("out of luck"), 1, "error: RuntimeError: out of luck"),
        (MemoryError("no room"), 1, "error: no room"),
        (MemoryError(), 1, "error: MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_failure_is_one_line(error, status, line, toy_file, capsys, monkeypatch):
    def fail(adata, **options):
        raise error

    monkeypatch.setattr("scdtl.pp.impute", fail)
    assert main(["impute", str(toy_file), "-o", str(toy_file.with_name("out.h5ad"))]) == status
    assert capsys.readouterr().err == f"scdtl: {line}\n"
