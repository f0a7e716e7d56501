"""The reward of a response, for every command that learns from its own samples: the terms that `rewards` names, each from its source.

Models, parts that read text, exact answers, similarity to people's own words, their ratings, plain rules; docs/rewards.md.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from accord.algorithms.draws import Remembered
from accord.algorithms.early_stopping import HeldOut
from accord.algorithms.process import ProcessReward
from accord.algorithms.reward_parts import Ensemble, HumanRatings, SignedSimilarity, Similarity, parse_pooling
from accord.algorithms.rewards import Earned, Ended, ExactAnswer, Length, Mixture, Repetition, Rows, Term, TextPart, parse_rewards
from accord.commands.knowledge import open_meaning, own_answers, question_of, questions_of
from accord.commands.models import Model, asks, digest_of, load_model, load_reward_model, locate, open_tokenizer
from accord.commands.scenes import in_scenes
from accord.commands.train.run import as_held, askable, snapshot
from accord.commands.train.swap_gap import SwapGap, parse_swap_gap
from accord.commands.train.text_rewards import VERIFIERS, TextTerm, judged_agreement, open_texts, read_term, written_by
from accord.data.classifiers.project_set import of_project
from accord.data.scenes import scene_of
from accord.data.semantics import UNKNOWN
from accord.data.templates import ChatFormat
from accord.data.templates import chat_format as template_of
from accord.data.tokenizers import Tokenizer, load_tokenizer
from accord.errors import AccordError, InputError, ModelError, UsageError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.returns import returns
from accord.feedback.store import Store
from accord.models.paths import path_of
from accord.models.scalar import BIAS, RewardModel
from accord.protocols import Scorer
from accord.records import Demonstration, Episode, Message, Prompt, Response, Sampling, Split, Worth, final_answer
from accord.rewards.judge import JudgeReward
from accord.rewards.knowledge import KnowledgeReward, Known, known_from
from accord.rewards.rows import Said, TextReward
from accord.rewards.servers import ServerReward
from accord.runtime import plugins, ranks
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.recordings import FOLDER, Recordings
from accord.runtime.runs import Run
from accord.settings.mixins import Rewards, Sharding

RULES: dict[str, Callable[[tuple[int, ...]], Scorer]] = {
    "length": lambda _: Length(),
    "repetition": lambda _: Repetition(),
    "eos": Ended,
}
"""Rewards that look at the tokens alone, by name; each is made from the stop tokens."""
PROCESS = re.compile(r"process\((.+)\)")
"""A term that rewards single tokens by a model of where responses go wrong."""
SIGNED = re.compile(r"signed_similarity(?::(0?\.\d+))?")
"""Similarity with a sign, and the similarity that is worth 0."""
KNOWLEDGE = re.compile(r"knowledge(?:\((.+)\))?")
"""Admissions where a model's own answers disagree: those of the model that the policy starts from, or of the one that is named."""
FROM_PEOPLE = ("exact", "similarity", "signed_similarity", "ratings")
EARNED = "environment"
"""The term that stands for what the environment of an episode gives."""
BUILT_IN = ("model", EARNED, "knowledge", "swap_gap", *FROM_PEOPLE, *RULES, *VERIFIERS, "judge", "isolated")
"""Rewards that no plugin may be named like."""
HELD_OUT = ("held_out_reward", "held_out_win_rate", "held_out_best", "held_out_best_step")
"""Metrics of the last evaluation on held-out prompts that a run's summary takes."""
Ids = tuple[int, ...]


@dataclass(frozen=True)
class RewardSpec:
    """What is rewarded: the terms, where each comes from, the prompts, and what people said to them."""

    terms: list[Term]
    models: Mapping[str, str]
    """Folders of the reward models, by the names that the terms call them by."""
    texts: Mapping[str, TextReward]
    """The parts that read text, by the terms."""
    prompts: list[Prompt]
    inputs: dict[str, str]
    """Digests of all of it."""
    demonstrations: list[Demonstration] = field(default_factory=list[Demonstration])
    ratings: list[Worth] = field(default_factory=list[Worth])
    remarks: list[str] = field(default_factory=list[str])
    """What the run's log is to say of it."""
    scenes: Mapping[str, list[Term]] = field(default_factory=dict[str, "list[Term]"])
    """The terms of the scenes that have their own; ``terms`` are those of all others."""

    @property
    def every_term(self) -> list[str]:
        """The names of all terms, each once."""
        return list(dict.fromkeys(term.name for terms in (self.terms, *self.scenes.values()) for term in terms))

    @property
    def parents(self) -> dict[str, str]:
        """Digests of the reward models by their folders' names, for lineage."""
        return {Path(source).name: digest_of(source) for source in self.models.values()}

    @property
    def data(self) -> dict[str, str]:
        """Digests of what it learns from besides models."""
        return {key: digest for key, digest in self.inputs.items() if key in ("prompts", "demonstrations", "ratings")}


