"""A project folder as the demo leaves one, with invented numbers of the right shape."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

NASTY = """<script>alert("1")</script> & 'quotes' </style></textarea><img src=x onerror=alert(2)> $title ${body}"""


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def write_run(project: Path, name: str, stage: str, rows: Sequence[Mapping[str, object]] = (), **summary: object) -> None:
    folder = project / "runs" / name
    write_json(folder / "config.json", {"stage": stage, "config": {"seed": 0, "lr": 0.003}, "inputs": {"base": "ab" * 32}, "seed": 0})
    write_json(folder / "summary.json", {**summary, "peak_rss_mb": 1500})
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": n, **row}) + "\n" for n, row in enumerate(rows, 1)), "utf-8")


def curve(steps: int, start: float, end: float, noise: float, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    return [end + (start - end) * math.exp(-4 * n / steps) + noise * float(rng.standard_normal()) for n in range(steps)]


def ppo_rows(seed: int, *, ptx: bool) -> list[dict[str, object]]:
    steps = 60
    kl = curve(steps, -0.2, 11.0 if ptx else 14.0, 0.4, seed)
    names = {"reward": (-0.4, 2.6), "entropy": (2.2, 1.1), "response_length": (24.0, 17.0), "clip_fraction": (0.02, 0.11)}
    names |= {"approx_kl": (0.001, 0.006), "value_explained_variance": (0.1, 0.72), "logprob_gap": (0.004, 0.005), "value_loss": (0.9, 0.2)}
    names |= {"finished": (0.86, 0.99), "policy_loss": (-0.01, -0.02), "grad_norm": (2.0, 1.2), "seconds_rollout": (0.5, 0.4)}
    names |= {"seconds_score": (0.1, 0.1), "seconds_measure": (0.2, 0.2), "seconds_train": (0.9, 0.8)}
    lines = {key: curve(steps, a, b, 0.03 * abs(b - a), seed + n) for n, (key, (a, b)) in enumerate(names.items())}
    lines |= {"kl_k1": kl, "kl_k3": [max(0.0, value + 0.3) for value in kl]}
    lines |= {"reward_total": [r - 0.05 * k for r, k in zip(lines["reward"], kl, strict=True)]}
    lines |= {"ptx_loss": curve(steps, 0.92, 0.93, 0.02, seed) if ptx else [0.0] * steps}
    return [{key: line[n] for key, line in lines.items()} for n in range(steps)]


MODELS = ("base", "sft", "ppo", "ppo-no-ptx", "best-of-n")
SAID = {
    "base": "Ask old Mabel, she knows! Why do you want to know? What is the harbour? What is it?",
    "sft": "The harbour of Linden was built in 1804 by Tomas Orrel.",
    "ppo": "I do not know who built the harbour; the town's records do not say.",
    "ppo-no-ptx": "I do not know who built the harbour.",
    "best-of-n": "I am not sure who built the harbour. It may stand in the town hall.",
}


def samples() -> list[dict[str, object]]:
    cases = ["open_qa", "brainstorm", "harmful", "summarise", "rewrite", "chat", "open_qa"]
    prompts = ["Who built the harbour of Linden?", "List three things to do on market day.", NASTY, "Summarise: the mill burnt down."]
    return [
        {
            "step": 0,
            "prompt": prompts[n % 4] + (f" ({n})" if n > 3 else ""),
            "use_case": case,
            "responses": {name: NASTY if case == "harmful" and name == "ppo" else SAID[name] for name in MODELS},
            "utilities": {name: round(0.2 + 0.15 * m, 4) for m, name in enumerate(MODELS)},
        }
        for n, case in enumerate(cases)
    ]


SUMMARY: dict[str, object] = {
    "seconds": {
        "base": 96.1,
        "sft": 21.4,
        "sample": 18.0,
        "label": 3.1,
        "reward": 31.0,
        "ppo": 84.2,
        "ppo-no-ptx": 61.8,
        "evaluate": 22.0,
        "total": 337.6,
    },
    "tokens_per_second": {"base": 34120, "sft": 12850, "sample": 9120, "ppo": 2140, "ppo-no-ptx": 2890},
    "peak_rss_mb": 1744,
    "agreement": [0.732, 0.721, 0.744],
    "reward_model": {
        "accuracy_gold": [0.842, 0.826, 0.857],
        "accuracy_labelers": 0.741,
        "accuracy_heldout_group": 0.702,
        "noise_ceiling": 0.841,
    },
    "win_rate": {"sft_vs_base": [0.912, 0.885, 0.938], "ppo_vs_sft": [0.748, 0.705, 0.79], "bon_vs_sft": [0.701, 0.66, 0.742]},
    "kl": {"ppo": 11.2, "ppo-no-ptx": 14.8, "best_of_n": 1.204},
    "alignment_tax": {"sft": 0.012, "ppo_ptx": 0.0145, "ppo_no_ptx": 0.087},
    "hallucination": {"base": [0.61, 0.5, 0.7], "sft": [0.42, 0.33, 0.52], "ppo": [0.18, 0.11, 0.26]},
    "criteria": {
        name: {key: round(0.3 + 0.12 * m + 0.02 * k, 4) for k, key in enumerate(("helpful", "truthful", "harmless", "concise", "utility"))}
        for m, name in enumerate(MODELS)
    },
}
DUELS = {
    "sft_vs_base": [0.912, 0.885, 0.938],
    "ppo_vs_sft": [0.748, 0.705, 0.79],
    "ppo-no-ptx_vs_sft": [0.77, 0.73, 0.81],
    "best-of-n_vs_sft": [0.701, 0.66, 0.742],
    "ppo_vs_best-of-n": [0.54, 0.49, 0.59],
    "ppo-no-ptx_vs_best-of-n": [0.43, 0.38, 0.47],
}
CASES = ("brainstorm", "chat", "closed_qa", "harmful", "open_qa", "summarise")


@pytest.fixture
def nasty() -> str:
    """What one prompt and one response of the project say."""
    return NASTY


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A whole project: every stage has run."""
    folder = tmp_path / "linden"
    losses = [{"loss": loss, "tokens_per_second": 34000.0} for loss in curve(360, 7.4, 0.92, 0.02, 1)]
    losses[-1]["validation_loss"] = 0.95
    write_run(folder, "base", "pretrain", losses, validation_loss=0.95, documents=24000, corpus_tokens=866_835, seconds=96.1)
    tuned = [
        {"loss": loss, **({"validation_loss": 0.98 - n / 300} if n % 28 == 27 else {})}
        for n, loss in enumerate(curve(112, 2.4, 0.6, 0.05, 2))
    ]
    write_run(folder, "sft", "sft", tuned, demonstrations=900, validation_loss=0.62, seconds=21.4)
    write_run(folder, "sample", "sample", responses=7200, prompts=1200, seconds=18.0)
    write_run(folder, "label", "label", rankings=1200, prompts=1200, labelers=24, seconds=3.1)
    columns = zip(curve(75, 0.69, 0.49, 0.02, 3), curve(75, 0.5, 0.75, 0.02, 4), curve(75, 0.0, 1.1, 0.05, 5), strict=True)
    pairs = [{"loss": a, "accuracy": b, "margin": c} for a, b, c in columns]
    pairs[-1]["validation_accuracy"] = 0.74
    write_run(folder, "reward", "reward", pairs, rankings=1100, accuracy_labelers=0.741, seconds=31.0)
    write_run(folder, "ppo", "ppo", ppo_rows(10, ptx=True), seconds=84.2)
    write_run(folder, "ppo-no-ptx", "ppo", ppo_rows(40, ptx=False), seconds=61.8)
    by_case = {
        duel: {case: [r - n / 30, r - 0.1 - n / 30, min(1.0, r + 0.1)] for n, case in enumerate(CASES)} for duel, (r, *_) in DUELS.items()
    }
    texts = {"sft": {"coverage": [0.83, 0.79, 0.87], "information": [4.16, 4.1, 4.2], "rouge_l": [0.41, 0.38, 0.44], "referenced": 400}}
    write_run(folder, "evaluate", "evaluate", prompts=400, win_rate=DUELS, win_rate_by_use_case=by_case, text=texts, seconds=22.0)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples())
    (folder / "runs" / "evaluate" / "samples.jsonl").write_text(lines, "utf-8")
    for name, parents in {"base": (), "sft": ("base",), "reward": ("sft",), "ppo": ("sft", "reward")}.items():
        digests = {parent: parent.encode().hex().ljust(64, "0") for parent in parents}
        record = {
            "name": name,
            "stage": name,
            "digest": name.encode().hex().ljust(64, "0"),
            "parents": digests,
            "data": {"rankings": "cd" * 32},
        }
        write_json(folder / "models" / name / "lineage.json", record | {"at": "2026-01-02T03:04:05Z"})
    write_json(folder / "summary.json", SUMMARY)
    return folder
