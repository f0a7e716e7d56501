"""Rank a model's responses in code, and train a reward model on the rankings.

    python examples/rank_in_code.py
    python examples/rank_in_code.py --project my-project

The labeler here is a rule: the more of the prompt's words a response takes up, the better. Prints how well the reward model learned the
rule, and what it gives to two answers.
"""

from __future__ import annotations

from small_town import project_of_arguments

import accord


def words(text: str) -> set[str]:
    return set(text.lower().strip("?.!").split())


def on_topic(prompt: str, responses: list[str]) -> list[float]:
    """Return one number per response; the highest is best, and equal ones tie."""
    return [float(len(words(prompt) & words(response))) for response in responses]


def main() -> None:
    project = project_of_arguments(__doc__)
    accord.sample(project, name="to-rank", config=accord.config(project, accord.SampleConfig, k=4, prompts=200, max_tokens=24, held_out=40))
    added = accord.rank(project, on_topic, labeler="on-topic", model="sft")
    print(f"{added['rankings']} rankings, the first of them:")

    first = accord.rows(project, "rankings")[0]
    print(first["prompt"])
    for rank, response in sorted(zip(first["ranks"], first["responses"], strict=True)):
        print(f"  {rank}  {response}")

    run = accord.reward(project, name="topic-reward", config=accord.config(project, accord.RewardConfig, epochs=3, mismatched=0))
    print(f"orders {run.summary['accuracy_labelers']:.0%} of the pairs of users that it did not learn from as the rule does")

    question = "Where is the market?"
    answers = ["The market is by the river.", "I like cheese."]
    for text, reward in zip(answers, accord.score(project, [question] * 2, answers, model="topic-reward"), strict=True):
        print(f"{reward:6.2f}  {text}")


if __name__ == "__main__":
    main()
