"""The launch files: well formed, and run with stand-ins for the clusters' programs.

The command for the workers runs on two local processes, with the environment that the
launcher would give them, until it has trained a small model.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import pytest
import yaml

from repair.tasks.generated import generate
from repair.training.metrics import read_metrics

ROOT = pathlib.Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = [*sorted(LAUNCH.glob("*.sh")), LAUNCH / "slurm.sbatch"]
SHELLCHECK = shutil.which(
    "shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
)
needs_shellcheck = pytest.mark.skipif(
    SHELLCHECK is None, reason="shellcheck is not installed"
)
SMALL = """
from configs import tiny

def get_config():
    c = tiny.get_config()
    c.stages = ("sft",)
    c.tasks.train, c.tasks.eval = "mbpp/train", "mbpp/validation"
    c.tasks.train_count, c.tasks.eval_count = 8, 2
    c.demos.per_task, c.demos.max_corruptions = 2, 1
    c.text.max_turns, c.text.max_length = 2, 256
    c.model.vocab_size, c.model.width, c.model.mlp_width = 300, 16, 32
    c.model.layers, c.model.heads, c.model.kv_heads, c.model.head_size = 1, 2, 2, 8
    c.sft.steps, c.sft.rows, c.sft.row_length = 2, 2, 512
    c.sft.optimizer.name, c.sft.optimizer.adam_learning_rate = "adamw", 0.001
    return c
"""
# Both ranks of a job: the command, with the rank's number for % in the variables.
TWICE = """
for rank in 0 1; do env {variables} "$@" > "$LOGS/$rank" 2>&1 & done
for job in $(jobs -p); do wait "$job" || exit $?; done
"""
SRUN = """while [[ $1 == --* ]]; do shift; done
""" + TWICE.format(
    variables="SLURM_PROCID=$rank SLURM_LOCALID=0 SLURM_NTASKS=2"
    " SLURM_STEP_NODELIST=localhost"
)
# Variables that describe a slice of TPUs to jax, as in a pod of GKE, with invented
# values. On a TPU VM a metadata server has them, which jax asks on real ones only.
TPU = (
    "TPU_WORKER_ID=$rank TPU_WORKER_HOSTNAMES=localhost,localhost JAX_FORCE_TPU_INIT=1"
    " MEGASCALE_COORDINATOR_ADDRESS=localhost MEGASCALE_NUM_SLICES=1"
    " MEGASCALE_SLICE_ID=0"
)
# A slice is a word in a file; each of its two workers is a folder. The first slice is
# preempted while it trains.
GCLOUD = r"""echo "$@" >> "$LOGS/gcloud"
for word; do case $word in --command=*) command=${word#--command=} ;; esac; done
case "$*" in
  *" list "*) cat slice ;;
  *" create "*) echo ACTIVE > slice; mkdir -p worker-0 worker-1 ;;
  *" delete "*) : > slice; rm -r worker-0 worker-1 ;;
  *" scp "*) for rank in 0 1; do cp "$5" worker-$rank; done ;;
  *repair.train*)
    if [ ! -f taken ]; then touch taken; echo SUSPENDED > slice; exit 255; fi
    for rank in 0 1; do
      (cd worker-$rank && env %s bash -c "$command" > "$LOGS/$rank" 2>&1) &
    done
    for job in $(jobs -p); do wait "$job" || exit $?; done ;;
  *" ssh "*) for rank in 0 1; do (cd worker-$rank && bash -c "$command"); done ;;
esac
""".replace("%s", TPU)
UV = """case $1 in
  venv) mkdir -p .venv/bin; ln -s "$(command -v python)" .venv/bin/python ;;
  *) echo uv "$@" >> "$LOGS/installed"; [ -f setup.py ] ;;
esac
"""


def rows():
    """Yield tasks in MBPP's format, eight to train on and two held out."""
    for i, task in enumerate(generate("train", 0, 10)):
        row = {"task_id": 601 + i if i < 8 else 511 + i, "text": task.text}
        yield row | {"code": task.code, "test_list": list(task.test_list)}


