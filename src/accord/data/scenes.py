"""Which scene a prompt or a request is of: `[scenes.NAME]` of accord.toml, decided by one rule in one order.

1. The scene that the request names (header ``X-Accord-Scene``), or that the prompt carries (``extra["scene"]``).
2. The scene that has the asked model's name among its aliases.
3. The scene that has the prompt's use case.
4. The first scene in the order of accord.toml whose classifier finds it; further ones that it was found in are told as ``also``.
5. The scene with ``default = true``.
6. None, and the settings of the command hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from accord.data.classifiers.folder import FolderClassifier
from accord.data.classifiers.interface import LABELS, TASKS, Classifier, Text, Verdict
from accord.data.classifiers.learned import Learned
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.errors import UsageError
from accord.records import Message, Prompt
from accord.runtime import plugins
from accord.settings.scenes import NONE, SECTION, Scene

By = Literal["named", "alias", "use_case", "classifier", "default", "none"]
CARRIED = "scene"
"""The key of ``Prompt.extra`` that names a prompt's scene."""
LEARNED = "learned"
Tagged = Callable[[], Iterable[tuple[str, str]]]
"""Function that returns texts with the names of their scenes, to learn from."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The scene that was chosen; its name is empty where none applies."""

    scene: str
    by: By
    also: tuple[str, ...] = ()
    """Other scenes that the same rule found, in their order; the first one counts."""
    filters: str = ""
    """The scene whose filters hold, or `none` for the server's own: those of the scene that a request names itself are weaker."""

    @property
    def told(self) -> str:
        """Return the choice as a header tells it: ``complaint; by=classifier; also=poem``."""
        also = f"; also={','.join(self.also)}" if self.also else ""
        filters = f"; filters={self.filters}" if self.filters else ""
        return f"{self.scene or NONE}; by={self.by}{also}{filters}"


NOTHING = Choice("", "none")


