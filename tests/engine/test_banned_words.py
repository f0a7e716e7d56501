"""Banned words: never drawn, and the others' probabilities are renormalised alike where they are drawn and where they are learned from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import END, FP32, VOCAB, llama, rng

from accord.data.banned import banned_tokens
from accord.engine.batching import BatchEngine, Request
from accord.engine.local import LocalSampler
from accord.errors import ModelError, UsageError
from accord.models.heads import restrict
from accord.models.packing import pack
from accord.models.policy import logprobs, text_loss
from accord.records import Sampling

BANNED = (3, 4, 5, 17, 40)
PROMPTS = [[7, 8, 9], [2, 30]]


def plain_twin(model: Any) -> Any:
    """The same weights in plain transformers, with its own attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    twin = LlamaForCausalLM(LlamaConfig.from_dict(model.config.to_dict() | {"attn_implementation": "eager"})).eval()
    twin.load_state_dict(model.state_dict())
    return twin


def allowed_only(model: Any, row: list[int], temperature: float) -> torch.Tensor:
    """The log-probabilities after each token by plain transformers, with the banned logits taken out by hand."""
    with torch.no_grad():
        logits = plain_twin(model)(input_ids=torch.tensor([row])).logits[0] / temperature
    logits[:, list(BANNED)] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_trainer_have_the_renormalised_distribution(temperature: float) -> None:
    model = llama(1)
    restrict([model], BANNED)
    sampling = Sampling(temperature=temperature, max_tokens=12)
    drawn = LocalSampler(model, stop=[END], dtype=FP32).sample(PROMPTS, n=8, sampling=sampling, generator=rng(3))
    responses = drawn.rows()
    assert not {token for row in responses for token in row}.intersection(BANNED)
    asked = [prompt for prompt in PROMPTS for _ in range(8)]
    batch = pack([[*prompt, *row] for prompt, row in zip(asked, responses, strict=True)], [len(row) for row in responses])
    with torch.no_grad():
        own, entropy = logprobs(model, batch, dtype=FP32, temperature=temperature)
    torch.testing.assert_close(own, torch.cat([drawn.logprobs[i, : len(row)] for i, row in enumerate(responses)]), atol=1e-4, rtol=1e-4)
    expected, entropies = list[torch.Tensor](), list[torch.Tensor]()
    for prompt, row in zip(asked, responses, strict=True):
        table = allowed_only(model, [*prompt, *row], temperature)[len(prompt) - 1 : -1]
        expected.append(table.gather(1, torch.tensor(row)[:, None]).squeeze(1))
        entropies.append(-(table.exp() * table).nan_to_num().sum(-1))
    torch.testing.assert_close(own, torch.cat(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, torch.cat(entropies), atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_restricted_softmax() -> None:
    model = llama(1)
    plain = plain_twin(model)
    restrict([model], BANNED)
    row = [7, 8, 9, 11, 12]
    logprobs(model, pack([row], [2]), dtype=FP32)[0].sum().backward()
    logits = plain(input_ids=torch.tensor([row])).logits[0]
    mask = torch.zeros(VOCAB)
    mask[list(BANNED)] = -1e4
    (logits + mask).log_softmax(-1)[[2, 3], [11, 12]].sum().backward()
    torch.testing.assert_close(model.model.embed_tokens.weight.grad, plain.model.embed_tokens.weight.grad, atol=1e-4, rtol=1e-3)


def test_losses_on_written_text_have_all_tokens() -> None:
    model, plain = llama(2), llama(2)
    restrict([model], BANNED)
    text = [[2, 3, 4, 5, 40]]
    torch.testing.assert_close(text_loss(model, text, dtype=FP32), text_loss(plain, text, dtype=FP32))


def test_an_engine_of_many_requests_leaves_them_out_too() -> None:
    model = llama(1)
    restrict([model], BANNED)
    engine = BatchEngine(model, stop=[END], dtype=FP32, context=64)
    for seed in range(12):
        engine.submit(Request((7, 8, 9), Sampling(max_tokens=12), seed))
    said: list[int] = []
    while engine.busy:
        said += [drawn.token for drawn in engine.step()]
    assert len(said) > 12
    assert not set(said).intersection(BANNED)


def test_a_capped_head_is_refused() -> None:
    model = llama(1)
    model.head_numbers = (1.0, 30.0)
    with pytest.raises(ModelError, match="caps its logits"):
        restrict([model], BANNED)


class Words:
    """A vocabulary of a few words."""

    words = ("<end>", "yes", " yes", "Yes", "no", " no", "may", "be")

    def __len__(self) -> int:
        return len(self.words)

    def decode(self, ids: list[int]) -> str:
        return "".join(self.words[id] for id in ids)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [6, 7] if text == "maybe" else [4]


def test_a_word_is_its_tokens_in_any_spelling() -> None:
    assert banned_tokens("yes, id:7", Words(), [0], "here") == (1, 2, 3, 7)
    assert banned_tokens("", Words(), [0], "here") == ()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("maybe", "here: 'maybe' is 2 tokens of this tokenizer"),
        ("id:8", "there is no token '8'"),
        ("id:x", "there is no token 'x'"),
        ("id:0", "the token 0 ends responses"),
    ],
)
def test_what_cannot_be_banned_is_refused(words: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        banned_tokens(words, Words(), [0], "here")
