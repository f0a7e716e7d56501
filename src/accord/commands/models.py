"""Open models by name, once for all commands: a policy with its chat format, a reward model that scores texts, a speaker.

The one room below the commands where models, engine and project meet. Loading this loads torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from accord.commands.pictures import picture_files
from accord.commands.recordings import counted_recordings, recordings_of, told
from accord.data.picture_format import picture_format
from accord.data.template_variables import open_tokenizer, written_in
from accord.data.templates import ChatFormat, chat_format, control_ends, raw_format
from accord.data.token_rows import RowWindow
from accord.data.tokenizers import Tokenizer, check_vocabulary
from accord.engine.first_use import key_of, verify, verify_scalar
from accord.engine.guided import QGuide
from accord.engine.local import LocalSampler
from accord.errors import ModelError, UsageError
from accord.models.decoder import context_of
from accord.models.folders import load_causal_lm, load_scalar_model, set_ends
from accord.models.pictures import Gallery, open_processor, sees
from accord.models.qvalues import QScorer, has_q, load_q
from accord.models.row_adapters import RowAdapter, open_adapter
from accord.models.scalar import RewardModel
from accord.protocols import Sampler, Speaker, is_foreign
from accord.records import Generation, Message, Prompt, Response, Sampling
from accord.runtime import lineage, ranks
from accord.runtime.device import keep_few_kernels, keep_freed_memory, matmul_dtype, pick_device
from accord.runtime.model_files import ON, model_files
from accord.runtime.progress import say, track
from accord.runtime.project import Project
from accord.runtime.seeds import generator

__all__ = [
    "Adapted",
    "LocalSampler",
    "LocalSpeaker",
    "Model",
    "RewardModel",
    "TextScorer",
    "answerable",
    "compute_dtype",
    "context_of",
    "digest_of",
    "ends_of",
    "load_adapter",
    "load_model",
    "load_reward_model",
    "local_speaker",
    "locate",
    "open_speaker",
    "reply_scorer",
    "respond",
    "sampled_batches",
    "training_dtype",
]
PATHS = Path("cache", "paths.json")
"""Where a project remembers which path is right for a model."""
BATCH = 64
"""Conversations that a speaker answers together."""


@dataclass(frozen=True)
class Model:
    """A causal language model with its chat format."""

    name: str
    lm: Any
    format: ChatFormat
    digest: str
    path: str = ""
    """How it is computed, as ``models.paths`` names it."""


def compute_dtype(requested: str = "auto") -> torch.dtype:
    """Return the dtype of matrix products on this machine; also make the allocator keep freed memory."""
    keep_freed_memory()
    keep_few_kernels()
    return matmul_dtype(pick_device(), requested)


def training_dtype(requested: str = "auto") -> torch.dtype:
    """Return the dtype of matrix products where weights are trained.

    Raises:
        UsageError: it is float16, in which small gradients become 0 unless the loss is scaled.
    """
    if requested in ("float16", "fp16"):
        what = "float16 is for sampling: gradients need loss scaling in it, which training here does not have"
        raise UsageError(what, where="--dtype", hint="train in bfloat16 or float32; `accord sample` and `accord serve` take float16")
    return compute_dtype(requested)


def locate(project: Project, name: str) -> str:
    """Return the folder of a model of the project, or a folder or hub name as it is. A command asks before it writes anything.

    Raises:
        ModelError: it is none of them, or a folder that holds no model.
    """
    if name in project.models():
        return str(project.model(name))
    adapter, on, base = name.partition(ON)
    if on and not Path(name).exists():
        source = f"{locate(project, adapter)}{ON}{locate(project, base)}"
        model_files(source)
        return source
    if "/" in name or Path(name).exists():
        model_files(name)
        return name
    raise ModelError("the project has no such model", where=name, hint=f"it has: {', '.join(project.models()) or 'none yet'}")


def digest_of(source: str) -> str:
    """Return the digest of a folder or a .gguf file, an adapter's joined with its base model's; or a hub name as it is."""
    files = model_files(source)
    whole = Path(files.source, files.gguf)
    digest = lineage.digest_folder(whole) if whole.exists() else files.source
    return f"{lineage.digest_folder(files.adapter)} on {digest}" if files.adapter else digest


def load_model(project: Project, name: str, *, bits: int = 0) -> Model:
    """Load a language model with its tokenizer; it speaks by its chat template, or as raw text when it has none.

    One that ``accord ilql`` made brings the Q network that guides it: samplers find it as ``lm.guide``.

    Args:
        bits: 4 quantises the body's weights to four bits, one layer at a time; 0 leaves them as they are.

    Raises:
        ModelError: it is missing or damaged.
    """
    source = locate(project, name)
    bits = 0 if has_q(Path(source)) else bits  # the guide is a whole body of its own
    tokenizer, lm = open_tokenizer(project, source), load_causal_lm(source, bits=bits).to(pick_device())
    digest = digest_of(source)
    gallery = show_pictures(project, lm, tokenizer, source) if sees(lm) else None
    path = verify(lm, project.path / PATHS, key_of(Path(source), digest), name)
    if guide := load_q(Path(source), lm):
        network, beta = guide
        lm.guide = QGuide(network, beta=beta)
    template = _format(name, tokenizer, lm, source)
    if sees(lm):
        template = picture_format(template, gallery)
    if not template.raw:
        set_ends(lm, template.stop)  # what is saved from it stops in any tool where it stops here
    return Model(name, lm, template, digest, path)


def _format(name: str, tokenizer: Tokenizer, lm: Any, source: str) -> ChatFormat:
    """Return how a model is spoken to: by its tokenizer's chat template, or as raw text."""
    format_of = chat_format if tokenizer.chat_template else raw_format
    check_vocabulary(tokenizer, lm.get_input_embeddings().num_embeddings, source)
    ends = ends_of(lm)
    kept = control_ends(tokenizer, ends)
    if left := [end for end in ends if end not in kept]:
        shown = ", ".join(_shown(tokenizer, end) for end in left)
        say(f"{name}: its configuration ends a response at {shown}, no control token of its tokenizer: not taken (eos_token_id)")
    return format_of(tokenizer, context_of(lm), kept)


