"""Pictures as a vision-language model reads them: opened, processed by the model's own processor, and put into the forward pass.

A ``Gallery`` belongs to a model. It knows the pictures of the rows by the ids that stand for them (``runtime.pictures``), and keeps what
the processor made of the latest ones. Each picture is processed by itself, so that a batch is put together without its rows.
"""

from __future__ import annotations

import io
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from accord.errors import InputError, ModelError
from accord.runtime.pictures import FIRST, NAMED, digest_named, picture_id

HELD = 1 << 29
"""The most bytes of processed pictures that are kept for the next time."""
KINDS = ("token_type_ids", "mm_token_type_ids")
"""Names under which forward passes take which tokens are pictures'."""
TOWERS = ("vision_tower", "vision_model", "visual")
"""Names under which bodies keep what reads the pixels."""
JOINTS = ("merger", "projector", "connector")
"""Parts of such a tower that bring its states to the width of the words."""
FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
Read = Callable[[str], bytes]
"""Returns a picture's file by its digest."""
BLANK = 0
"""Read in place of a model's own picture token where no picture is: a model may draw it."""


@dataclass(frozen=True)
class Processed:
    """A picture as the processor gives it."""

    written: str
    """What stands for it in the text, in place of the template's mark."""
    tokens: int
    """Tokens in that text which the pixels' states replace."""
    inputs: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(tensor.nbytes for tensor in self.inputs.values())


def sees(model: Any) -> bool:
    """Return whether a model's configuration says that it reads pictures."""
    return getattr(model.config, "vision_config", None) is not None and getattr(model.config, "image_token_id", None) is not None


