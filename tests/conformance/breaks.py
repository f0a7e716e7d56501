"""Has each conformance test been seen to fail? Breaks a copy of the source on purpose, one law at a time, and runs the law's test.

    python tests/conformance/breaks.py            the table of docs/conformance.md, written anew
    python tests/conformance/breaks.py t07 t40    these alone, printed

A test is run on the source as it is first. One that fails already is "red before", whatever the break does; a break that no test
notices is "no". For either, the exit code is 1.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "conformance.md"
PADDED = "algorithms/test_padded_reference.py"
SHARED = "models/test_shared.py"
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
    """The law's file in tests/conformance, or another file below tests/."""
    only: str = ""
    """Of a parametrised test, the case to run."""

    @property
    def tests(self) -> str:
        """The file of the law's test."""
        return f"tests/{self.where}" if "/" in self.where else f"tests/conformance/test_{self.where}.py"

    @property
    def chosen(self) -> str:
        """What pytest is to run of that file."""
        return " and ".join(filter(None, [f"test_{self.test}", *self.only.split("-")]))


BREAKS = [
    Break("t01_the_stop", "one stop token is kept, pad or not", "models/packing.py", "keep = from_end <= kept_t.repeat_interleave(lengths_t)", "keep = (from_end <= kept_t.repeat_interleave(lengths_t)) & (flat != flat[-1])"),
    Break("t02_a_score", "padding, batch and inner stop tokens leave a score alone", "models/scalar.py", "scalars(model, batch, batch.last,", "scalars(model, batch, batch.starts + 2,"),
    Break("t03_the_score", "the score is read at the last token", "models/scalar.py", "scalars(model, batch, batch.last,", "scalars(model, batch, batch.last - 1,"),
    Break("t04_prompts", "prompts of unequal length are sampled as alone", "engine/cache.py", "starts = (self.width - lengths).repeat_interleave(n)", "starts = (0 * lengths).repeat_interleave(n)"),
    Break("t05_padding", "padding changes no figure", "algorithms/objectives.py", "return x.masked_fill(~keep, 0.0).sum() / keep", "return x.sum() / keep"),
    Break("t06_a_stop", "any stop token ends, keeps and rewards", "engine/local.py", "torch.tensor(list(stop)", "torch.tensor([model.config.eos_token_id]"),
    Break("t07_a_rows", "rewards sum to score - beta KL, the score last", "algorithms/objectives.py", "last = keep.sum(1) - 1\n    return rewards.scatter_add", "last = keep.sum(1) - 2\n    return rewards.scatter_add"),
    Break("t07_scores", "a row without kept tokens gets no score", "algorithms/objectives.py", "(scores * (last >= 0))[:, None]", "scores[:, None]", "rewards"),
    Break("t08_one_bos", "one BOS", "data/tokenizers.py", '"{{ bos_token }}{% for message in messages %}<|', '"{{ bos_token }}{{ bos_token }}{% for message in messages %}<|'),
    Break("t09_what", "nothing to learn is an error", "data/token_rows.py", "if len(response) < shortest or not prompt:", "if False:"),
    Break("t10_packed", "packed rows do not see each other", "models/decoder.py", "batch.positions, PackedAttention(batch.row_lengths, device)", "batch.positions, PackedAttention(batch.row_lengths.sum()[None], device)"),
    Break("t11_the_prompts", "the prompt is a prefix", "data/templates.py", "if whole.startswith(prompt) and stands_in(", "if stands_in("),
    Break("t12_the_ratio", "the ratio starts at 1", "algorithms/ppo.py", "new, _ = logprobs(policy, batch, dtype=dtype, temperature=config.temperature)", "new, _ = logprobs(policy, batch, dtype=dtype)", "logprobs"),
    Break("t13_dropout", "no dropout anywhere", "models/folders.py", "return take(model, choose(model)).float().eval()", "return take(model, choose(model)).float().train()", "logprobs"),
    Break("t14_policies", "temperature is part of policy and reference", "algorithms/rollouts.py", "logprobs(reference, batch, dtype=dtype, temperature=temperature)", "logprobs(reference, batch, dtype=dtype)", "logprobs"),
    Break("t15_t23", "no filters, penalties or length rules in rollouts", "settings/train.py", "    kl_horizon: Count", "    top_p: float = 1.0\n    kl_horizon: Count", "logprobs"),
    Break("t15_a_filtered", "a filtered draw's log-probability is the filtered one's", "engine/sampling.py", "if 0 < sampling.top_k", "if False and 0 < sampling.top_k", "logprobs"),
    Break("t16_t17", "a gap between sampler and trainer stops the run", "algorithms/correction.py", "if not now.token <= self.ceiling:", "if False:", "logprobs"),
    Break("t18", "caches are dropped after an update", "algorithms/ppo.py", "            draws.refresh(step)\n            seconds_train", "            seconds_train", "logprobs"),
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
    Break("t31", "a score of 0 is a score", "algorithms/rollouts.py", "scores = torch.where(cut, no_stop_reward if", "scores = torch.where(cut | (scores == 0), no_stop_reward if"),
    Break("t32", "short last batches count", "algorithms/rollouts.py", "range(0, rows, size)", "range(0, rows - size + 1, size)", "rewards"),
    Break("t33", "scored in training where PPO scores", "models/scalar.py", "return [*prompt, *response]", "return [*prompt, *response[:-1]]", "rewards"),
    Break("t34_t38_t39", "seeds reach prompts, minibatches and engine", "algorithms/ppo.py", 'generator(config.seed, "ppo", "rollout", step)', "generator(step)", "rewards"),
    Break("t35_t36", "8 x 1 = 1 x 8", "algorithms/sft.py", "loss = _loss_sum(model, part, dtype) / kept", "loss = _loss_sum(model, part, dtype) / sum(row.kept for row in part)", "rewards"),
    Break("t35_reward", "reward gradients accumulate over prompts", "algorithms/reward.py", "loss = (torch.stack(each).sum() if each else flat.sum()) / len(chosen)", "loss = torch.stack(each).mean()", "rewards"),
    Break("t36", "losses weigh tokens", "algorithms/sft.py", "dtype=torch.float64))) / sum(example.kept for example in examples)", "dtype=torch.float64))) / len(examples)"),
    Break("t37", "Adam's epsilon", "algorithms/optim.py", "eps=settings.adam_epsilon", "eps=1e-8", "rewards"),
    Break("t38_the_data", "the data's order is the seed's", "data/corpus.py", "default_rng((seed, epoch))", "default_rng((0, epoch))", "rewards"),
    Break("t40_twenty", "20 = 10 + 10: data position", "algorithms/pretrain.py", "skip=done)", "skip=0)", "state", "pretrain"),
    Break("t40_twenty", "20 = 10 + 10: optimiser", "algorithms/sft.py", 'restore_optimizers(optimizers, state["optimizers"])', "pass", "state", "sft"),
    Break("t40_twenty", "20 = 10 + 10: best metric", "algorithms/sft.py", 'best, best_loss, held_out = _best_of(state, run, done), state["best_loss"], ', 'best, held_out = _best_of(state, run, done), ', "state", "sft"),
    Break("t40_twenty", "20 = 10 + 10: tie threshold", "algorithms/reward.py", 'threshold.data.copy_(state["threshold"])', "pass", "state", "reward"),
    Break("t40_twenty", "20 = 10 + 10: KL coefficient", "algorithms/ppo.py", 'beta, updates = state["kl_coef"], state["updates"]', 'updates = state["updates"]', "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: moving average", "algorithms/ppo.py", 'average = {name: like(state["average"][name].to(policy.device), held) for name, held in average.items()}', "pass", "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: value model", "algorithms/ppo.py", 'restore_trained(value, state["value"])', "pass", "state", "ppo"),
    Break("t40_twenty", "20 = 10 + 10: prompts asked so far", "algorithms/grpo.py", 'asked, updates, evaluated = state["asked"], state["updates"], state.get("evaluations", {})', 'updates, evaluated = state["updates"], state.get("evaluations", {})', "state", "grpo"),
    Break("t40_twenty", "20 = 10 + 10: optimiser", "algorithms/raft.py", 'restore_optimizers(optimizers, state["optimizers"])', "pass", "state", "raft"),
    Break("t40_kill_9", "kill -9 and resume: the critic's optimiser", "algorithms/ppo.py", "for name, optimizers in trained.items():\n            restore_optimizers", "for name, optimizers in [*trained.items()][:1]:\n            restore_optimizers", "kill", "ppo"),
    Break("t41", "scores are float32", "models/scalar.py", "F.linear(states.float(), weight.float())", "F.linear(states.to(dtype), weight.to(dtype)).float()"),
    Break("t42", "the saved template is the used one", "models/folders.py", "    tokenizer.save_pretrained(folder)", "    tokenizer.chat_template = None\n    tokenizer.save_pretrained(folder)", "state"),
    Break("t43", "weight 1/C(K,2)", "algorithms/objectives.py", "scores[worse]).sum() / max(len(better), 1)", "scores[worse]).sum()", "rewards"),
    Break("t44", "truncation keeps the right end", "data/token_rows.py", "JoinedTokens(tokens[over:]", "JoinedTokens(tokens[: len(tokens) - over]"),
    Break("t45_every_setting", "every setting is read", "settings/train.py", "    kl_horizon: Count", "    dead: int = 0\n    kl_horizon: Count", "state", "ppo"),
    Break("t45_every_ppo", "every setting changes something", "algorithms/ppo.py", "(config.ptx_coef * loss).backward()", "loss.backward()", "state", "ptx_coef"),
    Break("t45_sft", "every setting changes something", "algorithms/optim.py", "settings.weight_decay if decay else 0.0", "0.0", "state", "weight_decay"),
    Break("t45_reward", "every setting changes something", "algorithms/reward.py", 'generator(config.seed, "reward", epoch)', 'generator(0, "reward", epoch)', "state", "seed"),
    Break("a_step_of_ppo", "V(s_t) is read where token t is predicted", "algorithms/ppo.py", "values = scalars(value, batch, batch.targets - 1, dtype=dtype)", "values = scalars(value, batch, batch.targets, dtype=dtype)", PADDED, "penalise-llama"),
    Break("a_step_of_ppo", "the critic learns returns", "algorithms/ppo.py", "return Targets(keep, advantages, returns, rewards, kl, ", "return Targets(keep, advantages, advantages, rewards, kl, ", PADDED, "penalise-llama"),
    Break("a_step_of_ppo", "the value loss has weight 1", "algorithms/ppo.py", "(policy_loss + value_loss).backward()", "(policy_loss + 0.01 * value_loss).backward()", PADDED, "penalise-llama"),
    Break("a_step_of_ppo", "advantages are whitened over the tokens that count", "algorithms/ppo.py", "advantages = whiten(advantages, keep)", "advantages = whiten(advantages, rollout.keep)", PADDED, "mask-llama"),
    Break("a_step_of_ppo", "AdamW's betas are the settings'", "algorithms/optim.py", "betas = (settings.adam_beta1, settings.adam_beta2)", "betas = (settings.adam_beta1, 0.95)", PADDED, "penalise-llama"),
    Break("a_step_of_the_reward", "a mean over a prompt's untied pairs", "algorithms/objectives.py", "scores[worse]).sum() / max(len(better), 1)", "scores[worse]).sum()", PADDED, "llama"),
    Break("ktos_reference", "KTO's reference point is taken of other prompts' responses", "algorithms/kto.py", "asked = said(config, policy, [strangers[i] for i in chosen], dtype)", "asked = said(config, policy, [thumbs[i] for i in chosen], dtype)", PADDED),
    Break("t45_micro", "a setting of memory changes the order of sums alone", "algorithms/reward.py", "loss = (torch.stack(each).sum() if each else flat.sum()) / len(chosen)", "loss = torch.stack(each).mean()", "state", "reward"),
    Break("t45_micro", "a setting of memory changes the order of sums alone", "algorithms/sft.py", "loss = _loss_sum(model, part, dtype) / kept", "loss = _loss_sum(model, part, dtype) / sum(row.kept for row in part)", "state", "sft"),
    Break("t45_what", "an unknown key is refused", "runtime/project.py", "if key not in hints:", "if key not in hints:\n            continue\n        if False:", "state"),
    Break("log_probabilities_and_gradients", "a shared prompt's gradient counts in each of its rows", "models/cascade.py", "own.index_add_(0, layout.tokens.index_select(0, layout.others), grad.index_select(0, layout.others))", "pass", SHARED),
    Break("log_probabilities_and_gradients", "a prompt's gradient comes from each of its responses", "models/cascade.py", "_stem(of_k, stem).add_(_flat(grads[1]))", "pass", SHARED, "llama"),
    Break("what_is_read_in_place", "a response's attention is one softmax over its prompt and itself", "models/cascade.py", "both = torch.logaddexp(mine, sums)", "both = torch.maximum(mine, sums)", SHARED),
    Break("log_probabilities_and_gradients", "an adapter's gradient is scaled as the adapter is", "models/low_rank.py", "back.append(scale * (part @ factor))", "back.append(part @ factor)", SHARED, "adapters"),
    Break("log_probabilities_and_gradients", "a norm's scale depends on what it norms", "models/elementwise.py", ".addcmul_(x, along[:, None], value=-1 / width)", "", SHARED, "llama"),
    Break("log_probabilities_and_gradients", "a response does not see its neighbour", "models/packing.py", "index[start : start + count] = index[before : before + count]", "index[start : start + count] = index[before + 1 : before + 1 + count]", SHARED),
    Break("log_probabilities_and_gradients", "positions go on behind a shared prompt", "models/packing.py", "positions = source - starts.repeat(lengths)[source]", "positions = np.concatenate([part - part[:1] for part in sources])", SHARED),
    Break("a_method_learns_the_same", "a method learns from shared prompts as from rows alone", "models/decoder.py", "shared.index.index_select(0, at))", "shared.index.index_select(0, (at - 1).clamp(min=0)))", SHARED, "dpo"),
]  # fmt: skip


