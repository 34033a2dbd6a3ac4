"""Results larger than memory: written to a zarr store block by block, and resumable."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from anndata import AnnData
from scipy import sparse

from scdtl._compat import layer_names
from scdtl._constants import LAYER_ENDINGS
from scdtl._files import check_folder, written_whole
from scdtl._writable import make_writable, nullable_strings
from scdtl.pp._layers import in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    import dask.array

    from scdtl.pp._layers import Prediction

logger = logging.getLogger(__name__)

_GENES_PER_CHUNK = 1024
_ENTRIES_PER_CHUNK = 1 << 20  # of the arrays of a sparse matrix
_ZARR_FORMAT: Literal[2] = 2  # which every version of anndata reads
_MODEL, _PROGRESS = "model", "progress.json"


def require(*packages: str) -> None:
    """Raise an error that says what to install if a package is missing."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"out=, lazy= and .zarr stores need {package}: pip install 'scdtl[large]'."
            ) from error


class Store:
    """A zarr store being written: in a folder ``*.partial``, moved out once it is complete.

    Beside it, the folder holds the trained model and ``progress.json``: what call it is, and how
    many blocks are written. A block counts once it is recorded there; others are written again.
    """

    def __init__(self, path: str | PathLike[str], adata: AnnData, key_added: str):
        self.path = Path(path).absolute()
        self.key_added = key_added
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self.growing = self.partial / self.path.name
        self.call: dict[str, str] = {}
        self.n_done: int | None = None
        if self.path.suffix == ".h5ad":
            raise ValueError(f"out= writes a zarr store: name it {self.path.stem}.zarr.")
        if self.path.exists():
            raise ValueError(f"{self.path} exists: delete it first, or choose another out.")
        check_folder(self.path.parent)
        if self.partial.exists():
            own = {self.path.name, _MODEL, _PROGRESS}
            if not {entry.name for entry in self.partial.iterdir()} <= own:
                raise ValueError(f"{self.partial} was not written by scdtl. {self._advice}")
        self._content = _without_results(adata, key_added)
        make_writable(self._content, self.path)

    @property
    def _advice(self) -> str:
        return f"Delete {self.partial} to start over, or choose another out."

    def resume(self, call: dict[str, str]) -> None:
        """Continue with what an earlier identical call has written, if anything."""
        self.call = call
        if not (self.partial / _PROGRESS).is_file():
            return  # never begun, or interrupted before anything was imputed
        progress = json.loads((self.partial / _PROGRESS).read_text())
        differences = [name for name in call if progress["call"].get(name) != call[name]]
        if differences:
            raise ValueError(
                f"{self.partial} was started by another call, which differs in: "
                f"{', '.join(differences)}. {self._advice}"
            )
        self.n_done = progress["n_done"]

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier call has trained a model already."""
        return self.n_done is not None

    @property
    def model(self) -> Path:
        """Where the trained model is kept."""
        return self.partial / _MODEL

    @contextmanager
    def new(self) -> Iterator[None]:
        """Write what the user's AnnData holds; after an error in what follows, nothing stays."""
        import zarr
        from anndata.io import write_elem

        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        try:
            root = zarr.open_group(str(self.growing), mode="w", zarr_format=_ZARR_FORMAT)
            with nullable_strings():
                write_elem(root, "/", self._content)
            yield
        except BaseException:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def write(
        self,
        prediction: Prediction,
        about_genes: dict[str, np.ndarray],
        provenance: dict[str, Any],
        verbose: bool,
    ) -> tuple[list[dask.array.Array], np.ndarray]:
        """Write what is not written yet, name the store, and read layers and latent from it."""
        import zarr
        from anndata.experimental import read_elem_lazy

        key = self.key_added
        layers = {f"layers/{key}{end}": sparse for end, sparse in prediction.layers.items()}
        latent = f"obsm/X_{key}"
        blocks = prediction.in_blocks()
        if self.n_done is None:
            self._write_about(about_genes, provenance)
            self._make_arrays(layers, latent, *blocks)
            self._record(0)
        self._write_blocks([*layers, latent], *blocks, verbose)
        root = zarr.open_group(str(self.path), mode="r", zarr_format=_ZARR_FORMAT)
        return [read_elem_lazy(root[name]) for name in layers], root[latent][:]

    def _write_about(self, about_genes: dict[str, np.ndarray], provenance: dict[str, Any]) -> None:
        from anndata.io import read_elem, write_elem

        root = self._open()
        var = read_elem(root["var"])
        with nullable_strings():
            write_elem(root, "var", var.assign(**about_genes))
        write_elem(root["uns"], self.key_added, provenance)

    def _make_arrays(
        self,
        layers: dict[str, bool],
        latent: str,
        imputed: dask.array.Array,
        latents: dask.array.Array,
    ) -> None:
        root = self._open()
        n_genes = imputed.shape[1]
        for name, is_sparse in layers.items():
            if is_sparse:
                _make_csr(root, name, n_genes)
            else:
                chunks = (imputed.chunksize[0], min(_GENES_PER_CHUNK, n_genes))
                _make_array(root, name, imputed.shape, chunks)
        _make_array(root, latent, latents.shape, latents.chunksize)

    def _write_blocks(
        self,
        names: list[str],
        imputed: dask.array.Array,
        latents: dask.array.Array,
        verbose: bool,
    ) -> None:
        """Impute and write the blocks that are not written yet, then name the store."""
        import dask
        import zarr
        from anndata.io import sparse_dataset

        assert self.n_done is not None
        root = self._open()
        starts = np.cumsum([0, *imputed.chunks[0]])
        for name in names:
            if isinstance(root[name], zarr.Group):
                _cut_back(root[name], int(starts[self.n_done]))
        write = dask.delayed(_write_block, pure=False)
        # Not optimised: both results of a block need the same counts, which are read once.
        blocks = (part.to_delayed(optimize_graph=False).ravel() for part in (imputed, latents))
        tasks = [
            write(*results, int(first), str(self.growing), names)
            for *results, first in zip(*blocks, starts[:-1], strict=True)
        ]
        try:
            for n_done, to_append in in_turn(tasks, n_done=self.n_done, verbose=verbose):
                for block in to_append:
                    for name, rows in block.items():
                        sparse_dataset(root[name]).append(rows)
                self._record(n_done)
            self._finish()
        except BaseException:
            logger.warning(
                "Interrupted: %s keeps %d of %d blocks, and the same call continues from there.",
                self.partial,
                self.n_done,
                len(tasks),
            )
            raise

    def _open(self) -> Any:
        import zarr

        # Consolidated metadata would hide what was added since.
        return zarr.open_group(
            str(self.growing), mode="r+", zarr_format=_ZARR_FORMAT, use_consolidated=False
        )

    def _record(self, n_done: int) -> None:
        with written_whole(self.partial / _PROGRESS) as file:
            file.write_text(json.dumps({"call": self.call, "n_done": n_done}))
        self.n_done = n_done

    def _finish(self) -> None:
        import zarr

        zarr.consolidate_metadata(str(self.growing), zarr_format=_ZARR_FORMAT)
        self.growing.rename(self.path)
        shutil.rmtree(self.partial)