class Gallery:
    """The pictures that a model is shown.

    Args:
        processor: of the model, as transformers opens it.
        tokenizer: writes the rows.
        token: the model's own token of a picture.
        read: returns a picture's file by its digest.
        where: folder or hub name of the processor.
    """

    def __init__(self, processor: Any, tokenizer: Any, token: int, read: Read, where: str) -> None:
        self.processor, self.tokenizer, self.token, self.read, self.where = processor, tokenizer, token, read, where
        self.placeholder = str(processor.image_token)
        """What the chat template writes where a picture stands."""
        self._told: dict[str, tuple[str, int]] = {}
        self._held: OrderedDict[str, Processed] = OrderedDict()
        self._bytes = 0
        self._shown: dict[str, bytes] = {}
        self._showings = Counter[str]()
        self._lock = threading.RLock()

    def __deepcopy__(self, _: object) -> Gallery:
        """Return itself: copies of a model are shown the same pictures."""
        return self

    def show(self, content: bytes, digest: str) -> str:
        """Take a picture that no store has until ``hide``, and return its digest. It may be shown several times at once.

        Raises:
            InputError: another picture that is there has the same id in rows.
        """
        with self._lock:
            if any(other[:NAMED] == digest[:NAMED] and other != digest for other in self._shown):
                hint = "send the picture in another size"
                raise InputError("the picture cannot be told from another one that is being read", where=digest[:16], hint=hint)
            self._shown[digest] = content
            self._showings[digest] += 1
        return digest

    def hide(self, digest: str) -> None:
        """Forget a picture that was shown, once it was hidden as often as it was shown. No row may hold it any more."""
        with self._lock:
            self._showings[digest] -= 1
            if self._showings[digest] > 0:
                return
            for known in (self._showings, self._shown, self._told):
                known.pop(digest, None)
            held = self._held.pop(digest, None)
            self._bytes -= held.size if held else 0

    def written(self, digest: str) -> str:
        """Return the text that stands for a picture in a row.

        Raises:
            InputError: it cannot be opened.
        """
        return self._tell(digest)[0]

    def expand(self, text: str, digests: Sequence[str]) -> str:
        """Return a rendered text with the text of each picture in place of the template's marks, in order."""
        return str(self.processor.get_text_with_replacements([text], [self.written(digest) for digest in digests])[0][0])

    def named(self, ids: Sequence[int], digests: Sequence[str]) -> list[int]:
        """Return the token ids of such a text with the pictures' own ids in place of the model's picture token.

        Raises:
            ModelError: the tokenizer writes no such token.
        """
        names = [picture_id(digest) for digest in digests for _ in range(self._tell(digest)[1])]
        if ids.count(self.token) != len(names):
            what = f"the tokenizer writes {ids.count(self.token)} tokens of id {self.token} for pictures that take {len(names)}"
            hint = "give the model the tokenizer and the processor that it came with"
            raise ModelError(what, where=self.where, hint=hint)
        following = iter(names)
        return [next(following) if token == self.token else token for token in ids]

    def row(self, digest: str) -> list[int]:
        """Return the tokens of one picture, as they stand in a row."""
        ids: list[int] = self.tokenizer(self.written(digest), add_special_tokens=False)["input_ids"]
        return self.named(ids, [digest])

    def inputs(self, tokens: Int[Tensor, "rows steps"], takes: Collection[str], *, together: bool = False) -> dict[str, Any]:
        """Return what a body is given for rows of token ids: ids of its own, and the pixels of the rows' pictures.

        Args:
            takes: names of the arguments of its forward pass.
            together: let the processor take all pictures at once, as it is by itself, instead of joining what it made of each.

        Raises:
            InputError: a row holds a part of a picture.
        """
        there = tokens >= FIRST
        given: dict[str, Any] = {"input_ids": tokens.masked_fill(tokens == self.token, BLANK).masked_fill(there, self.token)}
        if not bool(there.any()):
            return given
        rows: list[list[int]] = tokens.tolist()
        digests = [digest for row in rows for digest in self._in_row(row)]
        made = self._process(digests).inputs if together else joined([self.processed(digest).inputs for digest in digests])
        given |= {name: tensor.to(tokens.device) for name, tensor in made.items() if name in takes}
        return given | {name: there.int() for name in KINDS if name in takes}

    def processed(self, digest: str) -> Processed:
        """Return a picture as the processor gives it, kept from the last time where there is room.

        Raises:
            InputError: it cannot be opened.
        """
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
                return self._held[digest]
        made = self._process([digest])
        with self._lock:
            self._told[digest] = (made.written, made.tokens)
            if digest not in self._held:
                self._held[digest] = made
                self._bytes += made.size
            while self._bytes > HELD and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].size
        return made

    def save(self, folder: Path) -> None:
        """Write the processor's files into a model's folder: those of the folder that it came from, as they are."""
        found = [Path(self.where, name) for name in FILES if Path(self.where, name).is_file()]
        for file in found:
            shutil.copyfile(file, folder / file.name)
        if not found:
            self.processor.save_pretrained(folder)

    def _in_row(self, row: Sequence[int]) -> Iterator[str]:
        """Yield the digests of a row's pictures in order."""
        for id, run in groupby(token for token in row if token >= FIRST):
            digest, length = digest_named(id), len(list(run))
            size = self._tell(digest)[1] if digest else 0
            if not size or length % size:
                what = f"a row holds {length} tokens of a picture that takes {size or 'an unknown number'}"
                raise InputError(what, where=self.where, hint="raise max_tokens, or leave long rows out: a picture is never cut")
            yield from [digest] * (length // size)

    def _tell(self, digest: str) -> tuple[str, int]:
        if digest not in self._told:
            self.processed(digest)
        return self._told[digest]

    def _process(self, digests: Sequence[str]) -> Processed:
        pictures = [self._open(digest) for digest in digests]
        text = [self.placeholder * len(pictures)]
        try:
            made = self.processor(text=text, images=pictures, return_tensors="pt", return_text_replacement_offsets=True)
        except Exception as error:  # processors raise whatever they like
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            hint = "take the picture out, or use another model"
            raise InputError(f"the model's processor does not take the picture: {reason}", where=digests[0][:16], hint=hint) from error
        offsets = cast("list[list[dict[str, Any]]]", made.pop("text_replacement_offsets"))
        written = "".join(str(each["replacement"]) for each in offsets[0])
        ids: list[int] = self.tokenizer(written, add_special_tokens=False)["input_ids"]
        tensors = {name: value for name, value in made.items() if isinstance(value, Tensor) and not _of_text(name)}
        return Processed(written, ids.count(self.token), tensors)

    def _open(self, digest: str) -> Any:
        from PIL import Image

        content = self._shown.get(digest)
        try:
            with Image.open(io.BytesIO(self.read(digest) if content is None else content)) as opened:
                return opened.convert("RGB")
        except OSError as error:
            what = f"the picture cannot be opened: {type(error).__name__}"
            raise InputError(what, where=digest[:16], hint="import it again, or leave its row out") from error


def _of_text(name: str) -> bool:
    return name in ("input_ids", "attention_mask", *KINDS)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the processor's tensors of several pictures as one batch has them.

    Most begin with the pictures, or with their patches, and follow each other. Those of Idefics3 begin with the rows, of which there is
    one then, and those of LLaVA-NeXT have as many pieces as the largest picture.
    """
    whole: dict[str, Tensor] = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        pieces = tensors[0].ndim == 5 or (tensors[0].ndim == 4 and name.endswith("mask"))
        if not pieces:
            whole[name] = torch.cat(tensors)
        elif "image_sizes" in parts[0]:
            most = max(tensor.shape[1] for tensor in tensors)
            whole[name] = torch.cat([F.pad(tensor, [*[0] * (2 * (tensor.ndim - 2)), 0, most - tensor.shape[1]]) for tensor in tensors])
        else:
            high, wide = (max(tensor.shape[at] for tensor in tensors) for at in (-2, -1))
            whole[name] = torch.cat([F.pad(tensor, (0, wide - tensor.shape[-1], 0, high - tensor.shape[-2])) for tensor in tensors], 1)
    return whole


def tower_of(body: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of what reads the pixels, by their names in the body; none of a model for text alone."""
    found: list[tuple[str, nn.Parameter]] = []
    for name, parameter in body.named_parameters():
        first, _, rest = name.partition(".")
        if first in TOWERS and not any(part in rest for part in JOINTS):
            found.append((name, parameter))
    return found


def open_processor(source: str) -> Any:
    """Open the processor of a model's folder or hub name; None where it has none for pictures.

    What is asked for videos alone (torchvision, num2words) may be missing.

    Raises:
        ModelError: it is damaged.
    """
    from transformers import AutoProcessor

    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in FILES):
        return None
    try:
        try:
            made = cast("Any", AutoProcessor).from_pretrained(source, trust_remote_code=False)
        except ImportError:
            made = _without_video(source)
    except Exception as error:  # each part of a processor raises its own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = f"copy {' and '.join(FILES[:2])} of its base model into the folder again"
        raise ModelError(f"the model's processor cannot be read: {reason}", where=source, hint=hint) from error
    return made if getattr(made, "image_processor", None) is not None and getattr(made, "image_token", None) else None


def _without_video(source: str) -> Any:
    """Open a processor whose videos need packages that are not installed, for pictures alone."""
    import transformers
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    found: Any = cast("Any", transformers.ProcessorMixin).get_processor_dict(source)[0]
    named = found.get("processor_class")
    kind: Any = getattr(transformers, named) if named else PROCESSOR_MAPPING[type(cast("Any", AutoConfig).from_pretrained(source))]
    module: Any = __import__(kind.__module__, fromlist=["num2words"])
    if getattr(module, "num2words", True) is None:
        module.num2words = str  # it writes out the times of a video

    class ForPictures(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    parts = {"image_processor": cast("Any", AutoImageProcessor).from_pretrained(source), "video_processor": None}
    known = {name: value for name, value in found.items() if name in ("image_seq_len", "chat_template")}
    return cast("Any", ForPictures)(tokenizer=cast("Any", AutoTokenizer).from_pretrained(source), **parts, **known)
