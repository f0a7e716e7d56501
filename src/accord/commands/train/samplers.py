"""The engine that draws the responses a policy learns from: our own, a vLLM server that is started here, or servers elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from accord.data.banned import banned_tokens
from accord.data.templates import ChatFormat
from accord.engine.local import LocalSampler
from accord.errors import RunError, UsageError
from accord.models.decoder import context_of
from accord.models.heads import restrict
from accord.models.pictures import sees
from accord.models.sharding import gathered, is_sharded
from accord.protocols import Sampler
from accord.records import Generation, Sampling
from accord.runtime import ranks
from accord.runtime.files import new_folder
from accord.runtime.model_files import ModelFiles
from accord.runtime.progress import say
from accord.runtime.runs import Run
from accord.settings.mixins import DrawnBy, Training

if TYPE_CHECKING:
    from accord.engine.vllm_api import VllmServer
    from accord.engine.vllm_server import OwnServer
    from accord.engine.vllm_weights import FolderWay

SERVED = "served"
"""Folder of the model that a server of ours starts on, beside the versions of the weights."""


class AskedByFirst:
    """The servers as the other processes see them: the first one brings the weights and asks for all rows."""

    foreign = True

    def __init__(self, dtype: torch.dtype, gather: Callable[[], Any] | None) -> None:
        self.dtype, self.gather = dtype, gather

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Refuse to draw. Raises RunError."""
        raise RunError(f"process {ranks.rank()} asked for responses itself", hint="`rollouts.asked_of` asks a sampler by the first process")

    def refresh(self) -> None:
        """Hand the first process this one's part of the weights, if they are sharded. It tells the servers."""
        if self.gather:
            self.gather()


