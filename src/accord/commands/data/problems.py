"""`accord problems`: add arithmetic problems of the built-in world.

Needs a project, with or without the world. Leaves prompts with demonstrations: some problems solved with their rationale, the others
with their answer alone, which is enough to check by. `accord star` and `accord solve` use them.
"""

from __future__ import annotations

from typing import Annotated

from accord.commands.app import Flat, ProjectPath
from accord.errors import InputError
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler
from accord.runtime.project import Project
from accord.settings import ProblemsConfig
from accord.world.arithmetic import Problem
from accord.world.arithmetic import problems as arithmetic_problems

TEACHER, KEY = "teacher", "answer-key"
"""The labelers who give a whole solution, and the answer alone."""


def problems(project: ProjectPath, *, config: Annotated[ProblemsConfig, Flat] = ProblemsConfig()) -> dict[str, int]:
    """Add arithmetic problems of the built-in world: some solved, the others with their answer alone. The same again adds nothing.

    Example: accord problems my-town --count 2000 --solved 200

    Raises:
        InputError: numbers up to ``most`` make fewer different problems than ``count``.
    """
    opened = Project.open(project)
    try:
        made = list(arithmetic_problems(config.seed, config.count, most=config.most, steps=config.steps))
    except ValueError as error:
        raise InputError(
            str(error), where="problems", hint=f"raise --most above {config.most}, or lower --count below {config.count}"
        ) from error
    training = [problem.prompt.id for problem in made if problem.prompt.split == "train"]
    solved = set(training[: config.solved])
    with Store.open(opened.store_url) as store:
        added = store.add(
            labelers=[Labeler(TEACHER, "simulated", "teachers"), Labeler(KEY, "simulated", "teachers")],
            demonstrations=[_demonstration(problem, problem.prompt.id in solved) for problem in made],
        )
    return {"problems": len(made), "solved": len(solved), "prompts": added["prompts"], "demonstrations": added["demonstrations"]}


def _demonstration(problem: Problem, solved: bool) -> Demonstration:
    text, labeler = (problem.solution, TEACHER) if solved else (problem.key, KEY)
    return Demonstration(f"{problem.prompt.id}-{labeler}", problem.prompt, text, labeler)
