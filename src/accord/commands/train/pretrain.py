"""`accord pretrain`: train a tokenizer and a small decoder on the project's raw text.

Needs raw text (`accord import PROJECT books/`). Leaves models/NAME, a base model. The optimisers are Muon (Jordan et al. 2024) for the
inner matrices and AdamW for the rest; see algorithms/pretrain.py.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from accord.algorithms import pretrain as algorithm
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, TrainFlags
from accord.commands.models import training_dtype
from accord.commands.train.run import as_held, save
from accord.data.corpus import read_documents, tokenized
from accord.data.tokenizers import load_tokenizer, train_tokenizer
from accord.evaluation.run_facts import note_alarms
from accord.models.policy import mean_loss
from accord.runtime import lineage, ranks
from accord.runtime.device import pick_device
from accord.runtime.files import new_folder
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import PretrainConfig

TOKENIZER_DOCUMENTS = 20_000
"""Documents that the tokenizer is trained on."""


def pretrain(
    project: ProjectPath,
    *,
    name: Name = "base",
    flags: TrainFlags = RunFlags(),
    config: Annotated[PretrainConfig, Flat] = PretrainConfig(),
) -> Run:
    """Train a tokenizer and a small decoder on the project's raw text.

    Example: accord pretrain my-town --tokens 1000000

    Raises:
        InputError: the project has no raw text.
    """
    opened = Project.open(project)
    flags.start()
    corpus_folder = opened.path / "corpus"
    text = lineage.digest_rows(read_documents(corpus_folder))
    run = Run.start(opened.run(name), stage="pretrain", config=config, inputs={"raw_text": text}, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        if ranks.first() and not (run.folder / "tokenizer").exists():
            trained = train_tokenizer(islice(read_documents(corpus_folder), TOKENIZER_DOCUMENTS), config.vocab_size)
            with new_folder(run.folder / "tokenizer") as folder:
                trained.save_pretrained(folder)
        ranks.barrier()
        tokenizer = load_tokenizer(run.folder / "tokenizer")
        corpus = tokenized(corpus_folder, tokenizer, config.context)
        model = algorithm.fresh(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id).to(pick_device())
        model = as_held(model, config)
        algorithm.train(config, model=model, corpus=corpus, run=run, dtype=dtype)
        metrics |= {
            "validation_loss": mean_loss(model, corpus.held_out(), dtype=dtype),
            "documents": len(corpus),
            "corpus_tokens": corpus.size,
        }
        save(opened, name, model, tokenizer, run, parents={}, data={"raw_text": text}, config=config, metrics=metrics)
    note_alarms(run)
    return run
