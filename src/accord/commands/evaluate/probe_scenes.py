"""The router's mistakes: how often the classifiers of the scenes find what the prompts' own tags say.

The prompts are held out from training, so that ``classifier = "learned"`` has not seen them. The tags are a prompt's ``extra["scene"]`` or
its use case; prompts without either say nothing and are left out, except those of a use case that no scene claims, which are of none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from accord.commands.scenes import router_of
from accord.data.classifiers.measure import wilson
from accord.data.scenes import Choice, Router
from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime.project import Project
from accord.settings.scenes import NONE


def routed(project: Project, most: int) -> dict[str, Any]:
    """Return the confusion table of the classifiers' scenes against the tagged ones, with each scene's recall and precision.

    Args:
        most: prompts of each held-out split at most; 0 takes all.

    Raises:
        UsageError: the project has no scenes, or none that a classifier finds.
        InputError: no held-out prompt is tagged.
    """
    router = router_of(project)
    if router is None or not any(scene.classifier for scene in router.scenes.values()):
        what = "the project has no scene that a classifier finds" if router else "the project has no scenes"
        raise UsageError(what, where="--measure scenes", hint='give [scenes.NAME] a classifier, such as "learned" (docs/scenes.md)')
    prompts: list[Prompt] = []
    with Store.open(project.store_url) as store:
        for split in ("validation", "test"):
            prompts += [prompt for prompt in store.prompts(split=split) if _tagged(router, prompt)][: most or None]
    if not prompts:
        hint = 'prompts are tagged by a use case, or by {"scene": NAME} in extra'
        raise InputError("no held-out prompt is tagged with a scene", where=project.store_name, hint=hint)
    true = [router.tag(prompt).scene or NONE for prompt in prompts]
    return table_of(true, router.found([prompt.messages for prompt in prompts]), router)


def table_of(true: Sequence[str], found: Sequence[Choice], router: Router) -> dict[str, Any]:
    """Return the table and its shares. ``routed[a][b]`` is how many prompts of scene a went to b; ``none`` is no scene."""
    names = [*(name for name, scene in router.scenes.items() if scene.classifier or name in true), NONE]
    went = [choice.scene or NONE for choice in found]
    pairs = Counter(zip(true, went, strict=True))
    counts: dict[str, dict[str, int]] = {one: {other: pairs[one, other] for other in names} for one in names}
    shares: dict[str, dict[str, Any]] = {}
    for name in names:
        right = pairs[name, name]
        shares[name] = {"recall": asdict(wilson(right, true.count(name))), "precision": asdict(wilson(right, went.count(name)))}
    return {
        "prompts": len(true),
        "right": asdict(wilson(sum(one == other for one, other in zip(true, went, strict=True)), len(true))),
        "routed": counts,
        "by_scene": shares,
        "several": sum(bool(choice.also) for choice in found),
    }


def _tagged(router: Router, prompt: Prompt) -> bool:
    return bool(router.tag(prompt).scene) or prompt.use_case not in ("", "other")


def lines_of(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the confusion table as rows: the tagged scene, how many went to each scene, recall and precision."""
    rows: list[tuple[str, ...]] = []
    for name, counts in found["routed"].items():
        share = found["by_scene"][name]
        told = tuple("–" if not each["of"] else f"{each['value']:.0%} ({each['low']:.0%} to {each['high']:.0%})" for each in share.values())
        rows.append((name, *(str(count) for count in counts.values()), *told))
    return rows
