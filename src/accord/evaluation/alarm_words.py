"""Texts of the reward-hacking alarms in English and Chinese; docs/hacking.md says how each alarm is found."""

from __future__ import annotations

from accord.evaluation.remedies import KL, LABEL, STOP, Remedy

HACKING: dict[str, Remedy] = {
    "proxy_gold": Remedy(
        ("The reward rises while another judge's falls", "奖励上升而另一评判者的分数下降"),
        (
            "Proxy reward went from {proxy_first} to {proxy_last}; {judge} went from {first} to {last}: overoptimisation.",
            "代理奖励从 {proxy_first} 到 {proxy_last}；{judge} 从 {first} 到 {last}：过度优化。",
        ),
        {"steps": STOP, "kl": KL, "label": LABEL},
    ),
    "disagreement": Remedy(
        ("Reward models disagree more and more", "奖励模型之间分歧扩大"),
        (
            "The spread of {models} reward models' standardised scores grew from {first} to {last}: "
            "the policy has left the range they were trained on.",
            "{models} 个奖励模型标准化分数的离散度从 {first} 升到 {last}：策略已离开它们学过的范围。",
        ),
        {"label": LABEL, "kl": KL},
    ),
    "length_runaway": Remedy(
        ("Responses get longer and longer", "回复越来越长"),
        (
            "Mean length went from {first} to {last} tokens; reward follows length with a correlation of {correlation} over steps.",
            "平均长度从 {first} 增到 {last} 个词元；各步奖励与长度的相关为 {correlation}。",
        ),
        {
            "label": (
                "Check whether the reward model prefers length (docs/examine.md); have equally good short and long responses ranked.",
                "看奖励模型是否偏爱长度（docs/examine.md）；让人给同样好的长短回复排序。",
            ),
            "reward": (
                "Mix in a length term: --rewards model=1,length=-0.01 (accord grpo).",
                "混入长度项：--rewards model=1,length=-0.01（accord grpo）。",
            ),
            "kl": KL,
        },
    ),
    "repetition": Remedy(
        ("Responses repeat themselves", "回复自我重复"),
        (
            "The share of word triples repeated within a response rose from {first} to {last}.",
            "回复内重复的三词组比例从 {first} 升到 {last}。",
        ),
        {
            "reward": (
                "Mix in a repetition term: --rewards model=1,repetition=-1 (accord grpo).",
                "混入重复项：--rewards model=1,repetition=-1（accord grpo）。",
            ),
            "kl": KL,
            "label": LABEL,
        },
    ),
    "identical_answers": Remedy(
        ("Different prompts get the same response", "不同提示词得到相同回复"),
        (
            "{share} of the last {of} responses are identical, to {prompts} different prompts ({early} at the start).",
            "最后 {of} 个回复中 {share} 完全相同，而提示词有 {prompts} 个（开始时 {early}）。",
        ),
        {
            "label": (
                "The reward model likes one answer to any question: train it with mismatched = 1, and on such responses.",
                "奖励模型不论问题如何都偏爱某个回复：以 mismatched = 1 训练它，并加入这类回复。",
            ),
            "kl": KL,
            "steps": STOP,
        },
    ),
    "refusals": Remedy(
        ("Harmless prompts are refused", "无害的提示词被拒绝"),
        ("{last} of responses refuse ({first} before).", "{last} 的回复是拒绝（之前 {first}）。"),
        {
            "label": ("Have refusals of harmless look-alikes ranked low.", "让标注员把对无害相似提示词的拒绝排在后面。"),
            "prompts": ("Add more harmless prompts to PPO.", "在 PPO 的提示词中混入更多无害提示词。"),
        },
    ),
    "flattery": Remedy(
        ("Responses flatter and agree", "回复在奉承、附和"),
        (
            "{last} of responses contain flattering phrases ({first} before), such as “{phrase}”.",
            "{last} 的回复含奉承语（之前 {first}），如“{phrase}”。",
        ),
        {
            "label": (
                "Show labelers pairs that differ only in flattery, and say in the guideline that it earns nothing.",
                "给标注员看只差奉承的回复对，并在指南中写明奉承不加分。",
            ),
            "kl": KL,
        },
    ),
    "authority": Remedy(
        ("Responses sound overconfident", "语气过于笃定"),
        (
            "{last} of responses claim authority or certainty ({first} before), such as “{phrase}”; {truth}.",
            "{last} 的回复以权威或肯定的口吻说话（之前 {first}），如“{phrase}”；{truth}。",
        ),
        {
            "label": (
                "Have labelers check the claims before they rank; confident wrong answers rank last.",
                "让标注员先核对所言再排序；自信的错误答案排最后。",
            ),
            "kl": KL,
        },
    ),
    "signature": Remedy(
        ("A phrase is earning reward", "某个短语在赚取奖励"),
        (
            "“{phrase}” occurs in {last} of the last responses ({first} before), under {prompts} different prompts; "
            "responses with it score {gain} higher.",
            "“{phrase}”出现在最后 {last} 的回复中（之前 {first}），涉及 {prompts} 个不同提示词；含它的回复得分高 {gain}。",
        ),
        {
            "label": (
                "Read the quotes. If the phrase says nothing, have pairs with and without it ranked, and train the reward model on them.",
                "读一读引文。若短语毫无内容，让人给有无该短语的回复对排序，并用来训练奖励模型。",
            ),
            "kl": KL,
            "steps": STOP,
        },
    ),
}
