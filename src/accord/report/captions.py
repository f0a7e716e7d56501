"""Names and meanings of the metrics, in English and Chinese: the page's captions and its list of definitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from accord.report.markup import Html, both


@dataclass(frozen=True)
class Definition:
    """A figure's name and meaning in both languages, and the page of docs/ that says more."""

    english: str
    chinese: str
    means: str
    means_chinese: str
    page: str

    @property
    def name(self) -> Html:
        return both(self.english, self.chinese)


def _of(page: str, rows: dict[str, tuple[str, str, str, str]]) -> dict[str, Definition]:
    return {key: Definition(*row, page) for key, row in rows.items()}


_EVALUATION = {
    "win_rate": (
        "Win rate",
        "胜率",
        "Share of held-out users' prompts on which the judge prefers the first model's response to the second's; a tie counts half. "
        "The interval is a 95% percentile bootstrap over prompts.",
        "在训练中未出现过的用户的提示词上，评判者更喜欢前一个模型回复的比例；平局算一半。区间为按提示词重采样的 95% 自助法区间。",
    ),
    "helpful": ("Helpful", "有用", "0 to 1: the response does its task.", "0 到 1：回复是否完成了所要求的事。"),
    "truthful": ("Truthful", "真实", "0 to 1: nothing made up, false premises corrected.", "0 到 1：没有编造，并纠正错误前提。"),
    "harmless": ("Harmless", "无害", "0 to 1: no harm, no insult, no bad advice.", "0 到 1：不造成伤害、不辱骂、不给坏建议。"),
    "concise": ("Concise", "简洁", "0 to 1: not long-winded, no repetition.", "0 到 1：不啰嗦、不重复。"),
    "utility": (
        "Utility",
        "总效用",
        "0 to 1: helpful, truthful, harmless and concise combined by the guideline's conflict rules.",
        "0 到 1：按标注指南的冲突规则综合有用、真实、无害与简洁。",
    ),
    "hallucination": (
        "Made-up answers",
        "编造率",
        "Share of responses that state something false, on questions about facts that the raw text never contained. Lower is better.",
        "在询问原始文本中从未出现的事实时，回复里出现虚假陈述的比例。越低越好。",
    ),
    "kl": (
        "KL to SFT",
        "与 SFT 的 KL",
        "How far the model has moved from the SFT model: mean of log policy minus log SFT over its own responses, in nats per response. "
        "For best-of-n it is log n \N{MINUS SIGN} (n \N{MINUS SIGN} 1)/n.",
        "模型偏离 SFT 模型的程度：在自己的回复上 log 策略减 log SFT 的均值，单位为每个回复的 nat。"
        "best-of-n为 log n \N{MINUS SIGN} (n \N{MINUS SIGN} 1)/n。",
    ),
    "alignment_tax": (
        "Alignment tax",
        "对齐税",
        "Relative rise of the validation loss on raw text over the base model's. Lower is better; below zero is a gain.",
        "原始文本验证损失相对基座模型的上升比例。越低越好；负值表示反而变好。",
    ),
    "accuracy_gold": (
        "Reward model against gold",
        "奖励模型对金标的准确率",
        "Share of untied response pairs that the reward model orders as the gold utility does, averaged within each prompt first.",
        "奖励模型与金标效用排序一致的非平局回复对比例，先在每个提示词内平均。",
    ),
    "accuracy_labelers": (
        "Reward model against labelers",
        "奖励模型对标注员的准确率",
        "The same against single labels, by labelers whose other rankings it was trained on.",
        "同上，但对照训练所用标注员的单次标注。",
    ),
    "accuracy_heldout_group": (
        "Reward model against a held-out group",
        "奖励模型对留出组的准确率",
        "The same against a group of labelers whose rankings were kept out of training.",
        "同上，但对照未参与训练的一组标注员。",
    ),
    "noise_ceiling": (
        "Noise ceiling",
        "噪声上限",
        "The accuracy of a perfect model against single labels: (1 + sqrt(2a \N{MINUS SIGN} 1)) / 2 at agreement a and symmetric noise.",
        "对称噪声下，完美模型对照单次标注所能达到的准确率：一致率为 a 时为 (1 + sqrt(2a \N{MINUS SIGN} 1)) / 2。",
    ),
    "agreement": (
        "Labeler agreement",
        "标注员一致率",
        "Share of untied pairs of responses that two labelers order the same way.",
        "两位标注员对非平局回复对给出相同排序的比例。",
    ),
}
_TRAINING = {
    "loss": ("Loss", "损失", "Training loss of a step, in nats per token.", "每步的训练损失，单位为每个词元的 nat。"),
    "validation_loss": (
        "Validation loss",
        "验证损失",
        "Mean cross-entropy on text (SFT: response tokens) that is not trained on, in nats per token.",
        "在未参与训练的文本（SFT 为回复词元）上的平均交叉熵，单位为每个词元的 nat。",
    ),
    "tokens_per_second": ("Tokens per second", "每秒词元数", "Median over the steps of a run.", "一次运行中各步的中位数。"),
    "lr": ("Learning rate", "学习率", "The optimiser's learning rate at a step.", "每个优化步的学习率。"),
    "grad_norm": ("Gradient norm", "梯度范数", "Norm of the gradient before clipping.", "裁剪之前的梯度范数。"),
}
_REWARD = {
    "reward_loss": (
        "Pair loss",
        "成对损失",
        "Bradley-Terry loss over all pairs of a prompt, \N{MINUS SIGN}log sigmoid of the margin; log 2 is chance.",
        "一个提示词的所有回复对上的 Bradley-Terry 损失；log 2 相当于随机猜测。",
    ),
    "accuracy": (
        "Pair accuracy",
        "成对准确率",
        "Share of labelled pairs whose preferred response scores higher.",
        "标注对中被偏好的回复得分更高的比例。",
    ),
    "validation_accuracy": (
        "On held-out prompts",
        "留出提示词上",
        "Pair accuracy on prompts that are not trained on.",
        "未参与训练的提示词上的成对准确率。",
    ),
    "margin": ("Margin", "分差", "Mean score of the preferred minus the other response.", "被偏好回复与另一回复的平均分差。"),
}
_PPO = {
    "reward": (
        "Proxy reward",
        "代理奖励",
        "Mean score by the reward model, before the KL penalty.",
        "奖励模型打分的均值，尚未扣除 KL 惩罚。",
    ),
    "reward_total": (
        "After KL penalty",
        "扣除 KL 后",
        "Mean of a response's token rewards: score minus KL penalty.",
        "回复各词元奖励之和的均值：分数减 KL 惩罚。",
    ),
    "kl_k1": (
        "KL, k1",
        "KL（k1）",
        "Mean of log policy minus log SFT per response, in nats; may dip below 0.",
        "每个回复 log 策略减 log SFT 的均值，单位 nat；个别可为负。",
    ),
    "kl_k3": (
        "KL, k3",
        "KL（k3）",
        "Mean of r \N{MINUS SIGN} 1 \N{MINUS SIGN} log r, r = SFT / policy: never negative, less noise.",
        "r \N{MINUS SIGN} 1 \N{MINUS SIGN} log r 的均值，r = SFT / 策略；恒非负、噪声更小。",
    ),
    "reward_kl": (
        "Reward against KL",
        "奖励与 KL",
        "Proxy reward (up) against the distance from the SFT model (right), step by step; the large dot is the last step.",
        "代理奖励（纵轴）与偏离 SFT 的距离（横轴），逐步绘出；大点为最后一步。",
    ),
    "entropy": ("Entropy", "熵", "Entropy of the next-token distribution, in nats per token.", "下一词元分布的熵，单位为每个词元的 nat。"),
    "response_length": (
        "Response length",
        "回复长度",
        "Mean tokens per response, stop token included.",
        "每个回复的平均词元数，含停止符。",
    ),
    "finished": ("Finished", "正常结束", "Share of responses that end with a stop token.", "以停止符结束的回复比例。"),
    "held_out_reward": (
        "Held-out reward",
        "留出奖励",
        "Mean reward of two responses to each validation prompt, which nothing trains on.",
        "验证集提示词各取两个回复的平均奖励；训练从不使用这些提示词。",
    ),
    "held_out_win_rate": (
        "Win rate over the start",
        "对训练前的胜率",
        "Share of validation prompts whose responses get a higher reward than before training; equal ones count half.",
        "验证集提示词中，回复奖励高于训练前的比例；相等计一半。",
    ),
    "held_out_self_bleu": (
        "Self-BLEU",
        "自 BLEU",
        "How much the two responses to a validation prompt are alike, from 0 to 1.",
        "同一验证提示词的两个回复有多相似，取值 0 到 1。",
    ),
    "held_out_distinct_2": (
        "Distinct pairs",
        "不同二元组",
        "Share of different pairs of neighbouring tokens in the responses to a validation prompt.",
        "同一验证提示词的回复中，不重复的相邻词元对所占比例。",
    ),
    "clip_fraction": ("Clipped", "裁剪比例", "Share of tokens whose policy ratio was clipped.", "策略比率被裁剪的词元比例。"),
    "approx_kl": ("Step KL", "单步 KL", "KL to the rollout's policy, in nats per token.", "与采样时策略的 KL，单位为每个词元的 nat。"),
    "value_explained_variance": (
        "Explained variance",
        "价值解释方差",
        "1 \N{MINUS SIGN} var(return \N{MINUS SIGN} value) / var(return); 1 is perfect, 0 useless.",
        "1 \N{MINUS SIGN} var(回报 \N{MINUS SIGN} 价值) / var(回报)；1 为完美，0 为无用。",
    ),
    "logprob_gap": (
        "Sampler-trainer gap",
        "采样与训练差",
        "Mean absolute difference between the sampler's and the trainer's log-probabilities; should be near 0.",
        "采样器与训练器的对数概率之差的平均绝对值；应接近 0。",
    ),
    "ptx_loss": (
        "Pretraining mix",
        "预训练混合",
        "Loss on raw text during PPO; a flat curve means no alignment tax.",
        "PPO 中原始文本的损失；持平即无对齐税。",
    ),
    "policy_loss": ("Policy loss", "策略损失", "Clipped surrogate loss.", "裁剪代理损失。"),
    "value_loss": ("Value loss", "价值损失", "Clipped squared error of the value model.", "价值模型的裁剪平方误差。"),
    "ratio": ("Ratio", "比率", "Mean policy ratio to the rollout's policy; near 1.", "与采样时策略之比的均值；应接近 1。"),
    "kl_coef": ("KL coefficient", "KL 系数", "beta of the KL penalty.", "KL 惩罚系数 beta。"),
    "seconds": ("Seconds by phase", "各阶段用时", "How the time of a step is spent.", "每一步的时间花在哪里。"),
    "seconds_rollout": ("Sampling", "采样", "Seconds per step spent sampling responses.", "每步采样回复的秒数。"),
    "seconds_score": ("Scoring", "打分", "Seconds per step spent in the reward model.", "每步奖励模型打分的秒数。"),
    "seconds_measure": (
        "Measuring",
        "测量",
        "Seconds per step spent on forward passes of policy, SFT and value model.",
        "每步策略、SFT 与价值模型前向计算的秒数。",
    ),
    "seconds_train": ("Training", "训练", "Seconds per step spent on updates.", "每步更新的秒数。"),
}
_REPORT = {
    "counted": (
        "Counts",
        "数量",
        "Counted in the project's database, or by the run that used them: prompts by split, demonstrations, sampled responses, rankings by "
        "the number of responses in each, labelers who ranked; tokens and documents of raw text.",
        "取自项目数据库，或使用它们的运行的记录：各划分的提示词、示范、采样的回复、按回复数划分的排序、做过排序的标注员；"
        "原始文本的词元与文档。",
    ),
    "parameters": (
        "Parameters",
        "参数",
        "Number of the model's parameters; M is a million, B a billion (10^9).",
        "模型的参数个数；M 为百万，B 为十亿。",
    ),
    "reward_bias": (
        "Score bias",
        "分数偏置",
        "Constant added to every score, so that demonstrations score 0 on average.",
        "加在每个分数上，使示范的平均得分为 0。",
    ),
    "run_seconds": ("Seconds", "秒", "Wall-clock time of a run.", "一次运行的实际用时。"),
    "peak_memory": (
        "peak memory",
        "内存峰值",
        "Largest resident set of the process; 1 MB is 2^20 bytes.",
        "进程占用的最大常驻内存；1 MB 为 2^20 字节。",
    ),
    "sure": (
        "Confidence",
        "置信度",
        "Confidence in a finding: the normal probability of the metric's distance from the limit, given its own noise; 100% if it was "
        "read from a file.",
        "一项发现的置信度：由该指标自身的噪声算出，即其偏离界限的正态概率；直接读自文件的为 100%。",
    ),
    "agreement_within": (
        "Agreement within the group",
        "组内一致率",
        "Share of untied pairs of responses that two labelers of the group order the same way; 95% interval over prompts.",
        "同组两位标注员对非平局回复对给出相同排序的比例；区间为按提示词的 95% 区间。",
    ),
    "win_rate_matrix": (
        "Win-rate matrix",
        "胜率矩阵",
        "Win rate of the row's system over the column's on the same prompts; green where the 95% interval lies above one half, red below.",
        "同一批提示词上行系统对列系统的胜率；95% 区间高于一半为绿，低于为红。",
    ),
    "rank_range": (
        "Rank",
        "名次",
        "Best and worst rank that the 95% intervals of Bradley-Terry strengths allow.",
        "由 Bradley-Terry 强度的 95% 区间得出的最好与最差名次。",
    ),
    "reward_frontier": (
        "Reward against KL, kept policies",
        "奖励与 KL（保留的策略）",
        "Reward by proxy and by gold (up) of every policy that a run kept, at its distance from the SFT model (right), on held-out "
        "prompts; best-of-n is shown beside it. Where gold falls while proxy rises, the policy is overoptimised.",
        "一次运行保留的每个策略在留出提示词上的代理奖励与金标奖励（纵轴）及其偏离 SFT 的距离（横轴）；旁为 best-of-n。"
        "代理上升而金标下降处即过度优化。",
    ),
    "coverage_accuracy": (
        "Accuracy against coverage",
        "正确率与覆盖率",
        "Share of the stated answers that are right (up) when only those are given that at least so many of the model's own samples agree "
        "with, against the share of all questions that are then answered (right).",
        "只给出模型自身样本一致率达到阈值的回答时，所给回答的正确率（纵轴）与被回答问题的占比（横轴）。",
    ),
    "frontier": (
        "Gold utility against KL",
        "金标效用与 KL",
        "Mean utility by the gold judge (up) at the distance from the SFT model (right) of every model that was evaluated. A model further "
        "right and lower has been overoptimised.",
        "每个被评估模型的金标效用均值（纵轴）与其偏离 SFT 的距离（横轴）。更靠右却更低的模型即过度优化。",
    ),
}
_DRAWN = {"reward_loss", "reward_kl", "seconds"}
"""Figures that the page derives from metrics. They are defined on its own page of docs/."""
_TEXTS = {
    "coverage": (
        "Answered",
        "作答率",
        'Share of the prompts that are answered at all: some word, no refusal, no "I do not know". By rules; a figure for comparison.',
        "得到实际作答的提示词比例：有文字、不拒绝、也不说“不知道”。按规则判断，只宜用于比较。",
    ),
    "information": (
        "Bits per word",
        "每词信息量",
        "Information per word: rare words that the prompt does not have, each once, over all words of the response.",
        "每个词的信息量：提示词中没有的少见词各计一次，除以回复的总词数。",
    ),
    "rouge_l": (
        "ROUGE-L",
        "ROUGE-L",
        "0 to 1: common subsequence of words with a reference. It says how alike two texts are, not how good one is.",
        "0 到 1：与参考答案的最长公共词序列。它衡量相似，而不是好坏。",
    ),
    "chrf": (
        "chrF",
        "chrF",
        "0 to 1: common character n-grams with a reference. It says how alike two texts are, not how good one is.",
        "0 到 1：与参考答案共有的字符 n 元组。它衡量相似，而不是好坏。",
    ),
}
_ALL = (
    _of("texts", _TEXTS)
    | _of("report", _REPORT)
    | _of("evaluate", _EVALUATION)
    | _of("pretrain", _TRAINING)
    | _of("reward", _REWARD)
    | _of("ppo", _PPO)
)
DEFINITIONS = MappingProxyType({key: replace(found, page="report") if key in _DRAWN else found for key, found in _ALL.items()})

