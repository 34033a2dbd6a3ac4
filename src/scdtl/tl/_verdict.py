"""The verdict: the scores in plain words; every number comes from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.tl._measures import MEAN_PROFILE, floor_of, held_out_of

if TYPE_CHECKING:
    import pandas as pd

    from scdtl.tl._measures import HeldOut, Measure

_MOST_NAMES = 3


def verdict(scores: pd.DataFrame, genes: pd.DataFrame) -> str:
    """Judge scdtl, or else the best method, against the baseline and the best peer."""
    held_out = held_out_of(scores)
    measures = {it: it.ranked(scores) for it in held_out.measures if it.column in scores}
    measures = {measure: ranked for measure, ranked in measures.items() if len(ranked)}
    main = held_out.measures[0]
    if main not in measures:
        return f"No verdict: the data are too few for a {main.name}."
    name, ranked = main_method(scores), measures[main]
    floor = floor_of(ranked.index)
    rivals = {measure: of_all for measure, of_all in measures.items() if len(of_all) > 1}
    sentences = []
    if name in ranked:
        sentences.append(_of_score(name, floor, main, ranked, held_out.means))
        if name != MEAN_PROFILE:
            sentences.append(_of_genes(name, genes[name], held_out))
        if floor not in ("", name) and len(rivals) > 1:
            sentences.append(_against(name, floor, rivals))
    if len(ranked) == 1:
        sentences.append(f"No other method was compared with {ranked.index[0]}.")
    sentences += [_of_best(name, measure, of_all) for measure, of_all in rivals.items()]
    if floor and "scdtl" in ranked and main.lead(ranked["scdtl"], ranked[floor]) <= 0:
        sentences.append(
            f"On these data scdtl adds nothing beyond the {floor}: stay with the raw counts."
        )
    return " ".join(sentences)


def main_method(scores: pd.DataFrame) -> str:
    """The method that verdict and figure are about: scdtl, or else the best one."""
    main = scores[held_out_of(scores).measures[0].column]
    if "scdtl" in scores.index or main.isna().all():
        return "scdtl" if "scdtl" in scores.index else str(scores.index[0])
    return str(main.idxmax())


def _of_score(name: str, floor: str, main: Measure, ranked: pd.Series, means: str) -> str:
    start = f"The {main.name} of {name} is {main.shown(ranked[name])}"
    if floor not in ("", name):
        lead = main.lead(ranked[name], ranked[floor])
        points = f"{abs(lead):.1f} points" if main.in_percent else f"{abs(lead):.3f}"
        start += f", {points} {'above' if lead >= 0 else 'below'} that of the {floor}"
    return f"{start}. {means}"


def _of_genes(name: str, explained: pd.Series, held_out: HeldOut) -> str:
    scored = explained.dropna().sort_values(ascending=False, kind="stable")
    if scored.empty:
        return f"No gene has enough {held_out.unit} ({held_out.enough}) to be scored on its own."
    text = (
        f"{int((scored < 0).sum()):,} of {len(scored):,} genes with enough {held_out.unit} "
        f"({held_out.enough}) are predicted worse by {name} than by their mean; the other "
        f"{len(explained) - len(scored):,} genes have too few to judge."
    )
    n_named = min(_MOST_NAMES, len(scored) // 2)
    if n_named:
        best, worst = scored[:n_named], scored[::-1][:n_named]
        text += (
            f" Best predicted: {_named(best)}; worst: {_named(worst)} ({held_out.gene_score}; "
            "0 is the gene's mean)."
        )
    return text


def _named(explained: pd.Series) -> str:
    return ", ".join(f"{gene} {share:.2f}" for gene, share in explained.items())


def _against(name: str, floor: str, rivals: dict[Measure, pd.Series]) -> str:
    """By which measures a method is better than the baseline, equal, or worse."""
    outcomes: dict[str, list[str]] = {"better": [], "equal": [], "worse": []}
    for measure, ranked in rivals.items():
        if {name, floor} <= set(ranked.index):
            lead = measure.lead(ranked[name], ranked[floor])
            outcome = "better" if lead > 0 else "worse" if lead < 0 else "equal"
            outcomes[outcome].append(measure.name)
    n_told = sum(map(len, outcomes.values()))
    told = [
        f"{outcome} by {'every measure' if len(names) == n_told > 1 else _listed(names)}"
        for outcome, names in outcomes.items()
        if names
    ]
    return f"Compared with the {floor}, {name} is {'; '.join(told)}."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _of_best(name: str, measure: Measure, ranked: pd.Series) -> str:
    first, second = ranked.index[:2]
    place = "followed by" if measure.lead(ranked[first], ranked[second]) else "tied with"
    text = (
        f"Best {measure.name}: {first} ({measure.shown(ranked[first])}), "
        f"{place} {second} ({measure.shown(ranked[second])})"
    )
    if name in ranked.index[2:]:
        text += f"; {name}: {measure.shown(ranked[name])}"
    return f"{text}."
