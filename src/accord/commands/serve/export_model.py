"""`accord export-model`: write a model for other programs: a .gguf file, a plain folder, its adapter alone, or a repository on a hub.

Needs a model of the project, or a folder. Leaves a folder in exports/, or a repository; the project's models stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import Parameter

from accord.commands.app import ProjectPath, shows
from accord.commands.models import Model, digest_of, load_model, locate
from accord.errors import ModelError, RunError, UsageError
from accord.models.folders import save_model
from accord.models.gguf_file import Kind, adds_bos, write_gguf
from accord.models.modelfile import modelfile, spoken
from accord.models.weights import fits
from accord.runtime import packages
from accord.runtime.files import new_folder
from accord.runtime.model_card import CARD
from accord.runtime.model_files import ADAPTER, ADAPTER_WEIGHTS, read_json
from accord.runtime.progress import say, table
from accord.runtime.project import Project

To = Literal["gguf", "hub", "adapter", "merged"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "q8_0"]
TOKEN = "HF_TOKEN"
"""The environment variable with the hub's token; it is read there alone, and never printed."""


def show_export(told: Mapping[str, Any]) -> None:
    """Print what was written."""
    table("export-model", ["metric", "value"], [(key, str(value)) for key, value in told.items()])


@shows(show_export)
def export_model(
    project: ProjectPath,
    model: Annotated[str, Parameter(help="The model: a name, a folder or a hub name.")],
    *,
    to: Annotated[
        To, Parameter(help="A .gguf file with a Modelfile, a hub's repository, the adapter alone, or a plain folder.")
    ] = "merged",
    dtype: Annotated[Precision, Parameter(help="Precision of the weights; auto keeps that of the model's folder.")] = "auto",
    out: Annotated[Path | None, Parameter(help="Folder to write, whole or not at all; exports/MODEL-TO when not given.")] = None,
    repo: Annotated[str, Parameter(help="The hub's repository, as OWNER/NAME.")] = "",
    public: Annotated[bool, Parameter(help="Make a new repository public; otherwise it is private.", negative="")] = False,
) -> dict[str, Any]:
    """Write a model for other programs: a .gguf file, a plain folder, its adapter alone, or a repository on a hub.

    Example: accord export-model my-town ppo --to gguf --dtype q8_0

    Raises:
        UsageError: the flags do not go together, or a package or the hub's token is missing.
        ModelError: there is no such model, it has no adapter, or it cannot be written in this form.
        RunError: the hub refuses it, or cannot be reached.
    """
    opened = Project.open(project)
    if (to == "hub") != bool(repo):
        raise UsageError("--to hub and --repo OWNER/NAME go together", where="--repo")
    if public and to != "hub":
        raise UsageError("--public is for --to hub", where="--public")
    if dtype == "q8_0" and to != "gguf":
        raise UsageError("q8_0 is a precision of .gguf files", where="--dtype", hint="--to gguf, or another --dtype")
    source = locate(opened, model)
    folder = out or opened.path / "exports" / f"{Path(source).name}-{to}"
    if to == "hub":
        return _to_hub(opened, source, model, dtype, repo, public=public)
    with new_folder(folder) as unfinished:
        told = _write(opened, source, model, to, dtype, unfinished)
    return {"folder": str(folder), **told}


def _write(project: Project, source: str, name: str, to: To, dtype: Precision, folder: Path) -> dict[str, Any]:
    if to == "adapter":
        return _write_adapter(source, dtype, folder)
    opened = load_model(project, name)
    if getattr(opened.lm, "guide", None) is not None:
        what = "this model is guided by a Q network, which no other program reads"
        raise ModelError(what, where=name, hint="export the model that it guides")
    return _write_gguf(opened, source, dtype, folder) if to == "gguf" else _write_folder(opened, source, dtype, folder)


def _stored(model: Model, dtype: Precision) -> str:
    """Return the precision to write: the folder's own, where none is named."""
    stored: torch.dtype = getattr(model.lm, "stored_dtype", torch.float32)
    return str(stored).removeprefix("torch.") if dtype == "auto" else dtype


def _check_fits(model: Model, dtype: str) -> None:
    if dtype in ("float16", "bfloat16") and not fits(model.lm, getattr(torch, dtype)):
        raise ModelError(f"weights become infinite in {dtype}", where=model.name, hint="--dtype bfloat16 or float32")


def _write_folder(model: Model, source: str, dtype: Precision, folder: Path) -> dict[str, Any]:
    """Write a plain folder: adapters merged, .gguf files unpacked, with the model's card."""
    kept = _stored(model, dtype)
    _check_fits(model, kept)
    shutil.rmtree(folder)  # transformers makes it
    save_model(folder, model.lm, model.format.tokenizer, getattr(torch, kept))
    _copy_card(source, folder)
    return {"dtype": kept, "from": model.digest[:12]}