class Desk:
    """A folder with programs that come first on the PATH, and logs of their calls."""

    def __init__(self, folder, compiled):
        self.folder, self.bin = folder, folder / "bin"
        self.logs, self.workdir = folder / "logs", folder / "run"
        self.bin.mkdir()
        self.logs.mkdir()
        (folder / "small.py").write_text(SMALL)
        self.data = folder / "tasks.jsonl"
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LOGS": str(self.logs),
            "CONFIG": str(folder / "small.py"),
            "WORKDIR": str(self.workdir),
            "DATA": str(self.data),
            "HF_TOKEN": "secret",
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "GLIBC_TUNABLES": "",  # a run without it would set it and restart
            "JAX_COORDINATOR_PORT": str(self.port),
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.program(
            "python",
            f'echo "$@" >> "$LOGS/commands"\nexec {sys.executable} "$@"',
        )
        for name in ("sudo", "mountpoint"):
            self.program(name, f'echo {name} "$@" >> "$LOGS/{name}"')

    def program(self, name, text):
        (self.bin / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *command, cwd=ROOT, **variables):
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=cwd,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=240)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and all its children
        said = "\n".join(p.read_text() for p in sorted(self.logs.glob("[01]")))
        assert process.returncode == 0, out + said
        return out

    def both(self, code, variables, **more):
        """Run shell code as both ranks, at once, in the checkout."""
        self.program("both", TWICE.format(variables=variables))
        return self.run("both", "bash", "-c", code, **more)


@pytest.fixture
def desk(tmp_path, tmp_path_factory):
    """Return a new desk; all share a compilation cache."""
    return Desk(tmp_path, tmp_path_factory.getbasetemp() / "compiled")


def skypilot():
    return yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())


def jobset(desk, *arguments, **variables):
    """Return the JobSet that kubectl would get."""
    desk.program("kubectl", 'echo "$@" >> "$LOGS/kubectl"; cat')
    settings = {"IMAGE": "registry/repair:1"} | variables
    return yaml.safe_load(desk.run(LAUNCH / "gke_jobset.sh", *arguments, **settings))


def the_job(jobset):
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    return job, container


def by_slurm(desk):
    desk.program("srun", f'echo "$@" >> "$LOGS/srun"\n{SRUN}')
    desk.run(
        LAUNCH / "slurm.sbatch",
        VENV=str(desk.folder),
        SLURM_JOB_ID="7",
        SLURM_GPUS_ON_NODE="8",
        SLURM_CPUS_PER_TASK="64",
    )
    srun = (desk.logs / "srun").read_text()
    assert srun.startswith("--kill-on-bad-exit=1 --cpus-per-task=64 ")


def by_skypilot(desk):
    task, folder = skypilot(), desk.folder / "checkout"
    folder.mkdir()
    for name in ("setup.py", "repair", "configs"):
        (folder / name).symlink_to(ROOT / name)
    desk.program("uv", UV)
    given = {k: str(v) for k, v in task["envs"].items()} | desk.environment
    given |= {"NFS": "host:/disk", "PORT": str(desk.port)}
    desk.environment = given
    desk.run("bash", "-c", task["setup"], cwd=folder)
    assert "install -d -o" in (desk.logs / "sudo").read_text()
    nodes = {"SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.2", "SKYPILOT_NUM_NODES": "2"}
    desk.both(task["run"], "SKYPILOT_NODE_RANK=$rank", cwd=folder, **nodes)


def by_jobset(desk):
    _, container = the_job(jobset(desk))
    assert container["command"] == ["bash", "-c"]
    desk.both(container["args"][0], TPU)


def by_tpu_pod(desk):
    desk.program("gcloud", f'cd "$HOME" || exit 1\n{GCLOUD}')
    desk.program("uv", UV)
    (desk.folder / "slice").touch()
    said = desk.run(LAUNCH / "tpu_pod.sh", NFS="host:/disk", POLL="0")
    lives = ["none", "ACTIVE", "SUSPENDED", "none", "ACTIVE"]
    checked, *said = said.splitlines()
    assert checked == "the config is right, and all that it names can be read"
    assert said == [f"repair: {state}" for state in lives]
    calls = (desk.logs / "gcloud").read_text()
    assert calls.count("queued-resources create repair --node-id=repair --spot") == 2
    assert "queued-resources delete repair --force --quiet --zone=us-east5-a" in calls
    assert calls.count("scp") == 2 and calls.count("--worker=all") == 6
    assert "mount -t nfs host:/disk /shared" in calls
    assert "secret" not in calls
    token = desk.folder / ".cache" / "huggingface" / "token"
    assert token.read_text() == "secret" and token.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("start", [by_slurm, by_skypilot, by_jobset, by_tpu_pod])
