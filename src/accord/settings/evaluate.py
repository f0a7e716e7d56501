"""Settings of the commands that measure: win rates, the frontier, reward-model examination, probes, problems, comparison of methods."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.methods import BEST_OF, METHODS
from accord.settings.mixins import HeldOut, Knowledge, Seed, Settings, section
from accord.settings.ranges import Count, Natural, NonNegative, Range


@section
class EvaluateConfig(Seed, HeldOut):
    """`accord evaluate`: win rates on the prompts of held-out users."""

    best_of: Annotated[int, Range(least=2, why="2 at least: the best of one is no choice")] = 8
    """n of best-of-n from the SFT model, at least 2."""
    draws: Count = 8
    """Responses per prompt for the rate of made-up answers, which few prompts allow measuring."""
    temperature: NonNegative = 1.0
    """Sampling temperature of every model."""


@section
class CompareConfig(Seed, HeldOut):
    """`accord compare`: win rates of two or more systems."""

    seed: Natural = 0
    """Seed of the responses and the bootstrap."""
    prompts: Natural = 300
    split: Literal["test", "validation", "train"] = "test"
    """Split of the prompts; no stage trains on test users' prompts."""
    use_case: str = ""
    """Only prompts of this use case."""
    shots: Natural = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""
    margin: NonNegative = 0.0
    """Utilities or rewards that differ by no more than this are a tie."""
    judge_tokens: Count = 512
    """Length limit of an LLM judge's answer in tokens; a reasoning judge needs room before its verdict."""
    checked: Natural = 100
    """Pairs of answers that people compared, on which an LLM judge is checked first, one per prompt; 0 checks none."""
    pleas: Natural = 16
    """Pairs on which the losing answer asks an LLM judge for its vote, to see whether the judge obeys; 0 tries none."""
    diversity: Natural = 32
    """Prompts that each system answers a second time, to measure how much its answers to one prompt differ; 0 measures none, and neither
    does temperature 0."""
    overlap: Annotated[int, Range(least=1, why="one person at least")] = 1
    """Number of people who judge each prompt, when people are the judge."""


@section
class BenchmarkConfig(Seed):
    """`accord benchmark`: public benchmarks by others' code."""

    seed: Natural = 0
    """Seed of the answers, the few-shot examples and the bootstrap."""
    include: str = ""
    """Folder of your own task files for lm-evaluation-harness."""
    limit: Natural = 0
    """Items per task, at most; 0 takes all."""
    shots: Annotated[int, Range(least=-1, why="-1 keeps the task's own number")] = -1
    """Examples in the prompt of lm-evaluation-harness's tasks; -1 keeps each task's own number."""
    batch_size: Count = 8
    """Items that a harness runs at once."""
    max_tokens: Count = 512
    """Length limit of an answer in inspect-ai's tasks and in MT-bench."""
    temperature: NonNegative = 0.0
    """Sampling temperature in MT-bench; 0 is greedy."""
    judge_tokens: Count = 512
    """Length limit of the judge's answer in MT-bench."""
    bootstrap: Count = 2000
    """Bootstrap resamples of the items for each interval."""


@section
class FrontierConfig(Seed, HeldOut):
    """`accord frontier`: reward against KL."""

    seed: Natural = 0
    """Seed of the responses and the bootstrap."""
    prompts: Natural = 200
    best_of: Count = 16
    """Largest n of best-of-n; the smaller powers of two use the same responses."""
    temperature: Annotated[float, Range(above=0, why="a greedy policy has no KL to measure")] = 1.0
    """Sampling temperature of every policy; use the training run's."""
    bootstrap: Count = 1000


@section
class ExamineConfig(Seed):
    """`accord examine`: the quality of a reward model."""

    seed: Natural = 0
    """Seed of the bootstrap and every random choice."""
    rankings: Natural = 0
    """Number of held-out rankings; 0 takes all."""
    bins: Count = 10
    """Bins of the reliability curve."""
    wrong: Natural = 50
    """Number of the worst-predicted comparisons to write down."""
    attributed: Natural = 10
    """Number of those whose score is attributed to tokens."""
    requeue: Natural = 0
    """Number of the worst-predicted comparisons to send back to the labeling queue."""
    curve: Natural = 0
    """Points of the learning curve, each a reward model trained on half as many rankings as the next; 0 trains none."""
    bootstrap: Count = 2000
    """Bootstrap resamples of the prompts for each interval."""


