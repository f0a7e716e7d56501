"""Use the formulas alone, in a PyTorch loop of your own on a model of your own.

    python examples/bare_objectives.py

There is no project, no tokenizer and no config here: a GRU over ten symbols learns by GRPO's formulas to write rising digits, and a
second one learns the same from pairs by DPO's. Prints the share of rising steps as they learn.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from accord.objectives import clipped_policy_loss, dpo_loss, group_advantages, kl_estimate, masked_mean, over_group_spread

SYMBOLS, STEPS, GROUP = 10, 8, 8


class Writer(nn.Module):
    """A language model as small as can be: logits of the next symbol after each symbol of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.memory, self.head = nn.Embedding(SYMBOLS, 32), nn.GRU(32, 64, batch_first=True), nn.Linear(64, SYMBOLS)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.memory(self.embed(rows))[0])


def draw(model: Writer, first: Tensor) -> Tensor:
    """Continue each row symbol by symbol; returns [rows, 1 + STEPS]."""
    rows = first[:, None]
    for _ in range(STEPS):
        rows = torch.cat([rows, torch.distributions.Categorical(logits=model(rows)[:, -1]).sample()[:, None]], dim=1)
    return rows


def logprobs(model: Writer, rows: Tensor) -> Tensor:
    """Log-probability of each symbol that was drawn, [rows, STEPS]."""
    return model(rows[:, :-1]).log_softmax(-1).gather(-1, rows[:, 1:, None]).squeeze(-1)


def rising(rows: Tensor) -> Tensor:
    """Share of the steps on which the next symbol is larger, [rows]."""
    return (rows[:, 1:] > rows[:, :-1]).float().mean(1)


def main() -> None:
    torch.manual_seed(0)
    first = torch.arange(SYMBOLS).repeat_interleave(GROUP)  # each prompt GROUP times, its rows side by side
    policy = Writer()
    reference, optimizer = copy.deepcopy(policy).requires_grad_(False), torch.optim.AdamW(policy.parameters(), lr=3e-3)
    print("GRPO: step, share of rising steps, KL to the start")
    for step in range(91):
        with torch.no_grad():
            rows = draw(policy, first)
            old, rewards = logprobs(policy, rows), rising(rows)
        keep = torch.ones_like(old, dtype=torch.bool)
        advantages = over_group_spread(group_advantages(rewards, GROUP), rewards, GROUP)[:, None].expand_as(old)
        for _ in range(2):
            new = logprobs(policy, rows)
            kl = kl_estimate(new - logprobs(reference, rows), "k3")
            loss = masked_mean(clipped_policy_loss(new, old, advantages, clip=0.2) + 0.01 * kl, keep)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if step % 30 == 0:
            print(f"{step:4}  {rewards.mean():.2f}  {masked_mean(kl, keep):.2f}")

    policy = copy.deepcopy(reference).requires_grad_(True)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    print("DPO: step, loss, share of rising steps")
    for step in range(91):
        with torch.no_grad():
            one, other = draw(reference, first), draw(reference, first)
        better = (rising(one) > rising(other))[:, None]
        chosen, rejected = torch.where(better, one, other), torch.where(better, other, one)
        ratios = [(logprobs(policy, rows) - logprobs(reference, rows)).sum(1) for rows in (chosen, rejected)]
        loss = dpo_loss(0.1 * (ratios[0] - ratios[1]))[rising(one) != rising(other)].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            print(f"{step:4}  {loss.item():.3f}  {rising(draw(policy, first)).mean():.2f}")


if __name__ == "__main__":
    main()
