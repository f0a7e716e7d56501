"""What a response is worth, for every stage that learns from its own samples: the parts that `rewards` names, each from its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import torch

from accord.algorithms.process import ProcessReward
from accord.algorithms.reward_parts import Ensemble, HumanRatings, Similarity, parse_pooling
from accord.algorithms.rewards import (
    Ended,
    ExactAnswer,
    Function,
    Length,
    Mixture,
    PythonReward,
    Repetition,
    Term,
    final_answer,
    load_function,
    parse_rewards,
)
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError, ModelError, UsageError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.returns import returns
from accord.feedback.store import Store
from accord.models.folders import load_scalar_model
from accord.models.scalar import RewardModel
from accord.protocols import Scorer
from accord.records import Demonstration, Prompt, Worth
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.settings import GrpoConfig, PpoConfig, RaftConfig
from accord.stages.opening import Model, digest_of, frozen, locate

PLAIN: dict[str, Callable[[tuple[int, ...]], Scorer]] = {
    "length": lambda _: Length(),
    "repetition": lambda _: Repetition(),
    "eos": Ended,
}
PROCESS = re.compile(r"process\((.+)\)")
"""A part that rewards single tokens by a model of where responses go wrong."""
FROM_PEOPLE = ("exact", "similarity", "ratings")
Ids = tuple[int, ...]


Rewarded = GrpoConfig | RaftConfig | PpoConfig
"""The settings of what learns from rewards; RlooConfig and ReinforceConfig are GrpoConfig with other defaults."""


@dataclass(frozen=True)
class Asked:
    """What is to be learned: the terms of the reward, where each comes from, the prompts, and what people said to them."""

    terms: list[Term]
    models: Mapping[str, str]
    """Folders of the reward models, by the names that the terms call them by."""
    functions: Mapping[str, Function]
    prompts: list[Prompt]
    inputs: dict[str, str]
    """Digests of all of it."""
    written: list[Demonstration] = field(default_factory=list[Demonstration])
    rated: list[Worth] = field(default_factory=list[Worth])

    @property
    def parents(self) -> dict[str, str]:
        """The reward models' folder names with their digests, for lineage."""
        return {Path(source).name: digest_of(source) for source in self.models.values()}

    @property
    def data(self) -> dict[str, str]:
        """Digests of what it learns from besides models."""
        return {key: digest for key, digest in self.inputs.items() if key in ("prompts", "demonstrations", "ratings")}


def ask(project: Project, config: Rewarded, reward_model: str, name: str) -> Asked:
    """Reads the reward's terms and freezes the prompts that they can be given for.

    Raises:
        UsageError: an unknown reward, or a Python function that cannot be imported.
        ModelError: a reward model that is asked for is missing.
        InputError: there are no prompts, or none with what ``exact``, ``similarity`` or ``ratings`` needs.
    """
    terms, folder = parse_rewards(config.rewards), project.run(name)
    names = [term.name for term in terms]
    models = {each: locate(project, reward_model if each == "model" else each) for part in names for each in _models(project, part)}
    functions = {each: load_function(each, project.path) for each in names if ":" in each}
    inputs = {("reward" if each == "model" else f"reward {each}"): digest_of(source) for each, source in models.items()}
    written, rated = list[Demonstration](), list[Worth]()
    with Store.open(project.store_url) as store:
        known = {prompt.id for prompt in store.prompts(split="train")}
        if "exact" in names or "similarity" in names:
            said = said_by(store, store.demonstrations(split="train"), config.kinds)
            useful = _solved(said) if "exact" in names else said
            written, inputs["demonstrations"] = frozen(folder / "demonstrations.jsonl", Demonstration, useful)
            known &= {row.prompt.id for row in written}
        if "ratings" in names:
            given = (row for row in said_by(store, returns(store, "ratings"), config.kinds) if row.prompt.split == "train")
            rated, inputs["ratings"] = frozen(folder / "ratings.jsonl", Worth, given)
            known &= {row.prompt.id for row in rated}
        wanted = (prompt for prompt in store.prompts(split="train") if prompt.id in known)
        prompts, inputs["prompts"] = frozen(folder / "prompts.jsonl", Prompt, wanted)
    if not prompts:
        missing = "training prompts" + (f" with what {' and '.join(n for n in names if n in FROM_PEOPLE)} needs" if known != set() else "")
        raise InputError(f"the store has no {_missing(names, missing)}", where=project.store_url, hint="`accord import` some")
    return Asked(terms, models, functions, prompts, inputs, written, rated)


def _missing(names: Sequence[str], otherwise: str) -> str:
    if "exact" in names:
        return "demonstrations that end in #### and a number"
    if "similarity" in names:
        return "demonstrations"
    return "rated responses" if "ratings" in names else otherwise