def open_rewards(
    project: Project, config: Rewards, reward_model: str, name: str, *, rewards: str = "", split: Split = "train", most: int = 0
) -> RewardSpec:
    """Read the reward's terms, and snapshot the prompts that they can be given for.

    Args:
        reward_model: the model that the term ``model`` stands for.
        name: the run whose folder takes the snapshots.
        rewards: the terms, where they are not those of the settings.
        split: of the prompts.
        most: prompts at most, the same ones for every run; 0 takes all.

    Raises:
        UsageError: an unknown reward, or a Python function or plugin that cannot be imported.
        ModelError: a reward model is missing.
        InputError: there are no prompts, none with what ``exact``, ``similarity`` or ``ratings`` needs, or some without a column that
            a function needs.
    """
    environment: str = getattr(config, "environment", "")
    terms, folder = _terms(config, rewards), project.run(name)
    before = "" if split == "train" else f"{split}-"
    scenes = {} if rewards and rewards != config.rewards else _scene_terms(project, terms, environment)
    names = list(dict.fromkeys(term.name for each in (terms, *scenes.values()) for term in each))
    _check_earned(names, environment)
    models: dict[str, str] = {}
    texts: list[TextTerm] = []
    for term in names:
        if (text := _text_of(project, term)) is not None:
            texts.append(text)
            continue
        for model in _models_of(project, term):
            models[model] = locate(project, reward_model if model == "model" else model)
    inputs = {("reward" if each == "model" else f"reward {each}"): digest_of(source) for each, source in models.items()}
    demonstrations, ratings = list[Demonstration](), list[Worth]()
    similar = any(each == "similarity" or SIGNED.fullmatch(each) for each in names)
    with Store.open(project.store_url) as store:
        if "exact" in names or similar or "math" in names:
            said = said_by(store, store.demonstrations(split=split), config.kinds)
            useful = _with_answers(said) if "exact" in names else said
            file = folder / f"{before}demonstrations.jsonl"
            demonstrations, inputs["demonstrations"] = snapshot(file, Demonstration, in_scenes(project, useful))
        if "ratings" in names:
            given = (row for row in said_by(store, returns(store, "ratings"), config.kinds) if row.prompt.split == split)
            ratings, inputs["ratings"] = snapshot(folder / f"{before}ratings.jsonl", Worth, in_scenes(project, given))
        demonstrated, rated = {row.prompt.id for row in demonstrations}, {row.prompt.id for row in ratings}

        def usable(prompt: Prompt) -> bool:
            """Whether the rewards of a prompt's scene can be given for it."""
            own = [term.name for term in scenes.get(scene_of(prompt), terms)]
            shown = any(each in ("exact", "similarity") or SIGNED.fullmatch(each) for each in own)
            return (not shown or prompt.id in demonstrated) and ("ratings" not in own or prompt.id in rated)

        wanted: Iterable[Prompt] = filter(usable, in_scenes(project, store.prompts(split=split)))
        if most:
            wanted = list(wanted)
            random.Random("held out").shuffle(wanted)
            wanted = wanted[:most]
        prompts, inputs["prompts"] = snapshot(folder / f"{before}prompts.jsonl", Prompt, wanted)
    if not prompts:
        raise InputError(f"the store has no {_missing(names)}", where=project.store_name, hint="`accord import` some")
    opened = open_texts(project, config, texts, prompts, {row.prompt.id: row.text for row in demonstrations})
    for remark in opened.remarks:
        say(remark)
    return RewardSpec(terms, models, opened.parts, prompts, inputs | opened.inputs, demonstrations, ratings, opened.remarks, scenes)