@dataclass(frozen=True)
class Adapted:
    """An adapter over a model that is open already, with the format that it was trained in."""

    adapter: RowAdapter
    format: ChatFormat
    digest: str


def load_adapter(project: Project, name: str, source: str, lm: Any) -> Adapted:
    """Read an adapter for the rows of an open model, which stays as it is. It speaks by its own tokenizer's template, or its base's.

    Args:
        source: the adapter's folder, alone or as ``ADAPTER on BASE``.
        lm: its base model.

    Raises:
        ModelError: it is of another base, or does more than to add products to layers.
    """
    files = model_files(source)
    if files.adapter is None:
        raise ModelError("this is no adapter", where=source, hint="give a folder that peft or --keep-adapter saved")
    if sees(lm):
        raise ModelError("an adapter over a model that sees pictures is served merged", where=source, hint="give its folder to --model")
    adapter = open_adapter(lm, files.adapter, base=files.source)
    return Adapted(adapter, _format(name, open_tokenizer(project, source), lm, source), digest_of(source))


def show_pictures(project: Project, lm: Any, tokenizer: Tokenizer, source: str) -> Gallery | None:
    """Let a vision-language model see the project's pictures; return None where its folder has no processor for them.

    Raises:
        ModelError: the processor is damaged.
    """
    place = model_files(source).source
    processor = open_processor(place)
    if processor is None:
        return None
    if not tokenizer.chat_template and processor.chat_template:
        tokenizer.chat_template = processor.chat_template
    file = picture_files(project)
    gallery = Gallery(processor, tokenizer, int(lm.config.image_token_id), lambda digest: file(digest).content, place)
    lm.base_model.gallery = gallery
    return gallery


