"""Model card of an export: a README.md with the front matter that the Hub reads."""

import dataclasses
import pathlib

from repair.training.config import Config
from repair.training.fields import flatten, from_dict
from repair.training.tables import headline, rate

# Sections that say how a run went, and nothing about what was learnt.
_OF_THE_RUN = ("log.", "mesh.", "sampler.", "keep", "checkpoint_", "sandbox_")
_MODES = {
    "coe": "it reads a task, its tests, the program and what the tests say, and answers"
    " with one edit of a line at a time",
    "direct": "it reads a task, its tests and the program, and answers with a whole"
    " program",
    "cot": "it reads a task, its tests and the program, thinks in words and answers"
    " with a whole program",
}


def model_card(extra: dict, stages: dict, stage: str, base: str, folder: str) -> str:
    """Return the text of a card, in Markdown.

    Args:
      extra: The JSON of the checkpoint.
      stages: Figures of the run's evaluations, by stage, as in its results.json.
      stage: Stage of the checkpoint.
      base: Source of the base model of adapters, "" for a whole model.
      folder: The exported folder, as the user named it.
    """
    run = extra["config"]
    config = from_dict(run, Config)
    start = base or config.init_from or "random weights"
    kind = "LoRA adapters" if base else "Model"
    front = [f"base_model: {start}"] if start != "random weights" else []
    front += [f"library_name: {'peft' if base else 'transformers'}"]
    front += ["pipeline_tag: text-generation", "tags:", "- program-repair"]
    weights = ""
    if base and config.init_from != base:
        weights = f" Trained on the weights of {config.init_from}."
    kept = ("init", stage, f"{stage}/best")
    evaluated = {name: stages[name] for name in kept if name in stages}
    lines = [
        *("---", *front, "---", "", f"# {pathlib.Path(folder).name}", ""),
        f"{kind} trained by `repair` to repair Python programs, in mode"
        f" `{config.mode}`: {_MODES[config.mode]}.",
        "",
        f"- Base model: {start}. Its licence holds here too.{weights}",
        f"- Trained on: `{config.tasks.train}`; stage {stage}.",
        f"- Format of the prompt: `text.prompt={config.text.prompt}`,"
        f" {config.text.max_length} tokens of context,"
        f" {config.text.max_turns} turns.",
        "- Limits: short programs of one file, of the kind that it was trained on. It"
        " changes code that it does not understand; read its edits.",
        "",
        "## Use",
        "",
        *_use(base, folder),
        "",
        "## Figures",
        "",
        *_figures(evaluated, config),
        "",
        "## Training",
        "",
        "Fields of the config that differ from their defaults:",
        "",
        "| field | value |",
        "|---|---|",
        *(f"| `{name}` | `{value}` |" for name, value in _changed(run)),
        "",
        "Method: Rainone, Bakker, Memisevic 2025, arXiv 2507.05065.",
    ]
    return "\n".join(lines) + "\n"


def _use(base: str, folder: str) -> list[str]:
    if base:
        return [
            "```bash",
            f"python -m repair.fix FILE --tests=TESTS --adapter={folder} \\",
            f"    --model={base}",
            "```",
        ]
    return [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'model = AutoModelForCausalLM.from_pretrained("{folder}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
        "```",
    ]


def _figures(stages: dict, config: Config) -> list[str]:
    """Return a table of the stages' rates, or a sentence where there are none."""
    if not stages:
        return ["The run has no evaluation of this stage."]
    names = headline(stages)
    rows = [
        f"| {stage} | " + " | ".join(rate(figures.get(n)) for n in names) + " |"
        for stage, figures in stages.items()
    ]
    return [
        f"Percent of the bugs of `{config.tasks.eval}`, with 95% intervals;"
        " `init` is the model before training.",
        "",
        "| stage | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *rows,
    ]


def _changed(run: dict) -> list[tuple[str, object]]:
    """Return the fields of a config, by dotted name, that have no default value."""
    defaults = flatten(dataclasses.asdict(Config()))
    return [
        (name, value)
        for name, value in flatten(run).items()
        if value != defaults.get(name) and not name.startswith(_OF_THE_RUN)
    ]
