"""What lies where a model is named: a folder of safetensors, a .gguf file, an adapter on another model, or the name of one on a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from accord.errors import ModelError, UsageError
from accord.runtime import packages

CONFIG, ADAPTER, ADAPTER_WEIGHTS = "config.json", "adapter_config.json", "adapter_model.safetensors"
ON = " on "
"""Between an adapter's folder and its base, where a user names both."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class ModelFiles:
    """A model's files, as transformers and peft are asked for them."""

    source: str
    """The folder, or the name on a hub, of the whole model."""
    gguf: str = ""
    """The .gguf file in that folder which holds everything."""
    adapter: Path | None = None
    """The folder of a peft adapter that changes the whole model."""

    @property
    def named(self) -> str:
        """What the user named, for errors."""
        return str(self.adapter or (Path(self.source) / self.gguf if self.gguf else self.source))


def need_gguf(files: ModelFiles) -> str:
    """Return the name of the .gguf file.

    Raises:
        UsageError: the packages that unpack it are not installed.
    """
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        what = f"a .gguf file needs {' and '.join(missing)}"
        raise UsageError(what, where=files.named, hint=packages.install(missing[0]))
    return files.gguf


def model_files(source: str | Path) -> ModelFiles:
    """Find out what a folder, a .gguf file or a hub name holds. Opens no weights.

    ``ADAPTER on BASE`` names an adapter's folder and the base that it is opened on, whatever its configuration says.

    Raises:
        ModelError: it holds no model, several, or weights as pickles.
    """
    path = Path(source)
    adapter, on, base = str(source).partition(ON)
    if on and not path.exists():
        return _adapter(Path(adapter), base)
    if path.is_file():
        if path.suffix == ".gguf":
            return _gguf(path)
        raise ModelError("this file is no model", where=str(path), hint="give a .gguf file or the folder of a Hugging Face model")
    if not path.is_dir():
        if path.is_absolute() or str(source).startswith((".", "~")) or path.suffix == ".gguf":
            raise ModelError("there is no such file or folder", where=str(source), hint="check the path")
        return ModelFiles(str(source))
    if (path / ADAPTER).is_file():
        return _adapter(path)
    files = sorted(path.glob("*.gguf"))
    if (path / CONFIG).is_file():
        _refuse_pickles(path)
        return ModelFiles(str(path))
    if len(files) > 1:
        raise ModelError(f"the folder has {len(files)} .gguf files", where=str(path), hint=f"name one, such as {files[0]}")
    if files:
        return _gguf(files[0])
    raise ModelError("this is not a model folder: it has no config.json", where=str(path), hint="give the folder of a Hugging Face model")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model's folder.

    Raises:
        ModelError: it is not one.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"it is not JSON: {error}", where=str(path), hint="copy or download the model folder again") from error
    if not isinstance(found, Mapping):
        raise ModelError("it is not a JSON object", where=str(path), hint="copy or download the model folder again")
    return dict(cast("Mapping[str, Any]", found))


def _gguf(path: Path) -> ModelFiles:
    if "-of-" in path.stem:
        raise ModelError(
            "this is one part of a .gguf file", where=str(path), hint="join the parts with llama.cpp's llama-gguf-split --merge"
        )
    return ModelFiles(str(path.parent), gguf=path.name)


def _adapter(path: Path, given: str = "") -> ModelFiles:
    """An adapter's base stands in its configuration: a folder, from wherever the adapter is read, or a hub name.

    Args:
        given: a base that is named beside the adapter, and taken instead.
    """
    if not (path / ADAPTER).is_file():
        raise ModelError(f"this is no adapter: it has no {ADAPTER}", where=str(path), hint="name it as ADAPTER on BASE")
    if any(path.glob("model*.safetensors")):
        what = "the folder holds both a model and an adapter, so it is not clear which is meant"
        raise ModelError(what, where=str(path), hint="move adapter_config.json and adapter_model.safetensors into a folder of their own")
    if not (path / ADAPTER_WEIGHTS).is_file():
        what = "the adapter has no adapter_model.safetensors"
        raise ModelError(what, where=str(path), hint="save it with peft's save_pretrained; weights as pickles are not opened")
    named = given or str(read_json(path / ADAPTER).get("base_model_name_or_path") or "")
    hint = f"name its base beside it, '{path}{ON}BASE', or write it as base_model_name_or_path into {path / ADAPTER}"
    if not named:
        raise ModelError("this is an adapter that names no base model", where=str(path), hint=hint)
    places = (Path(named), path / named, path.parent.parent / Path(named).name)
    base = next((place for place in places if place.exists()), None)
    if base is None and (Path(named).is_absolute() or named.startswith(".")):
        raise ModelError(f"this is an adapter on {named}, which is not there", where=str(path), hint=hint)
    whole = model_files(base or named)
    if whole.adapter:
        raise ModelError(
            f"this is an adapter on another adapter, {whole.adapter}", where=str(path), hint="merge that one into its base first"
        )
    return ModelFiles(whole.source, whole.gguf, path)


def _refuse_pickles(path: Path) -> None:
    """A pickle runs code when it is opened. Beside safetensors it is not opened, so it may lie there."""
    if any(path.glob("*.safetensors")):
        return
    found = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if found:
        what = f"the weights are pickles ({', '.join(found[:3])}), which are not opened: a pickle can run code"
        hint = "take the model's safetensors, or open it in transformers where you trust it, and save_pretrained a folder"
        raise ModelError(what, where=str(path), hint=hint)
