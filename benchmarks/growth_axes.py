"""What benchmarks/growth.py doubles: for each axis how it is prepared, what is timed, and how much work that is.

Work is counted, not fitted: floating-point operations of matrix products and attention for models, records for everything else. So the
expected slope bends where attention begins to matter, and is below 1 where a part is the same at every size.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pipeline
import report_scale
import store_scale
import torch
from measure import Lap
from ours import EvenShare, Timed

from accord import (
    GrpoConfig,
    Guideline,
    Labeler,
    LocalSampler,
    Message,
    Project,
    Prompt,
    Ranking,
    Response,
    RewardConfig,
    ScreeningConfig,
    SftConfig,
    Store,
)
from accord.algorithms import grpo, reward, sft
from accord.algorithms.rewards import Mixture, Term
from accord.commands.evaluate.report import report
from accord.feedback import tasks
from accord.feedback.reliability import reliability
from accord.feedback.spool import About, Spool
from accord.feedback.web.lead_metrics import draw
from accord.models.folders import new_decoder, scalar_from
from accord.models.scalar import new_head

Prepared = Callable[[], object]
"""What is timed, with its input in place."""
Prepare = Callable[[int, Path], Prepared]
VOCABULARY, LAYERS, HEAD = 512, 4, 16
WIDTH = 128
CONTEXT = 4096
TRAINED = 3
"""Forward and backward pass in forward passes."""
RESAMPLES = 200


@dataclass(frozen=True)
class Axis:
    """What is doubled, from which size on, and what is expected of it."""

    name: str
    what: str
    first: int
    prepare: Prepare
    work: Callable[[int], float]
    """The work at a size, in any unit."""
    why: str
    """Why the work grows so."""
    held: Callable[[int], float] = field(default=float)
    """What has to be in memory at a size, in any unit."""

    def sizes(self, doublings: int) -> list[int]:
        return [self.first << power for power in range(doublings + 1)]


# --- models ---------------------------------------------------------------------------------------------------------------------------


def weights(width: int) -> int:
    """Weights of a decoder of this width, the tied embedding once."""
    return LAYERS * (4 * width**2 + 3 * width * 3 * width) + VOCABULARY * width


def width_of(size: int) -> int:
    """The width, in whole heads, with which a decoder has about so many weights."""
    return min(range(HEAD, 1024, HEAD), key=lambda width: abs(weights(width) - size))


def flops(first: int, last: int, width: int = WIDTH) -> float:
    """Operations of a forward pass over the tokens ``first`` to ``last`` of a text: each multiplies by every weight and sees all before."""
    seen = (last * (last + 1) - first * (first + 1)) / 2
    return 2.0 * weights(width) * (last - first) + 4.0 * width * LAYERS * seen


def decoder(width: int = WIDTH) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": width, "layers": LAYERS, "heads": width // HEAD, "intermediate_size": 3 * width}
    return new_decoder(vocab_size=VOCABULARY, context=CONTEXT, end=1, pad=0, **shape)


def text(numbers: random.Random, length: int) -> list[int]:
    return [numbers.randrange(3, VOCABULARY) for _ in range(length)]


def timed(name: str, folder: Path) -> Timed:
    return Timed(folder / name, name, {}, Lap(0))


def sft_step(folder: Path, *, prompt: int, response: int, rows: int, width: int = WIDTH) -> Prepared:
    """A step of SFT on rows of these lengths."""
    numbers = random.Random(0)
    examples = [sft.Example(text(numbers, prompt + response), response) for _ in range(rows)]
    config = SftConfig(lr=1e-5, epochs=1, batch_size=rows, save_every=1, select="last")
    model = decoder(width)
    return lambda: sft.train(config, model=model, examples=examples, validation=(), run=timed("sft", folder), dtype=torch.float32)


def by_prompt_length(length: int, folder: Path) -> Prepared:
    return sft_step(folder, prompt=length, response=32, rows=2)


def by_batch(rows: int, folder: Path) -> Prepared:
    return sft_step(folder, prompt=48, response=48, rows=rows)


def by_weights(size: int, folder: Path) -> Prepared:
    return sft_step(folder, prompt=48, response=48, rows=4, width=width_of(size))


def by_k(k: int, folder: Path) -> Prepared:
    """A step of the reward model on one ranking of K responses."""
    numbers, model = random.Random(0), decoder()
    prompt = text(numbers, 128)
    rows = [reward.RankedRows([prompt + text(numbers, 32) for _ in range(k)], list(range(1, k + 1)))]
    judge = scalar_from(model, new_head(WIDTH, torch.Generator().manual_seed(0)))
    config = RewardConfig(lr=1e-5, epochs=1, batch_size=1, save_every=1)
    return lambda: reward.train(
        config, model=judge, rankings=rows, validation=(), demonstrations=(), run=timed("reward", folder), dtype=torch.float32
    )


def by_response_length(length: int, folder: Path) -> Prepared:
    """An iteration of GRPO: a group of eight responses of this length, sampled, measured and learned from."""
    numbers, policy, reference = random.Random(0), decoder(), decoder()
    config = GrpoConfig(
        lr=1e-5, steps=1, batch_size=8, group_size=8, minibatch_size=8, epochs=1, max_tokens=length, truncation="terminate", save_every=1
    )
    sampler = LocalSampler(policy, stop=(VOCABULARY + 1,), dtype=torch.float32)
    rewards, prompts = Mixture([Term("even")], {"even": EvenShare()}), [text(numbers, 16)]
    return lambda: grpo.train(
        config, policy=policy, reference=reference, sampler=sampler, rewards=rewards, prompts=prompts, decode=str,
        run=timed("grpo", folder), dtype=torch.float32,
    )  # fmt: skip


# --- feedback -------------------------------------------------------------------------------------------------------------------------


def filled(rankings: int, folder: Path) -> str:
    """Return the address of a database with so many rankings, out of benchmarks/store_scale.py; each size is written once."""
    path = folder / f"{rankings}.db"
    if not path.exists():
        store_scale.fill(f"sqlite:///{path}.new", 4 * rankings)
        Path(f"{path}.new").rename(path)
    return f"sqlite:///{path}"


def by_import(rankings: int, folder: Path) -> Prepared:
    def import_them() -> None:
        (folder / "import.db").unlink(missing_ok=True)
        store_scale.fill(f"sqlite:///{folder}/import.db", 4 * rankings)

    return import_them


def by_snapshot(rankings: int, folder: Path) -> Prepared:
    return partial(store_scale.snapshot, filled(rankings, folder), rankings)


def by_next_task(rankings: int, folder: Path, *, answered: bool) -> Prepared:
    """Ask for a task a hundred times: a labeler who has answered nothing, or nine tenths of what is open."""
    url = filled(rankings, folder)
    if answered:
        shutil.copy(url.removeprefix("sqlite:///"), folder / "veteran.db")
        url = f"sqlite:///{folder}/veteran.db"
        with Store.open(url) as store:
            store_scale.answer_most(store, 4 * rankings)

    def ask() -> None:
        with Store.open(url) as store:
            for n in range(store_scale.FETCHES):
                now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n)
                assert tasks.next_task(store, "l1" if answered else "l0", now=now, lease_seconds=600), "the queue is empty"

    return ask


def team(people: int) -> Iterator[Any]:
    """So many labelers with ten rankings of four responses each; every prompt has two of them."""
    guideline, numbers = Guideline("training", "v1"), random.Random(0)
    yield from (Labeler(f"l{n}", "person", f"g{n % 3}") for n in range(people))
    for n in range(5 * people):
        yield Prompt(f"p{n}", (Message("user", f"Question {n}?"),), user=f"u{n % 500}", split="train")
        ids = tuple(f"r{n}-{k}" for k in range(4))
        yield from (Response(id, f"p{n}", f"{id} {store_scale.TEXT[: 60 + numbers.randrange(100)]}", "sft") for id in ids)
        for turn, who in enumerate((n % people, (n + 1 + n // people) % people)):
            ranks = numbers.sample((1, 2, 3, 4), 4)
            yield Ranking(f"k{n}-{turn}", f"p{n}", f"l{who}", ids, tuple(ranks), guideline, "2026-01-01")


def staffed(people: int, folder: Path) -> str:
    url = f"sqlite:///{folder}/people-{people}.db"
    if not Path(url.removeprefix("sqlite:///")).exists():
        (spooled := folder / f"spool-{people}").mkdir()
        with Store.open(url) as store, Spool(spooled) as spool:
            spool.add(team(people))
            spool.store(store, About("growth", "", "accord", ""))
    return url


def by_people(people: int, folder: Path) -> Prepared:
    """The figures of the lead's page."""
    url = staffed(people, folder)

    def page() -> None:
        with Store.open(url) as store:
            draw(store, ScreeningConfig())

    return page


