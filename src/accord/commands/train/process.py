"""`accord process`: train a model of where responses go wrong, for token-level rewards.

Needs an SFT model and marked errors (`accord queue --kind mark`, `accord import --format fine-grained`). Leaves models/NAME, used as
`--rewards "process(NAME)"`.
Follows Wu et al. 2023 (fine-grained RLHF), sections 3 and 4, except as algorithms/process.py says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

from accord.algorithms import process as algorithm
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.run import (
    counted,
    plan_run,
    save,
    scalar_model,
    template_input,
    trainable,
    windowed,
    with_rates,
)
from accord.data.spans import Span, read_spans
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.labeler_kinds import kinds_of
from accord.feedback.questions import kept, said
from accord.feedback.store import Store
from accord.records import Prompt, Response
from accord.runtime.lineage import digest_rows
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProcessConfig


def process(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "process",
    flags: TrainFlags = RunFlags(),
    config: Annotated[ProcessConfig, Flat] = ProcessConfig(),
) -> Run:
    """Train a model of where responses go wrong, from parts that people marked, for token-level rewards.

    Example: accord process my-project --errors "Irrelevant, Unverifiable" --name relevance

    Raises:
        ModelError: the SFT model is missing.
        InputError: no marked response has an error of the kinds asked for.
    """
    opened = Project.open(project)
    flags.start()
    source = locate(opened, sft)
    rows = sorted(in_scenes(opened, marked(opened, config)), key=lambda row: (row.response.id, row.spans))
    training = [row for row in rows if row.prompt.split == "train"]
    unseen = [row for row in rows if row.prompt.split != "train"]
    if not any(row.spans for row in training):
        what = f"{len(training)} marked responses to train on, none with an error of {config.errors or 'any kind'} by {config.kinds}"
        raise InputError(
            what,
            where=str(opened.path / "annotations"),
            hint="`accord queue --kind mark` asks labelers, `accord import --format fine-grained` brings some",
        )
    digest = digest_rows([[row.response.id, [list(span) for span in row.spans]] for row in rows])
    inputs = {"sft": digest_of(source), "spans": digest, **template_input(opened)}
    run = Run.start(opened.run(name), stage="process", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype)
        model = load_model(opened, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        scalar = trainable(scalar_model(model, config.seed, "process"), config, "process", "lora")
        spoken, window = windowed(model.format, config)
        build = partial(_tokens, spoken, window=window)
        examples = window.fit(training, build, "marked responses")
        validation = window.fit(unseen, build, "marked responses to held-out prompts", needed=False)
        scalar.config.reward_window = window.tokens
        metrics |= algorithm.train(config, model=scalar, rows=examples, validation=validation, run=run, dtype=dtype)
        metrics |= {"responses": len(examples), **counted(run, window), "marked": sum(bool(row.spans) for row in training)}
        parents, data = {sft: inputs["sft"]}, {"spans": digest}
        save(opened, name, scalar, model.format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


@dataclass(frozen=True)
class Marked:
    """A response with the spans of its text that one labeler marked as wrong."""

    prompt: Prompt
    response: Response
    spans: tuple[tuple[int, int], ...]


def marked(project: Project, config: ProcessConfig) -> Iterator[Marked]:
    """Yield every response that somebody read, once per labeler, with its errors; kinds that were not asked for count as none."""
    wanted = {word.strip() for word in config.errors.split(",") if word.strip()}
    by_reader: dict[tuple[str, str], list[Span]] = {}
    for span in read_spans(project.path):
        by_reader.setdefault((span.response_id, span.labeler), []).append(span)
    with Store.open(project.store_url) as store:
        for span in site_spans(store):
            by_reader.setdefault((span.response_id, span.labeler), []).append(span)
        kinds = {labeler.id: labeler.kind for labeler in store.labelers()}
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        read = {id for id, _ in by_reader}
        responses = {response.id: response for response in store.responses() if response.id in read}
    learned_from = kinds_of(config.kinds)
    for (id, labeler), spans in by_reader.items():
        if id in responses and kinds.get(labeler, "person") in learned_from:
            wrong = tuple(sorted((s.start, s.end) for s in spans if s.kind and (not wanted or s.kind in wanted)))
            yield Marked(prompts[responses[id].prompt_id], responses[id], wrong)


def site_spans(store: Store) -> Iterator[Span]:
    """Yield the passages of responses that labelers marked on the site, by whatever question; one without a kind where there was none."""
    marking = {key for key, question in kept(store).items() if question.kind == "spans" and question.about == "response"}
    for answer in said(store):
        if (answer.question, answer.version) in marking:
            marks = [(mark["start"], mark["end"], mark["kind"]) for mark in answer.value]
            for start, end, kind in marks or [(0, 0, "")]:
                yield Span(answer.target, start, end, kind, answer.labeler)


def _tokens(chat_format: ChatFormat, row: Marked, window: RowWindow) -> algorithm.MarkedRow:
    """A marked response as token ids with the tokens that are wrong."""
    prompt, response = chat_format.asked(row.prompt), chat_format.tokens_of(row.prompt, row.response)
    wrong = algorithm.marks(token_texts(chat_format, response), row.spans)
    return algorithm.marked_row(prompt, response, wrong, window, f"response {row.response.id}")


def token_texts(chat_format: ChatFormat, tokens: list[int]) -> list[str]:
    """Return the part of the text that each token adds; the stop token adds nothing, and white space around the text is not in it."""
    texts, begin = [""], chat_format.begin(tokens, last=True) or 0  # what the template writes before the answer is no text of it
    for end in range(1, len(tokens) + 1):
        texts.append(chat_format.tokenizer.decode(tokens[begin : max(begin, end)], skip_special_tokens=True).lstrip())
    return [after[len(before) :] for before, after in pairwise(texts)]