def _without_results(adata: AnnData, key_added: str) -> AnnData:
    """The same content, without copies, and without earlier results."""
    from anndata.experimental import read_elem_lazy

    own = {key_added + end for end in LAYER_ENDINGS}
    if adata.isbacked and adata.raw is not None:
        logger.warning("adata.raw is not copied to out: it would have to fit into memory.")
    result = AnnData(
        read_elem_lazy(adata.file["X"]) if adata.isbacked else adata.X,
        obs=in_pandas(adata.obs),
        var=in_pandas(adata.var),
        uns={name: entry for name, entry in adata.uns.items() if name != key_added},
        obsm={name: in_pandas(x) for name, x in adata.obsm.items() if name != f"X_{key_added}"},
        layers={name: adata.layers[name] for name in layer_names(adata) if name not in own},
        varm={name: in_pandas(entry) for name, entry in adata.varm.items()},
        obsp=dict(adata.obsp),
        varp=dict(adata.varp),
    )
    if adata.raw is not None and not adata.isbacked:
        raw = adata.raw
        result.raw = AnnData(raw.X, var=in_pandas(raw.var), varm=dict(raw.varm))
    return result


def in_pandas(table: Any) -> Any:
    """A table that :func:`anndata.experimental.read_lazy` gives, as a DataFrame."""
    return table.to_memory() if hasattr(table, "to_memory") else table


def _write_block(
    imputed: list[np.ndarray | sparse.csr_matrix],
    latent: np.ndarray,
    first: int,
    path: str,
    names: list[str],
) -> dict[str, sparse.csr_matrix]:
    """Write the dense results of a block; give back the sparse ones, to be appended."""
    import zarr

    root: Any = zarr.open_group(path, mode="r+", zarr_format=_ZARR_FORMAT, use_consolidated=False)
    to_append = {}
    for name, block in zip(names, [*imputed, latent], strict=True):
        if isinstance(block, np.ndarray):
            root[name][first : first + len(latent)] = block
        else:
            to_append[name] = block
    return to_append


def _make_array(root: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    array = root.create_array(name, shape=shape, chunks=chunks, dtype=np.float32, fill_value=0)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _make_csr(root: Any, name: str, n_genes: int) -> None:
    """A matrix without rows."""
    from anndata.io import write_elem

    empty = sparse.csr_matrix((0, n_genes), dtype=np.float32)
    empty.indptr = empty.indptr.astype(np.int64)
    write_elem(root, name, empty, dataset_kwargs={"chunks": (_ENTRIES_PER_CHUNK,)})


def _cut_back(group: Any, n_rows: int) -> None:
    """Forget rows that were appended and not recorded."""
    group["indptr"].resize((n_rows + 1,))
    n_stored = int(group["indptr"][n_rows])
    group["data"].resize((n_stored,))
    group["indices"].resize((n_stored,))
    group.attrs["shape"] = [n_rows, group.attrs["shape"][1]]
