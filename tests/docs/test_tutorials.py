"""The tutorials run from top to bottom, and their results come out again.

Cells with the tag "check" must give the text that is committed: the same words, and numbers within
5 %. Other cells have to run without an error. A notebook is skipped where its data set is not
on this machine and can't be downloaded.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from scdtl.pretrained._fetch import fetch_file
from scdtl.pretrained._registry import data_sets

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
TOLERANCE = 0.05
ROUNDING = 5e-4  # small numbers are shown with three decimals

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tutorial_gives_its_results_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    _skip_without_data(path)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    committed = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        run, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    differences = [
        difference
        for old, new in zip(committed.cells, run.cells, strict=True)
        if "check" in old.metadata.get("tags", [])
        for difference in compare(text_of(old), text_of(new))
    ]
    assert not differences, "\n".join(differences)


def _skip_without_data(path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    for name, file in data_sets().items():
        if f"datasets.{name}()" in code:
            try:
                fetch_file(file, verbose=False)
            except (FileNotFoundError, ConnectionError) as error:
                pytest.skip(str(error))


def text_of(cell: Any) -> str:
    """What a cell printed and returned, without progress bars."""
    texts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream" and output["name"] == "stdout":
            texts.append(output["text"])
        elif "text/plain" in output.get("data", {}):
            texts.append(output["data"]["text/plain"])
    return "\n".join("".join(text) for text in texts)


def compare(old: str, new: str) -> list[str]:
    """Differences in words, or in numbers beyond the tolerance; layout does not count."""
    words = [_NUMBER.sub("#", text).split() for text in (old, new)]
    if words[0] != words[1]:
        pairs = zip_longest(*words, fillvalue="nothing")
        a, b = next(pair for pair in pairs if pair[0] != pair[1])
        return [f"{a!r} became {b!r} in: {new}"]
    numbers = (map(float, _NUMBER.findall(text)) for text in (old, new))
    return [
        f"{a} became {b} in: {new}"
        for a, b in zip(*numbers, strict=True)
        if not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=ROUNDING)
    ]


def test_a_notebook_without_its_data_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("SCDTL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SCDTL_OFFLINE", "1")
    monkeypatch.delenv("SCDTL_BASE_URL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Cannot get the data set 'brain_reads'"):
        _skip_without_data(ROOT / "tutorials" / "reads.ipynb")
    _skip_without_data(ROOT / "tutorials" / "quickstart.ipynb")


def test_comparison_allows_five_per_cent() -> None:
    assert not compare("scdtl  0.577\nMAGIC -0.1", "scdtl 0.570\nMAGIC  -0.104")
    assert compare("scdtl 0.577", "scdtl 0.5")


def test_comparison_sees_other_words() -> None:
    assert compare("CD79A 26.9", "CD79B 26.9")
    assert compare("1 2", "1 2 3")
