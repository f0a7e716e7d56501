"""Has each conformance test been seen to fail? Breaks a copy of the source on purpose, one law at a time, and runs the law's test.

    python tests/conformance/breaks.py            the table of docs/conformance.md, written anew
    python tests/conformance/breaks.py t07 t40    these alone, printed

A break that no test notices is printed as "no", and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "conformance.md"
START, END = "<!-- seen to fail: written by tests/conformance/breaks.py -->", "<!-- end -->"


@dataclass(frozen=True)
class Break:
    """What is replaced in which file, and the test that has to notice."""

    test: str
    law: str
    file: str
    old: str
    new: str
    where: str = "masks"
    only: str = ""
    """Of a parametrised test, the case to run."""


BREAKS = [
    Break("t01_the_stop", "one stop token is kept, pad or not", "models/packing.py", "from_end <= kept_t.repeat_interleave(lengths_t))", "(from_end <= kept_t.repeat_interleave(lengths_t)) & (flat != flat[-1]))"),
    Break("t02_a_score", "padding, batch and inner stop tokens leave a score alone", "models/scalar.py", "scalars(model, batch, batch.last,", "scalars(model, batch, batch.starts + 2,"),
    Break("t03_the_score", "the score is read at the last token", "models/scalar.py", "scalars(model, batch, batch.last,", "scalars(model, batch, batch.last - 1,"),
    Break("t04_prompts", "prompts of unequal length are sampled as alone", "engine/cache.py", "starts = (self.width - lengths).repeat_interleave(n)", "starts = (0 * lengths).repeat_interleave(n)"),
    Break("t05_padding", "padding changes no figure", "algorithms/objectives.py", "return x.masked_fill(~keep, 0.0).sum() / keep", "return x.sum() / keep"),
    Break("t06_a_stop", "any stop token ends, keeps and rewards", "engine/local.py", "torch.tensor(list(stop)", "torch.tensor([model.config.eos_token_id]"),
    Break("t07_a_rows", "rewards sum to score - beta KL, the score last", "algorithms/objectives.py", "last = keep.sum(1) - 1", "last = keep.sum(1) - 2"),
    Break("t07_scores", "a row without kept tokens gets no score", "algorithms/objectives.py", "(scores * (last >= 0))[:, None]", "scores[:, None]", "rewards"),
    Break("t08_one_bos", "one BOS", "data/tokenizers.py", '"{{ bos_token }}{% for', '"{{ bos_token }}{{ bos_token }}{% for'),
    Break("t09_what", "nothing to learn is an error", "data/token_rows.py", "if len(response) < shortest or not prompt:", "if False:"),
    Break("t10_packed", "packed rows do not see each other", "models/policy.py", "PackedAttention(batch.lengths), dtype)", "PackedAttention(batch.lengths.sum()[None]), dtype)"),
    Break("t11_the_prompts", "the prompt is a prefix", "data/templates.py", "if whole.startswith(prompt) and stands_in(", "if stands_in("),
    Break("t12_the_ratio", "the ratio starts at 1", "algorithms/ppo.py", "new, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)", "new, _ = logprobs(policy, batch, dtype=dtype)", "logprobs"),
    Break("t13_dropout", "no dropout anywhere", "models/folders.py", "return model.float().eval()", "return model.float().train()", "logprobs"),
    Break("t14_policies", "temperature is part of policy and reference", "algorithms/rollouts.py", "logprobs(reference, batch, dtype=dtype, temperature=temperature)", "logprobs(reference, batch, dtype=dtype)", "logprobs"),
    Break("t15_t23", "no filters, penalties or length rules in rollouts", "settings/train.py", "    kl_horizon: Count", "    top_p: float = 1.0\n    kl_horizon: Count", "logprobs"),
    Break("t15_a_filtered", "a filtered draw's log-probability is the filtered one's", "engine/sampling.py", "if 0 < sampling.top_k", "if False and 0 < sampling.top_k", "logprobs"),
    Break("t16_t17", "a gap between sampler and trainer stops the run", "algorithms/rollouts.py", "if rollout.logprob_gap > limit:", "if False:", "logprobs"),
    Break("t18", "caches are dropped after an update", "algorithms/ppo.py", "            sampler.refresh()\n            seconds_train", "            seconds_train", "logprobs"),
    Break("t19", "sampled tokens stay as they are", "algorithms/rollouts.py", "scorer.score(asked, responses)", "scorer.score(asked, [row[:-1] for row in responses])", "logprobs"),
    Break("t20", "the penalty's gradient is the KL's", "algorithms/objectives.py", "return log_ratio**2 / 2", "return log_ratio**2", "logprobs"),
    Break("t21", "with adapters KL starts at 0", "models/adapters.py", "module.merge()", "pass", "logprobs"),
    Break("t22", "k3 beside k1", "algorithms/rollouts.py", 'kl_estimate(kl, "k3")', 'kl_estimate(kl, "k1")', "logprobs"),
    Break("t24", "one token does not divide by nothing", "algorithms/objectives.py", "centred = (x - mean) * (variance + 1e-8).rsqrt()", "centred = (x - mean) * variance.rsqrt()", "rewards"),
    Break("t25", "the variance is biased, as stated", "algorithms/objectives.py", "variance = masked_mean((x - mean) ** 2, keep)", "variance = ((x - mean) ** 2).masked_fill(~keep, 0.0).sum() / (keep.sum() - 1)", "rewards"),
    Break("t26", "reward whitening is off by default", "settings/train.py", "whiten_rewards: bool = False", "whiten_rewards: bool = True", "rewards"),
    Break("t27", "four rules for cut responses", "algorithms/rollouts.py", "drawn.keep & drawn.finished[:, None] if", "drawn.keep if", "rewards"),
    Break("t28", "GAE skips what is not kept", "algorithms/objectives.py", "running = torch.where(keep[:, t], delta + gamma * lam * running, running)", "running = delta + gamma * lam * running", "rewards"),
    Break("t29_the_reward", "the head's initial spread", "models/scalar.py", "(width + 1) ** -0.5", "0.02", "rewards"),
    Break("t29_ppo", "the value starts from the reward model; demonstrations score 0", "algorithms/reward.py", "model.config.reward_bias = -float(", "model.config.reward_bias = float(", "rewards"),
    Break("t30", "value clipping takes the worse", "algorithms/objectives.py", "loss = torch.maximum(loss,", "loss = torch.minimum(loss,", "rewards"),
    Break("t31", "a score of 0 is a score", "algorithms/rollouts.py", "torch.where(cut, no_stop_reward, scores)", "torch.where(cut | (scores == 0), no_stop_reward, scores)"),
    Break("t32", "short last batches count", "algorithms/rollouts.py", "range(0, rows, size)", "range(0, rows - size + 1, size)", "rewards"),
    Break("t33", "scored in training where PPO scores", "models/scalar.py", "return [*prompt, *response]", "return [*prompt, *response[:-1]]", "rewards"),
    Break("t34_t38_t39", "seeds reach prompts, minibatches and engine", "algorithms/ppo.py", 'generator(config.seed, "ppo", "rollout", step)', "generator(step)", "rewards"),
    Break("t35_t36", "8 x 1 = 1 x 8", "algorithms/sft.py", "loss = _loss_sum(model, part, dtype) / kept", "loss = _loss_sum(model, part, dtype) / sum(row.kept for row in part)", "rewards"),
    Break("t35_reward", "reward gradients accumulate over prompts", "algorithms/reward.py", "loss = torch.stack(losses).sum() / len(chosen)", "loss = torch.stack(losses).mean()", "rewards"),
    Break("t36", "losses weigh tokens", "algorithms/sft.py", "return total / sum(example.kept for example in examples)", "return total / len(examples)"),
    Break("t37", "Adam's epsilon", "algorithms/optim.py", "eps=settings.adam_epsilon", "eps=1e-8", "rewards"),
    Break("t38_the_data", "the data's order is the seed's", "data/corpus.py", "default_rng((seed, epoch))", "default_rng((0, epoch))", "rewards"),
    Break("t40_twenty", "20 = 10 + 10: data position", "algorithms/pretrain.py", "skip=done)", "skip=0)", "state", "pretrain"),
    Break("t40_twenty", "20 = 10 + 10: optimiser", "algorithms/sft.py", 'restore_optimizers(optimizers, state["optimizers"])', "pass", "state", "sft"),
    Break("t40_twenty", "20 = 10 + 10: best metric", "algorithms/sft.py", 'best, best_loss = state["best"], state["best_loss"]', 'best = state["best"]', "state", "sft"),
    Break("t40_twenty", "20 = 10 + 10: tie threshold", "algorithms/reward.py", 'threshold.data.copy_(state["threshold"])', "pass", "state", "reward"),
    Break("t40_twenty", "20 = 10 + 10: KL coefficient", "algorithms/ppo.py", 'average, beta, updates = state["average"], state["kl_coef"], state["updates"]', 'average, updates = state["average"], state["updates"]', "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: moving average", "algorithms/ppo.py", 'average, beta, updates = state["average"], state["kl_coef"], state["updates"]', 'beta, updates = state["kl_coef"], state["updates"]', "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: value model", "algorithms/ppo.py", 'value.load_state_dict(state["value"])', "pass", "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: prompts asked so far", "algorithms/grpo.py", 'asked, updates = state["asked"], state["updates"]', 'updates = state["updates"]', "state", "grpo"),
    Break("t40_twenty", "20 = 10 + 10: optimiser", "algorithms/raft.py", 'restore_optimizers(optimizers, state["optimizers"])', "pass", "state", "raft"),
    Break("t40_kill_9", "kill -9 and resume: the critic's optimiser", "algorithms/ppo.py", "for name, optimizers in trained.items():\n            restore_optimizers", "for name, optimizers in [*trained.items()][:1]:\n            restore_optimizers", "kill", "ppo"),
    Break("t41", "scores are float32", "models/scalar.py", "F.linear(states.index_select(0, at).float(), weight.float())", "F.linear(states.index_select(0, at).to(dtype), weight.to(dtype)).float()"),
    Break("t42", "the saved template is the used one", "models/folders.py", "    tokenizer.save_pretrained(folder)", "    tokenizer.chat_template = None\n    tokenizer.save_pretrained(folder)", "state"),
    Break("t43", "weight 1/C(K,2)", "algorithms/objectives.py", "scores[worse]).sum() / max(len(better), 1)", "scores[worse]).sum()", "rewards"),
    Break("t44", "truncation keeps the right end", "data/token_rows.py", "JoinedTokens(tokens[over:]", "JoinedTokens(tokens[: len(tokens) - over]"),
    Break("t45_every_setting", "every setting is read", "settings/train.py", "    kl_horizon: Count", "    dead: int = 0\n    kl_horizon: Count", "state", "ppo"),
    Break("t45_every_ppo", "every setting changes something", "algorithms/ppo.py", "(config.ptx_coef * loss).backward()", "loss.backward()", "state", "ptx_coef"),
    Break("t45_sft", "every setting changes something", "algorithms/sft.py", "weight_decay=config.weight_decay)", ")", "state", "weight_decay"),
    Break("t45_reward", "every setting changes something", "algorithms/reward.py", 'generator(config.seed, "reward", epoch)', 'generator(0, "reward", epoch)', "state", "seed"),
    Break("t45_what", "an unknown key is refused", "runtime/project.py", "if key not in hints:", "if key not in hints:\n            continue\n        if False:", "state"),
]  # fmt: skip


def noticed(broken: Break, copy: Path) -> bool:
    """Whether the law's test fails once the source is broken; runs it in a child process with imports of its own."""
    file = copy / "src" / "accord" / broken.file
    whole = file.read_text("utf-8")
    if broken.old not in whole:
        raise SystemExit(f"{broken.test}: {broken.file} has no {broken.old!r}; the break needs mending")
    file.write_text(whole.replace(broken.old, broken.new), "utf-8")
    try:
        code = run(copy, f"test_{broken.where}.py", " and ".join(filter(None, [f"test_{broken.test}", broken.only])))
    finally:
        file.write_text(whole, "utf-8")
    if code not in (0, 1):
        raise SystemExit(f"{broken.test}: pytest ended with {code}: no test of that name, or it cannot be collected")
    return code == 1