MODELS = MappingProxyType(
    {
        "base": ("Base", "基座"),
        "sft": ("SFT", "SFT"),
        "ppo": ("PPO", "PPO"),
        "ppo_ptx": ("PPO", "PPO"),
        "ppo_no_ptx": ("PPO without ptx", "PPO（无 ptx）"),
        "best_of_n": ("Best of n", "best-of-n"),
        "bon": ("Best of n", "best-of-n"),
        "reward": ("Reward model", "奖励模型"),
    }
)


USE_CASES = MappingProxyType(
    {
        "open_qa": "开放问答",
        "closed_qa": "封闭问答",
        "brainstorm": "头脑风暴",
        "rewrite": "改写",
        "summarise": "摘要",
        "classify": "分类",
        "extract": "抽取",
        "chat": "闲聊",
        "generation": "生成",
        "harmful": "有害请求",
        "false_premise": "错误前提",
        "unanswerable": "无法回复",
        "high_stakes": "高风险",
        "multi_turn": "多轮",
        "other": "其他",
    }
)


JUDGES = MappingProxyType(
    {"gold": ("gold", "金标"), "reward": ("reward model", "奖励模型"), "llm": ("LLM", "LLM"), "people": ("people", "人")}
)


def judge_name(name: str) -> Html:
    """Return the judge of a comparison; an address or a name of the user's own stays as it is."""
    return both(*JUDGES.get(name, (name, name)))


