"""Every command of `accord`, one file each, in rooms named after the loop: project, data, feedback, train, evaluate, serve.

This table is all that `accord --help` reads. A command's module is loaded when the command is asked for, so its heavy imports stand
at the top of its file. A command's name is its file, its section of accord.toml, its page in docs/ and its test file.
"""

from __future__ import annotations

import builtins
import keyword
from typing import NamedTuple

GROUPS = {
    "project": "Project",
    "data": "Data: what comes in",
    "feedback": "Feedback: what people say",
    "train": "Train: how it learns",
    "evaluate": "Evaluate: how good it is",
    "serve": "Serve: who uses it",
}
"""The rooms in the order of the loop, each with its heading in `accord --help`."""


TOGETHER = frozenset(
    {
        *("distill", "dpo", "grpo", "ilql", "kto", "online-dpo", "ppo", "pretrain", "process", "raft", "reinforce", "reward", "rloo"),
        *("sample", "sft", "star"),
    }
)
"""Commands that several processes run together. Every other command is refused there: each process would do all of its work."""


class Command(NamedTuple):
    """A command's name, its room, and its line in `accord --help`."""

    name: str
    room: str
    line: str

    @property
    def file(self) -> str:
        """The module's name: the command's, with an underscore for a dash, and behind it where Python has a use for the word."""
        taken = keyword.iskeyword(self.name) or hasattr(builtins, self.name)
        return f"{self.name}_" if taken else self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The full name of the module, which holds a function (or a cyclopts App) of the file's name."""
        return f"accord.commands.{self.room}.{self.file}"


COMMANDS = (
    Command("init", "project", "Create a project: empty, from a recipe, or with the built-in world in it."),
    Command("demo", "project", "Run the whole loop on the built-in world: raw text to a policy that people prefer, with proof."),
    Command("config", "project", "Print the settings in force, section by section."),
    Command("lineage", "project", "Trace a model back to the models and the feedback it learned from."),
    Command("backup", "project", "Write the project into one file, while people label."),
    Command("restore", "project", "Make a project of a backup, on SQLite or PostgreSQL."),
    Command("move-store", "project", "Move the feedback to another database: SQLite to PostgreSQL, or back."),
    Command("import", "data", "Read prompts, demonstrations, comparisons, ratings or raw text into the project."),
    Command("imports", "data", "List the imports by their numbers: when, from which file, and what became of its rows."),
    Command("undo", "data", "Take an import back, and name the models that learned from it."),
    Command("remove", "data", "Take one record out of what is learned from."),
    Command("export", "data", "Write the records of the project as a file."),
    Command("prompts", "data", "Remove duplicate, unusable and leaked prompts, and tag the rest."),
    Command("provenance", "data", "Count prompts by origin, language, use case and consent, or set their consent."),
    Command("inspect", "data", "Profile prompts, demonstrations and responses, and find records that look wrong."),
    Command("redact", "data", "Find personal data in a project or a file, and replace or drop it."),
    Command("forget", "data", "Erase a person's prompts and answers, and name the models that learned from them."),
    Command("dialogues", "data", "Extract two-person conversations from raw text."),
    Command("problems", "data", "Add arithmetic problems of the built-in world."),
    Command("queue", "feedback", "Turn stored responses into tasks for labelers."),
    Command("label", "feedback", "Open the labeling site, or let simulated labelers or a function rank."),
    Command("labelers", "feedback", "Invite, list, qualify, pause, exclude or erase labelers."),
    Command("agreement", "feedback", "Measure inter-annotator agreement, with intervals."),
    Command("plan", "feedback", "Estimate how many labels you need."),
    Command("plan-memory", "train", "Plan the memory that a method takes for a model, and what to change."),
    Command("pretrain", "train", "Train a tokenizer and a small decoder on raw text."),
    Command("sft", "train", "Fine-tune a model on demonstrations."),
    Command("sample", "train", "Sample K responses per prompt for people to rank."),
    Command("transcribe", "train", "Write what is said in recordings that have no transcript."),
    Command("critique", "train", "Let an AI criticise and revise answers into demonstrations."),
    Command("prefer", "train", "Let an AI rank responses that nobody has ranked."),
    Command("reward", "train", "Train a reward model on rankings."),
    Command("generative-reward", "train", "Train a reward model that writes its reason, then its verdict."),
    Command("taste", "train", "Learn a person's taste from a few choices, and name the pair to ask next."),
    Command("process", "train", "Train a token-level reward model on marked errors."),
    Command("ppo", "train", "Improve the SFT model against the reward model by PPO."),
    Command("grpo", "train", "Improve the SFT model by comparing the responses to a prompt."),
    Command("rloo", "train", "Improve the SFT model by REINFORCE, leave-one-out."),
    Command("reinforce", "train", "Improve the SFT model by REINFORCE++."),
    Command("raft", "train", "Fine-tune the SFT model on the best of its own responses."),
    Command("online-dpo", "train", "Learn from pairs of the policy's own responses, ordered by a reward."),
    Command("distill", "train", "Learn a larger model's distribution at every token."),
    Command("dpo", "train", "Learn from rankings without a reward model."),
    Command("kto", "train", "Learn from thumbs up and down."),
    Command("ilql", "train", "Learn offline what each token is worth, and guide the SFT model by it."),
    Command("star", "train", "Learn from the model's own rationales that led to right answers."),
    Command("evaluate", "evaluate", "Compare the models on held-out users' prompts by the gold judge."),
    Command("compare", "evaluate", "Compare two or more systems by gold, a reward model, an LLM or people."),
    Command("frontier", "evaluate", "Plot reward against KL, and find where to stop."),
    Command("examine", "evaluate", "Measure a reward model: accuracy, calibration, ceiling, biases."),
    Command("explain", "evaluate", "Explain an answer: reward by token and sentence, what others lacked, what it was learned from."),
    Command("probe", "evaluate", "Measure alignment tax, truthfulness, safety and fairness."),
    Command("benchmark", "evaluate", "Run public benchmarks by others' code, before and after training."),
    Command("classifiers", "evaluate", "Measure what refusals, admissions, harm and languages are told by."),
    Command("solve", "evaluate", "Measure accuracy on problems with known answers."),
    Command("algorithms", "evaluate", "Run methods against each other on the same data and judge."),
    Command("doctor", "evaluate", "Diagnose runs: what is wrong, how sure, what to change."),
    Command("gpu-check", "evaluate", "Check that a GPU computes what the CPU computes, and how fast."),
    Command("report", "evaluate", "Write report.html, or serve it while runs go on."),
    Command("open", "serve", "Open the project's site: home, labeling, chat, review and report under one address."),
    Command("chat", "serve", "Open the chat page, or talk in the terminal."),
    Command("serve", "serve", "Serve the models by an OpenAI-compatible API."),
    Command("export-model", "serve", "Write a model as a .gguf file, a plain folder, an adapter, or to a hub."),
    Command("keys", "serve", "Create, list and revoke API keys."),
    Command("round", "serve", "Show what users said since the last model, and learn from it."),
    Command("switch", "serve", "Choose which model answers in the chat."),
    Command("watch", "serve", "Evaluate the model that answers again and again, and tell drift and decline."),
)
