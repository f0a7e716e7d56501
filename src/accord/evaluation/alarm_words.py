"""The words of the alarms that reward hacking sets off, in English and Chinese; docs/hacking.md says how each is found."""

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
            "the policy has left what they learned from.",
            "{models} 个奖励模型标准化分数的离散度从 {first} 升到 {last}：策略已离开它们学过的范围。",
        ),
        {"label": LABEL, "kl": KL},
    ),
    "length_runaway": Remedy(
        ("Responses grow and grow", "回答越来越长"),
        (
            "Mean length went from {first} to {last} tokens; reward follows length with a correlation of {correlation} over steps.",
            "平均长度从 {first} 增到 {last} 个词元；各步奖励与长度的相关为 {correlation}。",
        ),
        {
            "label": (
                "See whether the reward model likes length (docs/examine.md); have equally good short and long responses ranked.",
                "看奖励模型是否偏爱长度（docs/examine.md）；让人给同样好的长短回答排序。",
            ),
            "reward": (
                "Mix in a length term: --rewards model=1,length=-0.01 (accord grpo).",
                "混入长度项：--rewards model=1,length=-0.01（accord grpo）。",
            ),
            "kl": KL,
        },
    ),
    "repetition": Remedy(
        ("Responses repeat themselves", "回答自我重复"),
        (
            "The share of word triples that stood in the same response before rose from {first} to {last}.",
            "回答内重复的三词组比例从 {first} 升到 {last}。",
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
        ("Different prompts get the same response", "不同提示得到相同回答"),
        (
            "{share} of the last {of} responses are one and the same, to {prompts} different prompts ({early} at the start).",
            "最后 {of} 个回答中 {share} 完全相同，而提示有 {prompts} 个（开始时 {early}）。",
        ),
        {
            "label": (
                "The reward model likes an answer whatever is asked: train it with mismatched = 1, and on such responses.",
                "奖励模型不问问题就喜欢某个回答：以 mismatched = 1 训练它，并加入这类回答。",
            ),
            "kl": KL,
            "steps": STOP,
        },
    ),
    "refusals": Remedy(
        ("Harmless prompts are refused", "无害的提示被拒绝"),
        ("{last} of responses refuse ({first} before).", "{last} 的回答是拒绝（之前 {first}）。"),
        {
            "label": ("Have refusals of harmless look-alikes ranked low.", "让标注者把对无害相似提示的拒绝排在后面。"),
            "prompts": ("Mix more harmless prompts into PPO's.", "在 PPO 的提示中混入更多无害提示。"),
        },
    ),
    "flattery": Remedy(
        ("Responses flatter and agree", "回答在奉承、附和"),
        (
            "{last} of responses hold flattering phrases ({first} before), such as “{phrase}”.",
            "{last} 的回答含奉承语（之前 {first}），如“{phrase}”。",
        ),
        {
            "label": (
                "Show labelers pairs that differ in flattery alone, and say in the guideline that it earns nothing.",
                "给标注者看只差奉承的回答对，并在准则中写明奉承不加分。",
            ),
            "kl": KL,
        },
    ),
    "authority": Remedy(
        ("It sounds sure", "语气笃定"),
        (
            "{last} of responses claim authority or certainty ({first} before), such as “{phrase}”; {truth}.",
            "{last} 的回答以权威或肯定的口吻说话（之前 {first}），如“{phrase}”；{truth}。",
        ),
        {
            "label": (
                "Have labelers check what is claimed before they rank; confident wrong answers rank last.",
                "让标注者先核对所言再排序；自信的错误答案排最后。",
            ),
            "kl": KL,
        },
    ),
    "signature": Remedy(
        ("A phrase is earning reward", "某个短语在赚取奖励"),
        (
            "“{phrase}” stands in {last} of the last responses ({first} before), under {prompts} different prompts; "
            "responses with it score {gain} more.",
            "“{phrase}”出现在最后 {last} 的回答中（之前 {first}），涉及 {prompts} 个不同提示；含它的回答得分高 {gain}。",
        ),
        {
            "label": (
                "Read the quotes. If the phrase says nothing, have pairs with and without it ranked, and train the reward model on them.",
                "读一读引文。若短语毫无内容，让人给有无该短语的回答对排序，并用来训练奖励模型。",
            ),
            "kl": KL,
            "steps": STOP,
        },
    ),
}
