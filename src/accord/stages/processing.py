"""The stage that learns where responses go wrong: process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from accord.algorithms import process
from accord.data.spans import Span, read_spans
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.feedback.labeler_kinds import kinds_of
from accord.feedback.store import Store
from accord.models.folders import scalar_from
from accord.models.scalar import new_head
from accord.records import Prompt, Response
from accord.runtime.device import pick_device
from accord.runtime.lineage import digest_rows
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import ProcessConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, learner, load_model, locate, save
from accord.stages.preferring import sampled_tokens


@dataclass(frozen=True)
class Marked:
    """A response with the spans of its text that one labeler held to be wrong."""

    prompt: Prompt
    response: Response
    spans: tuple[tuple[int, int], ...]


def process_stage(project: Project, config: ProcessConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Trains a model of where responses go wrong from the project's marked spans and saves models/NAME."""
    source = locate(project, sft_model)
    rows = sorted(marked(project, config), key=lambda row: (row.response.id, row.spans))
    training, unseen = ([row for row in rows if (row.prompt.split == "train") == wanted] for wanted in (True, False))
    if not any(row.spans for row in training):
        what = f"{len(training)} marked responses to train on, none with an error of {config.errors or 'any kind'} by {config.kinds}"
        raise InputError(what, where=str(project.path / "annotations"), hint="`accord import --format fine-grained` brings some")
    digest = digest_rows([[row.response.id, list(map(list, row.spans))] for row in rows])
    inputs = {"sft": digest_of(source), "spans": digest}
    run = Run.start(project.run(name), stage="process", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        scalar = scalar_from(model.lm, new_head(model.lm.config.hidden_size, generator(config.seed, "process", "head"))).to(pick_device())
        scalar = learner(scalar, config, "process", "lora")
        made, held = ([_row(model.format, row, config.max_tokens) for row in part] for part in (training, unseen))
        figures |= process.train(config, model=scalar, rows=made, validation=held, run=run, dtype=compute)
        figures |= {"responses": len(made), "marked": sum(bool(row.spans) for row in training)}
        parents, data = {sft_model: inputs["sft"]}, {"spans": digest}
        save(project, name, scalar, model.format.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run


def marked(project: Project, config: ProcessConfig) -> Iterator[Marked]:
    """Every response that somebody read, once a labeler, with what is wrong in it; marks of other errors than asked for count as none."""
    wanted = {word.strip() for word in config.errors.split(",") if word.strip()}
    by_reader: dict[tuple[str, str], list[Span]] = {}
    for span in read_spans(project.path):
        by_reader.setdefault((span.response_id, span.labeler), []).append(span)
    with Store.open(project.store_url) as store:
        kinds = {person.id: person.kind for person in store.labelers()}
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        read = {id for id, _ in by_reader}
        responses = {response.id: response for response in store.responses() if response.id in read}
    heard = kinds_of(config.kinds)
    for (id, labeler), spans in by_reader.items():
        if id in responses and kinds.get(labeler, "person") in heard:
            wrong = tuple(sorted((s.start, s.end) for s in spans if s.kind and (not wanted or s.kind in wanted)))
            yield Marked(prompts[responses[id].prompt_id], responses[id], wrong)


def _row(spoken: ChatFormat, row: Marked, max_tokens: int) -> process.MarkedRow:
    prompt, response = spoken.prompt(row.prompt.messages), sampled_tokens(spoken, row.prompt, row.response)
    wrong = process.marks(pieces(spoken, response), row.spans)
    return process.marked_row(prompt, response, wrong, max_tokens, f"response {row.response.id}")


def pieces(spoken: ChatFormat, tokens: list[int]) -> list[str]:
    """The part of the response's text that each token adds; the stop token adds nothing, and white space around the text is not in it."""
    texts = ["", *(spoken.tokenizer.decode(tokens[: i + 1], skip_special_tokens=True).lstrip() for i in range(len(tokens)))]
    return [after[len(before) :] for before, after in pairwise(texts)]
