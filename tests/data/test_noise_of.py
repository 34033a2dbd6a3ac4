"""Tests of telling molecules from reads by their values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.data._noise_of import check_noise, evidence_of, recognised
from scdtl.data._raw_counts import check_counts


def reads_of(n_cells, n_genes, depth, seed=0):
    """Zero-inflated log-normal reads, over genes of very different expression."""
    random = np.random.default_rng(seed)
    mean = random.lognormal(0, 2, n_genes)
    copies = random.lognormal(0, 1.2, (n_cells, n_genes)) * mean
    copies[random.random(copies.shape) < np.exp(-0.3 * mean)] = 0
    return random.poisson(copies / copies.sum(1, keepdims=True) * depth).astype(np.float32)


def molecules_of(n_cells, n_genes, depth, seed=0):
    """Poisson counts around gamma rates, over the same genes."""
    random = np.random.default_rng(seed)
    mean = random.lognormal(0, 2, n_genes)
    rates = random.gamma(4, 0.25, (n_cells, n_genes)) * mean
    return random.poisson(rates / rates.sum(1, keepdims=True) * depth).astype(np.float32)


def as_tpm(counts):
    lengths = np.random.default_rng(1).lognormal(7.5, 0.7, counts.shape[1])
    scaled = counts / lengths
    return (scaled / scaled.sum(1, keepdims=True) * 1e6).astype(np.float32)


READS = reads_of(80, 4000, 500_000)
MOLECULES = molecules_of(80, 4000, 8_000)
WHOLE_READS = {
    "deep": READS,
    "shallow": reads_of(80, 4000, 60_000),
    "rounded TPM": np.rint(as_tpm(READS)),
    "rounded CPM": np.rint(READS / READS.sum(1, keepdims=True) * 1e6),
}
FRACTIONS_OF_READS = {
    "expected counts": np.where(READS > 0, READS + np.float32(0.37) * (READS % 3 == 1), 0),
    "TPM": as_tpm(READS),
    "FPKM": as_tpm(READS) * np.random.default_rng(2).uniform(0.1, 0.5, (80, 1)).astype("f4"),
    "CPM": READS / READS.sum(1, keepdims=True) * 1e6,
}


@pytest.mark.parametrize("reads", [*WHOLE_READS.values(), *FRACTIONS_OF_READS.values()])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_reads_and_what_is_made_of_them_are_recognised(reads, kind):
    assert recognised(evidence_of(kind(reads))).noise == "reads"
    assert check_counts(kind(reads), noise="auto").noise == "reads"


@pytest.mark.parametrize("depth", [600, 8_000, 60_000])
def test_molecules_are_recognised_from_shallow_to_deep(depth):
    assert recognised(evidence_of(molecules_of(80, 4000, depth))).noise == "umi"


def test_real_molecules_are_recognised_also_of_a_panel(pbmc_counts):
    assert recognised(evidence_of(pbmc_counts.X)).noise == "umi"
    assert recognised(evidence_of(pbmc_counts.X[:, :120])).noise == "umi"


def test_cells_and_counts_that_are_not_there_are_molecules():
    assert recognised(evidence_of(np.zeros((0, 5)))).noise == "umi"
    assert recognised(evidence_of(np.zeros((4, 5)))).noise == "umi"


def test_the_evidence_is_that_of_the_definitions():
    values = np.array([[0, 1, 1, 6], [2, 0, 4, 0]], dtype=np.float32)
    evidence = evidence_of(values)
    assert evidence["whole"] == 1
    assert evidence["smallest"] == 1.5
    assert evidence["ones"] == pytest.approx(2 / 5)
    assert evidence["typical"] == 2
    assert evidence["size"] == 7
    assert evidence["alike"] == 0


def test_counts_scaled_to_a_library_size_are_judged_as_the_counts():
    scaled = MOLECULES / MOLECULES.sum(1, keepdims=True) * 1e6
    evidence = evidence_of(scaled)
    assert evidence["scaled"] == 1
    assert recognised(evidence).noise == "umi"
    with pytest.raises(ValueError, match=r"normalised.*noise=\"reads\""):
        check_counts(scaled, noise="auto")


def test_fractions_of_molecules_are_no_reads():
    random = np.random.default_rng(0)
    soup = np.where(random.random(MOLECULES.shape) < 0.5, MOLECULES, 0.93 * MOLECULES)
    with pytest.raises(ValueError, match="fractions of molecules.*numpy.rint"):
        check_counts(soup, noise="auto")
    assert check_counts(np.rint(soup), noise="auto").noise == "umi"


@pytest.mark.parametrize("noise", ["auto", "reads"])
def test_logarithms_are_refused_by_name(noise):
    with pytest.raises(ValueError, match="log-normalised"):
        check_counts(np.log1p(as_tpm(READS)), noise=noise)


@pytest.mark.parametrize("noise", ["auto", "reads"])
def test_values_below_zero_are_refused(noise):
    with pytest.raises(ValueError, match="negative"):
        check_counts(READS - 1, noise=noise)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'auto', 'umi', 'reads'"):
        check_noise("poisson")
