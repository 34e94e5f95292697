#!/usr/bin/env bash
# Installs and trains on one machine: a laptop, a GPU box or a TPU VM. Run it again to
# resume. Further arguments go to the training command:
#   EXTRA=cuda WORKDIR=runs/lr launch/machine.sh --config.sft.steps=2000
set -euo pipefail
EXTRA=${EXTRA:-}                    # empty for CPU, cuda or tpu
CONFIG=${CONFIG:-configs/tiny.py}
WORKDIR=${WORKDIR:-runs/tiny}
VENV=${VENV:-.venv}

cd "$(dirname "$0")/.."
[ -d "$VENV" ] || python3 -m venv "$VENV"
"$VENV/bin/pip" install --quiet -e ".${EXTRA:+[$EXTRA]}"
exec "$VENV/bin/python" -m repair.train --config="$CONFIG" --workdir="$WORKDIR" "$@"