def noticed(broken: Break, copy: Path) -> bool:
    """Whether the law's test, which passes on the source as it is, fails once that is broken."""
    file = copy / "src" / "accord" / broken.file
    text = file.read_text("utf-8")
    if text.count(broken.old) != 1:
        raise SystemExit(f"{broken.test}: {broken.file} has {text.count(broken.old)} of {broken.old!r}, not one; mend the break")
    file.write_text(text.replace(broken.old, broken.new), "utf-8")
    try:
        return not passes([broken], copy)
    finally:
        file.write_text(text, "utf-8")


def red_before(breaks: Sequence[Break], copy: Path) -> set[Break]:
    """Return the breaks whose test fails on the source as it is: whatever they do, it tells nothing."""
    red = set[Break]()
    for file in sorted({broken.tests for broken in breaks}):
        part = [broken for broken in breaks if broken.tests == file]
        if not passes(part, copy):
            red |= {broken for broken in part if not passes([broken], copy)}
    return red


def passes(breaks: Sequence[Break], copy: Path) -> bool:
    """Whether the tests of breaks of one file pass on the copy."""
    names = dict.fromkeys(f"({broken.chosen})" for broken in breaks)
    code = run(copy, [breaks[0].tests], " or ".join(names))
    if code not in (0, 1):
        raise SystemExit(f"{', '.join(names)}: pytest ended with {code}: no test of that name, or it cannot be collected")
    return code == 0


