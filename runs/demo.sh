#!/usr/bin/env bash
# The whole loop on the built-in world: raw text to a policy that people prefer, with proof. `make demo` and `accord demo` run this.
set -euo pipefail
OUT=${OUT:-demo} SEED=${SEED:-0}
say() { printf '\n== %s\n' "$*"; }

say "1. A town is invented: raw text, prompts, demonstrations, labelers (seed $SEED)"
accord init "$OUT" --world --seed "$SEED"
say "2. Pretraining: a tokenizer and a 1.3M-parameter Llama on untamed raw text"
accord pretrain "$OUT" --seed "$SEED"
say "3. Supervised fine-tuning on written demonstrations"
accord sft "$OUT" --seed "$SEED"
say "4. Six responses a prompt"
accord sample "$OUT" --seed "$SEED"
say "5. Labelers rank them"
accord label "$OUT" --by world --seed "$SEED"
say "6. A reward model learns what they prefer"
accord reward "$OUT" --held-out-group caring --seed "$SEED"
say "7. PPO against the reward model, on a KL leash, with a pretraining mix"
accord ppo "$OUT" --seed "$SEED"
say "8. The same without the pretraining mix, to see the alignment tax"
accord ppo "$OUT" --name ppo-no-ptx --ptx-coef 0 --seed "$SEED"
say "9. Is it better? The gold judge compares, blind, on prompts of users no model has seen"
accord evaluate "$OUT" --policy ppo --policy ppo-no-ptx --seed "$SEED"
say "10. The report"
accord report "$OUT"

printf '\nWhat next:\n  open %s/report.html\n  accord chat %s --model ppo\n  accord lineage %s ppo\n' "$OUT" "$OUT" "$OUT"
