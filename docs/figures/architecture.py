"""Draws the model for docs/how_it_works.md: python docs/figures/architecture.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

TARGET = Path(__file__).parents[1] / "_static" / "architecture.svg"

DATA, DAE, UNET, JOIN, TEXT = "#EEEEEE", "#CFE3F1", "#F8DDC4", "#D8E8D0", "#222222"

# name: left, bottom, width, height, colour, title, lines
BOXES = {
    "bulk": (
        0.0,
        6.2,
        2.9,
        1.3,
        DATA,
        "Bulk RNA-seq",
        ["samples of many studies,", "mixed to pseudo-cells"],
    ),
    "weights": (
        3.9,
        6.2,
        3.5,
        1.3,
        DAE,
        "Bulk DAE",
        ["trained once; a file has its weights,", "latents, and co-expression of genes"],
    ),
    "cells": (
        0.0,
        2.3,
        2.9,
        1.7,
        DATA,
        "Raw counts",
        ["thinned in training;", "read as log-ratios to the", "data set’s mean profile"],
    ),
    "dae": (
        3.9,
        3.6,
        3.5,
        1.5,
        DAE,
        "DAE branch",
        ["genes → 128 → 32 → 128 → genes,", "the 32 are obsm[“X_scdtl”]"],
    ),
    "unet": (
        3.9,
        1.0,
        3.5,
        1.7,
        UNET,
        "U-Net branch",
        [
            "1D convolutions with skips over",
            "patches of 64 genes, sorted by",
            "co-expression in bulk",
        ],
    ),
    "attention": (
        8.4,
        2.3,
        2.6,
        1.7,
        JOIN,
        "Attention",
        ["which branch to believe;", "with co-expression in", "bulk, gives the rates μ"],
    ),
    "posterior": (
        12.0,
        2.3,
        2.8,
        1.7,
        JOIN,
        "Gamma-Poisson",
        ["posterior: the rate given", "the prediction μ and", "the cell’s own count c"],
    ),
    "layer": (12.0, 6.2, 2.8, 1.3, DATA, "layers[“scdtl”]", ["mean and", "standard deviation"]),
}

# from, side, to, side, label, place of the label
ARROWS = [
    ("bulk", "right", "weights", "left", "", (0, 0)),
    ("weights", "bottom", "dae", "top", "start; alignment by MMD", (0.15, 0)),
    ("cells", "right", "dae", "left", "", (0, 0)),
    ("cells", "right", "unet", "left", "", (0, 0)),
    ("dae", "right", "attention", "left", "a", (0, 0.3)),
    ("unet", "right", "attention", "left", "b", (0, -0.3)),
    ("attention", "right", "posterior", "left", "μ", (0, 0.2)),
    ("posterior", "top", "layer", "bottom", "", (0, 0)),
]


def main() -> None:
    """Write the figure."""
    settings = {"svg.hashsalt": "scdtl", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(10, 5.1))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(-0.2, 15), ylim=(0.1, 7.75))
        axis.axis("off")
        for box in BOXES.values():
            _draw_box(axis, *box)
        for start, side, end, other_side, label, shift in ARROWS:
            a, b = _edge(start, side), _edge(end, other_side)
            _draw_arrow(axis, a, b)
            middle = ((a[0] + b[0]) / 2 + shift[0], (a[1] + b[1]) / 2 + shift[1])
            place = "left" if side == "bottom" else "center"
            axis.text(*middle, label, ha=place, va="center", size=9, color=TEXT)
        # The count itself goes round the network to the posterior.
        axis.plot([1.45, 1.45, 13.4], [2.3, 0.4, 0.4], color=TEXT, linewidth=1.2)
        _draw_arrow(axis, (13.4, 0.4), (13.4, 2.3))
        axis.text(8.4, 0.55, "the count c itself", ha="left", va="bottom", size=9, color=TEXT)
        figure.savefig(TARGET, metadata={"Date": None})


def _draw_box(axis, left, bottom, width, height, colour, title, lines) -> None:
    style = "round,pad=0,rounding_size=0.12"
    axis.add_patch(
        FancyBboxPatch((left, bottom), width, height, boxstyle=style, fc=colour, ec="#888888")
    )
    middle, top = left + width / 2, bottom + height
    axis.text(middle, top - 0.3, title, ha="center", va="center", size=10.5, weight="bold")
    for i, line in enumerate(lines):
        axis.text(middle, top - 0.68 - 0.36 * i, line, ha="center", va="center", size=8.5)


def _draw_arrow(axis, start, end) -> None:
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0,
                        color=TEXT, linewidth=1.2)
    )  # fmt: skip


def _edge(name: str, side: str) -> tuple[float, float]:
    left, bottom, width, height = BOXES[name][:4]
    x = {"left": left, "right": left + width}.get(side, left + width / 2)
    y = {"bottom": bottom, "top": bottom + height}.get(side, bottom + height / 2)
    return x, y


if __name__ == "__main__":
    main()
