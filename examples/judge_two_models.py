"""Compare two models twice: by a reward model, and by a judge function of your own.

    python examples/judge_two_models.py
    python examples/judge_two_models.py --project my-project

First DPO and a reward model learn from rankings by a rule. Then both judges see the same answers, to prompts of users that no model
learned from. Prints both win rates with their intervals, and how often the judges agree.
"""

from __future__ import annotations

from small_town import project_of_arguments

import accord


def brevity(prompt: str, responses: list[str]) -> list[float]:
    """Return one number per response: the fewer words above six and the better its end, the higher."""
    return [-float(max(0, len(text.split()) - 6) + 3 * (not text.endswith("."))) for text in responses]


def brief(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    """Return what each first answer is worth against the second: 1 better, 0 worse, 0.5 a tie.

    Accord asks in both orders and takes the mean, so a judge cannot favour the place of an answer.
    """
    worth: list[float] = []
    for prompt, one, other in zip(prompts, first, second, strict=True):
        scores = brevity(prompt, [one, other])
        worth.append(0.5 if scores[0] == scores[1] else float(scores[0] > scores[1]))
    return worth


def main() -> None:
    project = project_of_arguments(__doc__)
    accord.sample(
        project, name="to-judge", config=accord.config(project, accord.SampleConfig, k=4, prompts=200, max_tokens=24, held_out=40)
    )
    accord.rank(project, brevity, labeler="brevity", model="sft")
    accord.dpo(project, name="brief", config=accord.config(project, accord.DpoConfig, epochs=1))
    accord.reward(project, name="brief-reward", config=accord.config(project, accord.RewardConfig, mismatched=0))

    config = accord.config(project, accord.CompareConfig, prompts=60, max_tokens=24, bootstrap=500)
    found = {
        "reward model": accord.compare(project, "sft", "brief", by="reward", reward="brief-reward", name="by-reward", config=config),
        "function": accord.compare(project, "sft", "brief", by=brief, name="by-function", config=config),
    }
    print("\njudge         brief is preferred to sft   ties")
    for judge, metrics in found.items():
        mean, low, high = metrics["win_rate"]["brief_vs_sft"]
        print(f"{judge:12}  {mean:4.0%} ({low:.0%} to {high:.0%})         {metrics['ties']['brief_vs_sft']:5.0%}")

    pairs = zip(accord.samples(project, "by-reward"), accord.samples(project, "by-function"), strict=True)
    verdicts = [(one["preferred"]["brief_vs_sft"], other["preferred"]["brief_vs_sft"]) for one, other in pairs]
    decided = [one == other for one, other in verdicts if 0.5 not in (one, other)]
    print(f"\nthe two agree on {sum(decided)} of the {len(decided)} prompts on which both prefer one")


if __name__ == "__main__":
    main()
