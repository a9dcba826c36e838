#!/bin/bash
# AAM on the GPUs of several nodes. Out of time or preempted, it saves, queues again and resumes.
#
#   sbatch recipes/slurm/several-nodes.sh
#
# Times and sizes of the machines are yours to edit, as are the variables below. The signal comes to
# this script alone, two minutes before the end (and when preempted, where the cluster's
# PreemptParameters have send_user_signal). A cluster that ends all processes at once, srun too,
# costs what was done since the last checkpoint (train.checkpoint_every).
#SBATCH --job-name=aam
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

# The command, its settings and its output; a resumed run has its settings from the checkpoint.
# All nodes must see the files, the output too.
OUTPUT=encoder
SETTINGS=(--preset large --config recipes/pretrain-large-fsdp.yaml)
COMMAND=(pretrain --table table.biom --sequences rep-seqs.fasta --tree tree.nwk)
# Processes on each node: gpu is one for each GPU there is.
PROCESSES=gpu
# CPU threads of each process.
export OMP_NUM_THREADS=8
# Prefix of each program: none, or IN=(apptainer exec --nv aam.sif)
IN=(env)
# A free port of the first node, where the nodes meet; not the same for two jobs.
PORT=$((20000 + SLURM_JOB_ID % 10000))

# Seconds that torchrun gives its workers to save when it gets a signal (older torch: always 30).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=100
# srun does not take it over from the job.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

stopping='' run=''
# shellcheck disable=SC2329 # the trap calls it
stop() {
    [ -z "$stopping" ] || return 0
    stopping=1
    echo "Stopping: saving a checkpoint."
    # To the torchrun of each node and not to srun, which would kill them outright. They hand it on
    # to their workers, which save after the step that they are in.
    [ -z "$run" ] || scancel --signal=TERM "$SLURM_JOB_ID" || true
}
trap stop USR1 TERM

has_checkpoint=$("${IN[@]}" python -c '
import sys
from aam_core.training import checkpoint
print(checkpoint.exists(sys.argv[1]))' "$OUTPUT")
if [ "$has_checkpoint" = True ]; then
    SETTINGS=(--resume "$OUTPUT")
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# In the background: bash answers to signals while it waits, not while a command runs.
# A node that ends first gives the others a minute to save, and then ends them.
srun --kill-on-bad-exit=0 --wait=60 "${IN[@]}" torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$PROCESSES" \
    --rdzv-backend=c10d --rdzv-endpoint="${nodes[0]}:$PORT" --rdzv-id="$SLURM_JOB_ID" \
    -m aam_core "${COMMAND[@]}" "${SETTINGS[@]}" --output "$OUTPUT" &
run=$!
[ -z "$stopping" ] || scancel --signal=TERM "$SLURM_JOB_ID" || true
status=0
wait "$run" || status=$?
while kill -0 "$run" 2>/dev/null; do # the wait was cut short by a signal
    wait "$run" || status=$?
done

if [ -n "$stopping" ] && [ "$status" -ne 0 ]; then
    trap '' USR1 TERM # queueing again ends this script
    # "incomplete" leaves a job alone that its owner has cancelled.
    scontrol requeue incomplete "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
