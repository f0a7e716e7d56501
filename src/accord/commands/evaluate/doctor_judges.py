"""Second opinions on a run's samples: by reward models that it was not trained on, and in the built-in world by the gold judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accord.commands.models import compute_dtype, load_reward_model
from accord.commands.world import has_world, world_of
from accord.data.template_variables import open_tokenizer
from accord.data.templates import ChatFormat, chat_format
from accord.data.tokenizers import load_tokenizer
from accord.evaluation.findings import Said
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime import lineage
from accord.runtime.logs import read_object
from accord.runtime.project import Project
from accord.world import GoldJudge

Opinions = dict[int, float]
"""A judge's score by the number of the sample."""


def with_opinions(project: Project, name: str, samples: Sequence[Said]) -> list[Said]:
    """Return a run's samples with the scores of other judges; as they are where the run made no model to read them by."""
    if name not in project.models():
        return list(samples)
    opinions = reward_model_opinions(project, name, samples)
    if gold := gold_opinions(project, name, samples):
        opinions["gold"] = gold
    judged: list[Said] = []
    for i, said in enumerate(samples):
        scores = {judge: scored[i] for judge, scored in opinions.items() if i in scored}
        judged.append(replace(said, others={**said.others, **scores}))
    return judged


def reward_model_opinions(project: Project, name: str, samples: Sequence[Said]) -> dict[str, Opinions]:
    """Return the scores of the project's other reward models that read the same tokens."""
    inputs: Mapping[str, Any] = (read_object(project.run(name) / "config.json") or {}).get("inputs", {})
    others: list[str] = []
    for model in project.models():
        record = lineage.read(project.model(model))
        if record.get("stage") == "reward" and record.get("digest") != inputs.get("reward"):
            others.append(model)
    if not others:
        return {}
    tokenizer = load_tokenizer(project.model(name))
    prompts: list[list[int]] = [tokenizer(said.prompt, add_special_tokens=False)["input_ids"] for said in samples]
    responses: list[list[int]] = [tokenizer(said.response, add_special_tokens=False)["input_ids"] for said in samples]
    # An empty prompt or response has no token to be scored at.
    usable = [i for i in range(len(samples)) if prompts[i] and responses[i]]
    found: dict[str, Opinions] = {}
    for model in others:
        theirs = load_tokenizer(project.model(model)).get_vocab()
        if any(theirs.get(token) != id for token, id in tokenizer.get_vocab().items() if id != tokenizer.pad_token_id):
            continue
        scorer = load_reward_model(project, str(project.model(model)), compute_dtype())
        scores: list[float] = scorer.score([prompts[i] for i in usable], [responses[i] for i in usable]).tolist()
        found[model] = dict(zip(usable, scores, strict=True))
    return found


def gold_opinions(project: Project, name: str, samples: Sequence[Said]) -> Opinions:
    """Return the gold judge's utility of each sample whose prompt is the world's; nothing in a project without a world."""
    if not has_world(project):
        return {}
    template, judge = chat_format(open_tokenizer(project, project.model(name))), GoldJudge(world_of(project), rules="evaluation")
    prompts = _prompts_by_text(project, {said.prompt for said in samples}, template)
    found: Opinions = {}
    for i, said in enumerate(samples):
        if said.prompt in prompts:
            ids: list[int] = template.tokenizer(said.response, add_special_tokens=False)["input_ids"]
            found[i] = judge.judge(prompts[said.prompt], template.text(ids)).utility
    return found


def _prompts_by_text(project: Project, texts: set[str], template: ChatFormat) -> dict[str, Prompt]:
    """Return the store's training prompts among some texts, as a policy's tokenizer writes them."""
    with Store.open(project.store_url) as store:
        prompts = list(store.prompts(split="train"))
    written: dict[str, Prompt] = {}
    for prompt in prompts:
        # Writing a prompt by the template is slow; nearly all are ruled out by their last turn's words.
        if any(prompt.messages[-1].content in text for text in texts):
            written[template.tokenizer.decode(template.asked(prompt))] = prompt
    return {text: written[text] for text in texts if text in written}