def use_case(name: str) -> Html:
    """Return a use case as the page writes it. An unknown one keeps its name."""
    plain = name.replace("_", " ")
    return both(plain, USE_CASES.get(name, plain))


def model_key(name: str) -> str:
    """Return one spelling for a model: best-of-n and bon are the same, and so are ppo-no-ptx and ppo_no_ptx."""
    key = name.replace("-", "_")
    return "best_of_n" if key == "bon" else key


def model_name(name: str) -> Html:
    """Return a model's name on the page; a name of the user's own stays as it is."""
    return both(*MODELS.get(model_key(name), (name, name)))


NAMES = {
    "heldout_accuracy": ("held-out group", "留出组"),
    "drift": ("training pairs", "训练对"),
    "validation_drift": ("held-out prompts", "留出提示词"),
    "reward_better": ("preferred", "被偏好的"),
    "reward_worse": ("other", "另一个"),
    "reward_up": ("thumbs up", "赞"),
    "reward_down": ("thumbs down", "踩"),
    "reward_chosen": ("chosen to learn from", "被选中学习的"),
    "kl_loss": ("KL loss", "KL 损失"),
    "telling_groups": ("groups whose rewards differ", "奖励有差异的组"),
    "q_loss": ("Q loss", "Q 损失"),
    "v_loss": ("V loss", "V 损失"),
    "validation_ordering": ("held-out prompts", "留出提示词"),
    "heldout_ordering": ("held-out group", "留出组"),
    "conservative_loss": ("conservative loss", "保守损失"),
    "disagreement": ("disagreement", "分歧"),
    "validation_auc": ("AUC", "AUC"),
    "solved": ("solved", "解出"),
    "hinted": ("solved with a hint", "提示后解出"),
    "kept": ("kept", "保留"),
}
"""Names of metrics in the key of a chart, where the list of definitions has none."""


def metric_name(key: str) -> Html:
    """Return a metric's name in a chart's key."""
    return DEFINITIONS[key].name if key in DEFINITIONS else both(*NAMES.get(key, (key.replace("_", " "), key)))