def test_what_workers_run_trains_one_model_in_two_processes(desk, start):
    start(desk)
    first, second = ((desk.logs / rank).read_text() for rank in "01")
    assert "2 processes" in first and "everything is in" in first
    assert "processes" not in second.replace("[Gloo]", "")
    assert (desk.workdir / "checkpoints" / "sft" / "2").is_dir()
    rows = read_metrics(desk.workdir / "metrics.jsonl")
    assert [r["step"] for r in rows if r["stage"] == "sft"] == [1, 2]
    assert [r["step"] for r in rows if r["stage"] == "sft_eval"] == [2]
    # The same line everywhere; jax finds the ranks, or they are given in full.
    line = f"-m repair.train --config={desk.folder}/small.py --workdir={desk.workdir} "
    commands = sorted((desk.logs / "commands").read_text().splitlines())
    commands = [command for command in commands if " --check " not in command]
    data = "tasks.jsonl" if start is by_tpu_pod else desk.data
    rest = [f"--distributed --config.tasks.path={data}"] * 2
    if start is by_skypilot:
        to = f"--coordinator=127.0.0.1:{desk.port} --processes=2"
        end = f"--config.tasks.path={data}"
        rest = [f"{to} --process={rank} {end}" for rank in (0, 1)]
    assert [command.rstrip() for command in commands] == [line + r for r in rest]


def test_no_slice_is_requested_for_a_mistake(desk):
    desk.program("gcloud", 'echo "$@" >> "$LOGS/gcloud"')
    desk.data.write_text("")
    with pytest.raises(AssertionError, match=r"error: .*tasks\.jsonl"):
        desk.run(LAUNCH / "tpu_pod.sh", NFS="host:/disk")
    assert not (desk.logs / "gcloud").exists()


