"""Opening the labeling site on a project. Nothing here loads torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import select

from accord.feedback import rows, schema, tasks
from accord.feedback.store import Store
from accord.feedback.web.server import open_site
from accord.records import Response
from accord.runtime.project import Project
from accord.settings import LabelConfig, ScreeningConfig


def waiting(store: Store, config: LabelConfig) -> Iterator[tasks.Task]:
    """Ranking tasks for the responses that nobody has ranked yet; a share of the prompts goes to two labelers."""
    left = list(_neither_ranked_nor_queued(store))
    prompts = {prompt.id: prompt for prompt in store.prompts()} if left else {}
    for task in tasks.from_responses(prompts, left):
        twice = random.Random(f"overlap {config.seed} {task.id}").random() < config.overlap
        yield replace(task, overlap=2 if twice else 1)


def _neither_ranked_nor_queued(store: Store) -> Iterator[Response]:
    """Found along indexes, so that a site with a million tasks opens as fast as one with a thousand."""
    r, item, t, shown, gone = schema.responses, schema.ranking_items, schema.tasks, schema.task_responses, schema.withdrawn
    ranked = select(item.c.ranking_id).where(item.c.response_id == r.c.id)
    queued = select(t.c.id).join(shown, shown.c.task_id == t.c.id).where(t.c.prompt_id == r.c.prompt_id, shown.c.response_id == r.c.id)
    erased = select(gone.c.record_id).where(gone.c.kind == "prompt", gone.c.record_id == r.c.prompt_id)
    query = select(r).where(~ranked.exists(), ~queued.exists(), ~erased.exists()).order_by(r.c.id)
    return map(rows.response, store.database.rows(query))


def host_site(project: Project, config: LabelConfig, *, insecure: bool) -> None:
    """Queues what waits to be ranked and serves the site until it is stopped."""
    with Store.open(project.store_url) as store:
        tasks.add(store, list(waiting(store, config)))
        limits = ScreeningConfig(**project.settings.get("screening", {}))
        open_site(store, config, limits, name=project.path.name, folder=project.path, insecure=insecure)
