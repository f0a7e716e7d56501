"""`accord label`: open the labeling site, or let simulated labelers or a function rank.

Needs responses that nobody has ranked (`accord sample`, `accord import`), or tasks that `accord queue` made; `--by world` also needs
the built-in world, and `--by module:function` a function of the form of a reward. Leaves rankings, ratings and flags in the database. The
page follows Ouyang et al. 2022, appendix B: rate each response, flag it, then rank all of them. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Flat, Insecure, ProjectPath, RunName
from accord.commands.feedback.cut_off import CutOff, rankable_of
from accord.commands.feedback.simulated import Ranker, assignments, rankable
from accord.commands.scenes import notes_of
from accord.commands.world import picture_town_of, world_of
from accord.data import pictures
from accord.errors import InputError, UsageError
from accord.feedback import questions, tasks
from accord.feedback.database import ANSWER_SECONDS
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.feedback.unranked import unqueued, unranked, waiting_tasks
from accord.feedback.web.server import open_site, sso_of
from accord.records import MOST_RANKED, Guideline, Labeler, Prompt, Ranking, Response
from accord.rewards.functions import FunctionReward, load_function
from accord.rewards.rows import Said, total
from accord.runtime import lineage
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import LabelConfig, ScreeningConfig
from accord.world import labelers, tasters
from accord.world.picture_town import PictureTown, picture_labelers

BY_HELP = "People in the labeling site (site), the world's simulated labelers (world), or a function of yours as module:function."


def label(
    project: ProjectPath,
    *,
    by: Annotated[str, Parameter(help=BY_HELP)] = "site",
    insecure: Insecure = False,
    cut_off: CutOff = "ask",
    name: RunName = "label",
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> Run | None:
    """Open the labeling site on the responses that nobody has ranked yet, or let simulated labelers or a function rank them.

    The site is served until it is stopped; any other ``by`` returns a run.

    Example: accord label my-project --port 8400

    Raises:
        UsageError: the site may not listen on this address without a secret or https, the project has no built-in world, a question
            to labelers cannot be asked, you would not have responses ranked that break off, or there is no such function.
        InputError: simulated labelers, or the function, have nothing to rank.
        RunError: a run of this name is there already, or the function fails.
    """
    opened = Project.open(project)
    if by == "world":
        return _label_by_world(opened, config, name)
    if by != "site":
        return _label_by_function(opened, config, name, by)
    asked = questions.load(opened.settings.get("label.questions"), opened.path)
    with Store.open(opened.store_url, seconds=ANSWER_SECONDS) as store:
        responses = rankable_of(list(unqueued(store)), cut_off)
        tasks.add(store, list(waiting_tasks(store, seed=config.seed, overlap=config.overlap, responses=responses)))
        sso = sso_of(opened.settings)
        screening = ScreeningConfig(**opened.settings.get("screening", {}))
        how: dict[str, Any] = {"insecure": insecure, "sso": sso, "scene": notes_of(opened), "pictures": pictures.read}
        open_site(store, config, screening, asked, name=opened.path.name, folder=opened.path, **how)
    return None


def _label_by_world(project: Project, config: LabelConfig, name: str) -> Run:
    """Let the world's labelers rank, through the database as people would.

    Each sees the page in the order that the site would show (``tasks.shown_order`` with the world's seed).
    """
    town = picture_town_of(project)
    world = world_of(project) if town is None else town
    simulated: Sequence[Ranker]
    if isinstance(world, PictureTown):
        simulated = picture_labelers(world)
    else:
        simulated = tasters(world) if config.tastes else labelers(world)
    with Store.open(project.store_url) as store:
        waiting = rankable(store, world)
        if not waiting:
            raise InputError("the store has no responses that wait to be ranked", where=project.store_name, hint="`accord sample` first")
        shown: list[str] = []
        for _, responses in waiting:
            shown += [response.id for response in responses]
        inputs = {"responses": lineage.digest_rows(sorted(shown))}
        run = Run.start(project.run(name), stage="label", config=config, inputs=inputs, resume=False, seed=config.seed)
        with run.finishing() as metrics:
            store.add_labelers(labeler.record for labeler in simulated)
            rankings = list(_rankings(config, waiting, simulated))
            store.add_rankings(rankings)
            metrics |= {"rankings": len(rankings), "prompts": len(waiting), "labelers": len(simulated)}
    return run


def _label_by_function(project: Project, config: LabelConfig, name: str, address: str) -> Run:
    """Let a function rank: the higher its number for a response, the better the rank. A trial of the way from rankings to a model."""
    if ":" not in address:
        hint = "site, world, or module:function with a file in the project's folder"
        raise UsageError(f"nobody is called {address!r}", where="--by", hint=hint)
    function = FunctionReward(address, load_function(address, project.path))
    judge = Labeler(address, "simulated", "function")
    with Store.open(project.store_url) as store:
        waiting = unranked(store)
        if not waiting:
            raise InputError("the store has no responses that wait to be ranked", where=project.store_name, hint="`accord sample` first")
        inputs = {"responses": lineage.digest_rows(sorted(response.id for _, responses in waiting for response in responses))}
        run = Run.start(project.run(name), stage="label", config=config, inputs=inputs, resume=False, seed=config.seed)
        with run.finishing() as metrics:
            rankings = list(_ranked_by(function, judge, waiting, reference("training", project.path)))
            store.add_labelers([judge])
            store.add_rankings(rankings)
            tied = sum(len(set(ranking.ranks)) == 1 for ranking in rankings)
            metrics |= {"rankings": len(rankings), "prompts": len(waiting), "all_tied": tied, "labeler": judge.id}
    return run


def _ranked_by(
    function: FunctionReward, judge: Labeler, waiting: Sequence[tuple[Prompt, list[Response]]], guideline: Guideline
) -> Iterator[Ranking]:
    """Rank each prompt's responses; a prompt to one of whose responses the function does not apply is left out."""
    at = datetime.now(UTC).replace(microsecond=0).isoformat()
    for prompt, group in waiting:
        responses = group[:MOST_RANKED]
        rows = [Said(prompt.messages, each.text, prompt.extra, prompt.id, each.tokens) for each in responses]
        values = [value for value in total(function.score(rows), len(rows)) if value is not None]
        if len(values) == len(rows):
            ranks = tuple(1 + sum(other > value for other in values) for value in values)
            ids = tuple(response.id for response in responses)
            key = lineage.digest_rows([judge.id, *ids])[:12]
            yield Ranking(f"{prompt.id}-{key}", prompt.id, judge.id, ids, ranks, guideline, at)


def _rankings(config: LabelConfig, waiting: Sequence[tuple[Prompt, list[Response]]], simulated: Sequence[Ranker]) -> Iterator[Ranking]:
    guideline, clock = reference("training"), datetime.now(UTC).replace(microsecond=0)
    with track(len(waiting), "label") as bar:
        for number, (prompt, responses, chosen) in enumerate(assignments(config, waiting, simulated)):
            at = (clock + timedelta(seconds=number)).isoformat()
            for labeler in chosen:
                id = f"{prompt.id}-{responses[0].id}-{labeler.record.id}"
                yield labeler.rank(prompt, responses, guideline=guideline, at=at, id=id)
            bar.advance()
