"""The texts of each finding in English and Chinese: its title, one sentence with the run's metrics, and the
changes to make.

docs/doctor.md and docs/hacking.md say how each is found. A test checks that every name is documented there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Both = tuple[str, str]
"""English, Chinese."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A finding's title, description and advice. ``what`` has the metrics' names in braces; ``change`` is keyed by cause."""

    title: Both
    what: Both
    change: Mapping[str, Both]


LR: Both = ("Lower lr (a third of it), or lengthen warmup_steps.", "降低 lr（约三分之一），或加长 warmup_steps。")
KL: Both = ("Raise kl_coef, or set kl_target.", "提高 kl_coef，或设置 kl_target。")
LABEL: Both = (
    "Have responses of this policy ranked, and train the reward model again on the rankings.",
    "让人给这个策略的回复排序，用新排序重新训练奖励模型。",
)
STOP: Both = ("Keep an earlier checkpoint: take fewer steps.", "取较早的检查点：减少 steps。")

LEARNING: dict[str, Remedy] = {
    "negative_kl": Remedy(
        ("The KL to the SFT model is negative", "与 SFT 的 KL 为负"),
        (
            "Over the last third of the run kl_k1 averages {kl} nats per response, {errors} standard errors below 0; a true KL cannot be "
            "negative, so responses are not drawn from the policy that is scored (logprob_gap {gap}, temperature {temperature}).",
            "最后三分之一里 kl_k1 平均为每个回复 {kl} nat，比 0 低 {errors} 个标准误；真正的 KL 不会为负，"
            "说明回复并非采自被计分的策略（logprob_gap {gap}，temperature {temperature}）。",
        ),
        {
            "rules": (
                "Remove sampling rules from the rollout: no top-k, top-p, minimum length, banned n-grams or repetition penalty.",
                "去掉采样规则：不用 top-k、top-p、最短长度、禁止 n-gram 或重复惩罚。",
            ),
            "temperature": (
                "Use one temperature in sampler, policy and reference; set temperature to 1 to be sure.",
                "采样、策略与参考模型用同一温度；保险起见设 temperature 为 1。",
            ),
            "gap": (
                "Make sampler and trainer agree: --dtype float32, and fresh weights in the sampler after each update.",
                "让采样器与训练器一致：--dtype float32，并在每次更新后刷新采样器权重。",
            ),
            "pad": (
                "Give pad a token of its own: with pad == eos, masks may drop the stop token from the KL.",
                "给 pad 单独的词元：pad == eos 时，掩码可能把停止符从 KL 中去掉。",
            ),
            "chance": (
                "There are too few rollouts: raise batch_size, and read kl_k3, which cannot be negative.",
                "采样太少：加大 batch_size，并看不会为负的 kl_k3。",
            ),
        },
    ),
    "reference_differs": Remedy(
        ("The reference differs from the policy's starting model", "参考模型不是策略的起点"),
        (
            "The first rollout has a KL of {kl} nats before any update; it must be 0.",
            "尚未学习时第一次采样的 KL 就有 {kl} nat；它应为 0。",
        ),
        {
            "reference": (
                "Use the policy's starting SFT model as the reference: adapters merged, same dtype.",
                "以策略起点的 SFT 模型为参考：合并适配器，精度相同。",
            ),
            "dropout": (
                "Switch dropout off in rollout, policy and reference; compare their chat templates.",
                "在采样、策略与参考中关闭 dropout；核对聊天模板。",
            ),
        },
    ),
    "sampler_gap": Remedy(
        ("Sampler and trainer disagree", "采样器与训练器不一致"),
        (
            "Their log-probabilities of the same tokens differ by {gap} nats on average; ratios and KL are off by the same amount.",
            "对同一词元二者的对数概率平均相差 {gap} nat；比率与 KL 也错这么多。",
        ),
        {
            "temperature": (
                "Use the same temperature and no top-k, top-p or penalty in the sampler.",
                "采样器用同一温度，且不用 top-k、top-p 或惩罚。",
            ),
            "dtype": (
                "Run both in the same precision (--dtype float32) and with the same attention kernel.",
                "两者用同一精度（--dtype float32）和同一注意力内核。",
            ),
            "stale": ("Refresh the sampler's weights and caches after each update.", "每次更新后刷新采样器的权重与缓存。"),
        },
    ),
    "no_eos": Remedy(
        ("Responses do not end", "回复不结束"),
        (
            "Only {late} of the last responses end with a stop token ({early} at the start). The limit is {limit} tokens.",
            "最后的回复只有 {late} 以停止符结束（开始时 {early}），长度上限 {limit} 个词元。",
        ),
        {
            "pad": (
                "pad and eos are the same token: train SFT so that the stop token keeps its loss, or give pad a token of its own.",
                "pad 与 eos 是同一词元：SFT 时保留停止符的损失，或给 pad 单独的词元。",
            ),
            "template": (
                "Check that each response in the SFT data ends with the template's end of turn, and that this is a stop token.",
                "确认 SFT 数据的每个回复都以模板的结束符收尾，且它在停止符之列。",
            ),
            "limit": ("Raise max_tokens: responses are cut before they can end.", "提高 max_tokens：回复在结束前就被截断。"),
            "reward": (
                "Set truncation to penalise with no_stop_reward below the lowest scores.",
                "设 truncation 为 penalise，且 no_stop_reward 低于最低分。",
            ),
        },
    ),
    "cut_samples": Remedy(
        ("Responses are cut", "回复被截断"),
        (
            "{cut} of the responses were cut at {limit} tokens before they ended, or by the model's context.",
            "{cut} 的回复没有结束，就在 {limit} 个词元处或被模型的上下文截断。",
        ),
        {
            "limit": (
                "Raise max_tokens and sample again under another --name: labelers cannot rank sentences that break off.",
                "提高 max_tokens，并以另一个 --name 重新采样：标注员无法比较断掉的句子。",
            ),
            "template": (
                "If responses run on past their end, check that the template's end of turn is a stop token.",
                "如果回复说完了还在继续，请确认模板的结束符在停止符之列。",
            ),
        },
    ),
    "value_not_learning": Remedy(
        ("The value model does not learn", "价值模型没有学到东西"),
        (
            "Over the last third of {steps} steps it explains {explained} of the returns' variance; a constant explains 0.",
            "在 {steps} 步的最后三分之一里只解释回报方差的 {explained}；常数为 0。",
        ),
        {
            "rate": (
                "Raise value_lr (ten times the policy's is common), and warm the value model up.",
                "提高 value_lr（常为策略的十倍），并预热价值模型。",
            ),
            "clip": (
                "Widen value_clip, or set it to 0: rewards change more than it allows the value to.",
                "放宽 value_clip 或设为 0：奖励的变动超过它允许的范围。",
            ),
            "start": ("Initialise the value model from the reward model.", "用奖励模型初始化价值模型。"),
        },
    ),
    "clip_fraction": Remedy(
        ("Most of the update is clipped away", "更新大多被裁剪"),
        (
            "{clipped} of tokens lie outside the clip over the last third; up to 20% is common.",
            "最后三分之一里 {clipped} 的词元超出裁剪范围；一般不超过 20%。",
        ),
        {
            "rate": LR,
            "epochs": ("Take fewer epochs per rollout (InstructGPT: 1).", "减少每批采样的 epochs（InstructGPT 为 1）。"),
            "stop": ("Set kl_stop (0.02) to end a rollout's passes early.", "设 kl_stop（0.02）以提前结束每批的遍数。"),
        },
    ),
    "entropy_collapse": Remedy(
        ("The policy has lost its diversity", "策略失去多样性"),
        (
            "Entropy fell from {first} to {last} nats per token: almost everywhere only one continuation is left.",
            "熵从每词元 {first} 降到 {last} nat：几乎每处只剩一种续写。",
        ),
        {"kl": KL, "rate": LR, "steps": STOP},
    ),
    "lr_too_high": Remedy(
        ("The learning rate is too high", "学习率过高"),
        ("{evidence}.", "{evidence}。"),
        {
            "rate": LR,
            "norm": ("Set max_grad_norm to 1.", "设 max_grad_norm 为 1。"),
            "batch": ("Use larger minibatches and fewer epochs.", "用更大的 minibatch、更少的 epochs。"),
        },
    ),
    "not_moving": Remedy(
        ("The policy does not move", "策略没有变化"),
        (
            "After {steps} steps the reward has not changed ({first} to {last}) and the KL is {kl} nats.",
            "{steps} 步后奖励原地不动（{first} 到 {last}），KL 为 {kl} nat。",
        ),
        {
            "rate": ("Raise lr; check that the optimiser updates the trained weights.", "提高 lr；确认优化器更新了要训练的权重。"),
            "kl": ("Lower kl_coef.", "降低 kl_coef。"),
            "reward": (
                "Check whether the reward differs at all between responses to one prompt.",
                "看同一提示词的不同回复之间奖励是否有差别。",
            ),
        },
    ),
    "equal_rewards": Remedy(
        ("The responses to a prompt get the same reward", "同一提示词的回复得到同样的奖励"),
        (
            "Over {steps} steps the rewards differed in {share} of the groups: where they are all the same, nothing is learned.",
            "{steps} 步里只有 {share} 的组内奖励有差别：组内奖励全都一样时，什么也学不到。",
        ),
        {
            "level": (
                "Ask prompts that the model sometimes gets right: easier ones, or after SFT on some solutions.",
                "用模型有时能答对的提示词：换容易些的，或先用一些解答做 SFT。",
            ),
            "draws": ("Raise group_size, or set resample.", "提高 group_size，或设 resample。"),
            "length": (
                "Raise max_tokens if the responses are cut before what is rewarded.",
                "若回复还没写到得分之处就被截断，提高 max_tokens。",
            ),
            "reward": ("Add a reward with steps between all and nothing.", "加一个在全有与全无之间有层次的奖励。"),
        },
    ),
    "ptx_tax": Remedy(
        ("The policy forgets its raw text", "策略在遗忘原始文本"),
        ("Loss on the pretraining mix rose from {first} to {last} nats per token.", "预训练混合的损失从每词元 {first} 升到 {last} nat。"),
        {"mix": ("Raise ptx_coef or ptx_tokens.", "提高 ptx_coef 或 ptx_tokens。"), "rate": LR},
    ),
    "writes_on": Remedy(
        ("Responses continue into the user's next turn", "回复接着写起用户的话"),
        (
            "{share} of the last responses contain a turn marker ({marker}): the model does not stop at the end of its own turn.",
            "最后的回复有 {share} 含轮次标记（{marker}）：模型没有在自己的轮次末尾停下。",
        ),
        {
            "template": (
                "Use one chat template for SFT, reward model and PPO, and make its end of turn a stop token.",
                "SFT、奖励模型与 PPO 用同一聊天模板，并把其结束符设为停止符。",
            ),
            "data": ("Look for demonstrations with several turns in one response.", "检查是否有示范把多轮写进一个回复。"),
        },
    ),
    "reward_at_chance": Remedy(
        ("The reward model is at chance", "奖励模型与随机猜测无异"),
        (
            "It orders {accuracy} of pairs as labelers do; 50% is chance ({where}).",
            "它对 {accuracy} 的回复对与标注员排序一致；随机为 50%（{where}）。",
        ),
        {
            "labels": ("Look at the labels first: `accord agreement`.", "先看标注：`accord agreement`。"),
            "rate": (
                "Raise lr, or train on more rankings; the loss should leave ln 2 = 0.69 within an epoch.",
                "提高 lr，或增加排序；损失应在一个 epoch 内离开 ln 2 = 0.69。",
            ),
            "alike": (
                "Sample the responses at temperature 1 from a model with varied output: pairs of similar responses teach nothing.",
                "以温度 1 从有多样性的模型采样：读起来一样的回复对学不到东西。",
            ),
            "tail": (
                "Raise max_tokens if long responses are cut off, and check that the score is read at the last token.",
                "若长回复被截断请提高 max_tokens，并确认分数读自最后一个词元。",
            ),
        },
    ),
    "reward_overfits": Remedy(
        ("The reward model memorises its rankings", "奖励模型在死记排序"),
        (
            "It orders {training} of the training pairs correctly, but only {validation} on unseen prompts.",
            "训练对上正确 {training}，未见过的提示词上 {validation}。",
        ),
        {
            "epochs": ("Take one epoch, or a lower lr.", "只跑一个 epoch，或降低 lr。"),
            "labels": ("Label more prompts rather than more responses per prompt.", "多标注提示词，而不是每个提示词多标注回复。"),
        },
    ),
    "labels_at_chance": Remedy(
        ("Labelers agree no more often than by chance", "标注员的一致率不高于偶然"),
        (
            "Two labelers order {agreement} of pairs alike ({low} to {high}); InstructGPT's labelers reached 73%.",
            "两位标注员对 {agreement} 的回复对排序一致（{low} 到 {high}）；InstructGPT 为 73%。",
        ),
        {
            "guideline": ("Rewrite the guideline with examples of both kinds, and screen labelers.", "用正反例重写指南，并筛选标注员。"),
            "order": (
                "Check how ranks are stored: 1 is best, and the display order is kept.",
                "检查排名的存法：1 为最好，且保留展示顺序。",
            ),
            "alike": ("Show more varied responses: temperature 1, several models.", "展示有差别的回复：温度 1、多个模型。"),
        },
    ),
    "template_mismatch": Remedy(
        ("Models of one run use different chat formats", "同一次运行的模型用了不同的对话格式"),
        ("{evidence}.", "{evidence}。"),
        {
            "template": (
                "Train the reward model from this SFT model; copy its chat_template.jinja and tokenizer files.",
                "用这个 SFT 模型训练奖励模型；复制其 chat_template.jinja 与分词器文件。",
            ),
            "bos": (
                "Tokenise the rendered template with add_special_tokens=False.",
                "对渲染后的模板分词时用 add_special_tokens=False。",
            ),
        },
    ),
    "parent_changed": Remedy(
        ("A parent model has changed since", "父模型此后已改动"),
        (
            "{name} is no longer the model that this run learned from (digest {was}, now {now}).",
            "{name} 已不是本次运行所用的模型（摘要 {was}，现为 {now}）。",
        ),
        {"again": ("Run this command again from the current model.", "用现在的模型重新运行此命令。")},
    ),
    "pad_is_eos": Remedy(
        ("pad and the stop token are the same token", "pad 与停止符是同一词元"),
        (
            "In {name} the padding token also ends a response ({token}); masking by token id loses the stop token.",
            "{name} 的填充就是结束回复的词元（{token}）；按词元 id 做掩码会丢掉停止符。",
        ),
        {
            "pad": (
                "Give pad a token of its own before other tools train on this folder; Accord's own masks come from lengths.",
                "在其他工具用此目录训练前给 pad 单独的词元；Accord 的掩码来自长度。",
            )
        },
    ),
    "overfits": Remedy(
        ("The last epochs only memorise", "最后几个 epoch 只是在死记"),
        ("Validation loss was {best} and ended at {last}.", "验证损失最低 {best}，最后为 {last}。"),
        {
            "epochs": (
                "Take fewer epochs, or select = validation_loss, which keeps the best one.",
                "减少 epochs，或用 select = validation_loss 保留最好的一个。",
            ),
            "rate": LR,
        },
    ),
    "not_learning": Remedy(
        ("The loss does not fall", "损失没有下降"),
        ("It was {first} at the start and is {last} after {steps} steps.", "开始为 {first}，{steps} 步后为 {last}。"),
        {
            "rate": ("Raise lr.", "提高 lr。"),
            "data": (
                "Check that the loss covers response tokens and that the inputs are not all alike.",
                "确认损失覆盖回复词元，且输入并非千篇一律。",
            ),
        },
    ),
    "likelihood_falls": Remedy(
        ("Preferred responses become unlikely too", "被偏好的回复也变得不可能"),
        (
            "Their log-probability fell from {first} to {last} while the margin grew: probability goes to text that nobody wrote.",
            "分差变大而其对数概率从 {first} 降到 {last}：概率流向了没人写过的文字。",
        ),
        {
            "anchor": ("Raise beta, or use --loss orpo, which includes an SFT term.", "提高 beta，或用含 SFT 项的 --loss orpo。"),
            "rate": LR,
        },
    ),
    "drifts_away": Remedy(
        ("The policy is far from its reference", "策略已远离参考模型"),
        (
            "Its log-probabilities of the labeled responses moved by {last} nats per token; above {limit} a policy often repeats itself.",
            "它对已标注回复的对数概率每词元偏移了 {last} nat；超过 {limit} 时，策略常会重复自己。",
        ),
        {
            "rate": LR,
            "anchor": ("Raise beta.", "提高 beta。"),
            "steps": ("Train for fewer epochs.", "减少训练轮数。"),
        },
    ),
    "contaminated": Remedy(
        ("Training has prompts that are held out", "训练数据含有留出的提示词"),
        (
            "{both} of {prompts} training prompts are in a held-out split too, word for word: validation and tests flatter the model.",
            "{prompts} 条训练提示词中有 {both} 条也逐字出现在留出的划分中：验证和测试的结果会偏高。",
        ),
        {
            "remove": (
                "`accord inspect` names them; take one of each two out with `accord remove`, and train again.",
                "`accord inspect` 会列出它们；用 `accord remove` 去掉其中之一，然后重新训练。",
            ),
            "users": (
                "Import with `--split auto`, which keeps all prompts of one user, and each conversation, in one split.",
                "导入时使用 `--split auto`：同一用户的提示词和同一对话只会在一个划分中。",
            ),
        },
    ),
    "plain_path": Remedy(
        ("A model runs on the plain path", "有模型走的是普通路径"),
        (
            "{name} is computed by transformers alone ({path}): the results are right, training and sampling take longer.",
            "{name} 由 transformers 单独计算（{path}）：结果正确，但训练和采样更慢。",
        ),
        {
            "model": (
                "Nothing is wrong with the run; docs/models.md names the architectures that Accord computes itself.",
                "这次运行没有问题；docs/models.md 列出了 Accord 自己计算的架构。",
            ),
            "versions": (
                "If it was another path before, transformers or torch has changed: delete cache/paths.json, and it is tried again.",
                "如果以前不是这条路径，说明 transformers 或 torch 变了：删除 cache/paths.json 会重新检查。",
            ),
        },
    ),
    "makes_up_more": Remedy(
        ("The policy makes up more than the SFT model", "策略比 SFT 模型编造更多"),
        (
            "It states something false in {policy} of its answers about unknown facts; the SFT model does in {sft}.",
            "在未知事实上其 {policy} 的回复有虚假陈述，SFT 模型为 {sft}。",
        ),
        {
            "labels": (
                'Have labelers check facts, and rank made-up answers below "I don\'t know".',
                "让标注员核对事实，把编造排在承认不知道之下。",
            ),
            "demonstrations": (
                "Remove demonstrations with facts that the base model cannot know.",
                "去掉含有基座模型不可能知道的事实的示范。",
            ),
        },
    ),
}
