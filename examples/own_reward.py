"""Train a model by GRPO against a reward function of your own.

    python examples/own_reward.py
    python examples/own_reward.py --project my-project

The reward here wants one short sentence. Prints what the function gave along the way, and answers before and after.
"""

from __future__ import annotations

from collections.abc import Sequence

from small_town import project_of_arguments

import accord


def one_short_sentence(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Return one number per response: 1 for a finished sentence of three to six words, less for every word more or fewer."""
    rewards: list[float] = []
    for response in responses:
        words = len(response.split())
        finished = response.endswith(".") and response.count(".") == 1
        rewards.append(float(finished) - 0.2 * max(0, words - 6, 3 - words))
    return rewards


def main() -> None:
    project = project_of_arguments(__doc__)
    config = accord.config(
        project,
        accord.GrpoConfig,
        rewards="__main__:one_short_sentence",  # a function of this script; "my_rewards:polite" is one of my_rewards.py
        steps=20,
        batch_size=64,
        max_tokens=24,
        truncation="terminate",
        kl_coef=0.05,
    )
    accord.grpo(project, name="one-short-sentence", config=config)

    print("\nstep  reward  KL to sft")
    for row in accord.metrics(project, "one-short-sentence")[::4]:
        print(f"{row['step']:4}  {row['reward.__main__:one_short_sentence']:6.2f}  {row['kl_k3']:.3f}")

    prompts = [row["prompt"] for row in accord.rows(project, "prompts")[:3]]
    sampling = accord.Sampling(max_tokens=24)
    before = accord.answer(project, "sft", prompts, sampling=sampling)
    after = accord.answer(project, "one-short-sentence", prompts, sampling=sampling)
    for prompt, old, new in zip(prompts, before, after, strict=True):
        print(f"\n{prompt}\n  sft:   {old[0]}\n  after: {new[0]}")


if __name__ == "__main__":
    main()
