#!/usr/bin/env bash
# Trains on a slice of TPUs in GKE as a JobSet, one pod a host; when a pod is lost, all
# start again and resume the run. Further arguments go to the training command; see
# docs/launch.md:
#   DATA=/shared/mbpp.jsonl IMAGE=REGISTRY/repair launch/gke_jobset.sh
#   DATA= IMAGE=REGISTRY/repair APPLY=cat launch/gke_jobset.sh    # only shows it
# A gated model needs the secret HF_SECRET with the key "token".
set -euo pipefail
IMAGE=${IMAGE:?is missing: the image of launch/Dockerfile in a registry}
DATA=${DATA?is missing: the file of tasks.path, or empty for a config without one}
NAME=${NAME:-repair}
HF_SECRET=${HF_SECRET:-hf-token}
ACCELERATOR=${ACCELERATOR:-tpu-v5p-slice}
TOPOLOGY=${TOPOLOGY:-2x4x4}         # of the slice, in chips
HOSTS=${HOSTS:-8}                   # its chips over those of a host
CHIPS=${CHIPS:-4}                   # of a host
CLAIM=${CLAIM:-repair}              # ReadWriteMany volume, seen as /shared
CONFIG=${CONFIG:-configs/llama31_8b.py}
WORKDIR=${WORKDIR:-/shared/runs/llama31_8b}
RESTARTS=${RESTARTS:-100}
APPLY=${APPLY:-kubectl apply -f -}
[ -z "$DATA" ] || set -- "--config.tasks.path=$DATA" "$@"
ARGS=${*:+$(printf ' %q' "$@")}

# shellcheck disable=SC2086  # APPLY is a command with its arguments
$APPLY <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $NAME
  annotations:  # all hosts in one node pool, which is one slice
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $RESTARTS
    rules:
    - name: mistake
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: slice
    replicas: 1
    template:
      spec:
        parallelism: $HOSTS
        completions: $HOSTS
        completionMode: Indexed
        backoffLimit: 0
        podFailurePolicy:  # a user's mistake, which another try would only repeat
          rules:
          - action: FailJob
            onExitCodes: {containerName: train, operator: In, values: [2]}
        template:
          spec:
            restartPolicy: Never
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: $ACCELERATOR
              cloud.google.com/gke-tpu-topology: $TOPOLOGY
            containers:
            - name: train
              image: $IMAGE
              command: [bash, -c]
              args:
              - |
                exec python \\
                  -m repair.train --config=$CONFIG --workdir=$WORKDIR --distributed$ARGS
              env:
              - name: HF_TOKEN
                valueFrom:
                  secretKeyRef: {name: $HF_SECRET, key: token, optional: true}
              resources:
                limits: {google.com/tpu: $CHIPS}
              volumeMounts:
              - {name: shared, mountPath: /shared}
            volumes:
            - name: shared
              persistentVolumeClaim: {claimName: $CLAIM}
END
