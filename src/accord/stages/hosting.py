"""Opening the labeling site on a project. Nothing here loads torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import select

from accord.feedback import schema, tasks
from accord.feedback.store import Store
from accord.feedback.web.serving import open_site
from accord.runtime.project import Project
from accord.settings import LabelConfig


def waiting(store: Store, config: LabelConfig) -> Iterator[tasks.Task]:
    """Ranking tasks for the responses that nobody has ranked yet; a share of the prompts goes to two labelers."""
    ranked = {id for ranking in store.rankings() for id in ranking.response_ids}
    with store.read() as connection:
        queued = set(connection.scalars(select(schema.task_responses.c.response_id).distinct()))
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    left = [response for response in store.responses() if response.id not in ranked | queued]
    for task in tasks.from_responses(prompts, left):
        twice = random.Random(f"overlap {config.seed} {task.id}").random() < config.overlap
        yield replace(task, overlap=2 if twice else 1)


def host_site(project: Project, config: LabelConfig, *, insecure: bool) -> None:
    """Queues what waits to be ranked and serves the site until it is stopped."""
    with Store.open(project.store_url) as store:
        tasks.add(store, list(waiting(store, config)))
        open_site(store, config, name=project.path.name, folder=project.path, insecure=insecure)
