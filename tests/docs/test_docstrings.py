"""Every public name has a whole docstring, by numpydoc's validation."""

from __future__ import annotations

import inspect

import pytest

validate = pytest.importorskip("numpydoc.validate").validate
pytestmark = pytest.mark.slow

CHECKS = {
    "GL06",  # a section that numpydoc does not know
    "GL07",  # sections in another order than usual
    "GL08",  # no docstring
    "GL09",  # a deprecation warning at the wrong place
    "GL10",  # directives with one colon
    "SS01",  # no summary
    "SS02",  # the summary does not begin with a capital letter
    "SS03",  # the summary does not end with a period
    "SS04",  # blanks before the summary
    "SS06",  # a summary of more than one line
    "PR01",  # parameters that are not documented
    "PR02",  # unknown parameters
    "PR03",  # parameters in another order
    "PR07",  # parameters without a description
    "PR08",  # a description that does not begin with a capital letter
    "PR09",  # a description that does not end with a period
    "PR10",  # no blank before a colon
    "RT01",  # no section "Returns"
    "YD01",  # no section "Yields"
    "EX01",  # no examples
}
"""The others are off on purpose: blank lines and quotes (GL01 to GL05; ruff formats), types of
parameters and of returns (PR04 to PR06, RT02 to RT05; they are in the signature, and "Returns" is
text, see conf.py), verbs in the infinitive (SS05), and extended summaries and "See Also" for all
(ES01, SA01 to SA04), YD02 to YD05."""

CHECKS_OF_MEMBERS = CHECKS - {"EX01"}  # the example of a class shows its methods

NOT_HERE = {
    # Fields are under "Attributes", once, and not under "Parameters" again.
    ("scdtl.pretrained.BulkWeights", "PR01"),
    ("scdtl.pretrained.GeneMatches", "PR01"),
    # Another name of get_imputed_expression, which the docstring points to.
    ("scdtl.SCDTL.get_normalized_expression", "PR01"),
    ("scdtl.SCDTL.get_normalized_expression", "RT01"),
}


def test_public_docstrings_are_whole(public_names: list[str]) -> None:
    problems = []
    for name in public_names:
        # numpydoc takes the name of a class for an instance; scdtl.settings is one.
        path = name.replace("scdtl.settings", "scdtl._settings.Settings")
        checks = CHECKS_OF_MEMBERS if _is_member(path) else CHECKS
        problems += [
            f"{name}: {code} {text}"
            for code, text in validate(path)["errors"]
            if code in checks and (name, code) not in NOT_HERE
        ]
    print(f"{len(public_names)} public names")
    assert not problems, "\n".join(problems)


def _is_member(name: str) -> bool:
    import scdtl

    thing, parts = scdtl, name.split(".")[1:-1]
    for part in parts:
        thing = getattr(thing, part)
    return inspect.isclass(thing)