def shellcheck(text, shell="bash"):
    done = subprocess.run(
        [SHELLCHECK, f"--shell={shell}", "-"],
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@needs_shellcheck
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shell_is_clean(path):
    assert os.access(path, os.X_OK)
    shellcheck(path.read_text())


@needs_shellcheck
def test_shell_within_other_files_is_clean(desk):
    task = skypilot()
    _, container = the_job(jobset(desk))
    for code in (task["setup"], task["run"], container["args"][0]):
        shellcheck(code)


def test_the_jobset_is_one(desk):
    """Check it with Kubeflow's published models: types and fields."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    found = jobset(desk, "--config.seed=1", DATA="a file")
    read = models.JobsetV1alpha2JobSet.from_dict(found)
    assert read.to_dict() == found
    assert (found["apiVersion"], found["kind"]) == (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
    )
    assert (desk.logs / "kubectl").read_text() == "apply -f -\n"
    job, container = the_job(found)
    chips = math.prod(
        int(n)
        for n in job["template"]["spec"]["nodeSelector"][
            "cloud.google.com/gke-tpu-topology"
        ].split("x")
    )
    hosts, each = job["parallelism"], container["resources"]["limits"]["google.com/tpu"]
    assert hosts == job["completions"] and hosts * each == chips
    assert job["backoffLimit"] == 0 and job["completionMode"] == "Indexed"
    assert container["args"][0].endswith(
        "--distributed --config.tasks.path=a\\ file --config.seed=1\n"
    )


def test_variables_of_the_jobset(desk):
    settings = {"NAME": "n", "TOPOLOGY": "4x4", "HOSTS": "4", "CLAIM": "disk"}
    found = jobset(desk, **settings)
    job, _ = the_job(found)
    assert found["metadata"]["name"] == "n" and job["parallelism"] == 4
    _, container = the_job(jobset(desk, HF_SECRET="mine"))
    (token,) = container["env"]
    assert token["valueFrom"]["secretKeyRef"]["name"] == "mine"
    (volume,) = job["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "disk"}


def test_sbatch_directives():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    stop = next(i for i, line in enumerate(lines) if line and line[0] != "#")
    directives = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in lines
        if line.startswith("#SBATCH")
    )
    assert not any(line.startswith("#SBATCH") for line in lines[stop:])
    assert directives["ntasks-per-node"] == "1" and directives["requeue"] == ""
    assert directives["open-mode"] == "append"
    for name in ("nodes", "gpus-per-node", "cpus-per-task"):
        assert int(directives[name]) > 0
    assert directives["signal"] == "B:USR1@120"


def test_slurm_requeues_before_the_time_is_up(desk):
    """Send SLURM's signal to the batch script's shell, while srun runs."""
    desk.program("srun", 'kill -USR1 "$PPID"; sleep 1; echo "$JAX_LOCAL_DEVICE_IDS"')
    desk.program("nvidia-smi", "printf 'GPU 0\nGPU 1\nGPU 2\nGPU 3\n'")
    desk.program("scontrol", 'echo "$@" > "$LOGS/scontrol"')
    variables = {"SLURM_CPUS_PER_TASK": "2"}  # without --gres
    done = subprocess.run(
        [LAUNCH / "slurm.sbatch"],
        env=desk.environment | variables | {"SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
    )
    assert (desk.logs / "scontrol").read_text() == "requeue 7\n"
    assert done.stdout == "0,1,2,3\n"


@pytest.mark.parametrize(
    ("start", "variables", "devices"),
    [
        ("", {"JAX_LOCAL_DEVICE_IDS": "0,1,2,3"}, "0,1,2,3"),
        ("'127.0.0.1:%s', 1, 0", {}, "all"),
    ],
)
def test_a_process_takes_all_gpus_of_its_node(desk, start, variables, devices):
    """Take all: under SLURM jax takes only the first by default."""
    code = "import jax; from repair.model import multihost; "
    code += f"multihost.connect({start.replace('%s', str(desk.port))}); "
    code += "print(jax.config.values['jax_cuda_visible_devices'])"
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    said = desk.run(sys.executable, "-c", code, **slurm, **variables)
    assert said.splitlines()[-1] == devices


def test_skypilot_fields():
    """Compare the fields with those of SkyPilot's reference, with their types."""
    task = skypilot()
    kinds = {
        "name": str,
        "envs": dict,
        "secrets": dict,
        "num_nodes": int,
        "resources": dict,
        "workdir": str,
        "setup": str,
        "run": str,
    }
    assert {name: type(value) for name, value in task.items()} == kinds
    assert task["resources"] == {"accelerators": "H100:8", "use_spot": True}
    required = [name for name, value in task["envs"].items() if value is None]
    assert required == ["NFS", "DATA"]


def tpu_pod(desk, **variables):
    """Return the finished script, with any exit code."""
    environment = desk.environment | variables
    script = [LAUNCH / "tpu_pod.sh"]
    return subprocess.run(script, env=environment, capture_output=True, text=True)


def test_a_failed_slice_and_a_failed_command_end_the_tpu_script(desk):
    answers = 'case "$*" in *" list "*) cat "$HOME/slice";; *) exit 1;; esac'
    desk.program("gcloud", answers)
    for state, says in (("FAILED", ""), ("ACTIVE", "the command failed")):
        (desk.folder / "slice").write_text(state)
        done = tpu_pod(desk, NFS="a:/b", POLL="0")
        assert done.returncode == 1 and says in done.stderr
    without = tpu_pod(desk)
    assert without.returncode != 0 and "NFS: is missing" in without.stderr
    del desk.environment["DATA"]
    without = tpu_pod(desk, NFS="a:/b")
    assert without.returncode != 0 and "DATA: is missing" in without.stderr


def test_the_tpu_script_outlives_a_cloud_that_does_not_answer(desk):
    """Fail two queries, then report a failed slice; then fail all queries."""
    counted = "echo >> $HOME/looks; test $(wc -l < $HOME/looks) -gt 2 && echo FAILED"
    for answer, looks, says in (
        (counted, 3, ""),
        ("echo >> $HOME/looks; exit 1", 10, "gcloud failed 10 times"),
    ):
        (desk.folder / "looks").write_text("")
        desk.program("gcloud", f'case "$*" in *" list "*) {answer};; *) exit 0;; esac')
        done = tpu_pod(desk, NFS="a:/b", POLL="0")
        assert done.returncode == 1 and says in done.stderr
        assert len((desk.folder / "looks").read_text()) == looks


@pytest.mark.parametrize(
    ("settings", "installs", "trains"),
    [
        ({}, "-e .", "--config=configs/tiny.py --workdir=runs/tiny --x=1"),
        (
            {"EXTRA": "cuda", "CONFIG": "a.py", "WORKDIR": "w"},
            "-e .[cuda]",
            "--config=a.py --workdir=w --x=1",
        ),
    ],
)
def test_one_machine_installs_then_trains(tmp_path, settings, installs, trains):
    (tmp_path / "bin").mkdir()
    for name in ("pip", "python"):
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\necho "$(basename "$0")" "$@"\n')
        program.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "VENV": str(tmp_path)} | settings
    done = subprocess.run(
        [LAUNCH / "machine.sh", "--x=1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"pip install --quiet {installs}",
        f"python -m repair.train {trains}",
    ]


def test_the_image_gets_what_workers_get():
    """Compare the parts of the checkout that two files copy."""
    copied = [
        part
        for line in (LAUNCH / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
        for part in line.split()[1:-1]
    ]
    script = (LAUNCH / "tpu_pod.sh").read_text().replace("\\\n  ", "")
    assert f"--exclude=__pycache__ {' '.join(copied)} -C" in script
