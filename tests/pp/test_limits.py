"""How much memory is left, to a container and a SLURM job too."""

from __future__ import annotations

import psutil
import pytest

from scdtl.pp import _limits, impute
from scdtl.pp._limits import memory_left

GIB = 2**30


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Function that puts this process into control groups, given by folder."""
    monkeypatch.setattr(_limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(_limits, "_OWN_CGROUPS", tmp_path / "own")

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return make


@pytest.fixture(autouse=True)
def _plenty(monkeypatch):
    """A machine of one TiB, and no job."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 2**40})())
    monkeypatch.setattr(_limits, "_OWN_CGROUPS", _limits._CGROUPS / "none")
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


V2, V1 = "0::/pod/me\n", "5:cpu:/\n4:memory:/pod/me\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        (V2, {"pod/me/memory.max": f"{8 * GIB}\n"}, 5),
        (V2, {"pod/memory.max": f"{4 * GIB}\n", "pod/me/memory.max": "max\n"}, 1),
        (V2, {"memory.max": f"{4 * GIB}\n"}, 1),  # as a container sees its own
        (V2, {"pod/me/memory.max": "max\n"}, 1024),
        (V2, {"pod/me/memory.max": f"{2 * GIB}\n"}, 0),
        (V1, {"memory/pod/me/memory.limit_in_bytes": f"{8 * GIB}\n"}, 5),
        (V1, {"memory/memory.limit_in_bytes": f"{4 * GIB}\n"}, 1),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 1024),
    ],
)
def test_the_limit_of_a_container_is_seen(cgroups, own, files, left):
    used = f"anon {3 * GIB}\nfile {9 * GIB}\nrss {GIB}\ntotal_rss {3 * GIB}\n"
    stat = {name.rsplit("/", 1)[0] if "/" in name else "." for name in files}
    cgroups(own, files | {f"{folder}/memory.stat": used for folder in stat})
    assert memory_left() == left * GIB


@pytest.mark.parametrize(
    ("job", "limit"),
    [
        ({"MEM_PER_NODE": "16384"}, 16),
        ({"MEM_PER_CPU": "4096", "CPUS_ON_NODE": "4"}, 16),
        ({"MEM_PER_NODE": "0"}, None),  # all of the node
        ({"MEM_PER_NODE": "16G"}, None),  # nothing that SLURM writes
        ({}, None),
    ],
)
def test_the_limit_of_a_slurm_job_is_seen(monkeypatch, job, limit):
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    if limit is None:
        assert memory_left() == 2**40
    else:
        used = psutil.Process().memory_info().rss
        assert limit * GIB - memory_left() == pytest.approx(used, rel=0.1)


def test_a_layer_larger_than_the_container_is_refused(adata, cgroups):
    cgroups(V2, {"memory.max": "9000\n", "memory.stat": "anon 0\n"})
    with pytest.raises(MemoryError, match="0.0 GiB of memory are available"):
        impute(adata, bulk=None)
    assert "scdtl" not in adata.layers
