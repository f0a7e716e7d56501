"""`make vllm`: PPO and GRPO by a real `vllm serve` on this machine's CPU, each way of bringing weights that works there, and faults.

A small project is made (a model of 64 wide, head dimension 32, which vLLM's CPU kernels take), one server is started on it, and the
commands run by its address. Then the weights that are brought are falsified in the three ways that a server can get them wrong, and the
time of drawing is taken in turns with our own engine. Writes results/vllm.json. ACCORD_VLLM names vLLM's command.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "commands" / "train")]

from small_project import BODY, FLAGS, PROMPTS, SHORT, rankings, with_raw_text  # noqa: E402
from tiny import SENTENCES  # noqa: E402

from accord import (  # noqa: E402
    Demonstration,
    GrpoConfig,
    Labeler,
    LocalSampler,
    PpoConfig,
    PretrainConfig,
    Response,
    RewardConfig,
    RunError,
    Sampling,
    SftConfig,
    Store,
    grpo,
    load_model,
    ppo,
    pretrain,
    reward,
    sft,
)
from accord.engine.vllm import VllmSampler  # noqa: E402
from accord.engine.vllm_api import VllmServer  # noqa: E402
from accord.engine.vllm_server import MODEL, OwnServer  # noqa: E402
from accord.engine.vllm_weights import AdapterWay, FolderWay  # noqa: E402
from accord.models.adapters import add_lora  # noqa: E402
from accord.models.served import plain_weights, write_whole  # noqa: E402
from accord.runtime.device import environment  # noqa: E402

FP32 = torch.float32
WIDE = {**BODY, "hidden_size": 64, "layers": 2, "intermediate_size": 128}
STEPS, TURNS = 4, 3
SMALL: dict[str, Any] = {"batch_size": 12, "minibatch_size": 6, "max_tokens": 12, "lr": 1e-3, "warmup_steps": 1, "steps": STEPS}
GROUPS: dict[str, Any] = {**SMALL, "group_size": 3, "truncation": "terminate", "rewards": "town_short:short"}


def project(folder: Path) -> Any:
    """A project with a base, an SFT and a reward model."""
    made = with_raw_text(folder)
    with Store.open(made.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person", "near")],
            demonstrations=[Demonstration(f"d{i}", prompt, "At the market.", "ann") for i, prompt in enumerate(PROMPTS)],
            responses=[Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in enumerate(SENTENCES[:3])],
        )
        store.add_rankings(rankings(labelers="ann"))
    pretrain(made, config=PretrainConfig(**WIDE, tokens=20_000, batch_tokens=1024, warmup_steps=2), flags=FLAGS)
    sft(made, config=SftConfig(epochs=1, ptx_tokens=0), flags=FLAGS)
    reward(made, config=RewardConfig(), flags=FLAGS)
    (made.path / "town_short.py").write_text(SHORT)
    return made


def figures(run: Any) -> dict[str, Any]:
    """What a run says of its synchronisations and of the gap of its rollouts."""
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    syncs = [json.loads(line) for line in (run.folder / "sampler" / "syncs.jsonl").read_text().splitlines()]
    brought = [row for row in syncs if row["way"] != "none"]
    return {
        "steps": len(rows),
        "rollout_gap_per_step": [row["logprob_gap"] for row in rows],
        "sync_gap_per_step": [row["gap"]["token"] for row in syncs],
        "limit": syncs[-1]["limit"]["token"],
        "sync_seconds": [row["seconds"] for row in brought],
        "sync_bytes": brought[0]["bytes"],
        "versions": len({row["weights"] for row in syncs}),
    }


def changed(policy: Any, size: float, seed: int) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))


class WithoutHead(FolderWay):
    """What a server is left with whose tied head stays as it was: the folder has no head of its own."""

    def _write(self, to: Path, weights: dict[str, Tensor]) -> None:
        write_whole(to, self.policy, self.tokenizer, {name: value for name, value in weights.items() if "lm_head" not in name})


class HalfLoad(FolderWay):
    """A load that ends half-way: the second layer is not there."""

    def _write(self, to: Path, weights: dict[str, Tensor]) -> None:
        write_whole(to, self.policy, self.tokenizer, {name: value for name, value in weights.items() if ".layers.1." not in name})


class OldAdapter(AdapterWay):
    """The adapter before the newest, under the newest one's name."""

    def _write(self, to: Path, weights: dict[str, Tensor]) -> None:
        self.older = getattr(self, "older", [])
        self.older.append({name: value.clone() for name, value in weights.items()})
        super()._write(to, self.older[max(0, len(self.older) - 2)])


