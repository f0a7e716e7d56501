#!/usr/bin/env python
"""The bench of models: what Accord computes on each architecture against plain transformers, row by row.

``python benchmarks/models.py`` checks every architecture of architectures.py and writes the table of docs/models.md;
``python benchmarks/models.py gemma phi`` prints some rows. The reference is plain_models.py, which imports nothing of Accord.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plain_models as plain
import torch
from architectures import ARCHITECTURES, VOCABULARY, Architecture, build
from plain_models import Row

from accord import AccordError, DpoConfig, LocalSampler, Sampling
from accord.algorithms import dpo, objectives
from accord.engine.batching import BatchEngine, Request
from accord.models import adapters, folders, policy, responses, scalar
from accord.models.packing import pack
from accord.models.paths import path_of

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
START, END = "<!-- models: written by benchmarks/models.py -->", "<!-- models: end -->"

LIMIT = 1e-4
"""Largest difference that counts as equal: nats for log-probabilities, a share of the largest entry for gradients."""
FP32 = torch.float32
LENGTHS = (5, 9, 2, 17, 40, 61)
"""Of the rows: within every window, and far beyond it."""
KEPT = (3, 8, 1, 12, 20, 60)
PROMPTS = (1, 12, 7, 21, 40, 12)
"""Lengths of the prompts that are decoded. The last is the second again, which an engine may have in its cache."""
STEPS, RESPONSE, RANK = 12, 9, 2
STOP = tuple(range(2, 12))
"""Token ids that end a response: many, so that rows leave the batch at different steps."""


def row(length: int, seed: int) -> Row:
    """Return random token ids without the special ones."""
    generator = torch.Generator().manual_seed(1000 * seed + length)
    drawn: list[int] = torch.randint(2, VOCABULARY, (length,), generator=generator).tolist()
    return drawn


ROWS = [row(length, i) for i, length in enumerate(LENGTHS)]
PAIRS = [(row(length, 20 + i) + row(RESPONSE, 30 + i), row(length, 20 + i) + row(RESPONSE, 40 + i)) for i, length in enumerate((3, 18, 30))]
"""A prompt with a better and a worse response, three times."""
ASKED = [row(length, 50) for length in PROMPTS]


class Wrong(Exception):
    """Tokens differ where no tolerance makes sense."""


@dataclass
class Case:
    """One architecture in a folder of its own, opened anew for every check so that none sees what another left."""

    folder: Path
    attention: str = "eager"
    original: Path = field(init=False)

    def __post_init__(self) -> None:
        self.original = self.folder / "original"

    def ours(self) -> Any:
        return folders.load_causal_lm(self.original)

    def plain(self, name: str) -> Any:
        """Return the reference's model of one of the case's folders."""
        return plain.opened(self.folder / name, self.attention)

    def theirs(self) -> Any:
        return self.plain("original")


def _furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if ours.shape != theirs.shape:
        raise Wrong(f"shape {list(ours.shape)} instead of {list(theirs.shape)}")
    difference = (ours.detach() - theirs.detach()).abs().max()
    return float("inf") if difference.isnan() else float(difference)


def _gradients(ours: Any, theirs: Any) -> float:
    """Return the largest difference of two models' gradients, as a share of the largest entry of the same parameter's gradient.

    A parameter whose gradient is hardly more than rounding is measured by a hundredth of the model's largest entry.
    """
    mine = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    worst = 0.0
    for name in mine.keys() | wanted.keys():
        there = mine[name] if name in mine else wanted[name]
        one, other = mine.get(name, torch.zeros_like(there)), wanted.get(name, torch.zeros_like(there))
        worst = max(worst, _furthest(one, other) / max(float(other.abs().max()), 0.01 * largest))
    return worst


def check_logprobs(case: Case) -> float:
    """Return the largest difference of a token's log-probability over all rows."""
    with torch.no_grad():
        ours, _ = policy.logprobs(case.ours(), pack(ROWS), dtype=FP32)
        model = case.theirs()
        theirs = torch.cat([plain.logprobs(model, each, len(each) - 1) for each in ROWS])
    return _furthest(ours, theirs)


def check_sft(case: Case) -> float:
    """Return the difference of the SFT loss's gradients."""
    ours, theirs = case.ours(), case.theirs()
    policy.next_token_loss(ours, pack(ROWS, KEPT), dtype=FP32).backward()
    plain.sft_loss(theirs, ROWS, KEPT).backward()
    return _gradients(ours, theirs)


def check_dpo(case: Case) -> float:
    """Return the difference of the DPO loss's gradients, against fixed log-probabilities of a reference."""
    ours, theirs, reference = case.ours(), case.theirs(), [(-40.0 - i, -41.5 + i) for i in range(len(PAIRS))]
    rows = [response for pair in PAIRS for response in pair]
    said = responses.response_logprobs(ours, pack(rows, [RESPONSE] * len(rows)), dtype=FP32)
    config, tokens, losses = DpoConfig(), torch.full((2,), RESPONSE), list[torch.Tensor]()
    for pair, before in zip(said.split(2), reference, strict=True):
        rewards = dpo.implied_rewards(config, pair, torch.tensor(before), tokens)
        losses.append(dpo.prompt_loss(config, pair, rewards, tokens, torch.tensor([1, 2])))
    torch.stack(losses).mean().backward()
    plain.dpo_loss(theirs, PAIRS, RESPONSE, reference, beta=0.1).backward()
    return _gradients(ours, theirs)