def _scene_terms(project: Project, terms: Sequence[Term], environment: str) -> dict[str, list[Term]]:
    """Return the terms of the scenes that are rewarded by their own.

    Raises:
        UsageError: they cannot be read, or do not go together with limits or an environment.
    """
    found: dict[str, list[Term]] = {}
    for name, scene in project.scenes.items():
        if not scene.rewards:
            continue
        where = f"[scenes.{name}] rewards"
        try:
            found[name] = parse_rewards(scene.rewards)
        except UsageError as error:
            raise UsageError(error.what, where=where, hint=error.hint) from error
        if environment:
            raise UsageError("an episode is rewarded as a whole", where=where, hint="leave out --environment, or the rewards of the scenes")
        if any(term.limit is not None for term in (*terms, *found[name])):
            hint = "give weights in place of >="
            raise UsageError("a limit is on the mean over all prompts, and a scene has some of them", where=where, hint=hint)
    return found


def _terms(config: Rewards, rewards: str = "") -> list[Term]:
    """Return the reward's terms; with an environment, what it gives stands in place of a reward model that nobody named."""
    asked = rewards or config.rewards
    return parse_rewards(EARNED if getattr(config, "environment", "") and asked == "model" else asked)


def _check_earned(names: Sequence[str], environment: str) -> None:
    """Refuse a term that does not fit what is sampled, a response or an episode."""
    if EARNED in names and not environment:
        raise UsageError("environment is what an environment gives, and there is none", where="rewards", hint="--environment module:Class")
    single = [name for name in names if name in FROM_PEOPLE or SIGNED.fullmatch(name) or KNOWLEDGE.fullmatch(name) or parse_swap_gap(name)]
    if environment and single:
        hint = f"environment, a reward model, a function, a verifier, a server, {', '.join(RULES)}"
        raise UsageError(f"{single[0]} rewards one response, and an episode has several turns", where="rewards", hint=hint)


def open_held_out(project: Project, config: Any, reward_model: str, name: str) -> RewardSpec | None:
    """Read what a policy is evaluated on while it learns, and snapshot its prompts; None where the settings ask for no evaluation.

    A project without validation prompts, or with none that the rewards can be given for, is not evaluated, and this says so.

    Raises:
        InputError: there are none, and the settings choose a policy by them.
        UsageError: a replay is to choose one.
    """
    chooses = config.patience > 0 or config.final_policy == "best"
    if config.replay and chooses:
        raise UsageError("a replay draws nothing, so it cannot be evaluated", where="--replay", hint="--patience 0 --final-policy last")
    last = getattr(config, "steps", 0) or config.rounds
    if not 0 < config.evaluate_every <= last or config.replay:
        return None
    by = config.evaluate_by or config.rewards
    try:
        return open_rewards(project, config, reward_model, name, rewards=by, split="validation", most=config.evaluate_prompts)
    except InputError as error:
        if chooses:
            raise InputError(f"{error.what} of split validation", where=error.where, hint="--patience 0 --final-policy last") from None
        say(f"{config.stage}: {error.what} of split validation, so the policy is not evaluated while it learns")
        return None


def held_out(
    project: Project, run: Run, spec: RewardSpec | None, model: Model, config: Any, dtype: torch.dtype, **how: Any
) -> HeldOut | None:
    """Build what a policy is evaluated on while it learns, as ``mixture`` builds its rewards; None without a ``spec``."""
    if spec is None:
        return None
    rule = "drop" if config.long_rows == "refuse" else config.long_rows  # only what is learned from stops a run
    asked, ids, window = askable(model.format, spec.prompts, config.max_tokens, rule)
    for line in window.remarks():
        run.note(f"held-out prompts: {line}")
    return HeldOut(ids, mixture(project, run, replace(spec, prompts=asked), model, config, ids, dtype, **how))


def _missing(names: Sequence[str]) -> str:
    if "exact" in names:
        return "demonstrations that end in #### and a number"
    if any(name == "similarity" or SIGNED.fullmatch(name) for name in names):
        return "demonstrations"
    return "rated responses" if "ratings" in names else "training prompts"


def _text_of(project: Project, term: str) -> TextTerm | None:
    """The part that reads text, if a term is one.

    Raises:
        UsageError: a plugin's name means something else as well.
    """
    if plugins.has("rewards", term, BUILT_IN) and term in project.models():
        what = f"{term!r} is a model of the project, and a reward of {plugins.origin('rewards', term)}"
        raise UsageError(what, where="rewards", hint="rename the model's folder, or uninstall the package")
    return None if term in project.models() or KNOWLEDGE.fullmatch(term) or parse_swap_gap(term) else read_term(term, BUILT_IN)


