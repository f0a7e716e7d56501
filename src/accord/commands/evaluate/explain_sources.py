"""The records that an answer was learned from: only those in the snapshots that the lineage of its models names, the nearest first.

By states: the cosine of the reward model's mean final hidden states over an answer's tokens, less the mean of all that are compared
(Hanawa et al. 2021 compare such similarities). By gradients: the cosine of the gradient of the answer's score, or log-probability, and
the step that training on the record takes (TracIn: Pruthi et al. 2020, at the last checkpoint): above 0 it raised the answer. By words:
BM25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sqlalchemy import Connection, select
from torch import Tensor

from accord.algorithms.objectives import bradley_terry_loss
from accord.commands.evaluate.explain_answer import Answer
from accord.commands.models import Model, TextScorer, load_model
from accord.data import retrieval
from accord.errors import UsageError
from accord.feedback import schema, traces
from accord.feedback.snapshot import read_snapshot
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn, withdrawn_ids
from accord.models.decoder import context_of, states_at
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.models.quantised import weights_in
from accord.models.scalar import scored_row, scores
from accord.records import Demonstration, Prompt, RankedPrompt, Response, Thumb
from accord.runtime import lineage
from accord.runtime.language_models import speaks
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.settings import ExplainConfig

Kind = Literal["demonstrations", "rankings", "thumbs"]
RECORDS: dict[Kind, Any] = {"demonstrations": Demonstration, "rankings": RankedPrompt, "thumbs": Thumb}
FEW = 8
"""Fewer texts are compared as they are: their mean says nothing of what all texts have in common."""


@dataclass(frozen=True)
class Source:
    """A record that a model learned from."""

    kind: Kind
    id: str
    """Of a ranking, which has no id in a snapshot, the prompt's."""
    learned_by: str
    prompt: Prompt
    texts: tuple[Response, ...]
    """What it says of the prompt: one text, or those that were ranked."""
    places: tuple[int, ...]
    """The rank of each; of a thumb 1 for up and 2 for down."""
    labeler: str

    @property
    def best(self) -> Response:
        return self.texts[self.places.index(min(self.places))]


def learned(project: Project, models: Sequence[str]) -> list[Source]:
    """Return the records that some models and their ancestors learned from, each once.

    A snapshot also holds what a model was only measured on: prompts that are not of the training split, and the group of labelers that
    was held out. Those are left out, and so are the demonstrations that only shift a reward model's scores.
    """
    found = dict[tuple[str, str, str], Source]()
    for model in models:
        for snapshot in traces.snapshots(project, model):
            if snapshot.what not in RECORDS:
                continue
            record = lineage.read(project.model(snapshot.model))
            if record.get("stage") == "reward" and snapshot.what == "demonstrations":
                continue
            held_out = str(record.get("settings", {}).get("held_out_group", ""))
            for source in _sources(snapshot):
                group = held_out and getattr(source[1], "group", "") == held_out
                if source[0].prompt.split == "train" and not group:
                    found.setdefault((source[0].kind, source[0].id, source[0].labeler), source[0])
    return list(found.values())


def in_use(store: Store, sources: Sequence[Source]) -> list[Source]:
    """Return the records that nobody has withdrawn or erased since: a snapshot keeps them until `accord forget`, and nobody is shown them.

    A record that the database never had, as of a run from elsewhere, stays.
    """
    prompts = {source.prompt.id for source in sources}
    responses = {text.id for source in sources if source.kind != "demonstrations" for text in source.texts}
    demonstrations = {source.id for source in sources if source.kind == "demonstrations"}
    k, t = schema.rankings, schema.thumbs
    with store.read() as connection:
        gone = set(withdrawn_ids(connection, "prompt", prompts))
        gone |= set(withdrawn_ids(connection, "demonstration", demonstrations)) | set(withdrawn_ids(connection, "response", responses))
        said = {
            "rankings": _taken_back(connection, "ranking", k.c.id, k.c.prompt_id, k.c.labeler),
            "thumbs": _taken_back(connection, "thumb", t.c.id, t.c.response_id, t.c.labeler),
        }
    kept = list[Source]()
    for source in sources:
        ids = {source.prompt.id, source.id, *(text.id for text in source.texts)}
        if not ids & gone and (source.id, source.labeler) not in said.get(source.kind, ()):
            kept.append(source)
    return kept


def _taken_back(connection: Connection, kind: str, id: Any, about: Any, labeler: Any) -> set[tuple[str, str]]:
    """Return what labelers said of a prompt or a response, and have no other opinion of in place of the one that was withdrawn."""
    gone = {(row[0], row[1]) for row in connection.execute(select(about, labeler).where(is_withdrawn(kind, id)))}
    if not gone:
        return gone
    return gone - {(row[0], row[1]) for row in connection.execute(select(about, labeler).where(~is_withdrawn(kind, id)))}


def _sources(snapshot: traces.Snapshot) -> Iterator[tuple[Source, Any]]:
    for kind, record in RECORDS.items():
        if kind != snapshot.what:
            continue
        for row in read_snapshot(snapshot.path, record):
            yield _source(kind, row, snapshot.model), row


