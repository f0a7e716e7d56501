"""Episodes in place of single responses, for every command that learns from its own samples: what `--environment` names."""

from __future__ import annotations

from functools import partial

from accord.algorithms.episodes import EpisodeSampler
from accord.commands.models import open_speaker
from accord.data.templates import ChatFormat
from accord.environments.opened import open_environment
from accord.environments.played import LONGEST, Speak
from accord.protocols import Sampler
from accord.records import Sampling
from accord.runtime import ranks
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings.mixins import Episodes


def playing(project: Project, config: Episodes, sampler: Sampler, chat_format: ChatFormat, run: Run) -> Sampler:
    """Return the sampler of episodes in the environment that the settings name; without one, the sampler as it is.

    Raises:
        UsageError: there is no such environment.
        ModelError: a user is to be played by a model that the project does not have.
        InputError: the chat template rewrites earlier turns.
    """
    if not config.environment:
        return sampler
    environments = open_environment(
        config.environment, project.path, seconds=config.step_seconds, at_once=config.at_once, player=partial(_player, project)
    )
    if remark := chat_format.check_turns():
        run.note(remark)
    if not environments.deterministic and ranks.first():
        line = (
            f"the environment {config.environment} does not say that it answers the same again (deterministic = True): a resume reads the "
            "episodes that were drawn, and plays anew those that were not whole"
        )
        say(f"{run.stage}: {line}")
        run.note(line)
    window = chat_format.context
    return EpisodeSampler(sampler, environments, chat_format, config, window=window, divides=ranks.world() > 1, note=run.note)


def _player(project: Project, model: str) -> Speak:
    """Open a model of the project that plays users, the same ones each time."""
    speaker, sampling = open_speaker(project, model), Sampling(temperature=0.0, max_tokens=LONGEST)
    return lambda conversations: [texts[0] for texts in speaker.answer(conversations, n=1, sampling=sampling, seed=0)]