def _models_of(project: Project, term: str) -> tuple[str, ...]:
    """The reward models that a term needs.

    Raises:
        UsageError: there is no such reward, and no model of that name.
    """
    if pooled := parse_pooling(term):
        return pooled.models
    if found := PROCESS.fullmatch(term):
        return (found.group(1),)
    if gap := parse_swap_gap(term):
        return (gap[1],)
    if term == "model" or term in project.models():
        return (term,)
    if term in RULES or term in FROM_PEOPLE or SIGNED.fullmatch(term) or KNOWLEDGE.fullmatch(term) or term == EARNED:
        return ()
    known = plugins.known(BUILT_IN, "rewards")
    hint = f"{known}, module:function, http://host/path, a model of the project, and min(a+b) of such models"
    raise UsageError(f"there is no reward {term!r}", where="rewards", hint=hint)


def _with_answers(demonstrations: Iterable[Demonstration]) -> Iterable[Demonstration]:
    return (row for row in demonstrations if final_answer(row.text) is not None)


def mixture(
    project: Project,
    run: Run,
    spec: RewardSpec,
    model: Model,
    config: Rewards,
    ids: Sequence[list[int]],
    dtype: torch.dtype,
    *,
    sharding: Sharding,
    bits: int = 0,
    micro_tokens: int = 16_384,
    loaded: dict[str, Any] | None = None,
) -> Mixture:
    """Build the reward that the terms ask for; every term is tried once on the first prompt. The run notes how its models are computed.

    Args:
        model: whose tokens are scored.
        sharding: whether several processes shard the reward models.
        ids: token ids of ``spec.prompts``.
        bits: 4 quantises the reward models as the policy is; 0 leaves them as they are.
        micro_tokens: how many tokens a reward model reads in a pass.
        loaded: reward models that are in memory already, by folder; takes those that are opened here.

    Raises:
        ModelError: a reward model has no chat template, or a model of single tokens reads another tokenizer's ids.
        RunError: a Python function raises, hangs, or returns no number for each response.
    """
    chat_format = model.format
    rows = Rows(spec.prompts, ids, chat_format.text)
    scorers, held = dict[str, RewardModel | ReadAnew](), loaded if loaded is not None else {}
    for name, source in spec.models.items():
        if any(found and found.group(1) == name for found in (PROCESS.fullmatch(term) for term in spec.every_term)):
            check_same_tokenizer(model, source)
        if source not in held:
            held[source] = as_held(load_reward_model(project, source, dtype, bits=bits).model, sharding)
        run.record_paths(**{Path(source).name: path_of(held[source].base_model)})
        scorer = RewardModel(held[source], dtype=dtype, batch_tokens=micro_tokens)
        anew = not (is_ours(scorer.model) and same_tokenizer(chat_format.tokenizer, source))
        scorers[name] = ReadAnew.of(scorer, project, source, rows, chat_format.stop) if anew else scorer
    by_id = {prompt.id: tuple(tokens) for tokens, prompt in zip(ids, spec.prompts, strict=True)}

    def kept(name: str, part: Scorer) -> Scorer:
        """A part that may answer otherwise when it is asked again: what it said is kept with the recorded rollouts."""
        replay: str = getattr(config, "replay", "")
        source = Recordings(project.run(replay) / FOLDER) if replay else None
        return Remembered(name, part, Recordings(run.folder / FOLDER), source)

    def scorer_of(name: str) -> Scorer:
        if pooled := parse_pooling(name):
            return Ensemble([scorers[each] for each in pooled.models], pooled.how, pooled.spread)
        if found := PROCESS.fullmatch(name):
            return ProcessReward(held[spec.models[found.group(1)]], dtype=dtype)
        if gap := parse_swap_gap(name):
            return SwapGap(scorers[gap[1]], gap[0], rows, chat_format)
        if name in scorers:
            return scorers[name]
        if name in spec.texts:
            return kept(name, TextPart(_written(spec.texts[name], chat_format), rows))
        if found := KNOWLEDGE.fullmatch(name):
            part = knowledge(project, run, spec.prompts, found.group(1) or model.name, config, dtype)
            return kept(name, TextPart(part, rows))
        if name == EARNED:
            return Earned()
        if name == "exact":
            return ExactAnswer(_answers(spec, by_id), chat_format.text)
        if name == "similarity":
            return Similarity(_own_words(spec, model, by_id))
        if signed := SIGNED.fullmatch(name):
            return SignedSimilarity(Similarity(_own_words(spec, model, by_id)), float(signed.group(1) or 0.5))
        return HumanRatings(_mean_ratings(spec, model, by_id)) if name == "ratings" else RULES[name](chat_format.stop)

    remarks = list(spec.remarks)
    for part in spec.texts.values():
        if isinstance(part, JudgeReward) and config.judge_pairs:
            remarks.append(ranks.from_first(partial(judged_agreement, project, config, part)))
            say(remarks[-1])
    for remark in remarks:
        run.note(remark)
    parts = {name: scorer_of(name) for name in spec.every_term}
    made = Mixture(spec.terms, parts, scenes=spec.scenes, scene_of=rows.scene) if spec.scenes else Mixture(spec.terms, parts)
    tried = made.at(1, 1)
    if getattr(config, "environment", ""):
        tried.hear([Episode(opening=ids[0], own=[True], rewards=[0.0], end="done", messages=())] * 2)
    tried.score([ids[0]] * 2, [[chat_format.stop[0]]] * 2)
    for first in {scene_of(prompt): place for place, prompt in enumerate(spec.prompts)}.values() if spec.scenes else ():
        tried.score([ids[first]] * 2, [[chat_format.stop[0]]] * 2)
    return made


