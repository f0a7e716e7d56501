"""`accord agreement`: measure inter-annotator agreement, with 95% intervals that resample prompts.

Needs responses that two or more labelers ranked (`--overlap`). Returns every coefficient, and the pairs that stay in doubt after a
Dawid-Skene consensus (Dawid & Skene 1979). The coefficients are defined in docs/agreement.md. Loads no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Flat, ProjectPath, shows
from accord.errors import InputError, UsageError
from accord.feedback import answers
from accord.feedback.consensus import PREFERENCES, in_doubt
from accord.feedback.profile import told
from accord.feedback.question_agreement import flag_agreement, question_agreement
from accord.feedback.reliability import between_groups, contested, reliability, split
from accord.feedback.store import Store
from accord.records import Ranking
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import AgreementConfig, ScreeningConfig
from accord.settings.profile import fields

PARTS = ("", "group", "kind", "version")
NO_GROUP = "(none)"
DOUBTS = 10
"""How many of the pairs in doubt are listed."""


def _show(found: dict[str, Any]) -> None:
    parts: dict[str, Any] = {"all": found, **found.get("by", {})}
    rows: list[tuple[str, ...]] = []
    for part, measured in parts.items():
        rows += [(part, name, *_cells(value)) for name, value in measured["metrics"].items()]
    table(f"agreement of {found['labelers']} labelers on {found['prompts']} prompts", ["of", "metric", "value", "95% interval"], rows)
    if "between" in found:
        between = [(pair, *_cells(value)) for pair, value in found["between"].items()]
        table("groups against each other, ties dropped", ["groups", "value", "95% interval"], between)
        pairs = [(pair["prompt_id"], pair["first"], pair["second"], _shares(pair["prefers_first"])) for pair in found["contested"]]
        table(f"{found['contested_pairs']} pairs that groups see differently", ["prompt", "first", "second", "prefer the first"], pairs)
    asked = list[tuple[str, ...]]()
    for each in found["questions"]:
        name = f"{each['name']} {each['version']}".strip()
        measured = [(name, metric, *_cells(value)) for metric, value in each["metrics"].items()]
        asked += measured or [(name, "no coefficient", f"{each['answers']} answers, {each['shared']} shared", "")]
    if asked:
        table("questions and flags", ["question", "metric", "value", "95% interval"], asked)
    doubt = found["in_doubt"]
    print(f"{doubt['pairs']} of {doubt['of']} pairs that several labelers judged are in doubt; --json lists the first of them.")


def _cells(metric: list[float | None]) -> tuple[str, str]:
    mean, low, high = metric
    return ("not defined", "") if mean is None else (f"{mean:.3f}", f"{low:.3f} to {high:.3f}")


def _shares(shares: dict[str, float]) -> str:
    return "  ".join(f"{group} {share:.0%}" for group, share in shares.items())


@shows(_show)
def agreement(
    project: ProjectPath,
    *,
    by: Annotated[
        str, Parameter(help="Also for each labeler `group`, task `kind` or guideline `version`, or by a field of the labelers' profile.")
    ] = "",
    config: Annotated[AgreementConfig, Flat] = AgreementConfig(),
) -> dict[str, Any]:
    """Measure how far labelers agree, by every coefficient and for each question and flag, with 95% intervals that resample prompts.

    With ``by="group"`` or a field of [label.profile], every two groups are also compared with each other. With ``by="kind"``, a ranking
    that was not given in the site counts as "rank".

    Example: accord agreement my-town --by group

    Raises:
        InputError: no two labelers ranked the same responses.
        UsageError: ``by`` is neither a part nor a field of the profile.
    """
    opened = Project.open(project)
    known = fields(opened.settings.get("label.profile", {}))
    if by not in PARTS and by not in known:
        hint = f"known are {', '.join([*PARTS[1:], *known])}; [label.profile] of accord.toml defines fields"
        raise UsageError(f"by is {by!r}", where="--by", hint=hint)
    with Store.open(opened.store_url) as store:
        # Parts count their rankings too; without parts, what one labeler alone ranked is counted by the database.
        rankings, groups = list(store.rankings(shared=not by)), {labeler.id: labeler.group or NO_GROUP for labeler in store.labelers()}
        if by in known:
            said = told(store, by)
            groups = {id: said.get(id, NO_GROUP) for id in groups}
        ranked = store.ranked_by()
        kinds = answers.kinds(store) if by == "kind" else {}
        draw = {"resamples": config.resamples, "seed": config.seed}
        asked = question_agreement(store, **draw)
    sure = ScreeningConfig(**opened.settings.get("screening", {})).sure
    try:
        found: dict[str, Any] = dataclasses.asdict(reliability(rankings, **draw))
    except InputError:
        if not any(each.shared for each in asked):
            raise
        found = {"prompts": 0, "pairs": 0, "metrics": {}}  # labelers overlap in questions or fact checks alone
    found |= {"rankings": sum(ranked.values()), "labelers": len({labeler for _, labeler in ranked})}
    found["questions"] = [dataclasses.asdict(each) for each in (*asked, *flag_agreement(rankings, **draw))]
    trained = any(set == "training" for set, _ in ranked)
    found["in_doubt"] = _in_doubt([r for r in rankings if r.guideline.set == "training" or not trained], sure)
    if by:
        found["by"] = {
            key: _part(part, draw) for key, part in split(rankings, _part_key("group" if by in known else by, groups, kinds)).items()
        }
    if by == "group" or by in known:
        between = between_groups(rankings, groups, **draw)
        found["between"] = {f"{one} | {other}": metrics.dropped for (one, other), metrics in between.items()}
        pairs = contested(rankings, groups)
        found |= {"contested_pairs": len(pairs), "contested": [dataclasses.asdict(pair) for pair in pairs[: config.contested]]}
    return jsonable(found)


def _part_key(by: str, groups: Mapping[str, str], kinds: Mapping[str, str]) -> Callable[[Ranking], str]:
    if by == "group":
        return lambda ranking: groups[ranking.labeler]
    if by == "kind":
        return lambda ranking: kinds.get(ranking.id, "rank")
    return lambda ranking: f"{ranking.guideline.set} {ranking.guideline.version}"


def _part(rankings: Sequence[Ranking], draw: Mapping[str, int]) -> dict[str, Any]:
    """Measure a part; one in which no labelers overlap only says how many rankings it has."""
    try:
        return dataclasses.asdict(reliability(rankings, **draw))
    except InputError:
        return {"rankings": len(rankings), "metrics": {}}


def _in_doubt(rankings: Sequence[Ranking], sure: float) -> dict[str, Any]:
    """Count the pairs that several labelers judged without a sure consensus, and list the first for adjudication."""
    doubts, judged = in_doubt(rankings, sure=sure)
    first = list[dict[str, Any]]()
    for doubt in doubts[:DOUBTS]:
        prompt_id, one, other = doubt.item
        likeliest = PREFERENCES[doubt.likeliest]
        first.append({"prompt_id": prompt_id, "first": one, "second": other, "likeliest": likeliest, "probability": doubt.probability})
    return {"pairs": len(doubts), "of": judged, "first": first}
