"""The stage that says what is wrong: a run's own files, its parents, labelers' agreement, and judges that it was not trained on.

Judges see the run's samples only: other reward models of the project, and in the built-in world the gold judge.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.errors import AccordError, InputError
from accord.evaluation.diagnoses import REINFORCING, Facts
from accord.evaluation.findings import Finding, Said
from accord.evaluation.run_facts import RESULTS, changed, examine, note_alarms, read_facts
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime import lineage
from accord.runtime.files import write_atomic
from accord.runtime.logs import read_object, read_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run

RESAMPLES = 500


def doctor_stage(project: Project, name: str = "", *, judges: bool = True) -> dict[str, list[Finding]]:
    """The findings of one run, or of all runs, by run; each run's folder keeps them, and its log the alarms.

    Args:
        judges: also ask other reward models and the gold judge about the samples; they take models to be loaded.

    Raises:
        InputError: the project has no such run, or none at all.
    """
    names = [name] if name else project.runs()
    if not names or (name and not project.run(name).is_dir()):
        known = ", ".join(project.runs()) or "none yet"
        raise InputError(
            f"there is no run {name!r}" if name else "there are no runs", where=str(project.path / "runs"), hint=f"it has: {known}"
        )
    agreement = _agreement(project)
    return {each: _examined(project, each, agreement, judges) for each in names}


def _examined(project: Project, name: str, agreement: tuple[float, float, float] | None, judges: bool) -> list[Finding]:
    folder = project.run(name)
    facts = dataclasses.replace(read_facts(folder), agreement=agreement, changed=_changed(project, name))
    if judges and facts.stage in REINFORCING and facts.samples:
        facts = dataclasses.replace(facts, samples=_judged(project, name, facts.samples))
    rows = read_samples(folder / "samples.jsonl").rows if facts.stage == "evaluate" else ()
    findings = examine(facts, rows)
    _keep(folder, findings, facts)
    return findings


def _keep(folder: Path, findings: Sequence[Finding], facts: Facts) -> None:
    """Writes doctor.json, and into log.txt the alarms that do not stand there yet."""
    kept = {"rows": facts.metrics.rows, "findings": [finding.as_json() for finding in findings]}
    write_atomic(folder / RESULTS, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    note_alarms(Run(folder, facts.stage, {}), findings)


def _agreement(project: Project) -> tuple[float, float, float] | None:
    """Share of untied pairs that two labelers order alike; None while nobody labeled a prompt twice."""
    try:
        with Store.open(project.store_url) as store:
            found = pairwise_agreement(store.rankings(), resamples=RESAMPLES)
    except AccordError:
        return None
    three = tuple(found.dropped)
    return (three[0], three[1], three[2]) if all(map(math.isfinite, three)) and found.untied_pairs >= 30 else None


def _changed(project: Project, name: str) -> dict[str, tuple[str, str]]:
    """Parents of the model that a run made which are not what they were."""
    if name not in project.models():
        return {}
    parents: Mapping[str, str] = lineage.read(project.model(name)).get("parents", {})
    return changed(parents, {parent: lineage.digest_folder(project.model(parent)) for parent in parents if parent in project.models()})


# --- judges that were not optimised ---------------------------------------------------------------------------------------------------


def _judged(project: Project, name: str, samples: Sequence[Said]) -> list[Said]:
    """The samples with what other judges think of each."""
    scores = _second_opinions(project, name, samples)
    if gold := _gold(project, name, samples):
        scores["gold"] = gold
    return [
        dataclasses.replace(said, others={**said.others, **{judge: line[i] for judge, line in scores.items() if i in line}})
        for i, said in enumerate(samples)
    ]


def _second_opinions(project: Project, name: str, samples: Sequence[Said]) -> dict[str, dict[int, float]]:
    """Scores by the project's other reward models that read the same tokens: judge to sample number to score."""
    inputs: Mapping[str, Any] = (read_object(project.run(name) / "config.json") or {}).get("inputs", {})
    records = {model: lineage.read(project.model(model)) for model in project.models()}
    others = [
        model for model, record in records.items() if record.get("stage") == "reward" and record.get("digest") != inputs.get("reward")
    ]
    if not others or name not in project.models():
        return {}
    from accord.data.tokenizers import load_tokenizer
    from accord.models.folders import load_scalar_model
    from accord.models.scalar import RewardModel
    from accord.runtime.device import pick_device
    from accord.stages.opening import compute_dtype

    tokenizer = load_tokenizer(project.model(name))
    ids = [[tokenizer(text, add_special_tokens=False)["input_ids"] for text in (said.prompt, said.response)] for said in samples]
    usable = [i for i, (prompt, response) in enumerate(ids) if prompt and response]
    found: dict[str, dict[int, float]] = {}
    for model in others:
        if load_tokenizer(project.model(model)).get_vocab() != tokenizer.get_vocab():
            continue
        scorer = RewardModel(load_scalar_model(str(project.model(model))).to(pick_device()), dtype=compute_dtype())
        scores: list[float] = scorer.score([ids[i][0] for i in usable], [ids[i][1] for i in usable]).tolist()
        found[model] = dict(zip(usable, scores, strict=True))
    return found


def _gold(project: Project, name: str, samples: Sequence[Said]) -> dict[int, float]:
    """The gold judge's utility of each sample whose prompt is the world's; nothing in a project without a world."""
    if "world" not in project.settings or name not in project.models():
        return {}
    from accord.data.templates import chat_format
    from accord.data.tokenizers import load_tokenizer
    from accord.stages.asking import world_of
    from accord.world import GoldJudge

    spoken, judge = chat_format(load_tokenizer(project.model(name))), GoldJudge(world_of(project), rules="evaluation")
    known = _asked(project, {said.prompt for said in samples}, spoken)
    found: dict[int, float] = {}
    for i, said in enumerate(samples):
        if said.prompt in known:
            ids: list[int] = spoken.tokenizer(said.response, add_special_tokens=False)["input_ids"]
            found[i] = judge.judge(known[said.prompt], spoken.text(ids)).utility
    return found


def _asked(project: Project, texts: set[str], spoken: Any) -> dict[str, Prompt]:
    """The store's training prompts among some texts, as a policy's tokenizer writes them."""
    with Store.open(project.store_url) as store:
        prompts = [prompt for prompt in store.prompts(split="train") if any(prompt.messages[-1].content in text for text in texts)]
    written = {spoken.tokenizer.decode(spoken.prompt(prompt.messages)): prompt for prompt in prompts}
    return {text: written[text] for text in texts if text in written}