def knowledge(project: Project, run: Run, prompts: Sequence[Prompt], name: str, config: Rewards, dtype: torch.dtype) -> KnowledgeReward:
    """Build the reward of a model's own knowledge: it answers each question several times, once for all runs that ask for the same.

    Args:
        name: the model that answers, as it was before the policy learned.

    Raises:
        InputError: none of the prompts asks for a fact.
    """
    asked = questions_of(prompts, config.knowledge_use_cases)
    if not asked:
        there = ", ".join(sorted({prompt.use_case for prompt in prompts if prompt.use_case})) or "none"
        hint = f"name the use cases that do by knowledge_use_cases; there are: {there}"
        raise InputError("no prompt asks for a fact", where="rewards, knowledge", hint=hint)
    n, sampling = config.knowledge_samples, Sampling(temperature=1.0, max_tokens=getattr(config, "max_tokens", 0))

    def groups() -> tuple[list[list[str]], list[list[str]], int, int]:
        """What each question's answers say, and what they mean; only the first process draws and compares them."""
        own = own_answers(
            project,
            load_model(project, name),
            [each.messages for each in asked],
            n=n,
            sampling=sampling,
            seed=config.knowledge_seed,
            dtype=dtype,
        )
        texts = [[answer.text for answer in answers] for answers in own.answers]
        rows = [(question_of(prompt), said) for prompt, said in zip(asked, texts, strict=True)]
        return texts, meaning.groups(rows), own.drawn, own.tokens

    classifiers = of_project(project, asks(project))
    meaning = open_meaning(project, config.knowledge_meaning, classifiers.admits)
    texts, named, drawn, tokens = ranks.from_first(groups)
    known: dict[str, Known] = {}
    for prompt, said, names in zip(asked, texts, named, strict=True):
        known[prompt.id] = known_from(question_of(prompt), said, names, UNKNOWN)
    agrees = sum(each.most >= config.knowledge_threshold for each in known.values())
    remark = (
        f"knowledge: {name} answered {len(asked):,} of {len(prompts):,} prompts {n} times each ({drawn:,} answers, "
        f"{tokens:,} tokens drawn now; the others were kept); told apart by {meaning.name}, "
        f"admissions by {classifiers.name('stance')}; it agrees with itself on {agrees / len(asked):.0%}"
    )
    say(remark)
    run.note(remark)
    return KnowledgeReward(known, meaning.groups, classifiers.admits, config.knowledge_threshold)


def _written(part: TextReward, chat_format: ChatFormat) -> TextReward:
    """Give a server that reads text with a template the model's own, or that of the model that it names."""
    if not isinstance(part, ServerReward) or part.address.shape == "accord":
        return part
    if part.address.shape == "verl" and part.address.told:
        chat_format = template_of(load_tokenizer(part.address.told))
    return replace(part, written=partial(written_by, chat_format))


def _answers(spec: RewardSpec, by_id: Mapping[str, Ids]) -> dict[Ids, Decimal]:
    """The answer to each prompt: where two prompts read alike the last prompt's, where one has two demonstrations the last one's."""
    known = {row.prompt.id: final_answer(row.text) for row in spec.demonstrations}
    answers: dict[Ids, Decimal] = {}
    for id, tokens in by_id.items():
        answer = known.get(id)
        if answer is not None:
            answers[tokens] = answer
    return answers