def _shown(tokenizer: Tokenizer, end: object) -> str:
    word = tokenizer.convert_ids_to_tokens(end) if isinstance(end, int) and 0 <= end < len(tokenizer) else None
    return repr(end) if word is None else f"{end} ({tokenizer.decode([end])!r})"


def ends_of(lm: Any) -> tuple[Any, ...]:
    """Return the token ids at which a model's own configuration ends a response, those of generation_config first."""
    ends: list[Any] = []
    for config in (getattr(lm, "generation_config", None), lm.config):
        told = getattr(config, "eos_token_id", None)
        ends += told if isinstance(told, list) else [] if told is None else [told]
    return tuple(dict.fromkeys(ends))


@dataclass(frozen=True)
class TextScorer:
    """A reward model that scores texts."""

    model: RewardModel
    format: ChatFormat

    @classmethod
    def open(cls, project: Project, name: str, dtype: torch.dtype) -> TextScorer:
        """Load a reward model of the project, or a folder, onto the device.

        Raises:
            ModelError: it is missing, or is no reward model.
        """
        source = locate(project, name)
        model, spoken = load_reward_model(project, source, dtype), chat_format(open_tokenizer(project, source))
        gallery: Gallery | None = getattr(model.model.base_model, "gallery", None)
        return cls(model, picture_format(spoken, gallery) if sees(model.model) else spoken)

    def scores(self, prompts: Sequence[Prompt], texts: Sequence[str], finished: Sequence[bool] = ()) -> list[float]:
        """Return the reward of ``texts[i]`` as an answer to ``prompts[i]``.

        An answer that is not ``finished`` gets no stop token, as when PPO scores one that was cut; without it all are finished.
        """
        return self.score_conversations([prompt.messages for prompt in prompts], texts, finished)

    def score_conversations(
        self, conversations: Sequence[Sequence[Message]], texts: Sequence[str], finished: Sequence[bool] = ()
    ) -> list[float]:
        """Return the reward of ``texts[i]`` as an answer to ``conversations[i]``, finished or cut as ``scores`` says."""
        prompts = [self.format.prompt(messages) for messages in conversations]
        responses = [self.format.response(messages, text) for messages, text in zip(conversations, texts, strict=True)]
        if finished:
            responses = [ids if done else ids[:-1] for ids, done in zip(responses, finished, strict=True)]
        return self.model.score(prompts, responses).tolist()

    def score_responses(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[float]:
        """Return the reward of ``responses[i]`` to ``prompts[i]``, by the tokens that were sampled; one that was cut is scored as cut."""
        ids = [self.format.asked(prompt) for prompt in prompts]
        rows = [self.format.tokens_of(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        scores: list[float] = self.model.score(ids, rows).tolist()
        return scores

    def score_groups(self, rows: Sequence[tuple[Prompt, Sequence[Response]]]) -> list[list[float]]:
        """Return the rewards of several responses to each prompt, in the order given; one that was cut is scored as cut."""
        prompts: list[Prompt] = []
        flat: list[Response] = []
        for prompt, responses in rows:
            prompts += [prompt] * len(responses)
            flat += responses
        scores = iter(self.score_responses(prompts, flat))
        return [list(islice(scores, len(responses))) for _, responses in rows]


def load_reward_model(project: Project, source: str, dtype: torch.dtype, *, bits: int = 0) -> RewardModel:
    """Load a reward model's folder onto the device. At its first use in the project its scores are compared with transformers' own.

    Args:
        bits: 4 quantises its weights to four bits; 0 leaves them as they are.

    Raises:
        ModelError: it is missing, or is no reward model.
    """
    model = load_scalar_model(source, bits=bits).to(pick_device())
    if sees(model):
        show_pictures(project, model, open_tokenizer(project, source), source)
    verify_scalar(model, project.path / PATHS, key_of(Path(source), digest_of(source)), Path(source).name)
    return RewardModel(model, dtype=dtype)


def reply_scorer(project: Project, name: str, dtype: torch.dtype) -> Callable[[Sequence[Message], Sequence[str]], list[float]]:
    """Return what says how good each of several replies to a conversation is: a reward model, or the Q network of a model of `accord ilql`.

    The network's word is the smaller Q value of a reply's last token: the return that it expects of the dialogue with this reply.

    Raises:
        ModelError: there is no such model, or it is neither.
    """
    if has_q(Path(locate(project, name))):
        model = load_model(project, name)
        network = QScorer(model.lm.guide.network, dtype=dtype)

        def by_q(conversation: Sequence[Message], replies: Sequence[str]) -> list[float]:
            asked = model.format.prompt(conversation)
            return network.score([asked] * len(replies), [model.format.response(conversation, reply) for reply in replies]).tolist()

        return by_q
    scorer = TextScorer.open(project, name, dtype)
    return lambda conversation, replies: scorer.score_conversations([conversation] * len(replies), replies)


@dataclass(frozen=True)
class SampledBatch:
    """Responses to one batch of prompts, which were sampled together."""

    number: int
    """Counts from 1."""
    rows: list[int]
    """Places of the prompts among all that are asked."""
    groups: list[list[Response]]
    """The n responses to each of them."""
    tokens: int
    seconds: float


def sampled_batches(
    model: Model,
    sampler: Sampler,
    prompts: Sequence[Prompt],
    *,
    n: int,
    sampling: Sampling,
    seed: int,
    batch_size: int,
    skip: int = 0,
) -> Iterator[SampledBatch]:
    """Sample n responses to each prompt, batch by batch. The first ``skip`` batches are left out; the others do not depend on them.

    Prompts of similar length are sampled together; each batch has random numbers of its own. Ids name everything that a draw
    depends on, so the same command gives the same records and another one never clashes with them.

    Raises:
        InputError: a prompt is longer than the model's context.
    """
    ids = [model.format.asked(prompt) for prompt in prompts]
    dtype = str(getattr(sampler, "dtype", ""))
    settings = [model.digest, dataclasses.asdict(sampling), seed, n, batch_size, dtype, [prompt.id for prompt in prompts]]
    if is_foreign(sampler):
        settings.append("drawn elsewhere")
    if told := written_in(model.format.tokenizer):
        settings.append(told)
    key = lineage.digest_rows(settings)[:12]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    tokens, seconds = 0, 0.0
    with track(len(ids) * n, f"sample {model.name}", done=min(skip * batch_size, len(ids)) * n) as bar:
        for number, start in list(enumerate(range(0, len(order), batch_size)))[skip:]:
            rows = order[start : start + batch_size]
            batch = [ids[i] for i in rows]
            random = generator(seed, "sample", model.name, number)
            ask = partial(sampler.sample, batch, n=n, sampling=sampling, generator=random)
            drawn = ranks.from_first(ask) if is_foreign(sampler) else ask()
            count, spent = int(drawn.keep.sum()), sum(drawn.seconds.values())
            tokens, seconds = tokens + count, seconds + spent
            yield SampledBatch(number + 1, rows, list(_responses(model, drawn, [prompts[i] for i in rows], n, key)), count, spent)
            bar.advance(len(rows) * n, tokens_per_second=tokens / max(seconds, 1e-9))


def respond(
    model: Model, sampler: Sampler, prompts: Sequence[Prompt], *, n: int, sampling: Sampling, seed: int, batch_size: int
) -> tuple[list[list[Response]], float]:
    """Sample n responses to each prompt; return them in the prompts' order, and the tokens sampled per second.

    Raises:
        InputError: a prompt is longer than the model's context.
    """
    responses: list[list[Response]] = [[] for _ in prompts]
    tokens, seconds = 0, 0.0
    for batch in sampled_batches(model, sampler, prompts, n=n, sampling=sampling, seed=seed, batch_size=batch_size):
        for i, group in zip(batch.rows, batch.groups, strict=True):
            responses[i] = group
        tokens, seconds = tokens + batch.tokens, seconds + batch.seconds
    return responses, tokens / max(seconds, 1e-9)


def answerable(prompts: Sequence[Prompt], *formats: ChatFormat) -> list[Prompt]:
    """Return the prompts that leave room for a response in every model's context.

    Raises:
        InputError: none does.
    """
    window = RowWindow(min((each.context for each in formats if each.context), default=0))

    def fitting(prompt: Prompt) -> Prompt:
        for each in formats:
            each.asked(prompt)
        return prompt

    found = window.fit(prompts, fitting, "prompts")
    for line in told(counted_recordings(recordings_of(prompts))):
        say(line)
    return found


def _responses(model: Model, drawn: Generation, prompts: Sequence[Prompt], n: int, key: str) -> Iterator[list[Response]]:
    rows = drawn.rows()
    finished: list[bool] = drawn.finished.tolist()
    for i, prompt in enumerate(prompts):
        group: list[Response] = []
        for k in range(n):
            ids, done = rows[i * n + k], finished[i * n + k]
            group.append(Response(f"{prompt.id}-{key}-{k}", prompt.id, model.format.text(ids), model.name, tuple(ids), done))
        yield group


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, and whether it ended by itself; one that did not was cut at the length limit."""

    text: str
    finished: bool = True


@dataclass(frozen=True)
class LocalSpeaker:
    """A loaded model as a ``Speaker``: conversations in, texts out. Conversations of like length are sampled together."""

    model: Model
    dtype: torch.dtype

    @property
    def name(self) -> str:
        return self.model.name

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        """Return n answers to each conversation.

        Raises:
            InputError: a conversation is longer than the model's context.
        """
        drawn = self.answers(conversations, n=n, sampling=sampling, seed=seed)
        return [[answer.text for answer in group] for group in drawn]

    def answers(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[Answer]]:
        """Return n answers to each conversation, and whether each came to its end. Raises as ``answer`` does."""
        sampler = LocalSampler(self.model.lm, stop=self.model.format.stop, dtype=self.dtype)
        prompts = [self.model.format.prompt(conversation) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers: list[list[Answer]] = [[] for _ in prompts]
        for number, start in enumerate(range(0, len(order), BATCH)):
            rows = order[start : start + BATCH]
            drawn = sampler.sample([prompts[i] for i in rows], n=n, sampling=sampling, generator=generator(seed, "answer", number))
            texts = [self.model.format.text(row) for row in drawn.rows()]
            finished: list[bool] = drawn.finished.tolist()
            said = [Answer(text, done) for text, done in zip(texts, finished, strict=True)]
            for k, i in enumerate(rows):
                answers[i] = said[k * n : (k + 1) * n]
        return answers


def local_speaker(project: Project, model: str, dtype: str = "auto") -> LocalSpeaker:
    """Open a model of the project as a speaker. Raises ModelError when it is missing."""
    return LocalSpeaker(load_model(project, model), compute_dtype(dtype))


def asks(project: Project, address: str = "", dtype: str = "auto") -> Callable[[str], Callable[[Sequence[str]], list[str]]]:
    """Return what opens a language model for `llm:MODEL` of [classifiers], by its name."""
    address = address or str(project.settings.get("classifiers", {}).get("address", ""))

    def opened(model: str) -> Callable[[Sequence[str]], list[str]]:
        speaker, sampling = open_speaker(project, model, address, dtype), Sampling(temperature=0.0, max_tokens=16)
        return lambda questions: [
            said[0] for said in speaker.answer([(Message("user", each),) for each in questions], n=1, sampling=sampling, seed=0)
        ]

    return opened


def open_speaker(project: Project, model: str, address: str = "", dtype: str = "auto") -> Speaker:
    """Open a model of the project, or with an address the model of that name behind it, as a speaker.

    Raises:
        UsageError: the address is not an http address.
        ModelError: the project has no such model.
    """
    if not address:
        return local_speaker(project, model, dtype)
    from accord.engine.remote import RemoteSpeaker  # needs httpx, of the extra remote

    return RemoteSpeaker(address, model, keep=project.path / "advice" / "kept", show=picture_files(project))
