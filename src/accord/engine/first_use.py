"""The first use of a model: its path (``models.paths``) against plain transformers, row by row, in float32.

A few random rows go through the chosen path, packed or padded together, and through transformers alone; a few tokens are drawn by both
engines, and each must be one that transformers finds likeliest. A path that differs is left for the next slower one, and that is said.
If transformers' own forward pass disagrees with itself, or sees tokens that it should predict, the model is refused. A reward model's
scores of the rows are compared instead.

What was found is kept in a file, so that it costs once: some forward passes over as many tokens as ``WORK`` allows. Rows go beyond the
model's window where that is affordable. Which path is right hangs on the architecture, its configuration and the versions of the
packages, not on the weights, so the models that Accord trained are known by their configuration: a round of training checks nothing
again. What came from elsewhere is known by the digest of its whole folder.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from accord.engine.batching import BatchEngine, Request
from accord.engine.local import LocalSampler
from accord.errors import ModelError
from accord.models.packing import pack
from accord.models.paths import PLAIN, Way, path_of, take
from accord.models.pictures import Gallery, sees
from accord.models.policy import logprobs
from accord.models.scalar import BIAS, WINDOW, scores
from accord.records import Sampling
from accord.runtime.files import write_atomic
from accord.runtime.lineage import LINEAGE
from accord.runtime.model_files import read_json
from accord.runtime.pictures import FIRST
from accord.runtime.progress import say
from accord.runtime.version import __version__

LIMIT = 1e-4
"""Largest difference of log-probabilities, as a share of 1 + their size: in nats for likely tokens."""
WORK = 5e10
"""Weights times tokens of the longest row: about a second on two CPU cores."""
SERVED = 10**9
"""Weights above which the serving engine, whose products are as wide for one row as for many, is not tried."""
DRAWN = 3
FP32 = torch.float32


class _Differs(Exception):
    """A path does not compute what transformers computes alone."""


def verify(lm: Any, memory: Path, key: str, name: str) -> Way:
    """Put a language model on a path that was seen to be right, trying it unless ``memory`` knows the key already.

    Raises:
        ModelError: not even transformers' own forward pass is right here.
    """
    return _verified(lm, memory, key, lambda: _tried_language(lm, name))


def verify_scalar(model: Any, memory: Path, key: str, name: str) -> Way:
    """Put a reward or value model on a path whose scores were seen to be right, as ``verify`` does.

    Raises:
        ModelError: not even transformers' own forward pass is right here.
    """
    return _verified(model, memory, key, lambda: _tried_scalar(model, name))


def _verified(model: Any, memory: Path, key: str, tried: Callable[[], Way]) -> Way:
    known = _read(memory)
    if (before := known.get(key)) in get_args(Way):
        take(model, cast("Way", before))
        return path_of(model.base_model)
    way = tried()
    write_atomic(memory, json.dumps({**_read(memory), key: way}, indent=1, sort_keys=True) + "\n")
    return way


def key_of(source: Path, digest: str) -> str:
    """Return the name under which a model's path is remembered."""
    import transformers

    packages = f"{torch.__version__} {transformers.__version__} {__version__}"
    if (source / LINEAGE).is_file() and (source / "config.json").is_file():
        config = read_json(source / "config.json")
        architecture = {name: value for name, value in config.items() if name not in (BIAS, WINDOW)}
        digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()
    return hashlib.sha256(f"{digest} {packages}".encode()).hexdigest()[:32]


def _read(memory: Path) -> dict[str, Way]:
    try:
        kept: dict[str, Way] = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept


@torch.no_grad()
def _tried_language(lm: Any, name: str) -> Way:
    first = path_of(lm.base_model)
    probe = _probe(lm)
    take(lm, "whole")
    _check_causal(lm, probe.rows[1], name)
    batches = [(rows, [_alone(lm, row) for row in rows]) for rows in (probe.rows, probe.alike, probe.seeing) if rows]

    def check() -> None:
        for rows, wanted in batches:
            _check_training(lm, rows, wanted)
        _check_engines(lm, probe.prompts)
        if probe.seeing:
            _check_engines(lm, probe.seeing)

    return _first_right(lm, first, check, name)


