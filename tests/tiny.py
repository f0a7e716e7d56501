"""Real models, tokenizers and runs, small enough for a test of a second: nothing here stands in for a part of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import ppo
from accord.algorithms.early_stopping import HeldOut
from accord.data.corpus import TokenCorpus, write_corpus
from accord.data.templates import ChatFormat, chat_format, give_chat_template
from accord.data.tokenizers import train_tokenizer
from accord.engine.local import LocalSampler
from accord.models.folders import prepared, scalar_from
from accord.models.scalar import new_head
from accord.protocols import Sampler, Scorer
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.settings import PpoConfig

VOCAB, END, PAD = 60, 1, 0
FP32 = torch.float32
SENTENCES = [
    "The baker opens the shop at seven.",
    "A river runs through the town, and a bridge stands over it.",
    "Who keeps the mill? The miller keeps it.",
    "Bread is sold at the market, and so is cheese.",
    "The clock on the tower is always late.",
    "Ask the baker where the market is.",
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def llama(
    seed: int = 0, *, vocab: int = VOCAB, heads: int = 2, kv_heads: int = 2, layers: int = 2, hidden: int = 16, std: float = 0.3
) -> Any:
    """A Llama with weights wide enough that its predictions differ from place to place."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
        initializer_range=std,
    )
    return prepared(LlamaForCausalLM(config))


def scalar(lm: Any, seed: int = 0) -> Any:
    return scalar_from(lm, new_head(lm.config.hidden_size, rng(seed)))


def sequences(lengths: Sequence[int], seed: int = 0, vocab: int = VOCAB) -> list[list[int]]:
    return [torch.randint(2, vocab, (length,), generator=rng(seed + 1000 * i)).tolist() for i, length in enumerate(lengths)]


def chat(vocab: int = 300) -> ChatFormat:
    """A tokenizer of our own trained on a few sentences, with the project's chat template."""
    tokenizer = train_tokenizer(SENTENCES * 4, vocab)
    give_chat_template(tokenizer)
    return chat_format(tokenizer)


def corpus(folder: Path, documents: int = 120) -> tuple[Any, TokenCorpus]:
    tokenizer = train_tokenizer(SENTENCES, 300)
    texts = [" ".join(SENTENCES[(i + j) % len(SENTENCES)] for j in range(1 + i % 3)) for i in range(documents)]
    return tokenizer, write_corpus(folder, texts, tokenizer, 64)


class ByFunction:
    """A Scorer that is a plain function of the response's tokens."""

    def __init__(self, reward: Callable[[list[int]], float]) -> None:
        self.reward = reward

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([self.reward(list(response)) for response in responses])


@dataclass(frozen=True)
class Learned:
    """What a short PPO run left."""

    policy: Any
    value: Any
    run: Run

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return metrics(self.run)

    @property
    def state(self) -> dict[str, Any]:
        restored = self.run.restore()
        assert restored is not None
        return restored[1]


def metrics(run: Run, *, clock: bool = False) -> list[dict[str, Any]]:
    """A run's metrics; without ``clock`` those that depend on how fast the machine is are left out."""
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "per_second")
    return [{key: value for key, value in row.items() if clock or not any(word in key for word in timed)} for row in rows]


PROMPTS = sequences([3, 5, 4, 7, 6, 3, 5, 4], seed=7)
SMALL = {
    "steps": 2,
    "batch_size": 6,
    "minibatch_size": 3,
    "epochs": 2,
    "max_tokens": 6,
    "lr": 3e-6,  # a config alone knows no rate of a model's own
    "value_lr": 1e-5,
    "ptx_coef": 0.0,
    "warmup_steps": 1,
    "warmup_share": 0.0,
    "save_every": 1,
}


def learn(
    folder: Path,
    *,
    policy: Any = None,
    reference: Any = None,
    scorer: Scorer | None = None,
    stop: Sequence[int] = (END, 2, 3, 4, 5, 6, 7, 8),
    run: Run | None = None,
    sampler: Callable[[Any], Sampler] | None = None,
    prompts: Sequence[list[int]] = PROMPTS,
    held_out: HeldOut | None = None,
    **settings: Any,
) -> Learned:
    """A short PPO run on tiny models; by default a response is worth its number of distinct tokens."""
    config = PpoConfig(**{**SMALL, **settings})
    policy = llama(1) if policy is None else policy
    value = scalar(llama(2), 3)
    run = run or Run.start(folder, stage="ppo", config=config, inputs={}, resume=False)
    documents = sequences([12, 9, 14, 8], seed=50)

    def pretraining(skip: int) -> Any:
        return iter([[documents[i % 4], documents[(i + 1) % 4]] for i in range(skip, skip + 200)])

    ppo.train(
        config,
        policy=policy,
        reference=llama(1) if reference is None else reference,
        value=value,
        sampler=sampler(policy) if sampler else LocalSampler(policy, stop=stop, dtype=FP32),
        scorer=scorer or ByFunction(lambda response: float(len(set(response)))),
        prompts=prompts,
        pretraining=pretraining,
        decode=lambda ids: " ".join(map(str, ids)),
        run=run,
        dtype=FP32,
        held_out=held_out,
    )
    return Learned(policy, value, run)


def weights(model: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: object, other: object) -> bool:
    """Whether nested dicts and lists hold the same numbers, bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def sampled(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    n: int = 1,
    stop: Sequence[int] = (END,),
    seed: int = 0,
    dtype: torch.dtype = FP32,
    **how: Any,
) -> Any:
    sampler = LocalSampler(model, stop=stop, dtype=dtype)
    return sampler.sample(prompts, n=n, sampling=Sampling(**{"max_tokens": 8, **how}), generator=rng(seed))
