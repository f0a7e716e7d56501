"""The stages around answers that can be checked: problems, star."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from accord.algorithms import star
from accord.algorithms.rewards import ExactAnswer, final_answer
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt, Split
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProblemsConfig, StarConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, frozen, learner, load_model, locate, save
from accord.world.arithmetic import Problem, problems

TEACHER, KEY = "teacher", "answer-key"
HINT = " (The answer is {answer}.)"
MISSING = "`accord problems` makes some; `accord import --format gsm8k` brings others"


def problems_stage(project: Project, config: ProblemsConfig) -> dict[str, int]:
    """Puts the world's arithmetic into the store: solved problems and such as have their answer alone. The same again adds nothing.

    Raises:
        InputError: there are not so many problems with so small numbers.
    """
    try:
        made = list(problems(config.seed, config.count, most=config.most, steps=config.steps))
    except ValueError as error:
        raise InputError(str(error), where="problems", hint="raise most, or take fewer") from error
    shown = {problem.prompt.id for problem in [p for p in made if p.prompt.split == "train"][: config.solved]}
    with Store.open(project.store_url) as store:
        added = store.add(
            labelers=[Labeler(TEACHER, "simulated", "teachers"), Labeler(KEY, "simulated", "teachers")],
            demonstrations=[_demonstration(problem, problem.prompt.id in shown) for problem in made],
        )
    return {"problems": len(made), "solved": len(shown), "prompts": added["prompts"], "demonstrations": added["demonstrations"]}


def _demonstration(problem: Problem, shown: bool) -> Demonstration:
    text, labeler = (problem.solution, TEACHER) if shown else (problem.key, KEY)
    return Demonstration(f"{problem.prompt.id}-{labeler}", problem.prompt, text, labeler)


def keyed(project: Project, split: Split, kinds: str) -> list[Demonstration]:
    """The demonstrations of a split that end in ``####`` and a number, one a prompt."""
    with Store.open(project.store_url) as store:
        rows = said_by(store, store.demonstrations(split=split), kinds)
        return list({row.prompt.id: row for row in rows if final_answer(row.text) is not None}.values())


def star_stage(project: Project, config: StarConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Teaches the SFT model by its own right rationales and saves models/NAME."""
    source = locate(project, sft_model)
    solved, digest = frozen(project.run(name) / "answers.jsonl", Demonstration, keyed(project, "train", config.kinds))
    if not solved:
        raise InputError(f"the store has no problems with an answer by {config.kinds}", where=project.store_url, hint=MISSING)
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
