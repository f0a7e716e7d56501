"""The curves of every method: which of its metrics share a chart, and their names in both languages.

A method that is not named here, of a plugin or of a later version, gets a chart for each metric that it logged.
"""

from __future__ import annotations

from accord.report import manual
from accord.report.curves import CHARTS, Chart, charts
from accord.report.markup import Html, tag
from accord.report.project_files import ProjectRecord
from accord.settings.methods import METHODS

_LOSS = Chart("", ("loss", "validation_loss"), name=("Loss", "损失"))
_ACCURACY = Chart("", ("accuracy", "validation_accuracy", "heldout_accuracy"), percent=True, name=("Pair accuracy", "成对准确率"))
_DRIFT = Chart("", ("drift", "validation_drift"), name=("Distance from the start", "与起点的距离"))
_SAMPLED = (
    Chart("", ("reward", "reward_total"), name=("Reward", "奖励")),
    Chart("", ("reward",), ("across: nats", "横轴：nat"), against="kl_k1", name=("Reward against KL", "奖励与 KL")),
    Chart("", ("kl_k1", "kl_k3"), ("nats per response", "nat / 回复"), name=("KL to SFT", "与 SFT 的 KL")),
    Chart("", ("entropy",), ("nats per token", "nat / 词元"), name=("Entropy", "熵")),
    Chart("", ("response_length",), ("tokens", "词元"), name=("Response length", "回复长度")),
    Chart("", ("finished",), percent=True, name=("Finished", "正常结束")),
    Chart("", ("held_out_reward",), name=("Held-out reward", "留出奖励")),
    Chart("", ("held_out_win_rate",), percent=True, name=("Win rate over the start", "对训练前的胜率")),
    Chart("", ("logprob_gap",), ("nats per token", "nat / 词元"), name=("Sampler-trainer gap", "采样与训练差")),
)
_GROUPS = (
    *_SAMPLED,
    Chart("", ("telling_groups",), percent=True, name=("Groups that tell", "有信息的组")),
    Chart("", ("policy_loss", "kl_loss"), name=("Policy loss", "策略损失")),
    Chart("", ("clip_fraction",), percent=True, name=("Clipped", "裁剪比例")),
)
CURVES: dict[str, tuple[Chart, ...]] = {
    "dpo": (
        _LOSS,
        _ACCURACY,
        Chart("", ("margin",), name=("Margin", "分差")),
        _DRIFT,
        Chart("", ("reward_better", "reward_worse"), name=("Implicit rewards", "隐式奖励")),
    ),
    "kto": (
        _LOSS,
        _ACCURACY,
        _DRIFT,
        Chart("", ("reward_up", "reward_down"), name=("Implicit rewards", "隐式奖励")),
        Chart("", ("kl",), name=("KL", "KL")),
    ),
    "grpo": _GROUPS,
    "rloo": _GROUPS,
    "generative-reward": _GROUPS,
    "reinforce": _GROUPS,
    "raft": (Chart("", ("reward", "reward_chosen"), name=("Reward", "奖励")), *_SAMPLED[1:]),
    "online-dpo": (
        *_SAMPLED,
        Chart("", ("loss",), name=("Loss", "损失")),
        Chart("", ("accuracy",), percent=True, name=("Pair accuracy", "成对准确率")),
        Chart("", ("telling_groups",), percent=True, name=("Groups that tell", "有信息的组")),
        Chart("", ("reward_better", "reward_worse"), name=("Implicit rewards", "隐式奖励")),
    ),
    "distill": (
        Chart("", ("loss",), ("nats per token", "nat / 词元"), name=("Divergence from the teacher", "与教师的散度")),
        Chart("", ("forward_kl", "reverse_kl"), ("nats per token", "nat / 词元"), name=("KL both ways", "两个方向的 KL")),
        Chart("", ("agreement",), percent=True, name=("Same likeliest token", "最可能词元相同")),
        Chart("", ("held_out_reward",), name=("Held-out reward", "留出奖励")),
        Chart("", ("response_length",), ("tokens", "词元"), name=("Response length", "回复长度")),
    ),
    "ilql": (
        Chart("", ("q_loss", "v_loss"), name=("Losses of Q and V", "Q 与 V 的损失")),
        Chart("", ("validation_ordering", "heldout_ordering"), percent=True, name=("Orders returns rightly", "回报排序正确率")),
        Chart("", ("q", "v"), name=("Q and V", "Q 与 V")),
        Chart("", ("disagreement",), name=("Disagreement of the two Q", "两个 Q 的分歧")),
        Chart("", ("conservative_loss",), name=("Conservative loss", "保守损失")),
    ),
    "process": (
        Chart("", ("loss",), name=("Loss", "损失")),
        Chart("", ("accuracy",), percent=True, name=("Token accuracy", "词元准确率")),
        Chart("", ("validation_auc",), name=("AUC on held-out prompts", "留出提示词上的 AUC")),
    ),
    "star": (
        Chart("", ("accuracy",), percent=True, name=("Right answers", "答对的比例")),
        Chart("", ("solved", "hinted", "kept"), name=("Rationales kept", "保留的推理")),
    ),
}
DOCUMENTED = {"rloo": "grpo", "reinforce": "grpo", "generative-reward": "grpo"}
"""Pages of docs/ on which a method's metrics are defined, where that is not its own."""
MOST = 12
"""Charts of a method that is not named here."""


def methods(record: ProjectRecord) -> list[Html]:
    """Return a block of charts for each method that has runs with metrics, apart from those that the page draws by themselves."""
    stages = dict.fromkeys([*METHODS, *CURVES, *sorted({run.stage for run in record.runs})])
    return [block for stage in stages if stage not in CHARTS and (block := _block(record, stage))]


def _block(record: ProjectRecord, stage: str) -> Html | None:
    page = DOCUMENTED.get(stage, stage)
    pictures = charts(record, stage, CURVES.get(stage) or _unnamed(record, stage), page=page)
    if not pictures:
        return None
    heading = tag("h3", stage.upper() if stage in METHODS else stage, " ", manual.link(page))
    return tag("div", heading, tag("div", pictures, class_="charts"), class_="ppo")


def _unnamed(record: ProjectRecord, stage: str) -> tuple[Chart, ...]:
    keys = dict.fromkeys(key for run in record.of(stage) for key in run.metrics.columns)
    bare = [key for key in keys if not key.startswith("seconds") and key not in ("step", "lr")]
    return tuple(Chart("", (key,), name=(key.replace("_", " "), key)) for key in bare[:MOST])
