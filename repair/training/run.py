"""A whole run: from a config and a workdir to a table of the stages' figures.

In order: tasks and demonstrations, tokenizer, model, then the stages that the config
lists, with an evaluation before, between and after. Everything that a stage needs
follows from the config and the files of the stages before it, so a run that was
killed goes on where its last checkpoint stands, to the same bits.

In several processes each runs all of this: the first one makes the host's part and
writes the files, in a workdir that all can read (`repair.model.multihost`).

The workdir holds config.json, machine.json, metrics.jsonl, demos.jsonl, tokenizer/,
checkpoints/{sft,rlvr}/{<step>,best}, trajectories/*.jsonl and results.json.

Starting weights of a stage, first match wins:
  1. its own latest checkpoint;
  2. the last checkpoint of the stage before it;
  3. `init_from`, a published model or a checkpoint of another run;
  4. random weights from the seed.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax

from repair.demos.answers import as_answers
from repair.demos.traces import read_traces
from repair.env import Verifier
from repair.model import multihost
from repair.model.api import count_params
from repair.model.hf.peft import ADAPTER
from repair.model.sharding import make_mesh
from repair.rollout.sampling import Sampling
from repair.tasks.bugs import unrewarded
from repair.tasks.task import Bug, Task
from repair.text.episodes import encode_demos, encode_traces
from repair.training import rlvr, sft
from repair.training.bug_source import draw_bugs, rlvr_bugs
from repair.training.checkpoint import BEST, is_checkpoint
from repair.training.config import Config
from repair.training.config_checks import check_mesh
from repair.training.evaluation import measure, notes
from repair.training.evaluator import Evaluator, choose_tasks, pack_examples
from repair.training.initial_weights import source_digest, starting_weights
from repair.training.inputs import check_inputs
from repair.training.interrupts import Interrupts, handle_interrupts
from repair.training.loggers import Loggers, check_packages
from repair.training.loop import Loop, StageContext
from repair.training.machine import note_machine, usable_precision
from repair.training.policy import Policy, make_policy
from repair.training.prepare import prepare_demos, prepare_tokenizer
from repair.training.task_set import (
    RepairTaskSet,
    TaskSet,
    open_task_set,
    open_tokenizer,
)
from repair.training.trajectories import FOLDER
from repair.training.workdir import (
    Results,
    begun_stages,
    hold_workdir,
    open_workdir,
    path_digest,
)


def run(
    config: Config,
    workdir,
    report: Callable[[str], None] = print,
    devices=None,
    task_set: Callable[[Config], TaskSet] = RepairTaskSet,
) -> dict:
    """Run the stages of a config, resuming the run that the workdir holds.

    Args:
      config: As from `repair.training.config.read`.
      workdir: Folder of the run; made when needed.
      report: Gets a line of text at each milestone.
      devices: Devices of the mesh, by default all there are.
      task_set: Makes the run's task set from its config; see
        `repair.training.task_set`.

    Returns:
      The contents of results.json: {"stages": {"init" | "sft" | "rlvr": figures}, ...}.

    Raises:
      UserError: The workdir belongs to another config, the config to another task set,
        or some input is bad.
    """
    check_packages(config.log)
    mesh = make_mesh(**dataclasses.asdict(config.mesh), devices=devices)
    check_mesh(config, mesh)
    say = report if multihost.first() else _say_nothing
    model = usable_precision(config.model, mesh.devices.flat, say)
    opened = open_task_set(dataclasses.replace(config, model=model), task_set)
    # A run with a checkpoint has copies of its tokenizer and demonstrations.
    if not begun_stages(workdir):
        multihost.once(lambda: check_inputs(opened))
    tasks = opened.tasks()
    with contextlib.ExitStack() as stack:
        interrupts = stack.enter_context(handle_interrupts(say))

        def enter():
            folder = stack.enter_context(hold_workdir(workdir))
            open_workdir(folder, config, say)
            note_machine(folder, mesh, say)
            return folder

        folder = multihost.once(enter)
        metrics = stack.enter_context(contextlib.closing(Loggers(folder, config)))
        sandbox = stack.enter_context(opened.open_verifier())
        kind = mesh.devices.flat[0].device_kind
        say(f"devices: {mesh.size} of {kind}; the model in {model.dtype}")
        if level := sandbox.level:
            if "rlvr" in config.stages:
                level.require(config.sandbox_level)
            say(level.line())
        if mesh.size > 1:
            say(f"mesh: {dict(mesh.shape)}, {jax.process_count()} processes")
        services = folder, metrics, sandbox, say, interrupts
        return _Run(opened, tasks, mesh, *services).stages()


@dataclasses.dataclass(frozen=True)
class _Run:
    """An open run: its task set, tasks, places and services."""

    task_set: TaskSet
    tasks: tuple[list[Task], list[Task]]
    mesh: jax.sharding.Mesh
    workdir: pathlib.Path
    metrics: Loggers
    sandbox: Verifier
    report: Callable[[str], None]
    interrupts: Interrupts

    def stages(self) -> dict:
        """Prepare the run, train and evaluate its stages in order: the results."""
        c, results = self.task_set.config, Results(self.workdir, self.report)
        if self.sandbox.level:
            results.set("sandbox", dataclasses.asdict(self.sandbox.level))
        traces = read_traces(c.demos.traces) if c.demos.traces else []
        train_tasks, eval_tasks = self.tasks
        self.report(
            f"tasks: {len(train_tasks)} to train on, {len(eval_tasks)} held out"
        )
        demos = []
        own_words = not (c.text.tokenizer or c.init_from)
        if own_words or ("sft" in c.stages and not traces):
            demos = self._once(prepare_demos, self.tasks, self.sandbox, results)
        policy, context = self._policy(demos)
        held_out = self._bugs(eval_tasks) if "eval" in c.stages else []
        evaluate = functools.partial(_evaluate, policy, held_out, context, results)
        evaluate("init", policy.params, 0)
        params, during = policy.params, self._evaluator(policy, eval_tasks)
        if "sft" in c.stages:
            episodes = encode_traces(policy.engine.tokenizer, traces)
            episodes = episodes or encode_demos(
                policy.engine.tokenizer, as_answers(demos, c.mode)
            )
            loop = Loop(context, "sft", params, c.sft)
            params = sft.train(loop, episodes, during)
            _close(loop, evaluate, results)
        if "rlvr" in c.stages:
            bugs = rlvr_bugs(self.task_set, self.tasks, self.sandbox)
            _report_unrewarded(bugs(0), c, self.sandbox, self.report)
            if c.sampler.warm_up:
                policy.engine.warm_up(params, Sampling(c.rlvr.temperature))
            loop = Loop(context, "rlvr", params, c.rlvr, budget=c.rlvr.sampled_tokens)
            params = rlvr.train(loop, policy.engine, self.sandbox, bugs, during)
            _close(loop, evaluate, results)
        return results.values

    def _policy(self, demos) -> tuple[Policy, StageContext]:
        """Prepare tokenizer and model; say what starts from where."""
        c = self.task_set.config
        self._once(prepare_tokenizer, demos)
        tokenizer = open_tokenizer(self.workdir / "tokenizer", self.task_set)
        model, params, base = starting_weights(c, self.mesh, self.report)
        size = f"{count_params(params):,} parameters"
        self.report(f"model: {size}, tokenizer of {tokenizer.vocab_size} ids")
        policy = make_policy(self.task_set, model, tokenizer, self.sandbox, params)
        digests = {"tokenizer": path_digest(self.workdir / "tokenizer")}
        if (path := self.workdir / "demos.jsonl").exists():
            digests["demos.jsonl"] = path_digest(path)
        if is_checkpoint(c.init_from):
            digests["init_from"] = source_digest(c.init_from)
        elif base:
            digests["init_from"] = base["digest"]
        if c.adapter:
            digests["adapter"] = path_digest(pathlib.Path(c.adapter) / ADAPTER)
        context = StageContext(
            model,
            self.workdir,
            self.metrics,
            self.report,
            config=c,
            base=base,
            digests=digests,
            interrupts=self.interrupts,
        )
        return policy, context

    def _evaluator(self, policy: Policy, tasks) -> Callable[[dict], dict]:
        """Return the evaluation during training: of some held-out programs."""
        c, tokenizer = policy.config, policy.engine.tokenizer
        every = {name: getattr(c, name).eval_every for name in ("sft", "rlvr")}
        if not any(every[name] for name in every if name in c.stages):
            return _no_figures
        chosen, batches = choose_tasks(tasks, c.eval.subset), []
        bugs = self._bugs(chosen)
        if every["sft"] and "sft" in c.stages:
            demos = multihost.once(lambda: self.task_set.demos(chosen, self.sandbox)[0])
            # One of each task: enough, and a forward pass over all takes minutes.
            demos = list({d.bug.task.task_id: d for d in reversed(demos)}.values())
            episodes = encode_demos(tokenizer, as_answers(demos, c.mode))
            batches = pack_examples(episodes, c.sft, self.mesh)
        return Evaluator(policy, bugs, batches).figures

    def _bugs(self, tasks) -> list[Bug]:
        """Return the bugs of an evaluation, the same for all seeds of a run."""
        c = self.task_set.config.eval
        source = self.task_set, tasks, self.sandbox, c.seed, c.bugs_per_task
        return multihost.once(lambda: draw_bugs(*source))

    def _once(self, prepare, *args):
        """Call a function of `repair.training.prepare` in the first process."""
        return multihost.once(
            lambda: prepare(self.task_set, self.workdir, self.report, *args)
        )


def _say_nothing(line: str) -> None:
    """Take a line in a process that is not the first."""


def _no_figures(params: dict) -> dict:
    raise ValueError("no stage has eval_every")


def _close(loop: Loop, evaluate: Callable, results: Results) -> None:
    """Measure a stage's last parameters, and its best ones where they are others."""
    stage = loop.stage
    results.set_seconds(stage, loop.progress.seconds)
    evaluate(stage, loop.params, loop.step)
    best = loop.progress.best
    if best and best["step"] != loop.step:
        evaluate(f"{stage}/{BEST}", loop.best_params(), best["step"])


