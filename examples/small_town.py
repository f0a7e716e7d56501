"""A small project to try things on: a piece of the built-in world, a tiny language model, and the same model after SFT.

Takes some seconds on one CPU core and downloads nothing. The model is far too small to be good at anything.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import accord


def project_of_arguments(description: str | None) -> accord.Project:
    """Open the project that --project names, or make a small town in a temporary folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--project", help="a project of your own with a model `sft`; a small one is made when not given")
    named = parser.parse_args().project
    return accord.open(named) if named else small_town(Path(tempfile.mkdtemp(), "town"))


def small_town(folder: Path) -> accord.Project:
    """Make the project: raw text, prompts and demonstrations, then the models `base` and `sft`."""
    project = accord.create(folder, world=accord.WorldConfig(documents=2_000, prompts=400, demonstrations=240, users=20))
    body = {"vocab_size": 512, "hidden_size": 48, "layers": 2, "heads": 3, "intermediate_size": 96, "context": 256}
    accord.pretrain(project, config=accord.config(project, accord.PretrainConfig, tokens=120_000, **body))
    accord.sft(project, config=accord.config(project, accord.SftConfig, ptx_tokens=0))
    return project


if __name__ == "__main__":
    made = project_of_arguments(__doc__)
    print(f"{made.path} has the models {', '.join(made.models())}")
