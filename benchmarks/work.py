"""The work that every side does: models out of a configuration and a seed, and ragged synthetic data.

The data is plain lists of token ids drawn with the standard library's generator, so each environment sees the very same
numbers. Lengths are uniform: `short` has prompts of 16-64 tokens and responses of 16-96, which makes a padded random batch about
1.6 times as large as its tokens; `real` has prompts of 100-300 and responses of 40-120, as people's data has. Run as a program,
the module writes a size's model folders: ``policy`` (LlamaForCausalLM, tied embeddings) and ``reward``
(LlamaForSequenceClassification, one label), float32, each with a word-level tokenizer.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

PAD, EOS, FIRST_WORD = 0, 1, 3
"""Special token ids (2 is the unknown word); content tokens are FIRST_WORD..vocab-1."""


@dataclass(frozen=True)
class Size:
    """A model and the batches it is trained with. ``ppo_batch`` prompts of ``ppo_prompt`` tokens get ``ppo_new`` each."""

    name: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    sft_batch: int
    reward_batch: int
    ppo_batch: int
    ppo_prompt: int
    ppo_new: int
    ppo_epochs: int = 4
    kv_heads: int = 0
    """Heads of keys and values; 0 is as many as of queries."""
    rank: int = 0
    """Rank of the adapters that are trained; 0 trains all weights."""
    lengths: str = "short"
    """The name of the lengths below, and of PPO's."""
    prompt: tuple[int, int] = (16, 64)
    response: tuple[int, int] = (16, 96)
    generate_prompt: int = 16
    generate_new: int = 64
    ranking_batch: int = 2
    """Rankings of RANKED responses that a step of the reward model takes."""
    turn: int = 16
    """Tokens of each of the model's turns in an episode."""
    reply: int = 16
    """Words of the environment between two of them."""

    @property
    def body(self) -> int:
        """Weights of the decoder blocks and norms: what a scalar model multiplies by."""
        share = (self.kv_heads or self.heads) / self.heads
        block = round((2 + 2 * share) * self.hidden**2) + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * block + self.hidden

    @property
    def training(self) -> int:
        """Nominal FLOPs a weight and token of a forward and backward pass: frozen weights have no gradient of their own."""
        return 4 if self.rank else 6

    @property
    def params(self) -> int:
        """All weights, the tied embedding once."""
        return self.body + self.vocab * self.hidden


SIZES = {
    "1M": Size("1M", 2048, 128, 4, 4, 384, sft_batch=32, reward_batch=32, ppo_batch=64, ppo_prompt=16, ppo_new=32, ranking_batch=4),
    "15M": Size("15M", 32_000, 256, 6, 8, 1152, sft_batch=16, reward_batch=16, ppo_batch=32, ppo_prompt=16, ppo_new=48),
    "135M": Size(
        "135M", 49_152, 576, 30, 9, 1536, sft_batch=8, reward_batch=4, ppo_batch=8, ppo_prompt=64, ppo_new=32, ppo_epochs=1,
        kv_heads=3, rank=16, ranking_batch=1,
    ),
}  # fmt: skip
"""135M has the shape of SmolLM2-135M, and is trained by adapters."""

LENGTHS = ("short", "real")
REAL_PPO_BATCH = {"1M": 32, "15M": 16, "135M": 8}
"""Prompts of a PPO or GRPO iteration at real lengths, which are six times as long at 1M."""


def sized(name: str, lengths: str) -> Size:
    """Return the size with its short or real lengths."""
    if lengths == "short":
        return SIZES[name]
    return replace(
        SIZES[name], lengths="real", prompt=(100, 300), response=(40, 120), generate_prompt=200, generate_new=80, ppo_prompt=200,
        ppo_new=80, ppo_batch=REAL_PPO_BATCH[name], turn=40, reply=40,
    )  # fmt: skip


GROUP = 8
"""Responses a prompt in GRPO."""
RANKED = 9
"""Responses in a ranking; a side that knows pairs alone takes the 36 of them."""