def _write_adapter(source: str, dtype: Precision, folder: Path) -> dict[str, Any]:
    """Copy an adapter, in another precision if asked for."""
    from safetensors.torch import load_file, save_file

    own = next((place for place in (Path(source) / "adapter", Path(source)) if (place / ADAPTER).is_file()), None)
    if own is None:
        hint = "train with --lora-rank and --keep-adapter, or give the whole model: --to merged"
        raise ModelError("the model has no adapter by itself", where=source, hint=hint)
    shutil.copytree(own, folder, dirs_exist_ok=True)
    weights = load_file(own / ADAPTER_WEIGHTS)
    if dtype != "auto":
        wanted: torch.dtype = getattr(torch, dtype)
        if any(not bool(torch.isfinite(value.to(wanted)).all()) for value in weights.values()):
            raise ModelError(f"weights become infinite in {dtype}", where=str(own), hint="--dtype bfloat16 or float32")
        save_file({name: value.to(wanted) for name, value in weights.items()}, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    base = str(read_json(folder / ADAPTER).get("base_model_name_or_path"))
    if Path(base).is_absolute():
        say(f"export-model: adapter_config.json names its base as {base}, a folder of this machine; write there where others find it")
    return {"dtype": dtype, "base": base, "from": digest_of(str(own))[:12]}


def _write_gguf(model: Model, source: str, dtype: Precision, folder: Path) -> dict[str, Any]:
    """Write NAME.gguf with its Modelfile and card."""
    kept = _stored(model, dtype)
    _check_fits(model, kept)
    tokenizer, file = model.format.tokenizer, f"{Path(source).stem if source.endswith('.gguf') else Path(source).name}.gguf"
    kind: Kind = kept  # type: ignore[assignment]
    write_gguf(folder / file, model.lm, tokenizer, kind, name=model.name, stop=model.format.stop)
    _copy_card(source, folder)
    told = {"file": file, "dtype": kept, "bytes": (folder / file).stat().st_size, "from": model.digest[:12]}
    try:
        (folder / "Modelfile").write_text(_modelfile(model, file), "utf-8")
    except ModelError as error:
        say(f"export-model: no Modelfile for Ollama is written: {error}")
        return {**told, "modelfile": "none"}
    return {**told, "modelfile": "Modelfile"}


def _modelfile(model: Model, file: str) -> str:
    tokenizer = model.format.tokenizer
    if model.format.raw or not tokenizer.chat_template:
        hint = "train it with `accord sft`, which gives it one"
        raise ModelError("the model has no chat template", where=model.name, hint=hint)

    def render(turns: Any) -> str:
        messages = [{"role": role, "content": said} for role, said in turns]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    stops: list[str] = tokenizer.convert_ids_to_tokens(list(model.format.stop))
    bos = str(tokenizer.bos_token) if adds_bos(tokenizer) else ""
    tokens = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    return modelfile(file, spoken(render, tokens), stops, bos=bos, context=model.format.context)


def _copy_card(source: str, folder: Path) -> None:
    card = Path(source, CARD)
    if card.is_file():
        shutil.copy(card, folder / CARD)


def _to_hub(project: Project, source: str, name: str, dtype: Precision, repo: str, *, public: bool) -> dict[str, Any]:
    """Upload the plain folder with its card, as one commit, into a repository that is made if it is not there."""
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise UsageError("the hub needs huggingface_hub", where=repo, hint=packages.install("huggingface_hub")) from error
    token = os.environ.get(TOKEN, "")
    if not token:
        hint = f"make one that may write on the hub's page, and export {TOKEN}=... in the shell; it is read from there alone"
        raise UsageError(f"there is no token: the environment variable {TOKEN} is empty", where=repo, hint=hint)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    unfinished = project.path / "exports" / f"{Path(source).name}-hub"
    with new_folder(unfinished) as folder:
        told = _write(project, source, name, "merged", dtype, folder)
        api = HfApi(endpoint=endpoint, token=token)
        try:
            api.create_repo(repo, private=not public, exist_ok=True)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in paths]
            commit = api.create_commit(repo, files, commit_message=f"Add {name} by accord export-model")
        except (HfHubHTTPError, ValueError, OSError, RuntimeError) as error:  # RuntimeError: a file broke off
            reason = (str(error).splitlines() or [type(error).__name__])[0].replace(token, "***")
            raise RunError(
                f"the hub did not take it: {reason}", where=repo, hint="check the name, the token's rights and HF_ENDPOINT"
            ) from None
    return {"repository": repo, "commit": str(commit.oid), "copy": str(unfinished), **told}