def _source(kind: Kind, row: Any, model: str) -> Source:
    if isinstance(row, Demonstration):
        text = Response(row.id, row.prompt.id, row.text, row.labeler)
        return Source(kind, row.id, model, row.prompt, (text,), (1,), row.labeler)
    if isinstance(row, RankedPrompt):
        return Source(kind, row.prompt.id, model, row.prompt, row.responses, row.ranks, row.labeler)
    return Source(kind, row.response.id, model, row.prompt, (row.response,), (1 if row.up else 2,), row.labeler)


@dataclass(frozen=True)
class Near:
    """A record, how near it is, and which of its texts is nearest."""

    source: Source
    nearness: float
    text: int

    def told(self, by: str) -> dict[str, Any]:
        """Return the record as the command prints it."""
        source = self.source
        response = source.texts[self.text]
        place, last = source.places[self.text], max(source.places)
        said: dict[str, Any] = {"kind": source.kind, "id": source.id, "learned_by": source.learned_by, "labeler": source.labeler}
        said |= {"prompt": source.prompt.messages[-1].content, "text": response.text, by: self.nearness}
        if source.kind == "rankings":
            said |= {"response": response.id, "rank": place, "of": len(source.texts), "best": source.best.text}
        if source.kind == "thumbs":
            said |= {"up": place == 1 and last == 1}
        return said


def nearest(
    project: Project, answer: Answer, scorer: TextScorer | None, reward: str, config: ExplainConfig, dtype: torch.dtype
) -> dict[str, Any]:
    """Return the records nearest to an answer among those that its model and the reward model learned from, by kind.

    Raises:
        UsageError: states or gradients are asked for, and there is no reward model, or it is too large.
    """
    names = [name for name in (answer.response.model, reward if scorer else "") if name in project.models()]
    every = learned(project, names) if config.nearest else []
    with Store.open(project.store_url) as store:
        sources = in_use(store, every)
    by, remarks = _method(scorer, config), list[str]()
    if len(sources) < len(every):
        remarks.append(f"withdrawn since these models learned, and not shown: {len(every) - len(sources):,} records")
    counts = {kind: sum(source.kind == kind for source in sources) for kind in RECORDS}
    told: dict[str, Any] = {"by": by, "models": names, "searched": {kind: count for kind, count in counts.items() if count}}
    if not sources:
        told["searched"] = {}
        remarks.append("no run of the project says what these models learned from" if names else "no model of the project gave this answer")
        return told | {"records": [], "remarks": remarks}
    found: list[Near] = []
    for kind in RECORDS:
        of_kind = [source for source in sources if source.kind == kind]
        if len(of_kind) > config.searched and by != "words":
            remarks.append(f"{len(of_kind):,} {kind}: only the {config.searched:,} that share most words with the answer were compared")
            of_kind = [near.source for near in _by_words(answer, of_kind, config.searched)]
        found += _of_kind(project, answer, scorer, by, of_kind, config, dtype)
    return told | {"records": [near.told(by) for near in found], "remarks": remarks}


def _method(scorer: TextScorer | None, config: ExplainConfig) -> str:
    """Return how nearness is measured.

    Raises:
        UsageError: it cannot be measured so.
    """
    size = weights_in(scorer.model.model) if scorer else 0
    if config.by == "auto":
        return "states" if scorer and size <= config.largest else "words"
    if config.by != "words" and scorer is None:
        raise UsageError(f"{config.by} need a reward model's weights", where="--by", hint="--by words, or name a reward model")
    if config.by == "gradients" and size > config.largest_gradients:
        what = f"the reward model has {size:,} parameters, and gradients are compared up to {config.largest_gradients:,}"
        raise UsageError(what, where="--by gradients", hint="--by states, or a larger --largest-gradients")
    return config.by


def _of_kind(
    project: Project,
    answer: Answer,
    scorer: TextScorer | None,
    by: str,
    sources: Sequence[Source],
    config: ExplainConfig,
    dtype: torch.dtype,
) -> list[Near]:
    if not sources:
        return []
    if by == "words" or scorer is None:
        return _by_words(answer, sources, config.nearest)
    near = _by_states(answer, scorer, sources)
    if by == "states":
        return near[: config.nearest]
    among = [each.source for each in near[: config.among]]
    return _by_gradients(project, answer, scorer, among, dtype)[: config.nearest]


def _by_words(answer: Answer, sources: Sequence[Source], most: int) -> list[Near]:
    asked = f"{answer.prompt.messages[-1].content}\n{answer.response.text}"
    texts = ["\n".join((source.prompt.messages[-1].content, *(text.text for text in source.texts))) for source in sources]
    found = list[Near]()
    for index in retrieval.rank(asked, texts, most):
        shares = [retrieval.covered(answer.response.text, text.text) for text in sources[index].texts]
        found.append(Near(sources[index], max(shares), shares.index(max(shares))))
    return found


