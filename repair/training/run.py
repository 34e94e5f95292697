"""A whole run: from a config and a workdir to a table of the stages' figures.

In order: tasks and demonstrations, tokenizer, model, then the stages that the config
lists, with an evaluation before, between and after. Everything that a stage needs
follows from the config and the files of the stages before it, so a run that was
killed goes on where its last checkpoint stands, to the same bits.

In several processes each runs all of this: the first one makes the host's part and
writes the files, in a workdir that all can read (`repair.model.multihost`).

The workdir holds config.json, metrics.jsonl, demos.jsonl, tokenizer/,
checkpoints/{sft,rlvr}/<step>, trajectories/*.jsonl and results.json.

Starting weights of a stage, first match wins:
  1. its own latest checkpoint;
  2. the last checkpoint of the stage before it;
  3. `init_from`, a folder in Hugging Face's format, a name on its Hub or a GGUF file;
  4. random weights from the seed.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax

from repair.demos.answers import as_answers
from repair.demos.traces import read_traces
from repair.model import multihost
from repair.model.api import count_params
from repair.model.hf.folder import check_source
from repair.model.sharding import make_mesh
from repair.rollout.sampling import Sampling
from repair.tasks.bugs import unrewarded
from repair.tasks.task import Bug
from repair.text.episodes import encode_demos, encode_traces
from repair.text.tokenizer import load_tokenizer
from repair.training import rlvr, sft
from repair.training.config import Config, check_mesh
from repair.training.evaluation import measure
from repair.training.loggers import Loggers, check_packages
from repair.training.loop import Loop, StageContext
from repair.training.policy import Policy, make_policy
from repair.training.prepare import prepare_demos, prepare_model, prepare_tokenizer
from repair.training.task_set import RepairTaskSet, TaskSet, open_task_set
from repair.training.trajectories import FOLDER
from repair.training.workdir import Results, open_workdir


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
    check_source(config.init_from)
    opened = open_task_set(config, task_set)
    mesh = make_mesh(**dataclasses.asdict(config.mesh), devices=devices)
    check_mesh(config, mesh)
    first = multihost.first()
    workdir = multihost.once(lambda: open_workdir(workdir, config))
    metrics = Loggers(workdir, config)
    try:
        with opened.open_verifier() as sandbox:
            say = report if first else lambda line: None
            if level := sandbox.level:
                if "rlvr" in config.stages:
                    level.require(config.sandbox_level)
                say(level.line())
            if mesh.size > 1:
                say(f"mesh: {dict(mesh.shape)}, {jax.process_count()} processes")
            return _run_stages(opened, mesh, workdir, metrics, sandbox, say)
    finally:
        metrics.close()


def _run_stages(
    task_set: TaskSet, mesh, workdir: pathlib.Path, metrics, sandbox, report
) -> dict:
    """Prepare a run and train and evaluate its stages in order."""
    c, results = task_set.config, Results(workdir)
    if sandbox.level:
        results.set("sandbox", dataclasses.asdict(sandbox.level))
    traces = read_traces(c.demos.traces) if c.demos.traces else []
    tasks = train_tasks, eval_tasks = task_set.tasks()
    report(f"tasks: {len(train_tasks)} to train on, {len(eval_tasks)} held out")

    demos = []
    own_words = not (c.text.tokenizer or c.init_from)
    if own_words or ("sft" in c.stages and not traces):
        demos = multihost.once(
            lambda: prepare_demos(task_set, tasks, sandbox, workdir, results, report)
        )
    folder = workdir / "tokenizer"
    multihost.once(lambda: prepare_tokenizer(task_set, demos, folder))
    tokenizer = load_tokenizer(folder, task_set.prompt, c.mode)
    model, params = prepare_model(c, mesh)
    size = f"{count_params(params):,} parameters"
    report(f"model: {size}, tokenizer of {tokenizer.vocab_size} ids")
    policy = make_policy(task_set, model, tokenizer, sandbox, params)
    context = StageContext(
        model,
        workdir,
        metrics,
        report,
        seed=c.seed,
        train=c.train,
        checkpoint_every=c.checkpoint_every,
        loss_chunk=c.loss_chunk,
        config=dataclasses.asdict(c),
    )

    def make_bugs(tasks, seed):
        return multihost.once(lambda: task_set.bugs(tasks, sandbox, seed))

    held_out = make_bugs(eval_tasks, c.seed) if "eval" in c.stages else []
    evaluate = functools.partial(_evaluate, policy, held_out, context, results)
    evaluate("init", params)
    if "sft" in c.stages:
        episodes = encode_traces(tokenizer, traces)
        episodes = episodes or encode_demos(tokenizer, as_answers(demos, c.mode))
        loop = Loop(context, "sft", params, c.sft)
        with results.timed("sft", skip=loop.over):
            params = sft.train(loop, episodes)
        evaluate("sft", params)
    if "rlvr" in c.stages:
        # Other faulty programs than the demonstrations of the same tasks.
        bugs = make_bugs(train_tasks, c.seed + 1)
        _report_unrewarded(bugs, c, sandbox, report)
        if c.sampler.warm_up:
            policy.engine.warm_up(params, Sampling(c.rlvr.temperature))
        updates, budget = c.rlvr.epochs * c.rlvr.minibatches, c.rlvr.sampled_tokens
        loop = Loop(context, "rlvr", params, c.rlvr, updates=updates, budget=budget)
        with results.timed("rlvr", skip=loop.over):
            params = rlvr.train(loop, policy.engine, sandbox, bugs)
        evaluate("rlvr", params)
    return results.values


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
    policy: Policy, bugs, context: StageContext, results: Results, stage: str, params
) -> None:
    """Measure the parameters after a stage, unless that was done or not asked for."""
    done, config = results.values["stages"], policy.config
    if "eval" not in config.stages or stage in done:
        return
    path = context.workdir / FOLDER / f"eval_{stage}.jsonl"
    trained = dataclasses.replace(policy, params=params)
    figures = measure(trained, bugs, config.eval, path, f"evaluation ({stage})")
    best, step = figures["pass@1"], len(done) + 1
    # The line first: once the results are saved, nothing comes back here.
    context.metrics.truncate_after("eval", step - 1)
    context.metrics.write("eval", step, of=stage, **best)
    done[stage] = figures
    results.save()
    context.report(f"{stage}: pass@1 {100 * best['mean']:.1f}%")
