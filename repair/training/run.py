"""A whole run: from a config and a workdir to a table of what each stage brought.

In order: tasks and demonstrations, tokenizer, model, then the stages that the config
lists, with an evaluation before, between and after. Everything that a stage needs
follows from the config and the files of the stages before it, so a run that was
killed goes on where its last checkpoint stands, to the same bits.

In several processes each runs all of this: the first one makes what is on the host
and writes the files, in a workdir that all can read (`repair.model.multihost`).

The workdir holds config.json, metrics.jsonl, demos.jsonl, tokenizer/,
checkpoints/{sft,rlvr}/<step>, trajectories/*.jsonl and results.json.

Starting weights, first match wins:
  1. the stage's own latest checkpoint;
  2. the last checkpoint of the stage before it;
  3. `init_from`, a folder in Hugging Face's format or a name on its Hub;
  4. random weights from the seed.
"""

import collections
import dataclasses
import json
import time
from collections.abc import Callable

import jax

from repair.demos.answers import as_answers
from repair.demos.records import read_demos, write_demos
from repair.demos.traces import read_traces
from repair.errors import UserError
from repair.model import multihost
from repair.model.api import Model, count_params
from repair.model.hf.folder import copy_settings, load_hf, local_folder
from repair.model.hf.model_config import RUN_FIELDS
from repair.model.lora import init_adapters, join
from repair.model.sharding import build, make_mesh, place_batch
from repair.rollout.clock import Clock
from repair.rollout.sampling import Sampling
from repair.sandbox import sandbox_shares
from repair.tasks import Bug, Task
from repair.text.episodes import encode_demos, encode_traces
from repair.text.prompts import render_prompt
from repair.text.tokenizer import (
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from repair.training import rlvr, sft
from repair.training.alarms import alarms
from repair.training.config import Config, check_mesh
from repair.training.curriculum import Practice
from repair.training.evaluation import measure
from repair.training.load import make_policy
from repair.training.loggers import Loggers, check_packages
from repair.training.loop import Workshop, run_stage
from repair.training.metrics import NoMetrics, read_metrics
from repair.training.task_set import RepairTaskSet, TaskSet, open_task_set
from repair.training.trajectories import FOLDER, keep_step
from repair.training.workdir import open_workdir, write_whole

# Demonstrations that a tokenizer is trained on; more change next to nothing.
_TOKENIZER_DEMOS = 2000
# What ends an answer of many lines, in a tokenizer of our own.
_END = "<end>"


def run(
    config: Config,
    workdir,
    report: Callable[[str], None] = print,
    devices=None,
    task_set: Callable[[Config], TaskSet] = RepairTaskSet,
) -> dict:
    """Runs the stages of a config, resuming what the workdir holds.

    Args:
      config: As from `repair.training.config.read`.
      workdir: Folder of the run; made when needed.
      report: Gets a line of text at each milestone.
      devices: What the mesh is made of, by default all there are.
      task_set: What the run is about, from its config; see `repair.training.task_set`.

    Returns:
      What results.json holds: {"stages": {"init" | "sft" | "rlvr": figures}, ...}.

    Raises:
      UserError: The workdir belongs to another config, the config to another task_set,
        or some input is bad.
    """
    check_packages(config.log)
    opened = open_task_set(config, task_set)
    mesh = make_mesh(**dataclasses.asdict(config.mesh), devices=devices)
    check_mesh(config, mesh)
    first = multihost.first()
    workdir = multihost.once(lambda: open_workdir(workdir, config))
    metrics = Loggers(workdir, config) if first else NoMetrics()
    try:
        with opened.open_verifier() as sandbox:
            say = report if first else lambda line: None
            if level := sandbox.level:
                if "rlvr" in config.stages:
                    level.require(config.sandbox_level)
                say(level.line())
            if mesh.size > 1:
                say(f"mesh: {dict(mesh.shape)}, {jax.process_count()} processes")
            return _Run(opened, mesh, workdir, metrics, sandbox, say).go()
    finally:
        metrics.close()


class _Run:
    """The stages of one run, in order."""

    def __init__(self, task_set, mesh, workdir, metrics, sandbox, report):
        self.task_set, self.config, self.mesh = task_set, task_set.config, mesh
        self.workdir, self.metrics = workdir, metrics
        self.sandbox, self.report = sandbox, report
        self.results_path = workdir / "results.json"
        self.results = multihost.once(self._saved_results)
        if sandbox.level:
            self.results["sandbox"] = dataclasses.asdict(sandbox.level)

    def _saved_results(self) -> dict:
        if self.results_path.exists():
            return json.loads(self.results_path.read_text())
        return {"stages": {}, "seconds": {}}

    def go(self) -> dict:
        c = self.config
        traces = read_traces(c.demos.traces) if c.demos.traces else []
        train_tasks, eval_tasks = self.task_set.tasks()
        self.report(
            f"tasks: {len(train_tasks)} to train on, {len(eval_tasks)} held out"
        )
        own_words = not (c.text.tokenizer or c.init_from)
        demos = []
        if own_words or ("sft" in c.stages and not traces):
            demos = multihost.once(lambda: self._demos(train_tasks, eval_tasks))
        multihost.once(lambda: self._save_tokenizer(demos))
        tokenizer = load_tokenizer(
            self.workdir / "tokenizer", self.task_set.prompt, c.mode
        )
        model, params = self._model(tokenizer)
        self.policy = make_policy(self.task_set, model, tokenizer, self.sandbox, params)
        self.bugs = []
        if "eval" in c.stages:
            self.bugs = multihost.once(lambda: self._bugs(eval_tasks, c.seed))
        self._evaluate("init", params)
        if "sft" in c.stages:
            params = self._sft(params, tokenizer, traces or demos)
            self._evaluate("sft", params)
        if "rlvr" in c.stages:
            params = self._rlvr(params, train_tasks)
            self._evaluate("rlvr", params)
        return self.results

    def _bugs(self, tasks: list[Task], seed: int) -> list[Bug]:
        return self.task_set.bugs(tasks, self.sandbox, seed)

    def _demos(self, tasks, held_out):
        """Make or read the demonstrations once; the workdir keeps them."""
        path = self.workdir / "demos.jsonl"
        if path.exists():
            return read_demos(path)
        if source := self.config.demos.path:
            demos = read_demos(source)
            _check_held_out(demos, held_out, source)
            self.report(f"demonstrations: {len(demos)} from {source}")
        else:
            started = time.perf_counter()
            demos, made = self.task_set.demos(tasks, self.sandbox)
            # Figures first: once the file is there, nothing comes back here.
            self.results["demos"] = json.loads(json.dumps(dataclasses.asdict(made)))
            self._spent("demos", started)
            self.report(made.line())
        write_demos(path, demos)
        return demos

    def _save_tokenizer(self, demos) -> None:
        """Puts the run's tokenizer into the workdir, if it is not there."""
        c, folder = self.config.text, self.workdir / "tokenizer"
        mode, prompt = self.config.mode, self.task_set.prompt
        if (folder / "tokenizer.json").exists():
            return
        if source := c.tokenizer or self.config.init_from:
            copy_settings(local_folder(source), folder)
            return
        every = max(len(demos) // _TOKENIZER_DEMOS, 1)
        some = as_answers([demos[i] for i in range(0, len(demos), every)], mode)
        texts = [
            render_prompt(demo.bug.task, prompt, mode)
            + "".join(
                f"{state}{command}\n"
                for state, command in zip(demo.states, demo.commands, strict=True)
            )
            for demo in some
        ]
        size = self.config.model.vocab_size
        if mode == "coe":
            Tokenizer(train_tokenizer(texts, size), prompt).save(folder)
        else:
            tokenizer = train_tokenizer(texts, size, ("<pad>", _END))
            ends = [tokenizer.token_to_id(_END)]
            Tokenizer(tokenizer, prompt, mode=mode, eos_ids=ends).save(folder)

    def _model(self, tokenizer) -> tuple[Model, dict]:
        c = self.config
        key = jax.random.key(c.seed)
        if c.init_from:
            ours = {name: getattr(c.model, name) for name in RUN_FIELDS}
            shape, params = load_hf(c.init_from, self.mesh, **ours)
            model = Model(shape, self.mesh)
            if shape.lora_rank:
                adapters = build(self.mesh, lambda k: init_adapters(shape, k), key)
                params |= adapters
        else:
            model = Model(c.model, self.mesh)
            params = build(self.mesh, model.init_params, key)
        self.report(
            f"model: {count_params(params):,} parameters, tokenizer of"
            f" {tokenizer.vocab_size} ids"
        )
        return model, params

    def _evaluate(self, stage: str, params) -> None:
        c = self.config
        if "eval" not in c.stages or stage in self.results["stages"]:
            return
        path = self.workdir / FOLDER / f"eval_{stage}.jsonl"
        policy = dataclasses.replace(self.policy, params=params)
        figures = measure(policy, self.bugs, c.eval, path, f"evaluation ({stage})")
        best, step = figures["pass@1"], len(self.results["stages"]) + 1
        # The line first: once the results are saved, nothing comes back here.
        self.metrics.truncate_after("eval", step - 1)
        self.metrics.write("eval", step, of=stage, **best)
        self.results["stages"][stage] = figures
        self._save_results()
        self.report(f"{stage}: pass@1 {100 * best['mean']:.1f}%")

    def _spent(self, what: str, started: float) -> None:
        seconds = self.results["seconds"].get(what, 0.0)
        seconds += time.perf_counter() - started
        self.results["seconds"][what] = round(seconds, 1)
        self._save_results()

    def _save_results(self) -> None:
        if multihost.first():
            text = json.dumps(self.results, indent=2) + "\n"
            write_whole(self.results_path, text)

    def _loop(self, stage: str, params, settings, one_step, **kwargs) -> dict:
        """The stage's parameters at its end; see `repair.training.loop`."""
        started = time.perf_counter()
        where = Workshop(
            self.config,
            self.policy.model,
            self.workdir / "checkpoints" / stage,
            self.metrics,
            self.report,
        )
        params, steps = run_stage(where, stage, params, settings, one_step, **kwargs)
        if steps:
            self._spent(stage, started)
        return params

    def _sft(self, params, tokenizer, demos) -> dict:
        c, settings = self.config, self.config.sft
        if c.demos.traces:
            episodes = encode_traces(tokenizer, demos)
        else:
            episodes = encode_demos(tokenizer, as_answers(demos, c.mode))
        data = sft.plan(episodes, settings)
        epochs = settings.steps * settings.rows / len(data.rows)
        self.report(
            f"sft: {len(data.episodes)} demonstrations in {len(data.rows)} rows,"
            f" {epochs:.1f} epochs; {data.left_out} too long for a row"
        )

        def one_step(step, state, frozen, optimizer):
            batch = sft.batch_at(data, settings, c.seed, step)
            state, values = sft.update(
                self.policy.model,
                state,
                frozen,
                place_batch(self.mesh, batch),
                optimizer,
                settings.accumulate,
                self.config.loss_chunk,
            )
            return state, values | {"real_share": batch.real_share}

        return self._loop("sft", params, settings, one_step)

    def _history(self) -> list[dict]:
        """What a curriculum and alarms go by: the metrics of the steps so far."""
        rows = read_metrics(self.workdir / "metrics.jsonl")
        return [row for row in rows if row["stage"] == "rlvr"]

    def _rlvr(self, params, tasks) -> dict:
        c = self.config
        # Other faulty programs than the demonstrations of the same tasks.
        bugs = multihost.once(lambda: self._bugs(tasks, c.seed + 1))
        reference = params
        practice = Practice(self.policy.engine, bugs, c.rlvr, c.seed)
        history = multihost.once(self._history)
        if c.sampler.warm_up:
            self.policy.engine.warm_up(params, Sampling(c.rlvr.temperature))

        def one_step(step, state, frozen, optimizer):
            clock, before = Clock(), self.sandbox.counts.copy()
            solved = [row["solved"] for row in history[:step]]
            now = join(state.trainable, frozen)
            rollouts, most = practice.collect(now, step, solved, clock)
            state, values = rlvr.update(
                self.policy.model,
                state,
                frozen,
                reference,
                rollouts,
                c.rlvr,
                optimizer,
                c.loss_chunk,
            )
            known = alarms(history[:step])
            history[step:] = [values]
            keep_step(
                self.workdir,
                rollouts,
                self.policy.engine.tokenizer,
                c.rlvr,
                step + 1,
                last=over(step + 1),
            )
            for name, text in alarms(history).items():
                if name not in known:
                    self.report(f"rlvr, step {step + 1}: {text}")
            seconds = {
                "corruptions": most,
                "seconds_rollouts": clock.total,
                "seconds_sampling": clock.sampling,
                "seconds_sandbox": clock.sandbox,
                "idle_share": clock.idle_share,
            }
            counts = multihost.gather(self.sandbox.counts - before)
            outcomes = sandbox_shares(sum(counts, collections.Counter()))
            return state, values | seconds | outcomes

        updates = c.rlvr.epochs * c.rlvr.minibatches

        def over(steps):
            budget = c.rlvr.sampled_tokens
            used = sum(row["sampled_tokens"] for row in history[:steps])
            return steps >= c.rlvr.steps or 0 < budget <= used

        return self._loop("rlvr", params, c.rlvr, one_step, updates=updates, over=over)


def _check_held_out(demos, held_out: list[Task], path: str) -> None:
    """Refuse demonstrations of programs that evaluation holds out."""
    codes = {task.code for task in held_out}
    for number, demo in enumerate(demos, 1):
        if demo.bug.task.code in codes:
            raise UserError(
                f"demonstration {number} of {path} repairs the program of task"
                f" {demo.bug.task.task_id!r}, which is held out; make the"
                " demonstrations of the training tasks alone, or choose other tasks to"
                " hold out (tasks.eval)"
            )