def by_agreement(people: int, folder: Path) -> Prepared:
    """The coefficients of `accord agreement`."""
    url = staffed(people, folder)

    def coefficients() -> None:
        with Store.open(url) as store:
            reliability(store.rankings(shared=True), resamples=RESAMPLES)

    return coefficients


def by_pipeline(prompts: int, folder: Path) -> Prepared:
    """`curate` over prompts of benchmarks/pipeline.py, a twentieth of them duplicates."""
    path = folder / f"{prompts}.jsonl"
    if not path.exists():
        pipeline.make(prompts, path)
    return partial(pipeline.ours, path, 0.8)


def by_runs(runs: int, folder: Path) -> Prepared:
    """A report on so many runs of PPO, each from the model of the one before."""
    path = folder / f"runs-{runs}"
    if not path.exists():
        Project.create(path)
        report_scale.write_runs(path, runs, 200, random.Random(0))
    return partial(report, path)


TOKENS = "tokens times weights, and attention over all before"


def of_prompt(length: int) -> float:
    return TRAINED * 2 * flops(0, length + 32)


def of_response(length: int) -> float:
    """Sampled once, measured by policy and reference, learned from."""
    return 8 * (flops(16, 16 + length) + (2 + TRAINED) * flops(0, 16 + length))


def of_k(k: int) -> float:
    return TRAINED * (flops(0, 128) + k * flops(128, 160))


