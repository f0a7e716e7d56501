"""Offline Q-learning over tokens, from rated or ranked responses: ILQL, and DQN as a variant.

A response is an episode. The prompt and the tokens so far are the state, the next token is the action, and the response's rating is the
reward of its last token. So is a whole dialogue, in which the assistant's tokens are the actions and what others say leads to the next
state. A separate network learns two Qs and V. Nothing is sampled during training; afterwards samples come from the
SFT model with its distribution multiplied by exp(beta (Q - V)) (``engine.guided``).

Follows Snell et al. 2023 (ILQL), section 4, except: Q learns lambda-returns, of which lambda 0 is the paper's one step ahead; the target
network is a full copy with a Polyak average, body included; returns lie in [-1, 1]; the SFT model is the policy as it is, not fine-tuned
on the rated responses. ``backup="max"`` is DQN (Mnih et al. 2015) with double Q and the conservative term: L = E[(y - Q(s, a))^2], y = r
+ gamma max Q_target.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.algorithms.objectives import expectile_loss, lambda_returns
from accord.algorithms.optim import cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, keep_mask, pack, pad
from accord.models.qvalues import QNetwork, QScorer
from accord.models.sharding import take_up, twin
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import IlqlConfig


@dataclass(frozen=True)
class Episode:
    """Token ids of a prompt and a response, the last ``kept`` of which are the response, with its return."""

    tokens: list[int]
    kept: int
    worth: float
    own: tuple[bool, ...] | None = None
    """Of a dialogue, which of the last ``kept`` tokens are the assistant's; None: all."""

    @property
    def actions(self) -> int:
        """How many tokens the assistant chose."""
        return self.kept if self.own is None else sum(self.own)


def episode(
    prompt: list[int], response: list[int], worth: float, window: RowWindow, name: str, own: Sequence[bool] | None = None
) -> Episode:
    """Join prompt and response within the window.

    Args:
        own: of a dialogue, which tokens of the response are the assistant's.

    Raises:
        InputError: they do not fit, or the response is empty; the error names the response.
    """
    row = window.join(prompt, response, name)
    return Episode(row.tokens, row.kept, worth, None if own is None else tuple(own))


def train(
    config: IlqlConfig,
    *,
    network: QNetwork,
    episodes: Sequence[Episode],
    validation: Sequence[Episode],
    held_out_group: Sequence[Episode] = (),
    run: Run,
    dtype: torch.dtype,
) -> Mapping[str, float]:
    """Train ``network`` in place and return its ordering accuracy on held-out data.

    Args:
        validation: of other users. held_out_group: of the held-out group of labelers.
    """
    a_pass = math.ceil(len(episodes) / config.batch_size)
    steps = a_pass * config.epochs
    target = twin(network).requires_grad_(False)
    optimizers = make_optimizers(network, config, lr=config.lr, muon_lr=config.muon_lr)
    done, held_out = 0, dict[str, float]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(network, state["network"])
        take_up(target, state["target"])
        restore_optimizers(optimizers, state["optimizers"])
        held_out = state.get("held_out", {})

    with track(steps, "ilql", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the responses of this step
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(episodes), generator=generator(config.seed, "ilql", epoch)).tolist()
            rows = [episodes[i] for i in order[place * config.batch_size : (place + 1) * config.batch_size]]

            # step 2: losses of Q, of V and of what nobody said, means over tokens
            sums = _accumulate(config, network, target, rows, dtype)

            # step 3: update, and draw the target network after
            share = cosine(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = to_host({name: torch.stack(each) for name, each in sums.items()} | {"grad_norm": norm})
            found = ranks.joined(found, "grad_norm")
            metrics = _summary(rows, found) | {"lr": config.lr * share}
            follow(target, network, config.target_rate)
            metrics["tokens_per_second"] = sum(len(row.tokens) for row in rows) / (time.perf_counter() - began)

            # step 4: how it orders what it does not learn from at the end of an epoch, checkpoint
            if step % a_pass == 0:
                held_out = _held_out(network, validation, held_out_group, dtype)
                metrics |= held_out
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"network": trained_state(network), "target": target.state_dict()}
                run.checkpoint(step, state | {"optimizers": optimizer_states(optimizers), "held_out": held_out})
            bar.advance(loss=metrics["q_loss"], tokens_per_second=metrics["tokens_per_second"])
    return held_out or _held_out(network, validation, held_out_group, dtype)


@torch.no_grad()
def follow(target: torch.nn.Module, network: torch.nn.Module, rate: float) -> None:
    """Move every weight of the target by this share of the way to the network's."""
    for held, current in zip(target.parameters(), network.parameters(), strict=True):
        held.lerp_(current, rate)


