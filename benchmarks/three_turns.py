"""The environment of the row `episodes`, which both sides play, and a model that surely takes three turns in it.

The model calls the tool ``look`` with some words; the environment answers with words that follow from them. The third turn ends the
episode, and the share of even ids among its words is the reward.

A random model calls no tools. This one has the shape of the other rows' and random weights, except that its words stand in a ring: behind
a word of class k comes one of class k + 1, any of them, as likely as the random weights say. The classes begin with the assistant's mark
and the opening of a call, and end with the call's closing and EOS. So each turn is a well-formed call of exactly ``turn`` tokens, whoever
samples it, and neither side's parser, stop rule or limit is changed for it. Run as a program, the module writes that model.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from work import EOS, LENGTHS, SIZES, Size, even_share, llama_config, sized, word_tokenizer

if TYPE_CHECKING:
    import torch

TURNS = 3
UNKNOWN, USER, TOOL, ASSISTANT, OPEN, CLOSE, WORDS = range(2, 9)
"""Token ids behind PAD and EOS; WORDS and above are words."""
MARKS = ("<user>", "<tool>", "<assistant>", '<tool_call>{"name":"look","arguments":{"words":"', '"}}</tool_call>')
"""USER to CLOSE as texts. A call is one word to open it and one to close it."""
FRAME = 3
"""Tokens of a turn that are no words: what opens and closes the call, and EOS."""
AROUND = 2
"""Tokens that the template writes around what a user or a tool says: its mark, and the assistant's."""
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<assistant> {{ message['content'] }} "
    "{% for call in message['tool_calls'] or [] %}"
    "<tool_call>{\"name\":\"{{ call['function']['name'] }}\",\"arguments\":{{ call['function']['arguments'] | tojson }}}</tool_call> "
    "{% endfor %}<eos> {% else %}{{ '<tool>' if message['role'] == 'tool' else '<user>' }} {{ message['content'] }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
"""Writes calls and what tools say; leaves out the description of the tools, which the model could not read."""
CERTAIN = 28.0
"""Logit of the next class above that of all others: another token has 32,000 e^-28, one in forty-five million."""
WHISPER = 0.01
"""Scale of what attention and MLPs add to the residual stream, so that random weights do not drown the ring."""


def conversations(size: Size, count: int, seed: int) -> list[str]:
    """What the users say: ``ppo_prompt`` words each."""
    draw = random.Random(f"episodes {seed}")
    return [said(draw.randrange(WORDS, size.vocab) for _ in range(size.ppo_prompt)) for _ in range(count)]


def said(tokens: Any) -> str:
    """Words as text."""
    return " ".join(f"w{token}" for token in tokens)


def ids(words: str) -> list[int]:
    """The text's words as token ids."""
    return [int(word[1:]) for word in words.split()]


def reply(words: str, size: Size) -> str:
    """What the environment answers to a call: ``reply`` words, the same to the same call."""
    draw = random.Random(words)
    return said(draw.randrange(WORDS, size.vocab) for _ in range(size.reply))


def reward(words: str) -> float:
    """What the words of the third turn earn."""
    return even_share(ids(words))


def mask(size: Size) -> list[bool]:
    """Which tokens behind the prompt are the model's, in an episode of three turns: those that may be learned."""
    turn, others = [True] * size.turn, [False] * (size.reply + AROUND)
    return (turn + others) * (TURNS - 1) + turn


def require_mask(found: Sequence[bool], size: Size) -> None:
    """Raises unless an episode is three whole turns of the model with two replies between them."""
    if list(found) != mask(size):
        raise RuntimeError(f"an episode has {sum(found)} tokens of the model in {len(found)}, not {sum(mask(size))} in {len(mask(size))}")


def flops(size: Size) -> float:
    """Matrix-product FLOPs of one episode, attention excluded: each token once in sampling and in the reference, once in the update."""
    return float((size.ppo_prompt + AROUND + len(mask(size))) * size.params * (4 + size.training))


def caller(models: Path, size: Size) -> Path:
    """The folder of the model: turns of another length are another ring."""
    return models / f"caller-{size.lengths}"


def write_caller(size: Size, models: Path, seed: int) -> None:
    """Write the model and its tokenizer."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(llama_config(size))
    with torch.no_grad():
        _lay_ring(model, size)
    model.save_pretrained(caller(models, size))
    words = ["<pad>", "<eos>", "<unk>", *MARKS, *(f"w{i}" for i in range(WORDS, size.vocab))]
    word_tokenizer(words, TEMPLATE).save_pretrained(caller(models, size))


def classes(size: Size) -> list[int]:
    """The class of each token; -1 for those that are in none. A word may come at one place of a turn alone."""
    places, found = size.turn - FRAME, [-1] * size.vocab
    for token in range(WORDS, size.vocab):
        found[token] = 2 + (token - WORDS) * places // (size.vocab - WORDS)
    for token, place in {ASSISTANT: 0, OPEN: 1, CLOSE: size.turn - 1, EOS: size.turn}.items():
        found[token] = place
    return found


def _lay_ring(model: Any, size: Size) -> None:
    """Give every class a direction, its tokens' embeddings that direction, and the last MLP neurons that turn one into the next."""
    import torch

    count, blocks = size.turn + 1, model.model.layers
    for block in blocks:
        block.self_attn.o_proj.weight.mul_(WHISPER)
        block.mlp.down_proj.weight.mul_(WHISPER)
    directions: torch.Tensor = torch.linalg.qr(torch.randn(size.hidden, count))[0].T
    length = CERTAIN / size.hidden**0.5  # the last norm gives the state the length sqrt(hidden), so the next class has the logit CERTAIN
    for token, place in enumerate(classes(size)):
        if place >= 0:
            model.model.embed_tokens.weight[token] += length * directions[place]
    last = blocks[-1].mlp
    last.gate_proj.weight[: count - 1] = directions[:-1]
    last.up_proj.weight[: count - 1] = directions[:-1]
    # Such a neuron multiplies sqrt(hidden) by itself where its class stands, and by 0 elsewhere.
    last.down_proj.weight[:, : count - 1] = 20 * length / size.hidden * directions[1:].T


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a size's model for the episodes, for each lengths.")
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("models", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for lengths in LENGTHS:
        write_caller(sized(args.size, lengths), args.models, args.seed)


if __name__ == "__main__":
    main()