def of_batch(rows: int) -> float:
    return TRAINED * rows * flops(0, 96) + 6 * weights(WIDTH)


def of_weights(size: int) -> float:
    return TRAINED * 4 * flops(0, 96, width_of(size))


def same(_: int) -> float:
    return 1.0


STORE, NEXT = "rankings in the store", partial(by_next_task, answered=False)
AXES = (
    Axis("prompt length", "SFT, a step on two rows", 64, by_prompt_length, of_prompt, TOKENS, lambda n: n + 32),
    Axis("response length", "GRPO, an iteration with a group of eight", 8, by_response_length, of_response, TOKENS, lambda n: n + 16),
    Axis("K", "reward model, a step on one ranking", 2, by_k, of_k, "the prompt once, its K responses", lambda n: 128 + 32 * n),
    Axis("batch", "SFT, a step", 1, by_batch, of_batch, "rows, and one update of the weights"),
    Axis("weights", "SFT, a step on four rows", 1 << 18, by_weights, of_weights, "weights times tokens"),
    Axis(STORE, "import", 250, by_import, float, "records"),
    Axis(STORE, "snapshot of a training", 250, by_snapshot, float, "records"),
    Axis(STORE, "next task, newcomer", 250, NEXT, same, "one task, found by an index", same),
    Axis(STORE, "next task, veteran", 250, partial(by_next_task, answered=True), same, "one task, behind those that were answered", same),
    Axis("people", "figures of the lead's page", 20, by_people, float, "ten rankings per person"),
    Axis("people", "accord agreement", 20, by_agreement, float, "ten rankings per person"),
    Axis("prompts in a pipeline", "accord prompts", 500, by_pipeline, float, "prompts"),
    Axis("runs in a report", "accord report", 2, by_runs, float, "runs; at most 30 are drawn"),
)