def fault(kind: type[Any], town: Any, server: VllmServer, folder: Path) -> dict[str, Any]:
    """Draw from right weights, take a step of a usual size, and tell what the next draw says to falsified weights."""
    model = load_model(town, "sft")
    policy = model.lm
    if kind is OldAdapter:
        policy = add_lora(policy, 2, torch.Generator().manual_seed(1))
        way: Any = OldAdapter(policy, folder / "weights", str(town.model("sft")))
    else:
        way = kind(policy, folder / "weights", model.format.tokenizer, FP32)
    right = way if kind is OldAdapter else FolderWay(policy, folder / "right", model.format.tokenizer, FP32)
    sampler = VllmSampler([server], right, policy=policy, stop=model.format.stop, dtype=FP32, folder=folder, pause=0.1)
    ids = [model.format.prompt(prompt.messages) for prompt in PROMPTS]
    how: dict[str, Any] = {"n": 2, "sampling": Sampling(max_tokens=8), "generator": torch.Generator().manual_seed(0)}
    sampler.sample(ids, **how)
    if kind is OldAdapter:
        changed(policy, 1e-3, 1)
        sampler.refresh()
        right.older = []
        sampler.sample(ids, **how)
    sampler.way = way
    changed(policy, 1e-3, 2)
    sampler.refresh()
    try:
        sampler.sample(ids, **how)
    except RunError as error:
        return {"caught": True, "within_steps": 1, "told": error.what}
    return {"caught": False}


def speed(town: Any, server: VllmServer, folder: Path) -> dict[str, Any]:
    """Tokens per second of 64 responses by vLLM and by our engine, in turns, from the same weights."""
    model = load_model(town, "sft")
    way = FolderWay(model.lm, folder / "weights", model.format.tokenizer, FP32)
    theirs = VllmSampler([server], way, policy=model.lm, stop=[], dtype=FP32, folder=folder)
    ours = LocalSampler(model.lm, stop=[], dtype=FP32)
    ids = [model.format.prompt(PROMPTS[i % len(PROMPTS)].messages) for i in range(64)]
    rates: dict[str, list[float]] = {"vllm": [], "ours": []}
    for turn in range(TURNS + 1):
        for name, sampler in (("vllm", theirs), ("ours", ours)):
            began = time.perf_counter()
            drawn = sampler.sample(ids, n=1, sampling=Sampling(max_tokens=64), generator=torch.Generator().manual_seed(turn))
            if turn:
                rates[name].append(int(drawn.keep.sum()) / (time.perf_counter() - began))
    return {name: round(statistics.median(values), 1) for name, values in rates.items()} | {
        "responses": 64,
        "tokens_each": 64,
        "turns": TURNS,
    }


def kept_adapter(town: Any, server: VllmServer) -> dict[str, Any]:
    """Whether the server loads models/grpo-adapter/adapter as it is, and scores by it as the merged model does."""
    from accord.engine.vllm import Gap, fixed_sequences
    from accord.models.packing import pack
    from accord.models.policy import logprobs

    merged = load_model(town, "grpo-adapter").lm
    server.ask("POST", "/v1/load_lora_adapter", {"lora_name": "kept", "lora_path": str(town.model("grpo-adapter").resolve() / "adapter")})
    rows = fixed_sequences(merged.config.vocab_size, 32)
    with torch.no_grad():
        ours = logprobs(merged, pack(rows), dtype=FP32)[0].split([len(row) - 1 for row in rows])
    gap = Gap.between(list(ours), [server.scores(row, model="kept", salt="kept") for row in rows])
    server.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "kept"})
    return {"loads": True, "gap": gap.token}


def main() -> None:
    """Run everything and write the figures."""
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    folder = Path(tempfile.mkdtemp(prefix="accord-vllm-"))
    town = project(folder / "town")
    model = load_model(town, "sft")
    served = folder / "served"
    served.mkdir()
    write_whole(served, model.lm, model.format.tokenizer, plain_weights(model.lm, FP32))
    flags = ["--dtype", "float32", "--max-model-len", "256", "--enable-lora", "--max-loras", "1", "--max-lora-rank", "8", "--enforce-eager"]
    own = OwnServer(str(served), flags, folder / "vllm.log")
    began = time.monotonic()
    found: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": environment(),
        "weights": sum(p.numel() for p in model.lm.parameters()),
    }
    try:
        server = VllmServer(own.start(), 600.0)
        found["start_seconds"] = round(time.monotonic() - began, 1)
        found["vllm"] = server.version()
        print("started", found["start_seconds"], flush=True)
        by: dict[str, Any] = {"sampler": server.address}
        lora: dict[str, Any] = {**by, "lora_rank": 2, "keep_adapter": True}

        def record(name: str, made: Any) -> None:
            found[name] = made
            (HERE / "results" / "vllm.json").write_text(json.dumps(found, indent=2) + "\n")
            print(name, json.dumps(made)[:600], flush=True)

        record("grpo_adapter", figures(grpo(town, name="grpo-adapter", config=GrpoConfig(**GROUPS, **lora), flags=FLAGS)))
        record("kept_adapter", kept_adapter(town, server))
        record("ppo_adapter", figures(ppo(town, name="ppo-adapter", config=PpoConfig(**SMALL, ptx_coef=0, **lora), flags=FLAGS)))
        record("old_adapter", fault(OldAdapter, town, server, folder / "old"))
        record("grpo_folder", figures(grpo(town, name="grpo-folder", config=GrpoConfig(**GROUPS, **by), flags=FLAGS)))
        record("ppo_folder", figures(ppo(town, name="ppo-folder", config=PpoConfig(**SMALL, ptx_coef=0, **by), flags=FLAGS)))
        record("tokens_per_second", speed(town, server, folder / "speed"))
        record("stale_head", fault(WithoutHead, town, server, folder / "head"))
        record("half_load", fault(HalfLoad, town, server, folder / "half"))
        assert server.models().get(MODEL)
    finally:
        own.end()


if __name__ == "__main__":
    main()
