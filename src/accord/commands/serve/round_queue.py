"""Reviewed prompts of the chat as ranking tasks for labelers. Loads torch only where responses are drawn or a reward model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accord.commands.serve import trials
from accord.errors import InputError
from accord.feedback import queue
from accord.feedback.answers import CORRECTION
from accord.feedback.store import Store
from accord.feedback.traces import FROM_CHAT
from accord.records import Prompt, Response, Sampling
from accord.runtime.project import Project
from accord.settings import ChatConfig, RoundConfig

MOST = 9
"""Responses that a labeler can rank at once."""


def queue_prompts(project: Project, config: RoundConfig, chat: ChatConfig, *, reward: str = "", dtype: str = "auto") -> dict[str, int]:
    """Queue one ranking task per reviewed prompt of the chat, with responses drawn until there are k.

    Args:
        reward: a reward model: prompts of whose best responses it is least sure come first; empty for none.

    Raises:
        InputError: no prompt of the chat has been accepted.
    """
    with Store.open(project.store_url) as store:
        prompts = [prompt for prompt in store.prompts() if prompt.id.startswith(FROM_CHAT)]
        if not prompts:
            hint = "a lead accepts them on the chat's page"
            raise InputError("no prompt of the chat was accepted yet", where=project.store_name, hint=hint)
        responses = _responses(store, prompts)
        model = trials.answering(project, store)
        _draw_missing(project, model, prompts, responses, config, chat, dtype)
        doubts = dict[str, float]()
        if reward:
            from accord.commands.serve.round_doubts import doubts_by_prompt

            doubts = doubts_by_prompt(project, reward, prompts, responses, dtype)
        tasks: list[queue.Task] = []
        for prompt in prompts:
            shown = tuple(sorted(responses[prompt.id], key=lambda response: response.id))
            if 2 <= len(shown) <= MOST:
                id = queue.task_id("rank", "training", prompt.id, (response.id for response in responses[prompt.id]))
                priority = round(doubts.get(prompt.id, 0.0), 6)
                tasks.append(queue.Task(id, "rank", prompt, shown, overlap=config.overlap, priority=priority))
        alike = sum(len(group) < 2 for group in responses.values())
        return {"prompts": len(prompts), "queued": queue.add(store, tasks), "responses_all_alike": alike}


def _responses(store: Store, prompts: Sequence[Prompt]) -> dict[str, list[Response]]:
    """Return the stored responses by prompt, without the corrections that users wrote."""
    responses: dict[str, list[Response]] = {prompt.id: [] for prompt in prompts}
    for response in store.responses():
        if response.prompt_id in responses and response.model != CORRECTION:
            responses[response.prompt_id].append(response)
    return responses


def _draw_missing(
    project: Project,
    model: str,
    prompts: Sequence[Prompt],
    responses: Mapping[str, list[Response]],
    config: RoundConfig,
    chat: ChatConfig,
    dtype: str,
) -> None:
    """Add new responses of a model to the prompts that have fewer than k, in other words than those that are there."""
    short = [prompt for prompt in prompts if len(responses[prompt.id]) < config.k]
    if not short:
        return
    from accord.commands.models import local_speaker

    speaker = local_speaker(project, model, dtype)
    sampling = Sampling(1.0, chat.top_k, chat.top_p, chat.repetition_penalty, chat.max_tokens)
    drawn = speaker.answers([prompt.messages for prompt in short], n=config.k, sampling=sampling, seed=config.seed)
    version = f"{model}@{speaker.model.digest[:12]}"
    for prompt, answers in zip(short, drawn, strict=True):
        group = responses[prompt.id]
        known = {response.text for response in group}
        fresh: dict[str, bool] = {}
        for answer in answers:
            if answer.text.strip() and answer.text not in known:
                fresh.setdefault(answer.text, answer.finished)
        for text in list(fresh)[: config.k - len(group)]:
            id = f"{prompt.id}-{queue.digest(version, text)[:12]}"
            group.append(Response(id, prompt.id, text, version, finished=fresh[text]))
