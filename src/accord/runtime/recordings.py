"""Recorded rollouts: a run's folder keeps what was drawn at each step, so that a resume or a replay need not draw it again.

rollouts/000012.safetensors    the draw of step 12: prompts, tokens, log-probabilities, lengths, whether each response ended
rollouts/000012-1.safetensors  a further draw of the step, where a method takes more than one
rollouts/index.jsonl           a line per draw that was learned from: its digest, the weights and the server that drew it, seconds
    rollouts/rewards/              what Python rewards said, by a digest of the responses
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from accord.errors import RunError
from accord.records import Episode, Generation, Message, Sampling
from accord.runtime.files import append, clean, write_atomic

if TYPE_CHECKING:
    import torch

FOLDER = "rollouts"
INDEX = "index.jsonl"
REWARDS = "rewards"
Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Request:
    """What a sampler is asked for. Its digest tells whether a recorded draw answers it."""

    prompts: Sequence[Sequence[int]]
    n: int
    sampling: Sampling
    seed: int
    """The first state of the random numbers."""

    @property
    def digest(self) -> str:
        """The sha256 over prompts, settings and seed."""
        asked = [[list(prompt) for prompt in self.prompts], self.n, asdict(self.sampling), self.seed]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Draw:
    """Responses and where they came from."""

    drawn: Generation
    policy_step: int
    """The step after which the policy had the weights that drew them; 0 is the policy that the run began with."""
    foreign: bool = False
    """Whether a sampler outside this process drew them."""


@dataclass(frozen=True)
class Recordings:
    """The recorded draws of a run."""

    folder: Path
    """The folder ``rollouts`` of the run."""

    def path(self, step: int, number: int = 0) -> Path:
        """Return the file of a step's draw; ``number`` counts the draws of a step from 0."""
        return self.folder / f"{step:06d}{f'-{number}' if number else ''}.safetensors"

    def write(self, step: int, number: int, request: Request, draw: Draw) -> None:
        """Record a draw; the file is whole or absent. Raises RunError when the disk is full."""
        import torch
        from safetensors.torch import save

        drawn = draw.drawn
        flat = [token for prompt in request.prompts for token in prompt]
        tensors = {
            "prompts": torch.tensor(flat, dtype=torch.int32),
            "prompt_lengths": torch.tensor([len(prompt) for prompt in request.prompts], dtype=torch.int32),
            "tokens": drawn.tokens.to(torch.int32),
            "lengths": drawn.keep.sum(1).to(torch.int32),
            "logprobs": drawn.logprobs.float(),
            "finished": drawn.finished.to(torch.uint8),
        }
        told = {"step": str(step), "draw": str(number), "request": request.digest, "n": str(request.n)}
        told |= {"sampling": json.dumps(asdict(request.sampling)), "seconds": json.dumps(drawn.seconds)}
        told |= {"version": drawn.version, "server": drawn.server, "digest": digest(drawn)}
        told |= {"policy_step": str(draw.policy_step), "foreign": "yes" if draw.foreign else "no"}
        if drawn.episodes is not None:
            told_of = json.dumps([asdict(episode) for episode in drawn.episodes]).encode()
            tensors["episodes"] = torch.frombuffer(bytearray(told_of), dtype=torch.uint8)
        write_atomic(self.path(step, number), save({name: each.contiguous() for name, each in tensors.items()}, told))

    def read(self, step: int, number: int, request: Request) -> Draw | None:
        """Return a recorded draw as it was drawn; None where there is none.

        Raises:
            RunError: it is damaged, or was drawn for another request.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        path = self.path(step, number)
        if not path.is_file():
            return None
        try:
            with cast("Any", safe_open)(path, framework="pt") as file:
                told: dict[str, str] = file.metadata() or {}
                found: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tokens, logprobs, lengths = found["tokens"].long(), found["logprobs"], found["lengths"].long()
            keep = torch.arange(tokens.shape[1]) < lengths[:, None]
            seconds = json.loads(told["seconds"])
            held = bytes(cast("list[int]", found["episodes"].tolist())) if "episodes" in found else b""
            episodes = [_episode(each) for each in json.loads(held)] if held else None
            ends = found["finished"].bool()
            drawn = Generation(tokens, logprobs, keep, ends, seconds, told["version"], told["server"], episodes)
            draw = Draw(drawn, int(told["policy_step"]), told["foreign"] == "yes")
            whole, asked = told["digest"] == digest(drawn), told["request"]
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise RunError(f"the recorded rollout is damaged ({error})", where=str(path), hint=_AGAIN) from error
        if not whole:
            raise RunError("the recorded rollout is damaged: its digest is another", where=str(path), hint=_AGAIN)
        if asked != request.digest:
            what = "the recorded rollout was drawn for other prompts, settings or seed"
            hint = "replay a run with its own settings of prompts, batch, sampling and seed; docs/rollouts.md"
            raise RunError(what, where=str(path), hint=hint)
        return draw

    def note(self, step: int, number: int, draw: Draw) -> None:
        """Append a draw that is learned from to the index."""
        drawn = draw.drawn
        line: dict[str, Any] = {"step": step, "draw": number, "policy_step": draw.policy_step, "digest": digest(drawn)}
        line |= {
            "version": drawn.version,
            "server": drawn.server,
            "tokens": int(drawn.keep.sum()),
            "seconds": round(sum(drawn.seconds.values()), 4),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        append(self.folder / INDEX, json.dumps(line) + "\n")

    def was_foreign(self) -> bool:
        """Return whether a sampler outside the process drew what is recorded here.

        Raises:
            RunError: nothing is recorded, or the first file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        first = min(self.folder.glob("[0-9]*.safetensors"), default=None)
        if first is None:
            hint = "record a run's rollouts by --record-rollouts all"
            raise RunError("the run kept no rollouts", where=str(self.folder), hint=hint)
        try:
            with safe_open(first, framework="pt") as file:
                return (file.metadata() or {}).get("foreign") == "yes"
        except (SafetensorError, OSError) as error:
            raise RunError(f"the recorded rollout is damaged ({error})", where=str(first), hint=_AGAIN) from error

    def cut(self, step: int) -> None:
        """Drop later steps from the index: a resumed run learns from them again. The draws themselves stay."""
        clean(self.folder)
        path = self.folder / INDEX
        if path.is_file():
            lines = path.read_text("utf-8").split("\n")[:-1]  # what follows the last line break is half a line
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            write_atomic(path, "".join(line + "\n" for line in kept))

    def forget(self, step: int) -> None:
        """Remove the draws up to a step; the index still names them."""
        for path in self.folder.glob("[0-9]*.safetensors"):
            if int(path.name[:6]) <= step:
                path.unlink(missing_ok=True)

    def reward(self, name: str, prompts: Tokens, responses: Tokens) -> dict[str, list[float | None]] | None:
        """Return what a reward said of these responses, by its named parts; None where that was not kept."""
        path = self._reward(name, prompts, responses)
        said = json.loads(path.read_text("utf-8")) if path.is_file() else None
        return {"": said} if isinstance(said, list) else said  # older runs kept a list

    def keep_reward(self, name: str, prompts: Tokens, responses: Tokens, scores: Mapping[str, Sequence[float | None]]) -> None:
        """Keep what a reward said of these responses. Raises RunError when the disk is full."""
        path = self._reward(name, prompts, responses)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(dict(scores)))

    def _reward(self, name: str, prompts: Tokens, responses: Tokens) -> Path:
        asked = json.dumps([name, [list(row) for row in prompts], [list(row) for row in responses]])
        return self.folder / REWARDS / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"

    def learned(self) -> list[dict[str, Any]]:
        """Return the index: a line per draw that was learned from, in order."""
        path = self.folder / INDEX
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def digest(self) -> str:
        """Return the sha256 over all draws that were learned from, in order; empty where none is recorded."""
        lines = self.learned()
        return hashlib.sha256("".join(f"{line['digest']}\n" for line in lines).encode()).hexdigest() if lines else ""


_AGAIN = "remove the file: the step is drawn again"


def digest(drawn: Generation) -> str:
    """Return the sha256 of a draw: tokens, log-probabilities, ends, and the weights that drew it; seconds and server do not count."""
    total = hashlib.sha256(drawn.version.encode())
    finished: list[bool] = drawn.finished.tolist()
    for row, own, done in zip(drawn.rows(), drawn.logprobs.float(), finished, strict=True):
        total.update(json.dumps([row, done]).encode())
        total.update(own[: len(row)].numpy().tobytes())
    for episode in drawn.episodes or ():
        total.update(json.dumps(asdict(episode), sort_keys=True).encode())
    return total.hexdigest()


def _episode(told: dict[str, Any]) -> Episode:
    messages = tuple(Message(**message) for message in told.pop("messages"))
    return Episode(**told, messages=messages)