def _reward_folder(case: Case) -> Path:
    """Return the folder of a reward model on the architecture's body, saved as a stage saves it."""
    folder = case.folder / "reward"
    if not folder.exists():
        lm = case.ours()
        head = scalar.new_head(scalar.head_width(lm), torch.Generator().manual_seed(3))
        folders.scalar_from(lm, head).save_pretrained(folder)
    return folder


def check_reward(case: Case) -> float:
    """Return the difference of the reward loss's gradients."""
    folder = _reward_folder(case)
    ours, theirs = folders.load_scalar_model(folder), plain.opened_scalar(folder, case.attention)
    scored = scalar.scores(ours, pack([response for pair in PAIRS for response in pair]), dtype=FP32)
    losses = [objectives.bradley_terry_loss(pair, torch.tensor([1, 2])) for pair in scored.split(2)]
    torch.stack(losses).mean().backward()
    plain.reward_loss(theirs, PAIRS).backward()
    return _gradients(ours, theirs)


def check_scores(case: Case) -> float:
    """Return the largest difference of a reward model's scores, which transformers reads from the saved folder."""
    folder = _reward_folder(case)
    kept = [(each[:-1], each[-1:]) for each in ROWS]
    whole = scalar.RewardModel(folders.load_scalar_model(folder), dtype=FP32, max_tokens=10**6)  # past the context too: nothing is cut
    ours = whole.score([prompt for prompt, _ in kept], [response for _, response in kept])
    model = plain.opened_scalar(folder, case.attention)
    with torch.no_grad():
        return _furthest(ours, torch.stack([plain.score(model, each) for each in ROWS]))


def _decoded(case: Case, drawn: Sequence[tuple[Row, list[float]]]) -> float:
    """Return the largest difference of the drawn tokens' log-probabilities from greedy decoding by the reference.

    Raises:
        Wrong: a row has other tokens.
    """
    model, worst, other = case.theirs(), 0.0, 0
    for prompt, (tokens, said) in zip(ASKED, drawn, strict=True):
        wanted, stated = plain.greedy(model, prompt, STEPS, STOP)
        other += tokens != wanted
        if tokens == wanted:
            worst = max(worst, _furthest(torch.tensor(said), torch.tensor(stated)))
    if other:
        raise Wrong(f"{other} of {len(ASKED)} rows differ")
    return worst


def check_sampler(case: Case) -> float:
    """Return the difference of greedy decoding by the rollout engine, whose rows leave the batch as they finish."""
    sampler = LocalSampler(case.ours(), stop=STOP, dtype=FP32)
    how = Sampling(temperature=0.0, max_tokens=STEPS)
    made = sampler.sample(ASKED, n=1, sampling=how, generator=torch.Generator().manual_seed(0))
    lengths: list[int] = made.keep.sum(1).tolist()
    rows = zip(made.tokens.tolist(), made.logprobs.tolist(), lengths, strict=True)
    return _decoded(case, [(tokens[:length], said[:length]) for tokens, said, length in rows])


def check_engine(case: Case) -> float:
    """Return the difference of greedy decoding by the serving engine, whose requests join and leave a running batch."""
    engine = BatchEngine(case.ours(), stop=STOP, dtype=FP32, context=128, slots=4)
    how = Sampling(temperature=0.0, max_tokens=STEPS)
    tickets, tokens, said = list[int](), dict[int, Row](), dict[int, list[float]]()
    waiting = list(ASKED)
    while waiting or engine.busy:
        for prompt in waiting[:2]:  # two requests a step: the later ones join rows that already run
            tickets.append(engine.submit(Request(tuple(prompt), how, seed=0, logprobs=0)))
        waiting = waiting[2:]
        for drawn in engine.step():
            tokens.setdefault(drawn.ticket, []).append(drawn.token)
            said.setdefault(drawn.ticket, []).append(drawn.logprob)
    return _decoded(case, [(tokens[ticket], said[ticket]) for ticket in tickets])


def _adapted(case: Case) -> tuple[Any, Any]:
    """Return our model and the reference with the same LoRA adapters, which say something."""
    generator = torch.Generator().manual_seed(4)
    ours = adapters.add_lora(case.ours(), RANK, generator)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    weights = {name: parameter.detach().clone() for name, parameter in ours.named_parameters() if "lora_" in name}
    return ours, plain.adapted(case.theirs(), RANK, weights)


def check_lora(case: Case) -> float:
    """Return the difference of the SFT loss's gradients in LoRA adapters."""
    ours, theirs = _adapted(case)
    policy.next_token_loss(ours, pack(ROWS, KEPT), dtype=FP32).backward()
    plain.sft_loss(theirs, ROWS, KEPT).backward()
    return _gradients(ours, theirs)