@dataclass(frozen=True)
class Example:
    """A prompt and a response that ends with EOS."""

    prompt: list[int]
    response: list[int]


@dataclass(frozen=True)
class Pair:
    """Two responses of one prompt: K = 2."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True)
class Ranking:
    """Responses of one prompt, the best first."""

    prompt: list[int]
    responses: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of all rows, the prompt in each."""
        return sum(len(self.prompt) + len(response) for response in self.responses)


def _words(draw: random.Random, size: Size, low: int, high: int) -> list[int]:
    return [draw.randrange(FIRST_WORD, size.vocab) for _ in range(draw.randint(low, high))]


def _prompt(draw: random.Random, size: Size) -> list[int]:
    return _words(draw, size, *size.prompt)


def _response(draw: random.Random, size: Size) -> list[int]:
    low, high = size.response
    return [*_words(draw, size, low - 1, high - 1), EOS]


def examples(size: Size, count: int, seed: int) -> list[Example]:
    """Demonstrations for SFT; the loss is on the response, EOS included."""
    draw = random.Random(f"sft {seed}")
    return [Example(_prompt(draw, size), _response(draw, size)) for _ in range(count)]


def pairs(size: Size, count: int, seed: int) -> list[Pair]:
    """Comparisons for the reward model."""
    draw = random.Random(f"reward {seed}")
    return [Pair(_prompt(draw, size), _response(draw, size), _response(draw, size)) for _ in range(count)]


def rankings(size: Size, count: int, seed: int) -> list[Ranking]:
    """Rankings of RANKED responses for the reward model."""
    draw = random.Random(f"rankings {seed}")
    return [Ranking(_prompt(draw, size), [_response(draw, size) for _ in range(RANKED)]) for _ in range(count)]


def prompts(size: Size, count: int, length: int, seed: int) -> list[list[int]]:
    """Prompts of equal length, for PPO and for generation."""
    draw = random.Random(f"prompts {seed}")
    return [_words(draw, size, length, length) for _ in range(count)]


def even_share(tokens: list[int]) -> float:
    """GRPO's reward: it costs nothing, so that generation and updates are what is measured."""
    return sum(token % 2 == 0 for token in tokens) / max(len(tokens), 1)


def grpo_flops(size: Size) -> float:
    """Matrix-product FLOPs of one GRPO episode, attention excluded: sampling, policy and reference forward, the update's epochs."""
    return float((size.ppo_prompt + size.ppo_new) * size.params * (6 + size.training * size.ppo_epochs))


def ppo_flops(size: Size) -> float:
    """Matrix-product FLOPs of one PPO episode, attention excluded: sampling, reference, reward and value forward once,
    policy and value model forward and backward once an epoch."""
    tokens = size.ppo_prompt + size.ppo_new
    rollout = 4 * size.params + 4 * size.body
    update = size.training * (size.params + size.body) * size.ppo_epochs
    return float(tokens * (rollout + update))


def llama_config(size: Size) -> LlamaConfig:
    """The shape of a size's models."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=size.vocab, hidden_size=size.hidden, intermediate_size=size.intermediate, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.kv_heads or size.heads, max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None, num_labels=1,
    )  # fmt: skip


def write_models(size: Size, root: Path, seed: int) -> None:
    """Writes ``root/policy`` and ``root/reward``."""
    import torch
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    torch.manual_seed(seed)
    policy = LlamaForCausalLM(llama_config(size))
    reward = LlamaForSequenceClassification(llama_config(size))
    reward.model.load_state_dict(policy.model.state_dict())
    torch.nn.init.normal_(reward.score.weight, std=(size.hidden + 1) ** -0.5)
    words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(FIRST_WORD, size.vocab))]
    template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    for name, model in (("policy", policy), ("reward", reward)):
        model.save_pretrained(root / name)
        word_tokenizer(words, template).save_pretrained(root / name)


def word_tokenizer(words: list[str], template: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words between white space, and a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left", chat_template=template
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a size's model folders.")
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write_models(SIZES[args.size], args.root, args.seed)


if __name__ == "__main__":
    main()