def _report_unrewarded(
    bugs: Sequence[Bug], config: Config, verifier, report: Callable[[str], None]
) -> None:
    """Say how many tasks can never earn a reward, and name the first three."""
    if not verifier.level or config.rewards.trust_in_child:
        return  # nothing runs, or everything is rewarded
    names, count = unrewarded(bugs), len({bug.task.task_id for bug in bugs})
    if names:
        report(
            f"{len(names)} of {count} tasks can never earn a reward, because a test of"
            " theirs runs in the program's own process, where a program could forge"
            f" it: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            " (rewards.trust_in_child=True rewards them)"
        )


def _evaluate(
    policy: Policy,
    bugs,
    context: StageContext,
    results: Results,
    stage: str,
    params,
    at: int,
) -> None:
    """Measure the parameters of a step, unless that was done or not asked for."""
    done, config = results.values["stages"], policy.config
    if "eval" not in config.stages or done.get(stage, {}).get("step") == at:
        return
    path = context.workdir / FOLDER / f"eval_{stage.replace('/', '_')}.jsonl"
    trained = dataclasses.replace(policy, params=params)
    figures = measure(trained, bugs, config.eval, path, f"evaluation ({stage})")
    names = [*done, stage] if stage not in done else list(done)
    number = names.index(stage) + 1
    # The line first: once the results are saved, nothing comes back here.
    context.metrics.truncate_after("eval", number - 1)
    context.metrics.write_evaluation(number, figures, path, of=stage)
    for later in names[number:]:
        del done[later]  # of parameters that this stage has left behind
    done[stage] = figures | {"step": at}
    results.save()
    context.report(f"{stage}: pass@1 {100 * figures['pass@1']['mean']:.1f}%")
    for line in notes(figures):
        context.report(f"{stage}: {line}")