def mean_states(scorer: TextScorer, pairs: Sequence[tuple[Prompt, Response]]) -> Tensor:
    """Return for each answer the mean of the final hidden states over its tokens [answers, width], float32."""
    model = scorer.model
    rows, kept = list[list[int]](), list[int]()
    for prompt, response in pairs:
        said = scorer.format.tokens_of(prompt, response)
        row = scored_row(scorer.format.asked(prompt), said, model.max_tokens, context_of(model.model))
        rows.append(row)
        kept.append(max(min(len(said), len(row) - 1), 1))
    out: list[Tensor] = [torch.zeros(0)] * len(rows)
    with torch.no_grad(), track(len(rows), "compare states") as bar:
        for group in by_tokens([len(row) for row in rows], model.batch_tokens):
            batch = pack([rows[i] for i in group], [kept[i] for i in group]).to(model.model.device)
            states = states_at(model.model.base_model, batch, batch.targets, model.dtype).float().cpu()
            for i, part in zip(group, torch.split(states, [kept[i] for i in group]), strict=True):
                out[i] = part.mean(0)
            bar.advance(len(group))
    return torch.stack(out)


def _by_states(answer: Answer, scorer: TextScorer, sources: Sequence[Source]) -> list[Near]:
    pairs = [(source.prompt, text) for source in sources for text in source.texts]
    states = mean_states(scorer, [(answer.prompt, answer.response), *pairs])
    if len(pairs) >= FEW:
        states = states - states[1:].mean(0)
    cosines: list[float] = F.cosine_similarity(states[:1], states[1:]).tolist()
    found, place = list[Near](), 0
    for source in sources:
        own = cosines[place : place + len(source.texts)]
        place += len(source.texts)
        found.append(Near(source, max(own), own.index(max(own))))
    return sorted(found, key=lambda near: -near.nearness)


def _by_gradients(project: Project, answer: Answer, scorer: TextScorer, sources: Sequence[Source], dtype: torch.dtype) -> list[Near]:
    """Return the records by how training on each moves the answer, those that move it most first, whichever way.

    Rankings move the score of the reward model; demonstrations and thumbs the answer's log-probability in the language model.
    """
    if sources[0].kind == "rankings":
        toward = ranking_steps(scorer, answer, sources)
    else:
        name = next((name for name in (answer.response.model, sources[0].learned_by) if _speaks(project, name)), "")
        if not name:
            raise UsageError("gradients of demonstrations need the language model", where="--by gradients", hint="--by states")
        toward = text_steps(load_model(project, name), answer, sources, dtype)
    found = [Near(source, cosine, source.texts.index(source.best)) for source, cosine in zip(sources, toward, strict=True)]
    return sorted(found, key=lambda near: -abs(near.nearness))


def _speaks(project: Project, name: str) -> bool:
    return name in project.models() and speaks(project.model(name))


def ranking_steps(scorer: TextScorer, answer: Answer, sources: Sequence[Source]) -> list[float]:
    """Return the cosine of the gradient of the answer's score and the step that each ranking's Bradley-Terry loss takes."""
    model = scorer.model.model

    def rows(prompt: Prompt, responses: Sequence[Response]) -> Tensor:
        asked = scorer.format.asked(prompt)
        said = [scored_row(asked, scorer.format.tokens_of(prompt, each), scorer.model.max_tokens, context_of(model)) for each in responses]
        return scores(model, pack(said).to(model.device), dtype=scorer.model.dtype)

    def loss(source: Source) -> Tensor:
        return bradley_terry_loss(rows(source.prompt, source.texts), torch.tensor(source.places))

    return _cosines(model, lambda: rows(answer.prompt, [answer.response])[0], loss, sources)


def text_steps(model: Model, answer: Answer, sources: Sequence[Source], dtype: torch.dtype) -> list[float]:
    """Return the cosine of the gradient of the answer's log-probability per token and the step that each text takes; a thumb down steps
    away from its text."""

    def likelihood(prompt: Prompt, response: Response) -> Tensor:
        said = model.format.tokens_of(prompt, response)
        batch = pack([[*model.format.asked(prompt), *said]], [len(said)]).to(model.lm.device)
        return logprobs(model.lm, batch, dtype=dtype)[0].mean()

    def loss(source: Source) -> Tensor:
        return -likelihood(source.prompt, source.texts[0]) * (1.0 if source.places[0] == 1 else -1.0)

    return _cosines(model.lm, lambda: likelihood(answer.prompt, answer.response), loss, sources)


def _cosines(model: Any, own: Callable[[], Tensor], loss: Callable[[Source], Tensor], sources: Sequence[Source]) -> list[float]:
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        target, found = _gradient(own(), weights), list[float]()
        with track(len(sources), "compare gradients") as bar:
            for source in sources:
                step = -_gradient(loss(source), weights)
                found.append(float(F.cosine_similarity(target, step, dim=0)))
                bar.advance()
        return found
    finally:
        for weight, needed in zip(weights, before, strict=True):
            weight.requires_grad_(needed)


def _gradient(value: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return the gradient over all weights as one vector, on the CPU."""
    parts = torch.autograd.grad(value, weights, allow_unused=True) if value.requires_grad else [None] * len(weights)
    flat = [
        torch.zeros(weight.numel()) if part is None else part.flatten().float().cpu() for part, weight in zip(parts, weights, strict=True)
    ]
    return torch.cat(flat)