@torch.no_grad()
def _tried_scalar(model: Any, name: str) -> Way:
    first = path_of(model.base_model)
    pad = model.config.pad_token_id  # transformers reads the score before the first of them
    probe = _probe(model)
    rows = [[token for token in row if token != pad] for row in (*probe.rows, *probe.alike, *probe.seeing)]
    split = len(probe.rows)
    take(model, "whole")
    bias = float(getattr(model.config, BIAS, 0.0))
    alone = [model(**_given(model, row), use_cache=False).logits[0, 0].float() for row in rows]
    wanted = torch.stack(alone) + bias

    def check() -> None:
        found = [scores(model, pack(part).to(model.device), dtype=FP32) for part in (rows[:split], rows[split:])]
        _agree(torch.cat(found), wanted, "scores")

    return _first_right(model, first, check, name)


def _first_right(lm: Any, first: Way, check: Callable[[], None], name: str) -> Way:
    """Return the first path that passes a check, from the one that was chosen to the slowest, and put the model on it."""
    problem = ""
    slower = PLAIN[PLAIN.index(first) + 1 :] if first in PLAIN else PLAIN
    for way in (first, *slower):
        take(lm, way)
        try:
            check()
        except ModelError:
            raise
        except Exception as error:  # whatever an architecture does not take
            problem = problem or (str(error) if isinstance(error, _Differs) else f"{type(error).__name__}: {error}").split("\n")[0]
            continue
        if way != first:
            say(f"{name}: the {first} path is not right for it ({problem}); it runs on the plain path ({way}), which is slower")
        return way
    what = f"no way to compute this architecture agrees with transformers alone: {problem}"
    raise ModelError(what, where=name, hint="use another base model, or another version of transformers")


@dataclass(frozen=True)
class _Probe:
    rows: list[list[int]]
    alike: list[list[int]]
    """Rows with the same beginning, which is computed once."""
    prompts: list[list[int]]
    seeing: list[list[int]]
    """Rows with pictures and without; none for a model of text alone."""


def _probe(lm: Any) -> _Probe:
    weights = sum(parameter.numel() for parameter in lm.parameters())
    config = lm.config.get_text_config()
    windows = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")]
    window = min((width for width in windows if isinstance(width, int) and width > 0), default=0)
    context = int(getattr(config, "max_position_embeddings", 0) or 2**20)
    longest = max(min(max(window + 9, 33), int(WORK / weights), context - DRAWN), 8)
    generator = torch.Generator().manual_seed(0)

    gallery: Gallery | None = getattr(lm.base_model, "gallery", None)
    marks = _marks(lm.config) if sees(lm) else set[int]()

    def row(length: int) -> list[int]:
        drawn: list[int] = torch.randint(3, lm.get_input_embeddings().num_embeddings, (length,), generator=generator).tolist()
        return [3 if token in marks else token for token in drawn]

    rows = [row(length) for length in (3, 8, longest, 5)]
    seeing: list[list[int]] = []
    if gallery is not None:
        one, other = (gallery.row(gallery.show(*_picture(seed, size))) for seed, size in enumerate(((40, 64), (64, 40))))
        seeing = [[*row(2), *one, *row(3)], row(6), [*row(1), *other, *row(2), *one, *row(5)]]
        seeing = [row for row in seeing if len(row) + DRAWN < context]
    return _Probe(rows, [[*rows[1][:6], *row(2)] for _ in range(3)], [row(longest), row(4), row(7)], seeing)


def _marks(config: Any) -> set[int]:
    """Return the tokens by which a configuration marks pictures, and videos: none of them may be drawn at random."""
    named = {name: value for name, value in vars(config).items() if name.endswith(("_token_id", "_token_index"))}
    return {value for value in named.values() if isinstance(value, int)}