def run(copy: Path, file: str, names: str) -> int:
    """pytest's exit code for some tests of the copy, in a fork: torch and transformers are imported once, accord anew."""
    import pytest

    child = os.fork()
    if child == 0:
        code = 9  # anything but a verdict
        try:
            os.chdir(copy)
            sys.path.insert(0, str(copy / "src"))
            os.environ["PYTHONPATH"] = str(copy / "src")
            quiet = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = int(pytest.main([*quiet, f"tests/conformance/{file}", "-k", names]))
            spec = importlib.util.find_spec("accord")
            code = found if spec and str(spec.origin).startswith(str(copy)) else 9
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def line(broken: Break, seen: bool) -> str:
    case = f" [{broken.only}]" if broken.only else ""
    old, new = (" ".join(text.split()).replace("|", "\\|") for text in (broken.old, broken.new))
    law = ", ".join(word.upper() for word in broken.test.split("_") if word[0] == "t" and word[1:].isdigit())
    return f"| {law} | `test_{broken.test}…`{case} | {broken.law} | `{broken.file}`: `{old}` → `{new}` | {'yes' if seen else 'no'} |"


def main(wanted: list[str]) -> int:
    import torch
    import transformers  # imported here once for every fork

    assert transformers
    torch.set_num_threads(1)
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for broken in BREAKS:
            if not wanted or any(broken.test.startswith(word) for word in wanted):
                rows.append(line(broken, noticed(broken, copy)))
                print(rows[-1], flush=True)
    if not wanted:
        before, rest = PAGE.read_text("utf-8").split(START)
        table = "\n".join(["| law | test | what it states | break | seen to fail |", "|---|---|---|---|---|", *rows])
        PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}", "utf-8")
    return int(any(row.endswith("| no |") for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