def check_merged(case: Case) -> float:
    """Return the largest difference of the logits of a merged and saved folder from those of peft's own adapters."""
    ours, theirs = _adapted(case)
    adapters.merge_lora(ours).save_pretrained(case.folder / "merged")
    return _logits(case.plain("merged"), theirs)


def check_saved(case: Case) -> float:
    """Return the largest difference of the logits after Accord opened and saved the folder."""
    case.ours().save_pretrained(case.folder / "saved")
    return _logits(case.plain("saved"), case.theirs())


@torch.no_grad()
def _logits(one: Any, other: Any) -> float:
    return max(_furthest(plain.logits(one, each), plain.logits(other, each)) for each in ROWS)


CHECKS: dict[str, Callable[[Case], float]] = {
    "log-probs": check_logprobs,
    "SFT": check_sft,
    "DPO": check_dpo,
    "reward": check_reward,
    "scores": check_scores,
    "rollouts": check_sampler,
    "serving": check_engine,
    "LoRA": check_lora,
    "merged": check_merged,
    "saved": check_saved,
}
"""The columns of the table."""
SCALAR = ("reward", "scores")
"""Columns that need a reward model class of transformers."""


@dataclass(frozen=True)
class Outcome:
    """What became of one check: a difference, or the words of a refusal or a fault."""

    difference: float = 0.0
    refused: str = ""
    fault: str = ""
    absent: bool = False
    """transformers has no class to compare with."""

    @property
    def right(self) -> bool:
        return self.absent or not (self.refused or self.fault or self.difference > LIMIT)

    def __str__(self) -> str:
        if self.absent or self.refused:
            return "—" if self.absent else "refused"
        return f"**{self.fault}**" if self.fault else f"{self.difference:.0e}" if self.right else f"**{self.difference:.1e}**"


def path(model: Any) -> str:
    """Return how Accord runs this model; docs/models.md explains the paths."""
    return path_of(model.base_model)


def has_scalar(architecture: Architecture) -> bool:
    """Return whether transformers has a sequence classification model of this type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES

    return architecture.model_type in NAMES


def outcome(check: Callable[[Case], float], case: Case) -> Outcome:
    """Run one check. A refusal is an error of Accord's own kind; any other error is a fault."""
    try:
        return Outcome(check(case))
    except AccordError as error:
        return Outcome(refused=str(error).splitlines()[0])
    except Wrong as error:
        return Outcome(fault=str(error))
    except Exception as error:
        return Outcome(fault=type(error).__name__)


def examined(architecture: Architecture, names: Sequence[str] = tuple(CHECKS)) -> tuple[str, dict[str, Outcome]]:
    """Return the path of an architecture and the outcome of each of these checks."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), architecture.attention)
        build(architecture).save_pretrained(case.original)
        try:
            way = path(case.ours())
        except AccordError as error:
            return "refused", dict.fromkeys(names, Outcome(refused=str(error).splitlines()[0]))
        found = dict[str, Outcome]()
        for name in names:
            absent = name in SCALAR and not has_scalar(architecture)
            found[name] = Outcome(absent=True) if absent else outcome(CHECKS[name], case)
        return way, found


def verdict(found: dict[str, Outcome]) -> str:
    """Return one word for a row: right, refused with its reason, or wrong by how much."""
    faults = [name for name, each in found.items() if not each.right and not each.refused]
    worst = max((found[name].difference for name in faults), default=0.0)
    if faults:
        return f"wrong: {', '.join(faults)}" + (f" (by {worst:.1e})" if worst else "")
    refused = {each.refused for each in found.values() if each.refused}
    return f"refused: {'; '.join(sorted(refused))}" if refused else "right"


def line(architecture: Architecture, way: str, found: dict[str, Outcome]) -> str:
    """Return an architecture's row of the table."""
    cells = [architecture.name, f"`{architecture.model_type}`", way, *map(str, found.values()), verdict(found)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(wanted: Sequence[str]) -> int:
    """Examine the wanted architectures, or all of them and write the page; return 1 if a row is wrong."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    chosen = [each for each in ARCHITECTURES.values() if not wanted or any(word.lower() in each.name.lower() for word in wanted)]
    rows, verdicts = list[str](), list[str]()
    for architecture in chosen:
        way, found = examined(architecture)
        verdicts.append(verdict(found))
        rows.append(line(architecture, way, found))
        print(rows[-1], flush=True)
    right = verdicts.count("right")
    refused = sum(each.startswith("refused") for each in verdicts)
    total = f"{len(rows)} architectures: {right} right, {refused} refused, {len(rows) - right - refused} wrong."
    print(total)
    if not wanted:
        before, rest = PAGE.read_text("utf-8").split(START)
        head = ["architecture", "model type", "path", *CHECKS, "verdict"]
        table = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows])
        PAGE.write_text(f"{before}{START}\n\n{total}\n\n{table}\n\n{END}{rest.split(END)[1]}", "utf-8")
    return int(right + refused < len(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
