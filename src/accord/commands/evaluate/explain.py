"""`accord explain`: why an answer scores as it does, what other answers lacked, and which records it was learned from.

Needs a response of the database, a turn of the chat, or a prompt and a text; a reward model for scores, and the runs' snapshots for the
records. Changes nothing. docs/explain.md says what each part means and what it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, shows
from accord.commands.evaluate.explain_answer import find_answer
from accord.commands.evaluate.explain_reward import against_others, by_part, by_token_and_sentence
from accord.commands.evaluate.explain_sources import nearest
from accord.commands.models import TextScorer, compute_dtype
from accord.commands.scenes import staged_prompts
from accord.data.scenes import scene_of
from accord.feedback.store import Store
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import ExplainConfig

REWARD = "reward"
LONG = 100
"""Characters of a text in a table."""


def print_explanation(found: Mapping[str, Any]) -> None:
    """Print the reward by sentence and token, its parts, the other answers, and the nearest records, as tables."""
    print(f"prompt: {_short(found['prompt'])}\nanswer: {_short(found['text'])}  ({found['response']}, {found['model']})")
    for remark in found["remarks"]:
        print(remark)
    if reward := found["reward"]:
        sentences = [(_short(each["text"]), _signed(each["gain"]), _signed(each["left_out"])) for each in reward["sentences"]]
        title = f"reward {reward['score']:+.3f} by {reward['model']}: {reward['start']:+.3f} before the answer, and what each sentence adds"
        table(title, ["sentence", "adds", "costs if left out"], sentences)
        strongest = sorted(reward["tokens"], key=lambda each: -abs(each["gain"]))[:10]
        table("the ten strongest tokens", ["token", "adds"], [(repr(each["text"]), _signed(each["gain"])) for each in strongest])
    if parts := found["parts"]:
        rows = [
            (each["part"], f"{each['weight']:g}", _signed(each["score"]), each.get("why_not") or _signed(each["gives"]))
            for each in parts["parts"]
        ]
        table(f"parts of {parts['rewards']} ({parts['from']})", ["part", "weight", "score", "gives"], rows)
        if parts.get("why_not"):
            print(parts["why_not"])
    for other in found["others"]:
        _print_other(other)
    _print_sources(found["sources"])


def _print_other(other: Mapping[str, Any]) -> None:
    labelers = other["labelers"]
    told = f"{labelers['above']} labelers above it, {labelers['below']} below, {labelers['beside']} beside"
    ahead = f", {other['ahead']:+.3f} against {other['response']}" if "ahead" in other else f" against {other['response']}"
    rows = [("lacks", _short(each["text"]), _signed(each["gain"])) for each in other["lacks"]]
    rows += [("adds", _short(each["text"]), _signed(each["gain"])) for each in other["adds"]]
    rows += [("part", name, _signed(value)) for name, value in other["parts"].items()]
    rows += [("form", name, f"{each['answer']:g} to {each['other']:g}") for name, each in other["form"].items()]
    table(f"the answer{ahead} ({other['model']}): {told}", ["", "the other", "reward"], rows)


def _print_sources(sources: Mapping[str, Any]) -> None:
    rows: list[tuple[str, ...]] = []
    for each in sources["records"]:
        rank = f" rank {each['rank']} of {each['of']}" if "rank" in each else ""
        rows.append(
            (f"{each[sources['by']]:+.3f}", f"{each['kind']}{rank}", each["id"], _short(each["prompt"], 50), _short(each["text"], 60))
        )
    searched = ", ".join(f"{count:,} {kind}" for kind, count in sources["searched"].items()) or "no records"
    title = f"nearest by {sources['by']} among {searched} that {', '.join(sources['models']) or 'no model'} learned from"
    table(title, ["nearness", "kind", "record", "prompt", "text"], rows)
    for remark in sources["remarks"]:
        print(remark)


def _short(text: str, most: int = LONG) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


@shows(print_explanation)
def explain(
    project: ProjectPath,
    answer: Annotated[str, Parameter(help="Id of a response of the database, or of an answer of the chat.")] = "",
    *,
    prompt: Annotated[str, Parameter(help="A question, instead of an id.")] = "",
    text: Annotated[str, Parameter(help="The answer to it.")] = "",
    against: Annotated[tuple[str, ...], Parameter(help="Another answer to compare with; may be given several times.")] = (),
    reward: Annotated[str, Parameter(help="A reward model of the project.")] = REWARD,
    flags: ComputeFlags = Compute(),
    config: Annotated[ExplainConfig, Flat] = ExplainConfig(),
) -> dict[str, Any]:
    """Explain an answer: its reward by token, sentence and part, what other answers lacked, and which records it was learned from.

    Example: accord explain my-town p12-3f2a-0

    Returns:
        ``reward``: score, tokens and sentences; ``parts`` of the mixture; ``others``: what each of them lacks; ``sources``: the records
        nearest to it among those that its model and the reward model learned from.

    Raises:
        UsageError: no answer is named, or nearness cannot be measured as asked.
        InputError: nothing has this id.
        ModelError: there is no such reward model.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    dtype, remarks = compute_dtype(flags.dtype), list[str]()
    with Store.open(opened.store_url) as store:
        found = find_answer(store, answer, prompt, text, against)
    found = replace(found, prompt=staged_prompts(opened, [found.prompt])[0])  # as the policy was asked it, with its scene
    response = found.response
    scorer = None
    if reward == REWARD and reward not in opened.models():
        remarks.append("the project has no reward model: no scores, and records are compared by words")
    else:
        scorer = TextScorer.open(opened, reward, dtype)
    own = by_token_and_sentence(scorer, found.prompt, response) if scorer else {}
    parts, scores = dict[str, Any](), list[Any]()
    if scorer:
        parts = by_part(opened, scorer, reward, found, [response, *found.others], config, dtype)
        scores = parts.pop("scores", [])
    told = {
        "response": response.id,
        "model": response.model,
        "prompt": found.prompt.messages[-1].content,
        "prompt_id": found.prompt.id,
        **({"scene": scene} if (scene := scene_of(found.prompt)) else {}),
        "text": response.text,
        "reward": {"model": reward} | own if scorer else {},
        "parts": parts,
        "others": against_others(scorer, found, own, scores, config),
        "sources": nearest(opened, found, scorer, reward, config, dtype),
        "remarks": remarks,
    }
    return jsonable(told)
