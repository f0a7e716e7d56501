"""The scenes of a project (docs/scenes.md): what chooses one, prompts that carry theirs, and what labelers are told about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from accord.data.classifiers.project_set import of_project
from accord.data.scenes import Router, carrying, staged
from accord.errors import InputError
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings.scenes import NONE

Record = TypeVar("Record")
AT_ONCE = 512
"""Records whose scenes are found together."""


def router_of(project: Project) -> Router | None:
    """Return what chooses the scene of a prompt or a request; None where the project has no scenes."""
    scenes = project.scenes
    if not scenes:
        return None

    def tagged() -> Iterator[tuple[str, str]]:
        """The training prompts whose tags say their scene, or that it is none."""
        with Store.open(project.store_url) as store:
            prompts = list(store.prompts(split="train"))
        for prompt in prompts:
            name = router.tag(prompt).scene
            if name or prompt.use_case not in ("", "other"):
                yield prompt.messages[-1].content, name or NONE

    router = Router(scenes, of_project(project), tagged)
    return router


def tagged_prompts(project: Project, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return prompts that carry their scenes, and are otherwise as they were; the prompts themselves in a project without scenes."""
    router = router_of(project)
    if router is None:
        return list(prompts)
    return [carrying(prompt, choice) for prompt, choice in zip(prompts, router.of_prompts(prompts), strict=True)]


def staged_prompts(project: Project, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return prompts as a model is asked them: carrying their scenes, with the scenes' system prompts."""
    scenes = project.scenes
    return [staged(prompt, scenes) for prompt in tagged_prompts(project, prompts)] if scenes else list(prompts)


def in_scenes(project: Project, rows: Iterable[Record]) -> Iterable[Record]:
    """Return prompts, or records that have one, with each prompt as a model is asked it; see ``staged_prompts``."""
    router = router_of(project)
    return rows if router is None else _in_scenes(router, rows)


def _in_scenes(router: Router, rows: Iterable[Record]) -> Iterator[Record]:
    waiting: list[Record] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == AT_ONCE:
            yield from _staged(router, waiting)
            waiting = []
    yield from _staged(router, waiting)


def _staged(router: Router, rows: Sequence[Record]) -> Iterator[Record]:
    prompts = [row if isinstance(row, Prompt) else _prompt(row) for row in rows]
    for row, prompt, choice in zip(rows, prompts, router.of_prompts(prompts), strict=True):
        played: Any = staged(carrying(prompt, choice), router.scenes)
        yield played if isinstance(row, Prompt) else replace(row, prompt=played)  # type: ignore[type-var]


def _prompt(row: Any) -> Prompt:
    return row.prompt


def scenes_input(project: Project) -> dict[str, str]:
    """Return the digest of what [scenes] means for a training, as an input of a run; nothing without the section."""
    rows: list[list[Any]] = []
    for name, scene in project.scenes.items():
        rows.append([name, scene.use_case_names, scene.classifier, scene.above, scene.default, scene.system, scene.rewards])
    return {"scenes": lineage.digest_rows(rows)} if rows else {}


def notes_of(project: Project) -> Callable[[Prompt, str], tuple[str, str]] | None:
    """Return what tells labelers the scene of a prompt and its note, in English or Chinese; None in a project without scenes."""
    router = router_of(project)
    if router is None:
        return None

    def told(prompt: Prompt, language: str) -> tuple[str, str]:
        name = router.of_prompts([prompt])[0].scene
        scene = router.scenes.get(name)
        return (name, (scene.note_zh if language == "zh" else "") or scene.note) if scene else ("", "")

    return told


def documents_of(project: Project, files: Sequence[str]) -> list[tuple[str, str]]:
    """Return names and texts of a scene's files.

    Raises:
        InputError: one is missing, or is no text.
    """
    found: list[tuple[str, str]] = []
    for file in files:
        path = project.path / file
        try:
            found.append((path.name, path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            hint = "name a text file in UTF-8, relative to the project's folder"
            raise InputError(f"a scene's document cannot be read: {error}", where=str(path), hint=hint) from error
    return found