def run(copy: Path, files: Sequence[str], names: str = "", seconds: int = 0) -> int:
    """Return pytest's exit code for some tests of the copy, in a fork: torch and transformers are imported once, accord anew.

    Args:
        names: what pytest's ``-k`` takes; all tests of the files by default.
        seconds: after them the fork is ended; the result is then negative. 0: it may take as long as it likes.
    """
    import pytest

    child = os.fork()
    if child == 0:
        code = 9  # anything but a verdict
        try:
            signal.alarm(seconds)
            os.chdir(copy)
            sys.path.insert(0, str(copy / "src"))
            os.environ["PYTHONPATH"] = str(copy / "src")
            quiet = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = int(pytest.main([*quiet, *files, *(["-k", names] if names else [])]))
            spec = importlib.util.find_spec("accord")
            code = found if spec and str(spec.origin).startswith(str(copy)) else 9
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def line(broken: Break, verdict: str) -> str:
    case = f" [{broken.only}]" if broken.only else ""
    old, new = (" ".join(text.split()).replace("|", "\\|") for text in (broken.old, broken.new))
    law = ", ".join(word.upper() for word in broken.test.split("_") if word[0] == "t" and word[1:].isdigit())
    return f"| {law} | `test_{broken.test}…`{case} | {broken.law} | `{broken.file}`: `{old}` → `{new}` | {verdict} |"


