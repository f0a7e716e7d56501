#!/usr/bin/env bash
# The whole loop on the built-in world: raw text to a policy that people prefer, with proof. `make demo` and `accord demo` run this.
# --quick: the same loop with a smaller town and shorter training, in about two minutes on two quiet CPU cores.
# SHOWN is how accord is called in the shell that this was started from, and FROM where that is, for the lines at the end.
set -euo pipefail
OUT=${OUT:-demo} SEED=${SEED:-0} SHOWN=${SHOWN:-accord}
[[ $# -eq 0 || $* == --quick ]] || { echo "demo: $*: the only option is --quick (OUT=FOLDER and SEED=NUMBER stand before make)" >&2; exit 2; }
quick=${1:-}
say() { printf '\n== %s\n' "$*"; }
# Run a command; the words after -- are the figures of the short form.
step() {
  local full=()
  while [[ $1 != -- ]]; do full+=("$1"); shift; done
  shift
  [[ $quick ]] || set --
  accord "${full[@]}" "$@" --seed "$SEED"
}

say "1. A town is invented: raw text, prompts, demonstrations, labelers (seed $SEED)"
step init "$OUT" --world -- --documents 9000 --prompts 1500 --demonstrations 1200 --users 60
say "2. Pretraining: a tokenizer and a 1.3M-parameter Llama on untamed raw text"
step pretrain "$OUT" -- --tokens 350000
say "3. Supervised fine-tuning on written demonstrations"
step sft "$OUT" -- --epochs 2
say "4. Several responses per prompt"
step sample "$OUT" -- --k 4 --prompts 400 --held-out 40
say "5. Labelers rank them"
step label "$OUT" --by world --
say "6. A reward model learns what they prefer"
step reward "$OUT" --held-out-group caring --
say "7. PPO against the reward model, on a KL leash, with a pretraining mix"
step ppo "$OUT" -- --steps 8 --batch-size 64 --minibatch-size 32 --epochs 1 --evaluate-every 0
policies=(--policy ppo)
if [[ ! $quick ]]; then
  say "8. The same without the pretraining mix, to see the alignment tax"
  step ppo "$OUT" --name ppo-no-ptx --ptx-coef 0 --
  policies+=(--policy ppo-no-ptx)
fi
say "9. Is it better? The gold judge compares, blind, on prompts of users no model has seen"
step evaluate "$OUT" "${policies[@]}" -- --prompts 120 --best-of 2 --draws 1 --bootstrap 500
say "10. The report"
accord report "$OUT"

printf '\nWhat next:\n'
[[ ${FROM:-$PWD} == "$PWD" ]] || printf '  cd %q\n' "$PWD"
printf '  %-44s # %s\n' \
  "$SHOWN open $OUT" "one page: chat with the models, label, read the report" \
  "$SHOWN chat $OUT --terminal" "talk to the newest model here" \
  "$SHOWN lineage $OUT ppo" "what it was trained on"