def _own_words(spec: RewardSpec, model: Model, by_id: Mapping[str, Ids]) -> dict[Ids, list[list[int]]]:
    """What people wrote to each prompt, in the policy's tokens."""
    own: dict[Ids, list[list[int]]] = {}
    for row in spec.demonstrations:
        if row.prompt.id in by_id:
            own.setdefault(by_id[row.prompt.id], []).append(model.format.answered(row.prompt, row.text))
    return own


def _mean_ratings(spec: RewardSpec, model: Model, by_id: Mapping[str, Ids]) -> dict[Ids, dict[Ids, float]]:
    """The mean rating of each rated response, in the policy's tokens."""
    given: dict[Ids, dict[Ids, list[float]]] = {}
    for row in spec.ratings:
        if row.prompt.id in by_id:
            tokens = tuple(model.format.answered(row.prompt, row.response.text))
            given.setdefault(by_id[row.prompt.id], {}).setdefault(tokens, []).append(row.worth)
    means: dict[Ids, dict[Ids, float]] = {}
    for prompt, ratings in given.items():
        means[prompt] = {tokens: sum(each) / len(each) for tokens, each in ratings.items()}
    return means


def is_ours(reward_model: Any) -> bool:
    """Return whether ``accord reward`` made a reward model, so that its score is read at the response's stop token."""
    return hasattr(reward_model.config, BIAS)


def same_tokenizer(tokenizer: Tokenizer, source: str) -> bool:
    """Return whether a model reads the token ids that a tokenizer writes; it may have a padding token of its own."""
    theirs = load_tokenizer(source).get_vocab()
    return all(theirs.get(token) == id for token, id in tokenizer.get_vocab().items())


@dataclass(frozen=True)
class ReadAnew:
    """A reward model of another tokenizer, or made elsewhere: each conversation is written by its own chat template and tokenizer.

    One of ours is scored at the response's stop token; any other where transformers reads the score of the whole conversation, at its
    last token that is no padding.
    """

    model: RewardModel
    format: ChatFormat
    rows: Rows
    stop: tuple[int, ...]
    """The policy's stop tokens: a response without one was cut."""
    heard: list[Episode] = field(default_factory=list[Episode], repr=False, compare=False)

    @classmethod
    def of(cls, model: RewardModel, project: Project, source: str, rows: Rows, stop: tuple[int, ...]) -> ReadAnew:
        """Open the model's tokenizer and template.

        Raises:
            ModelError: it has no chat template.
        """
        tokenizer = open_tokenizer(project, source)
        if not tokenizer.chat_template:
            hint = "add the chat template that it was trained with to its tokenizer_config.json"
            raise ModelError("the reward model has no chat template to write a conversation with", where=source, hint=hint)
        return cls(model, template_of(tokenizer), rows, stop)

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored until others are heard: several parts of a reward may ask this one model."""
        self.heard[:] = episodes

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the reward of each pair; several processes, which all ask, divide them."""
        rows = self.rows.said(prompts, responses, list(self.heard))
        said = [replace(row, messages=self.format.readable(row.messages)) for row in rows]
        if is_ours(self.model.model):
            read = [self.format.prompt(row.messages) for row in said]
            written = [self.format.response(row.messages, row.response) for row in said]
            ended = [bool(response) and response[-1] in self.stop for response in responses]
            return self.model.score(read, [ids if done else ids[:-1] for ids, done in zip(written, ended, strict=True)])
        wholes = [self._whole(row) for row in said]
        return self.model.score([ids[:-1] for ids in wholes], [ids[-1:] for ids in wholes])

    def _whole(self, row: Said) -> list[int]:
        ids = self.format.conversation([*row.messages, Message("assistant", row.response)])
        pad = self.model.model.config.pad_token_id
        while len(ids) > 1 and ids[-1] == pad:
            ids.pop()
        return ids


def critic_source(project: Project, reward: str, sft_source: str, config: Rewards) -> str:
    """Return the reward model that PPO's critic starts as; empty where it starts as the SFT model with a new head.

    That is where there is no reward model, or one that reads other tokens: the critic has to read the policy's.

    Raises:
        UsageError: an unknown reward.
        ModelError: the term ``model`` stands for a model that is missing.
    """
    names = [term.name for term in _terms(config)]
    models = {model for name in names if _text_of(project, name) is None for model in _models_of(project, name)}
    if "model" not in models and reward not in project.models():
        return ""
    source = locate(project, reward)
    return source if same_tokenizer(load_tokenizer(sft_source), source) else ""