def losses(
    config: IlqlConfig, network: QNetwork, target: QNetwork, rows: Sequence[Episode], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Return for each response token [kept] the loss of both Qs and of V, the conservative term, and the inputs of the metrics."""
    own = [row.own or (True,) * row.kept for row in rows]
    batch = pack([row.tokens for row in rows], [row.kept for row in rows], own).to(network.device)
    states, at, said = network.states(batch, dtype), batch.targets - 1, batch.tokens[batch.targets]
    before = states.index_select(0, at)
    q, v = network.taken(before, said), network.value(before)
    with torch.no_grad():
        known = target.states(batch, dtype)
        held = target.taken(known.index_select(0, at), said).amin(0)
        after = network.value(states) if config.backup == "expectile" else target.best(known)
        ends = batch.kept.cumsum(0) - 1
        following = after[at.roll(-1)].index_fill(0, ends, 0.0)  # of the state in which the assistant chooses next
        rewards = torch.zeros_like(following).index_copy_(0, ends, torch.tensor([row.worth for row in rows], device=following.device))
        lengths = torch.tensor(batch.kept_counts, dtype=torch.long)
        known_keep = keep_mask(lengths)
        keep, kept = known_keep.to(network.device), known_keep.flatten().nonzero().squeeze(1).to(network.device)
        returns = lambda_returns(pad(rewards, lengths), pad(following, lengths), keep, config.gamma, config.lam).flatten()[kept]
    q_loss = ((q - returns) ** 2).sum(0) / 2
    v_loss = expectile_loss(v, held, config.expectile) if config.backup == "expectile" else torch.zeros_like(v)
    seen = {"q": q.detach().mean(0), "v": v.detach(), "return": returns, "disagreement": (q[0] - q[1]).detach().abs()}
    return q_loss, v_loss, network.unlikely(before, said, dtype) / 2, seen


def _accumulate(
    config: IlqlConfig, network: QNetwork, target: QNetwork, rows: Sequence[Episode], dtype: torch.dtype
) -> dict[str, list[Tensor]]:
    """Accumulate this process's share of the gradients of the mean losses over the rows' tokens; return sums over tokens of the step's
    metrics, one per pass."""
    kept = sum(row.actions for row in rows)
    sums: dict[str, list[Tensor]] = {}
    for group in divided([len(row.tokens) for row in rows], config.micro_tokens):
        q_loss, v_loss, unlikely, seen = losses(config, network, target, [rows[i] for i in group], dtype)
        ((q_loss + v_loss + config.conservative * unlikely).sum() / kept).backward()
        parts = {"q_loss": q_loss, "v_loss": v_loss, "conservative_loss": unlikely, **seen}
        for name, each in parts.items():
            sums.setdefault(name, []).append(each.detach().sum())
    return sums


def _summary(rows: Sequence[Episode], found: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the metrics of a step, means over tokens, which docs/ilql.md defines."""
    kept = sum(row.actions for row in rows)
    sums = {name: added(found[name].double() / kept) for name in found if name != "grad_norm"}
    metrics = {
        "q_loss": sums["q_loss"],
        "v_loss": sums["v_loss"],
        "conservative_loss": sums["conservative_loss"],
        "q": sums["q"],
        "v": sums["v"],
        "return": sums["return"],
        "disagreement": sums["disagreement"],
        "grad_norm": float(found["grad_norm"]),
    }
    return metrics


def ordering(network: QNetwork, episodes: Sequence[Episode], dtype: torch.dtype) -> float:
    """Return the share of pairs of responses to one prompt, of different return, whose better one has the larger Q; equal ones count half.

    0 where there is no such pair.
    """
    prompts = [tuple(row.tokens[: -row.kept]) for row in episodes]
    q = QScorer(network, dtype=dtype).score(prompts, [row.tokens[-row.kept :] for row in episodes])
    worth = torch.tensor([row.worth for row in episodes])
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    right, pairs = 0.0, 0
    for group in groups.values():
        gap, lead = worth[group][:, None] - worth[group], q[group][:, None] - q[group]
        right += float(((lead > 0).float() + (lead == 0).float() / 2)[gap > 0].sum())
        pairs += int((gap > 0).sum())
    return right / max(pairs, 1)


def _held_out(network: QNetwork, validation: Sequence[Episode], held_out_group: Sequence[Episode], dtype: torch.dtype) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if validation:
        metrics["validation_ordering"] = ordering(network, validation, dtype)
    if held_out_group:
        metrics["heldout_ordering"] = ordering(network, held_out_group, dtype)
    return metrics
