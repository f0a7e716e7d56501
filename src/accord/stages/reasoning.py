"""The stages around answers that can be checked: star, solve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from accord.algorithms import star
from accord.algorithms.rewards import ExactAnswer, final_answer
from accord.feedback.answer_keys import NO_PROBLEMS, with_answer_keys
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.evaluation.majority import right
from accord.evaluation.statistics import interval
from accord.records import Demonstration, Message, Prompt, Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import SolveConfig, StarConfig
from accord.stages.asking import respond
from accord.stages.opening import compute_dtype, digest_of, finishing, frozen, learner, load_model, locate, save

HINT = " (The answer is {answer}.)"


def star_stage(project: Project, config: StarConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Teaches the SFT model by its own right rationales and saves models/NAME."""
    source = locate(project, sft_model)
    solved, digest = frozen(project.run(name) / "answers.jsonl", Demonstration, with_answer_keys(project, "train", config.kinds))
    if not solved:
        raise InputError(f"the store has no problems with an answer by {config.kinds}", where=project.store_url, hint=NO_PROBLEMS)
    inputs = {"sft": digest_of(source), "answers": digest}
    run = Run.start(project.run(name), stage="star", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        spoken = model.format
        policy = learner(model.lm, config, "star", "lora")
        answers = {row.prompt.id: answer for row in solved if (answer := final_answer(row.text)) is not None}
        questions = [
            star.Question(spoken.prompt(row.prompt.messages), spoken.prompt(hinted(row.prompt, answers[row.prompt.id]))) for row in solved
        ]
        known = {tuple(question.plain): answers[row.prompt.id] for question, row in zip(questions, solved, strict=True)}
        star.train(
            config,
            policy=policy,
            sampler=LocalSampler(policy, stop=spoken.stop, dtype=compute),
            scorer=ExactAnswer(known, spoken.text),
            questions=questions,
            decode=spoken.tokenizer.decode,
            run=run,
            dtype=compute,
        )
        figures |= {"problems": len(questions)}
        parents, data = {sft_model: inputs["sft"]}, {"answers": digest}
        save(project, name, policy, spoken.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run


def hinted(prompt: Prompt, answer: Decimal) -> tuple[Message, ...]:
    """The conversation with the answer behind the last question."""
    *before, last = prompt.messages
    return (*before, replace(last, content=last.content + HINT.format(answer=answer)))


def solve_stage(project: Project, config: SolveConfig, *, model: str, dtype: str) -> dict[str, Any]:
    """Exact-match accuracy on the problems of held-out users, with its interval.

    Raises:
        InputError: there are no such problems.
    """
    solved = with_answer_keys(project, "test", "person simulated")[: config.prompts or None]
    if not solved:
        raise InputError("the store has no held-out problems with an answer", where=project.store_url, hint=NO_PROBLEMS)
    speaker = load_model(project, model)
    sampler = LocalSampler(speaker.lm, stop=speaker.format.stop, dtype=compute_dtype(dtype))
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    asked = [row.prompt for row in solved]
    groups, _ = respond(speaker, sampler, asked, n=config.votes, sampling=sampling, seed=config.seed, batch_size=64)
    voted = [[final_answer(response.text) for response in group] for group in groups]
    keys = [answer for row in solved if (answer := final_answer(row.text)) is not None]
    return _figures(config, model, voted, keys)


def _figures(config: SolveConfig, model: str, voted: list[list[Decimal | None]], keys: list[Decimal]) -> dict[str, Any]:
    def share(found: list[list[Decimal | None]]) -> list[float]:
        return [round(value, 4) for value in interval(right(found, keys), resamples=config.bootstrap, seed=config.seed)]

    single: Mapping[str, Any] = {"single": share([answers[:1] for answers in voted])} if config.votes > 1 else {}
    unanswered = sum(answer is None for answers in voted for answer in answers) / (len(voted) * config.votes)
    return {"model": model, "problems": len(keys), "votes": config.votes, "accuracy": share(voted), **single, "unanswered": unanswered}