def _models(project: Project, part: str) -> tuple[str, ...]:
    """The reward models that a part needs.

    Raises:
        UsageError: there is no such part, and no model of that name.
    """
    if pooled := parse_pooling(part):
        return pooled.models
    if found := PROCESS.fullmatch(part):
        return (found.group(1),)
    if part == "model" or part in project.models():
        return (part,)
    if part in PLAIN or part in FROM_PEOPLE or ":" in part:
        return ()
    hint = f"known are model, {', '.join((*FROM_PEOPLE, *PLAIN))}, module:function, a model of the project, and min(a+b) of such models"
    raise UsageError(f"there is no reward {part!r}", where="rewards", hint=hint)


def _solved(demonstrations: Iterable[Demonstration]) -> Iterable[Demonstration]:
    return (row for row in demonstrations if final_answer(row.text) is not None)


def mixture(asked: Asked, model: Model, config: Rewarded, ids: Sequence[list[int]], dtype: torch.dtype) -> Mixture:
    """The reward as the terms want it; every part is tried once on the first prompt.

    Args:
        model: whose tokens are scored. ids: token ids of ``asked.prompts``.

    Raises:
        ModelError: a reward model reads another tokenizer's ids.
        RunError: a Python function raises, hangs, or returns no number for each response.
    """
    spoken = model.format
    scorers = {name: _reward_model(model, source, dtype) for name, source in asked.models.items()}
    shown = {tuple(tokens): prompt.messages[-1].content for tokens, prompt in zip(ids, asked.prompts, strict=True)}
    by_id = {prompt.id: tuple(tokens) for tokens, prompt in zip(ids, asked.prompts, strict=True)}

    def part(name: str) -> Scorer:
        if pooled := parse_pooling(name):
            return Ensemble([scorers[each] for each in pooled.models], pooled.how, pooled.spread)
        if found := PROCESS.fullmatch(name):
            return ProcessReward(scorers[found.group(1)].model, dtype=dtype)
        if name in scorers:
            return scorers[name]
        if name in asked.functions:
            return PythonReward(name, asked.functions[name], lambda tokens: shown[tuple(tokens)], spoken.text, config.reward_seconds)
        if name == "exact":
            return ExactAnswer(_answers(asked, by_id), spoken.text)
        if name == "similarity":
            return Similarity(_own(asked, model, by_id))
        return HumanRatings(_ratings(asked, model, by_id)) if name == "ratings" else PLAIN[name](spoken.stop)

    made = Mixture(asked.terms, {term.name: part(term.name) for term in asked.terms})
    made.at(1, 1).score([ids[0]] * 2, [[spoken.stop[0]]] * 2)
    return made


def _reward_model(model: Model, source: str, dtype: torch.dtype) -> RewardModel:
    same_tokenizer(model, source)
    return RewardModel(load_scalar_model(source).to(pick_device()), dtype=dtype)


def _answers(asked: Asked, by_id: Mapping[str, Ids]) -> dict[Ids, Decimal]:
    found = {row.prompt.id: final_answer(row.text) for row in asked.written}
    return {tokens: answer for id, tokens in by_id.items() if (answer := found.get(id)) is not None}


def _own(asked: Asked, model: Model, by_id: Mapping[str, Ids]) -> dict[Ids, list[list[int]]]:
    own: dict[Ids, list[list[int]]] = {}
    for row in asked.written:
        if row.prompt.id in by_id:
            own.setdefault(by_id[row.prompt.id], []).append(model.format.response(row.prompt.messages, row.text))
    return own


def _ratings(asked: Asked, model: Model, by_id: Mapping[str, Ids]) -> dict[Ids, dict[Ids, float]]:
    """The mean rating of each rated response, in the policy's tokens."""
    said: dict[Ids, dict[Ids, list[float]]] = {}
    for row in asked.rated:
        if row.prompt.id in by_id:
            tokens = tuple(model.format.response(row.prompt.messages, row.response.text))
            said.setdefault(by_id[row.prompt.id], {}).setdefault(tokens, []).append(row.worth)
    return {prompt: {tokens: sum(each) / len(each) for tokens, each in given.items()} for prompt, given in said.items()}


def same_tokenizer(model: Model, reward_source: str) -> None:
    """Refuses a reward model that reads other token ids than the policy writes.

    Raises:
        ModelError: their vocabularies differ.
    """
    theirs, ours = load_tokenizer(reward_source).get_vocab(), model.format.tokenizer.get_vocab()
    if theirs != ours:
        hint = "train the reward model from this policy's SFT model"
        raise ModelError(f"its tokenizer ({len(theirs)} entries) is not that of {model.name} ({len(ours)})", where=reward_source, hint=hint)