@section
class ExplainConfig(Settings):
    """`accord explain`: why an answer scores as it does, and what it was learned from."""

    nearest: Natural = 5
    """Number of the nearest records of each kind to show; 0 searches none."""
    others: Natural = 3
    """Number of other answers to the prompt to compare with, the best first."""
    by: Literal["auto", "states", "gradients", "words"] = "auto"
    """What nearness is: `states` compares the model's hidden states, `gradients` how training on a record moves this answer, `words` what
    both say; auto takes states, and words where there are no weights or more parameters than `largest`."""
    largest: Count = 500_000_000
    """Parameters up to which auto compares hidden states."""
    largest_gradients: Count = 30_000_000
    """Parameters up to which gradients are compared: each record needs a backward pass."""
    searched: Count = 2000
    """Records of each kind whose states are compared; where there are more, those that share most words with the answer."""
    among: Count = 100
    """Records of each kind whose gradients are compared: those nearest by states."""
    rewards: str = ""
    """Rewards and weights to take apart, as in docs/rewards.md; empty takes those that the answer's model was trained with."""


@section
class ProbeConfig(Seed, HeldOut, Knowledge):
    """`accord probe`: alignment tax, truthfulness, safety, fairness and knowledge."""

    seed: Natural = 0
    """Seed of the responses and the bootstrap."""
    prompts: Natural = 300
    """Held-out prompts per measure, and rows per file, at most; 0 takes all."""
    shots: Natural = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""
    accuracy: Annotated[float, Range(above=0, most=1)] = 0.9
    """Share of the stated answers that is to be right: the measure `knowledge` finds the certainty from which it is."""
    knowledge_meaning: str = "auto"
    """What tells which answers mean the same: short, entailment:FOLDER, judge:MODEL or judge:http://host/v1#MODEL; auto is the town's
    grammar in the built-in world, and otherwise short."""


@section
class SolveConfig(Seed, HeldOut):
    """`accord solve`: accuracy of a model's final answers, from one answer or by majority vote (self-consistency)."""

    seed: Natural = 0
    """Seed of the samples."""
    votes: Count = 1
    """Answers per problem; from 2 on the most frequent answer counts (Wang et al. 2023)."""
    prompts: Natural = 0
    """Number of held-out problems; 0 takes all."""
    temperature: NonNegative = 0.0
    """Sampling temperature; 0 is greedy and allows only one vote."""
    bootstrap: Count = 2000
    """Bootstrap resamples of the problems for the interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        alike = self.votes > 1 and self.temperature == 0
        self.require(not alike, f"temperature is 0, so that all {self.votes} votes are the same; 0.7 is usual")


@section
class AlgorithmsConfig(Seed, HeldOut):
    """`accord algorithms`: a comparison of methods on one project's data, under one judge."""

    seed: Natural = 0
    """Seed of the evaluation's samples and intervals; training uses `seeds`."""
    methods: str = "ppo dpo kto grpo rloo raft ilql best-of-n q-best-of-n"
    """Methods to compare: any of ppo, dpo, kto, grpo, rloo, reinforce, raft, online-dpo, distill (which needs a model called teacher),
    ilql, best-of-n and q-best-of-n (which needs ilql)."""
    seeds: str = "0 1 2"
    """Seeds of the training runs."""
    budget: NonNegative = 0.0
    """Training seconds per run for methods that sample while they learn, as many steps as fit; 0 uses the steps of their settings."""
    best_of: Count = 8
    """n of best-of-n and q-best-of-n."""
    temperature: NonNegative = 1.0
    """Sampling temperature of every model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*METHODS, *BEST_OF)
        unknown = [name for name in self.chosen if name not in known]
        self.require(bool(self.chosen) and not unknown, f"methods is {self.methods!r}; known are {', '.join(known)}")
        apart = "q-best-of-n" in self.chosen and "ilql" not in self.chosen
        self.require(not apart, "q-best-of-n chooses by the network of ilql, which is not among the methods")
        words = self.seeds.replace(",", " ").split()
        numbers = bool(words) and all(word.isdecimal() for word in words)
        self.require(numbers, f"seeds is {self.seeds!r}; give whole numbers, for example '0 1 2'")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The chosen methods by name."""
        return tuple(dict.fromkeys(self.methods.replace(",", " ").split()))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        return tuple(dict.fromkeys(map(int, self.seeds.replace(",", " ").split())))


@section
class ClassifiersConfig(Settings):
    """`accord classifiers`, and every figure that rests on one: the classifier of each task. Empty is the default (docs/classifiers.md)."""

    stance: str = ""
    """Refusal, admission, hedge or claim: `small`, `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    harm: str = ""
    """Harm that a prompt asks for: `small`, `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    injection: str = ""
    """Orders to the model against its operator's: `small`, `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    toxicity: str = ""
    """Insults, threats, obscenity: `small`, `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    language: str = ""
    """The language of a text: `py3langid`, `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    personal: str = ""
    """Personal data: `rules`, `folder:PATH`, `llm:MODEL` or a plugin."""
    written: str = ""
    """Machine-written text, as a hint: `rules`, `off`, `folder:PATH`, `llm:MODEL` or a plugin."""
    address: str = ""
    """Address of the server that `llm:MODEL` is asked at, such as http://127.0.0.1:8000/v1; empty takes a model of the project."""
