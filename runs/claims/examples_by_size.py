"""Few-shot chains of thought and prefixes by model size: do worked examples in the prompt raise exact answers, and more in a larger model?

Base models of three sizes are made from raw text of the town's word problems, in documents of five: in half of them every answer is
worked out, in the other half it is given at once, and in half of each every question says which ("Work it out.", "Answer at once."). As
on the web, a document goes on as it began. The models are then asked for held-out problems in four ways, all of them conditions of
`accord compare`: as they are, behind two examples with their answers alone, behind two worked examples, and behind the prefix "Work it
out.". Greedy; an answer counts if the number behind its last #### is right.

Registered before the first run: worked examples help a size if they raise exact answers over examples with answers alone, with the whole
interval over seeds above 0; they help more with size (Wei et al. 2022, figure 4) if the gain of the largest model minus that of the
smallest is above 0 in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import small
from frame import Row, above, row

from accord import PretrainConfig, Project, Sampling, add, pretrain
from accord.commands.evaluate.answers import Answers
from accord.commands.models import compute_dtype
from accord.world.arithmetic import Problem, problems

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {"hidden_size": 24, "heads": 1, "intermediate_size": 72},
    "middle": {"hidden_size": 48, "heads": 2, "intermediate_size": 144},
    "large": {"hidden_size": 96, "heads": 3, "intermediate_size": 288},
}
PARAMETERS = {"small": "0.02", "middle": "0.08", "large": "0.28"}
"""Millions, embeddings included."""
TOKENS, VOCABULARY = 100_000, 400
MOST, TOLD, ASKED, TOGETHER = 8, 3000, 120, 5
STYLES = {"worked": "Work it out.", "short": "Answer at once."}
WAYS = ("", "answers", "worked", "prefix")
SOURCE = "after Wei et al. 2022"


def said(problem: Problem, style: str) -> str:
    return f"{problem.rationale} {problem.key}" if style == "worked" else problem.key


def asked(problem: Problem, style: str, *, marked: bool) -> str:
    """A question as a condition of Accord puts it: the prefix, a blank line, the problem."""
    text = problem.prompt.messages[0].content
    return f"{STYLES[style]}\n\n{text}" if marked else text


def raw_text(told: Sequence[Problem], rng: random.Random) -> list[dict[str, str]]:
    """Documents of one style each, with or without the words for it."""
    made = list[dict[str, str]]()
    for at in range(0, len(told), TOGETHER):
        style, marked = rng.choice(tuple(STYLES)), rng.random() < 0.5
        lines = [f"Q: {asked(each, style, marked=marked)}\nA: {said(each, style)}" for each in told[at : at + TOGETHER]]
        made.append({"text": "\n".join(lines)})
    return made


def conditions(examples: Sequence[Problem]) -> dict[str, Any]:
    """The tables [conditions.NAME] of accord.toml."""

    def shown(style: str) -> dict[str, Any]:
        return {"examples": [{"prompt": asked(each, style, marked=False), "response": said(each, style)} for each in examples]}

    return {"answers": shown("short"), "worked": shown("worked"), "prefix": {"prefix": STYLES["worked"]}}


def begun(folder: Path, seed: int) -> tuple[Project, list[Problem]]:
    """The project of one seed with a model of each size, and problems that none of them saw."""
    path, drawn = folder / f"examples-{seed}", list(problems(seed, TOLD + ASKED, most=MOST))
    told, held = drawn[:TOLD], drawn[TOLD:]
    if not (path / "accord.toml").exists():
        examples = [each for each in told if each.rationale.count("=") == 2][:2]
        add(Project.create(path, settings={"conditions": conditions(examples)}), raw_text(told, random.Random(seed)))
    project = Project.open(path)
    for size, shape in SIZES.items():
        how = PretrainConfig(seed=seed, tokens=TOKENS, layers=2, vocab_size=VOCABULARY, **shape)
        pretrain(project, name=size, config=how, flags=small.FLAGS)
    return project, held


def measure(folder: Path, seed: int) -> Mapping[str, float]:
    """Share of exact answers by size and way of asking, and of those that are worked out."""
    project, held = begun(folder, seed)
    answers, found = Answers(project, Sampling(max_tokens=48, temperature=0.0), seed, compute_dtype()), dict[str, float]()
    for size in SIZES:
        systems = [f"{size}+{way}" if way else size for way in WAYS]
        texts = answers.of(systems, [each.prompt for each in held]).texts
        for system, lines in zip(systems, texts, strict=True):
            right = [text.rpartition("####")[2].strip() == str(each.answer) for text, each in zip(lines, held, strict=True)]
            found[system] = fmean(right)
            print(f"seed {seed}  {system:16} right {found[system]:.3f}, worked out {fmean('=' in text for text in lines):.3f}", flush=True)
    return found


def rows(each: Sequence[Mapping[str, float]]) -> list[Row]:
    def ahead(one: str, other: str) -> list[float]:
        return [of[one] - of[other] for of in each]

    made, note = list[Row](), "exact answers, difference"
    for size in SIZES:
        claim = f"Two worked examples help a model of {PARAMETERS[size]}M parameters more than the same with answers alone"
        made.append(row(claim, ahead(f"{size}+worked", f"{size}+answers"), above(0.0), source=SOURCE, note=note))
    first, *_, last = SIZES
    gains = [ahead(f"{size}+worked", f"{size}+answers") for size in (first, last)]
    grown = [big - little for little, big in zip(*gains, strict=True)]
    claim = f"That gain is larger at {PARAMETERS[last]}M parameters than at {PARAMETERS[first]}M"
    made.append(row(claim, grown, above(0.0), source=SOURCE, note=note))
    for other, name in (("prefix", 'The prefix "Work it out." helps'), ("answers", "Two examples with answers alone help")):
        claim = f"{name} a model of {PARAMETERS[last]}M parameters over the bare question"
        made.append(row(claim, ahead(f"{last}+{other}", last), above(0.0), source=SOURCE, note=note))
    return made


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
