#!/usr/bin/env bash
# The same commands on what no one here made: a pretrained chat model with LoRA, people's comparisons for the reward model, users' prompts
# for PPO. Small enough for a CPU; it shows that the pieces fit, not that the model gets better.
#
#   MODEL=~/models/SmolLM2-135M-Instruct COMPARISONS=harmless-base-test.jsonl.gz PROMPTS=user_oriented_instructions.jsonl bash runs/real_model.sh
#
# MODEL is a Hugging Face folder, a hub name, or a .gguf file (pip install 'accord-rlhf[gguf]').
set -euo pipefail
OUT=${OUT:-real-model} MODEL=${MODEL:?a model folder or .gguf file} COMPARISONS=${COMPARISONS:?hh-rlhf comparisons} PROMPTS=${PROMPTS:?self-instruct user tasks}
ROWS=${ROWS:-48} STEPS=${STEPS:-3}

accord init "$OUT"
accord import "$OUT" "$COMPARISONS" --format hh-rlhf --limit "$ROWS"
accord reward "$OUT" --sft "$MODEL" --lora-rank 8 --lr 2e-4 --batch-size 8 --max-tokens 192 --micro-tokens 1024 --mismatched 0
accord init "$OUT-prompts"
accord import "$OUT-prompts" "$PROMPTS" --format self-instruct --limit "$ROWS"
accord ppo "$OUT-prompts" --sft "$MODEL" --reward "$(realpath "$OUT")/models/reward" --lora-rank 8 --ptx-coef 0 --lr 1e-4 --value-lr 1e-4 --warmup-steps 2 \
  --steps "$STEPS" --batch-size 8 --minibatch-size 8 --epochs 1 --max-tokens 32 --micro-tokens 1024 --save-every 1
echo "Talk to it: accord chat $OUT-prompts --model ppo"
