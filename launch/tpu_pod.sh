#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs: makes it, installs on every worker, trains on all of
# them, and starts over after a preemption, which resumes the run. Started again by hand it
# goes on where it stands. Further arguments go to the training command; see docs/launch.md:
#   NFS=10.0.0.2:/repair DATA=mbpp.jsonl \
#     launch/tpu_pod.sh --config.mesh.fsdp=-1 --config.mesh.data=1
# A gated model needs HF_TOKEN in the environment, which becomes a file on the workers.
set -euo pipefail
NFS=${NFS:?is missing: the shared disk as HOST:/EXPORT, such as a Filestore instance}
DATA=${DATA?is missing: a file here for tasks.path, or empty for a config without one}
NAME=${NAME:-repair}
ZONE=${ZONE:-us-east5-a}
ACCELERATOR=${ACCELERATOR:-v5p-64}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5}  # of the kind of TPU; docs/launch.md lists them
TIER=${TIER---spot}                 # empty for on demand, --reserved for a reservation
CONFIG=${CONFIG:-configs/llama31_8b.py}
WORKDIR=${WORKDIR:-/shared/runs/llama31_8b}
POLL=${POLL:-60}                    # seconds between looks at the slice
PYTHON=${PYTHON-python}             # with this package, to check the run; empty for no check
[ -z "$DATA" ] || set -- "--config.tasks.path=tasks.jsonl" "$@"
ARGS=${*:+$(printf ' %q' "$@")}

own=$(mktemp -d) # files for the workers that are not in the checkout
trap 'rm -rf "$own"' EXIT
printf %s "${HF_TOKEN:-}" > "$own/hf_token"
[ -z "$DATA" ] || cp "$DATA" "$own/tasks.jsonl"
cd "$(dirname "$0")/.."
# A mistake is found here, before a slice is requested.
[ -z "$PYTHON" ] || "$PYTHON" -m repair.train --config="$CONFIG" --check "$@" \
  ${DATA:+"--config.tasks.path=$own/tasks.jsonl"}
archive=$own/repair.tar.gz
tar -czf "$archive" --exclude=__pycache__ setup.py pyproject.toml README.md LICENSE \
  repair_editor.py repair configs -C "$own" hf_token ${DATA:+tasks.jsonl}

tpus() { gcloud compute tpus "$@" --zone="$ZONE"; }
state() {
  tpus queued-resources list --filter="name~/$NAME\$" --format='value(state.state)'
}
everywhere() { tpus tpu-vm ssh "$NAME" --worker=all --command="$1"; }

# What is left of a training whose connection was lost would hold the TPUs. These images
# have Python 3.10, so uv brings a later one.
INSTALL="set -e
[ ! -f repair/pid ] || kill -9 \$(cat repair/pid) 2>/dev/null || true
mkdir -p repair && tar -xzf repair.tar.gz -C repair && cd repair
[ ! -s hf_token ] || install -D -m 600 hf_token ~/.cache/huggingface/token
rm hf_token
sudo apt-get -qq -o DPkg::Lock::Timeout=300 install -y nfs-common
sudo mkdir -p /shared && { mountpoint -q /shared || sudo mount -t nfs $NFS /shared; }
sudo install -d -o \"\$(id -un)\" $WORKDIR
export PATH=\$HOME/.local/bin:\$PATH
command -v uv > /dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
[ -d .venv ] || uv venv --python '>=3.11' .venv
uv pip install --quiet --python .venv/bin/python -e '.[tpu]'"
TRAIN="cd repair && echo \$\$ > pid && exec .venv/bin/python \
-m repair.train --config=$CONFIG --workdir=$WORKDIR --distributed$ARGS"

once() { # on the slice, from scratch to the end of training
  tpus tpu-vm scp "$archive" "$NAME:" --worker=all &&
    everywhere "$INSTALL" && everywhere "$TRAIN"
}
preempted() { # whether the slice is going, which may show late
  for _ in 1 2 3; do
    sleep "$POLL"
    [ "$(state)" = ACTIVE ] || return 0
  done
  return 1
}

lost=0 # looks in a row that got no answer
while true; do
  if ! now=$(state); then
    lost=$((lost + 1))
    [ "$lost" -lt 10 ] || { echo "$NAME: gcloud failed $lost times" >&2; exit 1; }
    sleep "$POLL"
    continue
  fi
  lost=0
  echo "$NAME: ${now:-none}"
  case $now in
    "")
      tpus queued-resources create "$NAME" --node-id="$NAME" ${TIER:+"$TIER"} \
        --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME" ;;
    ACTIVE)
      if once; then exit 0; fi
      preempted || { echo "$NAME is there, but the command failed" >&2; exit 1; } ;;
    SUSPENDED)
      tpus queued-resources delete "$NAME" --force --quiet ;;
    FAILED)
      tpus queued-resources describe "$NAME" >&2
      exit 1 ;;
    *)  # on its way: ACCEPTED to PROVISIONING, SUSPENDING, DELETING
      sleep "$POLL" ;;
  esac
done