def check_same_tokenizer(model: Model, reward_source: str) -> None:
    """Refuse a model of single tokens that reads other token ids than the policy writes.

    Raises:
        ModelError: their vocabularies differ.
    """
    if not same_tokenizer(model.format.tokenizer, reward_source):
        theirs, ours = load_tokenizer(reward_source).get_vocab(), model.format.tokenizer.get_vocab()
        hint = "train the reward model from this policy's SFT model"
        raise ModelError(f"its tokenizer ({len(theirs)} entries) is not that of {model.name} ({len(ours)})", where=reward_source, hint=hint)


@dataclass(frozen=True)
class PartScore:
    """One part of a reward, and what it gives each response."""

    name: str
    weight: float
    """At the end of a run; of a part with a limit its multiplier moves, and this is 0."""
    limit: float | None
    scores: list[float | None]
    """Before the weight; None where the part does not apply."""
    why_not: str = ""
    """Why it cannot be given for this prompt."""


def part_scores(
    project: Project,
    config: Rewards,
    reward_model: str,
    prompt: Prompt,
    responses: Sequence[Response],
    name: str,
    chat_format: ChatFormat,
    dtype: torch.dtype,
    loaded: dict[str, Any],
) -> list[PartScore]:
    """Return what each part of a reward gives the responses to one prompt, outside of any run. A part that cannot be given says why.

    Args:
        name: the model that the part ``knowledge`` asks.
        chat_format: whose tokens are scored.
        loaded: reward models that are in memory already, by folder; takes those that are opened here.

    Raises:
        UsageError: an unknown reward.
        InputError: what is rewarded is an episode, not a response.
    """
    terms, config = _terms(config), replace(config, judge_pairs=0)
    if any(term.name == EARNED for term in terms):
        raise InputError("an environment rewards a whole episode", where="rewards", hint="name others: --rewards model")
    speaker = Model(name, None, chat_format, "")
    asked = chat_format.asked(prompt)
    said = [chat_format.tokens_of(prompt, response) for response in responses]
    return [_part_score(project, config, term, reward_model, prompt, speaker, asked, said, dtype, loaded) for term in terms]


def _part_score(
    project: Project,
    config: Rewards,
    term: Term,
    reward_model: str,
    prompt: Prompt,
    speaker: Model,
    asked: list[int],
    said: Sequence[list[int]],
    dtype: torch.dtype,
    loaded: dict[str, Any],
) -> PartScore:
    weight = term.end if term.limit is None else 0.0
    try:
        with TemporaryDirectory() as folder:
            run = Run.start(Path(folder) / "explain", stage="explain", config=config, inputs={}, resume=False)
            spec = _alone(project, config, term, reward_model, prompt)
            made = mixture(project, run, spec, speaker, config, [asked], dtype, sharding=Sharding(), loaded=loaded)
            scores = list[float | None]()
            for response in said:
                scored = made.settled()
                scored.score([asked], [response])
                scores.append(scored.mean(term.name) if scored.applied(term.name) else None)
    except AccordError as error:
        return PartScore(term.name, weight, term.limit, [None] * len(said), str(error))
    return PartScore(term.name, weight, term.limit, scores)


def _alone(project: Project, config: Rewards, term: Term, reward_model: str, prompt: Prompt) -> RewardSpec:
    """Return one term of a reward for one prompt, with what people said to it."""
    text = _text_of(project, term.name)
    named = () if text is not None else _models_of(project, term.name)
    models = {each: locate(project, reward_model if each == "model" else each) for each in named}
    with Store.open(project.store_url) as store:
        shown = [row for row in said_by(store, store.demonstrations(), config.kinds) if row.prompt.id == prompt.id]
        rated = [row for row in said_by(store, returns(store, "ratings"), config.kinds) if row.prompt.id == prompt.id]
    if term.name == "exact":
        shown = list(_with_answers(shown))
    opened = open_texts(project, config, [text] if text else [], [prompt], {row.prompt.id: row.text for row in shown})
    return RewardSpec([term], models, opened.parts, [prompt], {}, shown, rated, opened.remarks)
