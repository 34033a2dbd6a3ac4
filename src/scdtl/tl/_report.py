"""The report: one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scdtl.tl._measures import MEAN_PROFILE
from scdtl.tl._verdict import main_method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from scdtl.tl._evaluation import Evaluation

_VERSIONS_OF = ("scdtl", "scvi-tools", "torch", "anndata", "numpy", "scikit-learn")
_MOST_LINES = 4

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
.verdict { border-left: .3rem solid #0072B2; padding: .5rem 1rem; background: #f2f7fb; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; }
td.text { text-align: left; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
"""


def page(evaluation: Evaluation) -> str:
    """Put the page together."""
    scores = evaluation.scores
    versions = {
        name: version(name) for name in dict.fromkeys((*_VERSIONS_OF, *evaluation.packages))
    }
    main, held_out = main_method(scores), evaluation.held_out
    about = {measure.column: measure.about for measure in held_out.measures}
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Imputation evaluated on held-out {held_out.unit}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Is the imputation right on these data?</h1>
<p class="verdict">{html.escape(evaluation.verdict)}</p>
<h2>Scores on held-out {held_out.unit}</h2>
<div class="wide">{_score_table(evaluation)}</div>
<p>Higher is better, except for seconds and where noted. {html.escape(held_out.note)}
&ndash;: not defined, as where all predictions are equal.</p>
{_pairs(about | {"seconds": "time of one split"})}
<h2>Methods</h2>
{_image(_score_figure(evaluation), f"Bars: {held_out.measures[0].name} of each method")}
<h2>Genes</h2>
{_image(_gene_figure(evaluation, main), f"{held_out.gene_score} per gene, by {main}")}
<h2>Settings</h2>
{_pairs(evaluation.settings)}
<h2>Versions</h2>
{_pairs(versions)}
</body>
</html>
"""


def _score_table(evaluation: Evaluation) -> str:
    return evaluation.scores.rename_axis(None).to_html(
        float_format="{:.3f}".format, na_rep="–", border=0
    )


def _pairs(items: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(str(name))}</th>'
        f'<td class="text">{html.escape(_in_words(value))}</td></tr>'
        for name, value in items.items()
    )
    return f"<table>\n{rows}\n</table>"


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _score_figure(evaluation: Evaluation) -> Figure:
    from scdtl.pl import evaluate

    figure = _figure(8, 1.5 + 0.4 * len(evaluation.scores))
    evaluate(evaluation, ax=figure.subplots(), show=False)
    return figure


def _gene_figure(evaluation: Evaluation, main: str) -> Figure:
    from scdtl.pl import evaluate_genes
    from scdtl.pl._evaluate import draw_distribution

    ranked = evaluation.held_out.measures[0].ranked(evaluation.scores).index
    others = [name for name in ranked if name not in (main, "observed", MEAN_PROFILE)]
    figure = _figure(10, 4.5)
    left, right = figure.subplots(1, 2)
    evaluate_genes(evaluation, main, ax=left, show=False)
    draw_distribution(right, evaluation, [main, *others][:_MOST_LINES])
    return figure


def _figure(width: float, height: float) -> Figure:
    """A figure that pyplot does not know, so that nothing stays open or pops up."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'
