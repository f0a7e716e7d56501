"""Scenes: the tables `[scenes.NAME]` of accord.toml. Each says when it applies, and what is different in it (docs/scenes.md).

A setting that a table does not hold is that of the command: `[serve]`, `[chat]`, or `--rewards`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from accord.errors import UsageError
from accord.settings.mixins import Settings, section
from accord.settings.ranges import Range

SECTION = "scenes"
NONE = "none"
"""The name of what no scene applies to, in figures by scene."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_FILTER = Literal["off", "report", "refuse"]


@section
class Scene(Settings):
    """`[scenes.NAME]`: a situation in which the model answers under other rules, and is trained by another reward."""

    aliases: str = ""
    """Names under which programs ask for the scene in place of a model, separated by commas; they need `model`."""
    use_cases: str = ""
    """Use cases whose prompts are of this scene, separated by commas."""
    classifier: str = ""
    """What finds the scene in a text: `learned`, `TASK:LABEL` of [classifiers], `folder:PATH:LABEL`, or `PLUGIN:LABEL`."""
    above: Annotated[float, Range(least=0, most=1)] = 0.5
    """Least probability with which the classifier must find it."""
    default: bool = False
    """Takes what no scene applies to; at most one scene does."""
    system: str = ""
    """System prompt of conversations that have none of their own."""
    model: str = ""
    """The model, or adapter, of the project that answers; empty leaves it to the request."""
    documents: str = ""
    """Files of the project that answers quote and say nothing else, separated by commas."""
    input_filter: _FILTER | None = None
    """The filter of prompts, as in [serve]."""
    output_filter: _FILTER | None = None
    """The filter of responses, as in [serve]."""
    unsure_below: Annotated[float | None, Range(least=0, below=1, why="it is a probability below 1")] = None
    """Responses whose mean token probability is below this become "I don't know", as in [serve]."""
    agree_below: Annotated[float | None, Range(least=0, most=1)] = None
    """Share of the model's other answers that must agree with one, as in [serve]."""
    best_of: Annotated[int | None, Range(least=1)] = None
    """Responses sampled for each one returned, as in [serve]."""
    shots: Annotated[int | None, Range(least=0)] = None
    """Demonstrations placed before a conversation as examples, as in [serve]."""
    reasoning: Literal["off", "fold", "show"] | None = None
    """Whether a chain of thought is asked for, as in [serve]."""
    temperature: Annotated[float | None, Range(least=0, most=10)] = None
    """Sampling temperature where a request names none."""
    top_p: Annotated[float | None, Range(above=0, most=1)] = None
    """Nucleus sampling where a request names none."""
    max_tokens: Annotated[int | None, Range(least=1)] = None
    """Length limit of a response where a request names none."""
    rewards: str = ""
    """What is rewarded in this scene, written as `--rewards`; empty is that of the command."""
    note: str = ""
    """What labelers are told about prompts of this scene, beside the guideline."""
    note_zh: str = ""
    """The same in Chinese; empty shows `note`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not self.aliases or bool(self.model), "aliases without model: programs would ask for a name that no model answers to")
        named = self.classifier in ("", "learned") or bool(re.fullmatch(r".+:[^:]+", self.classifier))
        self.require(named, f"classifier is {self.classifier!r}; write learned, TASK:LABEL, folder:PATH:LABEL or PLUGIN:LABEL")

    @property
    def alias_names(self) -> tuple[str, ...]:
        return names_in(self.aliases)

    @property
    def use_case_names(self) -> tuple[str, ...]:
        return names_in(self.use_cases)

    @property
    def document_files(self) -> tuple[str, ...]:
        return names_in(self.documents)

    def rules(self) -> dict[str, Any]:
        """Return the settings of [serve] that are others in this scene."""
        own = {
            "input_filter": self.input_filter,
            "output_filter": self.output_filter,
            "unsure_below": self.unsure_below,
            "agree_below": self.agree_below,
            "best_of": self.best_of,
            "shots": self.shots,
            "reasoning": self.reasoning,
        }
        return {name: value for name, value in own.items() if value is not None}

    def sampling(self) -> dict[str, Any]:
        """Return the sampling settings that are others in this scene."""
        own = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {name: value for name, value in own.items() if value is not None}


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of a text that separates them by commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def read(written: Mapping[str, Any]) -> dict[str, Scene]:
    """Return the scenes of ``[scenes]``, in their order.

    Raises:
        UsageError: a name cannot be one, or two scenes claim the same: an alias, a use case, or to be the default.
    """
    scenes = {name: Scene(**values) for name, values in written.items()}
    for name in scenes:
        if not _NAME.fullmatch(name) or name == NONE:
            hint = "begin with a small letter, and go on with small letters, digits, - and _"
            raise UsageError(f"{name!r} cannot name a scene", where=f"[{SECTION}]", hint=hint)
    _once(scenes, "aliases", "alias")
    _once(scenes, "use_cases", "use case")
    defaults = [name for name, scene in scenes.items() if scene.default]
    if len(defaults) > 1:
        raise UsageError(f"{' and '.join(defaults)} are both default", where=f"[{SECTION}]", hint="leave default = true in one of them")
    return scenes


def _once(scenes: Mapping[str, Scene], field: str, what: str) -> None:
    """Refuse a word that two scenes claim."""
    claimed: dict[str, str] = {}
    for name, scene in scenes.items():
        for word in scene.alias_names if field == "aliases" else scene.use_case_names:
            if word in claimed:
                both = f"[{SECTION}.{claimed[word]}] and [{SECTION}.{name}]"
                raise UsageError(f"the {what} {word!r} stands in {both}", where=f"[{SECTION}.{name}] {field}", hint="leave it in one")
            claimed[word] = name
