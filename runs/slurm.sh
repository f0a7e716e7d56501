#!/usr/bin/env bash
# One training command on several machines under Slurm, continued by itself after its time is up or its nodes are taken.
#
#   sbatch runs/slurm.sh ppo my-project --shard full
#   sbatch --nodes 4 --gpus-per-node 4 runs/slurm.sh sft my-project --base /shared/models/base
#
# The project and the models lie on a disk that all nodes see. `accord` is on the PATH of the nodes: activate its environment before
# sbatch, which hands it on. docs/scaling.md explains each line.
#SBATCH --job-name=accord
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
[ $# -gt 1 ] || { echo "usage: sbatch runs/slurm.sh COMMAND PROJECT [flags]" >&2; exit 2; }

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))}
PROCESSES=${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}
RESTARTS=${RESTARTS:-20}

# Each node runs one torchrun, which starts one process per GPU. On USR1 (ten minutes before the end) or TERM (preemption) the processes
# finish their step, save, and leave; torchrun waits for that instead of killing them after 30 seconds.
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$PROCESSES" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" --rdzv-endpoint "$HEAD:$PORT" \
    --signals-to-handle SIGTERM,SIGINT,SIGUSR1 --shutdown-timeout 540 \
    -m accord "$@" --resume &
training=$!

ended=
trap 'ended=yes; kill -USR1 "$training" 2>/dev/null || true' USR1 TERM
code=0
wait "$training" || code=$?
while kill -0 "$training" 2>/dev/null; do # a signal ends `wait`, not the training
    code=0
    wait "$training" || code=$?
done

if [ "$code" -ne 0 ] && [ -n "$ended" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$RESTARTS" ]; then
    echo "told to end, and saved: the job goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$code"
