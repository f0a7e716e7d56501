"""A small vision-language model makes less up about pictures once it has learned from rankings by people who look at them.

Picture town draws scenes whose truth is known. The model learns to see from captions, of which the writers adorn four in ten with a thing
that is not there, so that it makes things up as well. Simulated labelers, who see the truth noisily, rank its answers; DPO learns from
their rankings. What is compared is drawn at temperature 1 on scenes of users that nothing trained on: the share of answers with a thing
that is not there, and the gold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import frame as claims
import torch

from accord import LocalSampler, Project, Sampling, Store, WorldConfig, load_model
from accord.world.picture_town import PictureTown, gold, look

SEEDS = (0, 1, 2)
SIZE = {"prompts": 2400, "demonstrations": 1600, "users": 80}
HELD_OUT = 200
SOURCE = "after the idea of Sun et al. 2023 (LLaVA-RLHF)"


def begun(folder: Path, seed: int) -> Project:
    """A project of one seed, taken through the loop by the commands that a user would give."""
    if not (folder / "accord.toml").exists():
        flags = [word for name, value in SIZE.items() for word in (f"--{name}", str(value))]
        _accord("init", str(folder), "--world", "--pictures", "--seed", str(seed), *flags)
    project = Project.open(folder)
    if not project.model("dpo").is_dir():
        _accord("sft", str(folder), "--dtype", "float32", "--resume", "--seed", str(seed))
        _accord("sample", str(folder), "--dtype", "float32", "--seed", str(seed))
        if not project.run("label").is_dir():
            _accord("label", str(folder), "--by", "world", "--seed", str(seed))
        _accord("dpo", str(folder), "--dtype", "float32", "--resume", "--seed", str(seed))
    return project


def _accord(*words: str) -> None:
    print(f"accord {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "accord", *words], check=True)


def measured(project: Project, name: str, seed: int) -> dict[str, float]:
    """What a model says of held-out scenes, held to the truth."""
    town = PictureTown.generate(seed, WorldConfig(seed=seed, pictures=True, **SIZE))
    model = load_model(project, name)
    with Store.open(project.store_url) as store:
        asked = list(store.prompts(split="test"))[:HELD_OUT]
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=torch.float32)
    prompts = [model.format.prompt(each.messages) for each in asked]
    drawn = sampler.sample(prompts, n=1, sampling=Sampling(max_tokens=48), generator=torch.Generator().manual_seed(7))
    said = [(town.specs[each.id], model.format.text(row)) for each, row in zip(asked, drawn.rows(), strict=True)]
    looks = [look(scene, text) for scene, text in said]
    return {
        "gold": fmean(gold(scene, text) for scene, text in said),
        "made_up": fmean(seen.made_up > 0 for seen in looks),
        "named": fmean(seen.true / len(scene.things) for (scene, _), seen in zip(said, looks, strict=True)),
    }


def by_seed(folder: Path, seed: int) -> dict[str, dict[str, float]]:
    kept = folder / f"pictures-{seed}.json"
    if not kept.is_file():
        project = begun(folder / f"pictures-{seed}", seed)
        kept.write_text(json.dumps({name: measured(project, name, seed) for name in ("sft", "dpo")}), "utf-8")
    found: dict[str, dict[str, float]] = json.loads(kept.read_text("utf-8"))
    print(f"seed {seed}  {found}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("folder", type=Path, help="a folder for the projects, one a seed; what is there already is measured")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    asked.folder.mkdir(exist_ok=True)
    each = [by_seed(asked.folder, seed) for seed in asked.seeds]
    if len(each) < len(SEEDS):
        return

    def gain(key: str) -> list[float]:
        return [found["dpo"][key] - found["sft"][key] for found in each]

    claims.save(
        [
            claims.row(
                "DPO on rankings of answers about pictures makes less up than SFT (share of answers, difference)",
                gain("made_up"), claims.below(0.0), source=SOURCE,
            ),
            claims.row(
                "and its answers are worth more by the gold (difference)", gain("gold"), claims.above(0.0), source=SOURCE,
            ),
            claims.row(
                "without naming less of what is there (share named, difference, limit 5 points)",
                gain("named"), claims.above(-0.05), source=SOURCE,
            ),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
