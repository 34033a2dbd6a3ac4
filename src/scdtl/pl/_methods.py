"""What methods are called, and their colours: the same in all figures, those of benchmarks too."""

from __future__ import annotations

from scdtl.pl._axes import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILLION

_NAMES = {
    "knn smoothing": "kNN-smoothing",
    "alra": "ALRA",
    "magic": "MAGIC",
    "magic on logs": "MAGIC on logs",
    "cellmapper": "CellMapper",
    "scvi": "scVI",
}
_COLOURS = {
    "scdtl": BLUE,
    "scdtl without bulk": SKY_BLUE,
    "kNN-smoothing": "#5A5A5A",
    "ALRA": GREEN,
    "MAGIC": VERMILLION,
    "MAGIC on logs": VERMILLION,
    "CellMapper": ORANGE,
    "scVI": PURPLE,
    "RECODE": "#8C6D31",
}


def name_of(method: str) -> str:
    """How its authors write the name of a row of :func:`scdtl.tl.evaluate`."""
    name, *rest = method.partition(" + ")
    return "".join([_NAMES.get(name, name), *rest])


def colour_of(method: str) -> str:
    """Colour of a method, by either name; grey for baselines and methods of the user."""
    return _COLOURS.get(name_of(method).partition(" + ")[0], GREY)
