#!/bin/bash
# AAM on the GPUs of one node. Out of time or preempted, it saves, queues again and resumes.
#
#   sbatch recipes/slurm/one-node.sh
#
# Times and sizes of the machine are yours to edit, as are the variables below. The signal comes to
# this script alone, two minutes before the end (and when preempted, where the cluster's
# PreemptParameters have send_user_signal).
#SBATCH --job-name=aam
#SBATCH --nodes=1
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
OUTPUT=encoder
SETTINGS=(--preset large --config recipes/pretrain-large-fsdp.yaml)
COMMAND=(pretrain --table table.biom --sequences rep-seqs.fasta --tree tree.nwk)
# Processes: gpu is one for each GPU there is.
PROCESSES=gpu
# CPU threads of each process.
export OMP_NUM_THREADS=8
# Prefix of each program: none, or IN=(apptainer exec --nv aam.sif)
IN=(env)

# Seconds that torchrun gives its workers to save when it gets a signal (older torch: always 30).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=100

stopping='' run=''
# shellcheck disable=SC2329 # the trap calls it
stop() {
    [ -z "$stopping" ] || return 0
    stopping=1
    echo "Stopping: saving a checkpoint."
    # torchrun hands SIGTERM on to its workers, which save after the step that they are in.
    [ -z "$run" ] || kill -TERM "$run" || true
}
trap stop USR1 TERM

has_checkpoint=$("${IN[@]}" python -c '
import sys
from aam_core.training import checkpoint
print(checkpoint.exists(sys.argv[1]))' "$OUTPUT")
if [ "$has_checkpoint" = True ]; then
    SETTINGS=(--resume "$OUTPUT")
fi

# In the background: bash answers to signals while it waits, not while a command runs.
"${IN[@]}" torchrun --standalone --nproc-per-node="$PROCESSES" \
    -m aam_core "${COMMAND[@]}" "${SETTINGS[@]}" --output "$OUTPUT" &
run=$!
[ -z "$stopping" ] || kill -TERM "$run" || true
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