@dataclass(eq=False)
class Router:
    """The scenes of a project, and what finds them in a text. A classifier is opened when it is first asked.

    Args:
        tagged: texts with their scenes that ``classifier = "learned"`` learns from.
    """

    scenes: Mapping[str, Scene]
    classifiers: ClassifierSet = field(default_factory=lambda: DEFAULT)
    tagged: Tagged = tuple
    _opened: dict[str, Classifier] = field(default_factory=dict[str, Classifier], repr=False)

    def __post_init__(self) -> None:
        self._aliases = {alias: name for name, scene in self.scenes.items() for alias in scene.alias_names}
        self._use_cases = {case: name for name, scene in self.scenes.items() for case in scene.use_case_names}
        self._default = next((name for name, scene in self.scenes.items() if scene.default), "")

    @property
    def aliases(self) -> Mapping[str, str]:
        """The scene of each alias."""
        return self._aliases

    def open(self) -> None:
        """Open every classifier, so that one that cannot be had is named now.

        Raises:
            UsageError: there is no such classifier, label, or nothing to learn from.
            ModelError: a folder holds no classifier.
        """
        for scene in self.scenes.values():
            if scene.classifier:
                self._classifier(scene.classifier)

    def named(self, name: str) -> Choice:
        """Return the choice of a scene by its name.

        Raises:
            UsageError: there is no such scene.
        """
        if name not in self.scenes:
            raise UsageError(f"there is no scene {name!r}", where=f"[{SECTION}]", hint=f"there are: {', '.join(self.scenes)}")
        return Choice(name, "named")

    def of_request(self, messages: Sequence[Message], *, model: str = "", name: str = "") -> Choice:
        """Return the scene of a request.

        Raises:
            UsageError: it names a scene that is not there.
        """
        if name:
            return self.named(name)
        if model in self._aliases:
            return Choice(self._aliases[model], "alias")
        return self._or_default(self.found([tuple(messages)])[0])

    def of_prompts(self, prompts: Sequence[Prompt]) -> list[Choice]:
        """Return the scene of each prompt.

        Raises:
            UsageError: a prompt carries the name of a scene that is not there.
        """
        choices = [self.tag(prompt) for prompt in prompts]
        open_ = [place for place, choice in enumerate(choices) if not choice.scene]
        for place, choice in zip(open_, self.found([prompts[place].messages for place in open_]), strict=True):
            choices[place] = self._or_default(choice)
        return choices

    def tag(self, prompt: Prompt) -> Choice:
        """Return the scene that a prompt's own tags say: the one that it carries, or that of its use case; without asking a classifier.

        Raises:
            UsageError: it carries the name of a scene that is not there.
        """
        carried = prompt.extra.get(CARRIED)
        if carried is not None:
            if not isinstance(carried, str) or carried not in self.scenes:
                hint = f"correct the prompt's extra, or add [{SECTION}.NAME]; there are: {', '.join(self.scenes)}"
                raise UsageError(f"it is of the scene {carried!r}, and there is none", where=f"prompt {prompt.id}", hint=hint)
            return Choice(carried, "named")
        name = self._use_cases.get(prompt.use_case, "")
        return Choice(name, "use_case") if name else NOTHING

    def found(self, texts: Sequence[Text]) -> list[Choice]:
        """Return the scene that the classifiers find in each text: the first of several; none where they find none."""
        names: list[list[str]] = [[] for _ in texts]
        verdicts: dict[str, Sequence[Verdict]] = {}
        for name, scene in self.scenes.items():
            if not scene.classifier or not texts:
                continue
            kind, label = (LEARNED, name) if scene.classifier == LEARNED else scene.classifier.rsplit(":", 1)
            if kind not in verdicts:
                verdicts[kind] = self._classifier(scene.classifier)(texts)
            for place, verdict in enumerate(verdicts[kind]):
                if verdict.label == label and verdict.probability >= scene.above:
                    names[place].append(name)
        return [Choice(found[0], "classifier", tuple(found[1:])) if found else NOTHING for found in names]

    def _or_default(self, choice: Choice) -> Choice:
        return choice if choice.scene or not self._default else Choice(self._default, "default")

    def _classifier(self, asked: str) -> Classifier:
        kind, label = (LEARNED, "") if asked == LEARNED else asked.rsplit(":", 1)
        if kind not in self._opened:
            self._opened[kind] = self._open(kind)
        if kind in TASKS and LABELS[kind] and label not in LABELS[kind]:
            what = f"the classifier {kind} has no label {label!r}"
            raise UsageError(what, where=f"[{SECTION}] classifier", hint=f"its labels are {', '.join(LABELS[kind])}")
        return self._opened[kind]

    def _open(self, kind: str) -> Classifier:
        where = f"[{SECTION}] classifier"
        if kind == LEARNED:
            rows = list(self.tagged())
            if len({scene for _, scene in rows}) < 2:
                hint = f"give [{SECTION}.NAME] use_cases that prompts of the project have, or prompts the key {CARRIED!r} in extra"
                raise UsageError("learned has nothing to learn from: the training prompts are of one scene at most", where=where, hint=hint)
            return Learned([text for text, _ in rows], [scene for _, scene in rows])
        if kind in TASKS:
            return self.classifiers.open(kind)
        if kind.startswith("folder:"):
            return FolderClassifier("language", (self.classifiers.root or Path()) / kind.removeprefix("folder:"))
        if not plugins.has("classifiers", kind, TASKS):
            known = plugins.known((LEARNED, *(f"{task}:LABEL" for task in TASKS), "folder:PATH:LABEL"), "classifiers")
            raise UsageError(f"there is no classifier {kind!r}", where=where, hint=known)
        return _of_plugin(kind)


def _of_plugin(name: str) -> Classifier:
    """Return a plugin as a classifier, whatever its labels are; see ``classifiers.registry``."""
    function = plugins.load_function("classifiers", name)

    def classified(texts: Sequence[Text]) -> list[Verdict]:
        found = [verdict if isinstance(verdict, Verdict) else Verdict(*verdict) for verdict in function(texts)]
        if len(found) != len(texts):
            what = f"{name} gave {len(found)} verdicts for {len(texts)} texts"
            raise UsageError(what, where=plugins.origin("classifiers", name), hint="one verdict per text")
        return found

    return classified


def carrying(prompt: Prompt, choice: Choice) -> Prompt:
    """Return a prompt that carries its scene, or that it has none."""
    return replace(prompt, extra={**prompt.extra, CARRIED: choice.scene}) if choice.scene else prompt


def scene_of(prompt: Prompt) -> str:
    """Return the scene that a prompt carries; empty for none."""
    name = prompt.extra.get(CARRIED, "")
    return name if isinstance(name, str) else ""


def with_system(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """Return a conversation with a system prompt, unless it has one of its own."""
    if not text or any(message.role == "system" for message in messages):
        return tuple(messages)
    return (Message("system", text), *messages)


def staged(prompt: Prompt, scenes: Mapping[str, Scene]) -> Prompt:
    """Return a prompt as a model is asked it in the scene that it carries: with the scene's system prompt."""
    scene = scenes.get(scene_of(prompt))
    return replace(prompt, messages=with_system(prompt.messages, scene.system)) if scene and scene.system else prompt
