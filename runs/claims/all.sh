#!/usr/bin/env bash
# The claims of the papers, run again: three demos (made when they are not there), then every script. `make claims` runs this.
set -euo pipefail
HERE=$(dirname "$0") FOLDER=${FOLDER:-claims} SEEDS=${SEEDS:-0 1 2}
projects=()
for seed in $SEEDS; do
    [ -f "$FOLDER/demo-$seed/summary.json" ] || accord demo --seed "$seed" --out "$FOLDER/demo-$seed"
    projects+=("$FOLDER/demo-$seed")
done
failed=0
for script in reward_accuracy pretraining_mix best_of_n hallucination held_out_labelers order_of_models kl_coefficient batch_element \
    unknown_demonstrations knowledge reward_epochs overoptimisation small_against_large reward_size ppo_passes text_metrics tastes generative_rewards; do
    printf '\n== %s\n' "$script"
    python "$HERE/$script.py" "${projects[@]}" || failed=1
done
printf '\n== asking_back\n'
python "$HERE/asking_back.py" "$FOLDER" || failed=1
printf '\n== picture_town\n'
python "$HERE/picture_town.py" "$FOLDER/pictures" --seeds $SEEDS || failed=1
if [ -n "${GSM8K:-}" ]; then  # a folder with GSM8K's train.jsonl.gz and test.jsonl.gz
    printf '\n== gsm8k_steps\n'
    python "$HERE/gsm8k_steps.py" "$FOLDER" --data "$GSM8K" --seeds $SEEDS || failed=1
fi
for script in demonstrations_or_comparisons why_preferences whose_values fair_rewards patience changing_facts examples_by_size; do
    printf '\n== %s\n' "$script"
    python "$HERE/$script.py" "$FOLDER/small" --seeds $SEEDS || failed=1
done
exit $failed