def copied(folder: Path) -> Path:
    """Copy source and tests into a folder, where they can be broken."""
    for name in ("src", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def processor() -> str:
    """Return this machine's processor by name and what it computes with."""
    import torch

    known = Path("/proc/cpuinfo")
    names = (
        [row.split(":", 1)[1].strip() for row in known.read_text().splitlines() if row.startswith("model name")] if known.exists() else []
    )
    return f"{names[0] if names else 'an unnamed processor'}, {torch.backends.cpu.get_cpu_capability()}"


def import_for_forks() -> None:
    """Import what every fork needs, once; nothing of accord."""
    import hypothesis
    import peft
    import torch
    from transformers import GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    imported = (hypothesis, peft, GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast)
    assert all(imported)
    torch.set_num_threads(1)


def write(rows: Sequence[str]) -> None:
    """Write the table of docs/conformance.md, with the day and the processor."""
    seen, left = (sum(row.endswith(f"| {verdict} |") for row in rows) for verdict in ("yes", "not run"))
    said = (
        f"Run on {date.today()}, on one thread of an {processor()}: of {len(rows) - left} tests, {seen} passed on the source as it is and"
        f" failed once it was broken{f'; {left} were not run' if left else ''}."
    )
    table = "\n".join(["| law | test | what it states | break | seen to fail |", "|---|---|---|---|---|", *rows])
    before, rest = PAGE.read_text("utf-8").split(START)
    PAGE.write_text(f"{before}{START}\n\n{said}\n\n{table}\n\n{END}{rest.split(END)[1]}", "utf-8")


def main(wanted: list[str]) -> int:
    import_for_forks()
    chosen = [broken for broken in BREAKS if not wanted or any(broken.test.startswith(word) for word in wanted)]
    rows = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        red = red_before(chosen, copy)
        for broken in chosen:
            verdict = "red before" if broken in red else "yes" if noticed(broken, copy) else "no"
            rows.append(line(broken, verdict))
            print(rows[-1], flush=True)
    if not wanted:
        write(rows)
    return int(not all(row.endswith("| yes |") for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