@contextmanager
def opened_sampler(
    config: DrawnBy,
    policy: Any,
    base: Any,
    chat_format: ChatFormat,
    run: Run,
    dtype: torch.dtype,
    *,
    prompts: Sequence[Sequence[int]] = (),
    training: bool = True,
    metrics: dict[str, Any] | None = None,
    replay: Sampler | None = None,
) -> Generator[Sampler]:
    """Yield the engine that the settings name; servers that are started here end with the block.

    Args:
        policy: the model to sample from.
        base: the same model without adapters, whose weights stay while adapters learn.
        prompts: what will be asked, by which a server's context is chosen.
        training: refuse samplings that a policy cannot learn from.
        metrics: takes what synchronisation has cost.
        replay: recorded rollouts, which take the place of an engine.

    Raises:
        UsageError: vLLM is not installed, or the way to bring weights does not fit.
        RunError: a server does not answer, or is of another kind.
    """
    if config.banned_words:
        tokens = banned_tokens(config.banned_words, chat_format.tokenizer, chat_format.stop, "banned_words")
        if is_sharded(policy):
            raise UsageError("a sharded model's action space cannot be restricted", where="banned_words", hint="--shard replicate")
        restrict([policy, base], tokens)
        run.note(f"banned_words: {len(tokens)} tokens are never drawn: {', '.join(map(str, tokens[:20]))}")
    if replay is not None:
        yield replay
        return
    if config.sampler == "local":
        yield LocalSampler(policy, stop=chat_format.stop, dtype=dtype, keep=not training, divides=True)
        return
    if sees(policy):
        hint = "--sampler local, which draws in this process"
        raise UsageError("vLLM is asked by token ids, and a picture has none", where="--sampler", hint=hint)
    rank = config.lora_rank if isinstance(config, Training) else 0
    sync, gather, on_cpu = config.sampler_sync, None, policy.device.type == "cpu"
    if is_sharded(policy):
        if sync not in ("auto", "folder"):
            what = "weights that processes shard are brought through a folder"
            raise UsageError(what, where=f"--sampler-sync {sync}", hint="--sampler-sync folder, or --shard replicate")
        gather = partial(gathered, policy, everywhere=False)
        policy = base = gather()
    if not ranks.first():
        yield AskedByFirst(dtype, gather)
        return
    from accord.engine.vllm import LENGTH, VllmSampler
    from accord.engine.vllm_api import VllmServer
    from accord.engine.vllm_server import OwnServer, room_for
    from accord.engine.vllm_weights import AdapterWay, FolderWay, NcclWay

    kind = sync if sync != "auto" else "adapter" if rank and not gather else "folder"
    if kind == "adapter" and not rank:
        raise UsageError("there are no adapters to bring: lora_rank is 0", where="--sampler-sync adapter", hint="--sampler-sync folder")
    folder = Path(config.sampler_folder).resolve() if config.sampler_folder else run.folder.resolve() / "sampler"
    source = _plain_source(base)
    own: OwnServer | None = None
    addresses = config.sampler.replace(",", " ").split()
    with ExitStack() as stack:
        if kind == "adapter":
            served = source
            if config.sampler == "vllm" and not served:
                served = _written_whole(folder / SERVED, base, chat_format.tokenizer, dtype)
            way: Any = AdapterWay(policy, folder / "weights", served or str(getattr(base, "name_or_path", "")))
        elif kind == "nccl":
            way = NcclWay(policy, dtype)
            served = source or _written_whole(folder / SERVED, base, chat_format.tokenizer, dtype)
        else:
            way = FolderWay(policy, folder / "weights", chat_format.tokenizer, dtype)
            way.prepare()
            served = way.served
        if config.sampler == "vllm":
            longest = max(map(len, prompts), default=0) + int(getattr(config, "max_tokens", 0))
            flags = ["--dtype", str(dtype).removeprefix("torch.")]
            if longest and (context := context_of(base)):
                flags += ["--max-model-len", str(min(max(longest, LENGTH + 8), context))]
            flags += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(room_for(rank))] if kind == "adapter" else []
            flags += ["--enable-sleep-mode"] if config.sampler_sleep else []
            # A seeded request whose prompt is read in parts ends vLLM 0.32 on a CPU: "CPU Generator does not use offset".
            flags += ["--no-enable-chunked-prefill"] if on_cpu else []
            flags += ["--weight-transfer-config", '{"backend": "nccl"}'] if kind == "nccl" else []
            own = OwnServer(served, [*flags, *shlex.split(config.sampler_options)], run.folder / "vllm.log")
            stack.callback(own.end)
            say(f"{run.stage}: vLLM starts on {served}; its log is {own.log}")
            addresses = [own.start()]
        tokenizer = chat_format.tokenizer
        encode: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
        sampler = VllmSampler(
            [VllmServer(address.removesuffix("/").removesuffix("/v1"), float(config.sampler_seconds)) for address in addresses],
            way,
            policy=policy,
            stop=chat_format.stop,
            dtype=dtype,
            folder=run.folder / "sampler",
            training=training,
            gather=gather,
            encode=encode,
            revive=partial(_revived, own, way if kind == "folder" else None) if own else None,
            sleep=config.sampler_sleep,
            note=run.note,
        )
        stack.callback(sampler.close)
        yield sampler
        if metrics is not None:
            metrics |= sampler.metrics()


def _revived(own: OwnServer, way: FolderWay | None, server: VllmServer) -> bool:
    """Start a server of ours again, on the newest weights where a folder brings them. Returns whether it is there."""
    return own.revive(server, way.served if way else "")


def _plain_source(model: Any) -> str:
    """Return the folder or hub name that a model came from, where a server opens the very same weights from it; else nothing."""
    files: ModelFiles | None = getattr(model, "files", None)
    whole = files is not None and not files.adapter and not files.gguf and "Linear4" not in {type(m).__name__ for m in model.modules()}
    if files is None or not whole:
        return ""
    return str(Path(files.source).resolve()) if Path(files.source).is_dir() else files.source


def _written_whole(folder: Path, model: Any, tokenizer: Any, dtype: torch.dtype) -> str:
    """Write a model as a server opens it; return the folder."""
    from accord.models.served import plain_weights, write_whole

    with new_folder(folder) as to:
        write_whole(to, model, tokenizer, plain_weights(model, dtype))
    return str(folder)
