#!/usr/bin/env bash
# Feedback in rounds, as Bai et al. 2022 did weekly: sample from the newest policy, label what it says, train the reward model and then the
# policy anew on all that was labeled so far. Each model's lineage names the rankings it learned from. Starts from a project that has an SFT model and rankings (runs/demo.sh up to step 5, or your own).
set -euo pipefail
PROJECT=${1:?usage: runs/online.sh PROJECT [ROUNDS]} ROUNDS=${2:-3}
BY=${BY:-world}            # BY=site: people rank in the labeling site; the round goes on when you close it
say() { printf '\n== %s\n' "$*"; }

policy=sft
for round in $(seq "$ROUNDS"); do
    if [ "$round" -gt 1 ]; then
        say "round $round: sample from $policy, and label what it says"
        accord sample "$PROJECT" --model "$policy" --name "sample-$round" --seed "$round" --prompts "${PROMPTS:-600}"
        if [ "$BY" = world ]; then accord label "$PROJECT" --by world --name "label-$round" --seed "$round"
        else accord queue "$PROJECT" && accord label "$PROJECT"; fi
    fi
    say "round $round: a reward model from all rankings so far"
    accord reward "$PROJECT" --name "reward-$round" --seed "$round" --resume
    say "round $round: a policy anew from the SFT model, against that reward"
    accord ppo "$PROJECT" --sft sft --reward "reward-$round" --name "policy-$round" --seed "$round" --resume
    policy="policy-$round"
done
accord lineage "$PROJECT" "$policy"