def _picture(seed: int, size: tuple[int, int]) -> tuple[bytes, str]:
    """Return a picture of noise, as a file with its digest."""
    from PIL import Image

    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(noise.numpy()).resize((4 * size[0], 4 * size[1])).save(file, "PNG")
    return file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest()


def _alone(lm: Any, row: Sequence[int]) -> Tensor:
    """Return transformers' own log-probabilities after each token of a row, without padding and without a cache."""
    return lm(**_given(lm, row), use_cache=False).logits[0].float().log_softmax(-1)


def _given(model: Any, row: Sequence[int]) -> dict[str, Any]:
    """Return what transformers is given for a row, its pictures processed together."""
    rows = torch.tensor([row], device=model.device)
    gallery: Gallery | None = getattr(model.base_model, "gallery", None)
    takes = inspect.signature(model.base_model.forward).parameters
    return {"input_ids": rows} if gallery is None else gallery.inputs(rows, takes, together=True)


def _check_causal(lm: Any, row: Sequence[int], name: str) -> None:
    whole, begun = _alone(lm, row), _alone(lm, row[:4])
    if not _near(whole[:4], begun):
        what = "this model is not causal: it sees the tokens that it should predict"
        raise ModelError(what, where=name, hint="give a decoder, such as those named ...ForCausalLM")


def _check_training(lm: Any, rows: Sequence[Sequence[int]], wanted: Sequence[Tensor]) -> None:
    kept = [_behind_pictures(row) for row in rows]
    batch = pack(rows, kept).to(lm.device)
    got = logprobs(lm, batch, dtype=FP32)[0]
    told: list[Tensor] = []
    for row, after, count in zip(rows, wanted, kept, strict=True):
        told.append(after[-count - 1 : -1].gather(1, torch.tensor(row[-count:], device=after.device)[:, None])[:, 0])
    _agree(got, torch.cat(told), "log-probabilities")


def _behind_pictures(row: Sequence[int]) -> int:
    """Return how many of a row's last tokens are words, without its first token."""
    return next((place for place, token in enumerate(reversed(row)) if token >= FIRST), len(row) - 1)


def _check_engines(lm: Any, prompts: Sequence[Sequence[int]]) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=DRAWN)
    drawn = LocalSampler(lm, stop=(), dtype=FP32, keep=False).sample(prompts, n=2, sampling=sampling, generator=torch.Generator())
    _check_drawn(lm, prompts, drawn.rows()[::2], drawn.logprobs[::2], "sampling")
    if sum(parameter.numel() for parameter in lm.parameters()) > SERVED:
        return
    engine = BatchEngine(lm, stop=(), dtype=FP32, context=max(map(len, prompts)) + DRAWN + 1, remembered=0)
    tickets = [engine.submit(Request(tuple(prompt), sampling, 0, logprobs=0)) for prompt in prompts]
    tokens: dict[int, list[int]] = {ticket: [] for ticket in tickets}
    said: dict[int, list[float]] = {ticket: [] for ticket in tickets}
    while engine.busy:
        for token in engine.step():
            tokens[token.ticket].append(token.token)
            said[token.ticket].append(token.logprob)
    _check_drawn(lm, prompts, [tokens[each] for each in tickets], torch.tensor([said[each] for each in tickets]), "serving")


def _check_drawn(lm: Any, prompts: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], said: Tensor, what: str) -> None:
    """Check that each drawn token is one of the likeliest, with the log-probability that was noted for it."""
    way = path_of(lm.base_model)
    take(lm, "whole")
    try:
        for prompt, row, noted in zip(prompts, rows, said, strict=True):
            for step, token in enumerate(row):
                after = _alone(lm, [*prompt, *row[:step]])[-1].cpu()
                _agree(noted[step].cpu(), after.max(), what)
                _agree(after[token], after.max(), what)
    finally:
        take(lm, way)


def _near(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= LIMIT * (1 + other.abs())).all())


def _agree(got: Tensor, wanted: Tensor, what: str) -> None:
    if not _near(got, wanted):
        raise _Differs(f"{what} differ by {cast('float', (got - wanted).abs().max().item()):.2g} nats")
