"""Configs: what is misspelt, mistyped or impossible is refused by name."""

import dataclasses
import json
import runpy

import pytest

from repair.errors import UserError
from repair.model import presets
from repair.training.config import Config, defaults, read
from repair.training.fields import from_dict

TINY = "configs/tiny.py"


def tiny(request, arg=""):
    return runpy.run_path(str(request.config.rootpath / TINY))["get_config"](arg)


def changed(**fields):
    config = defaults()
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in fields.items()}
    )
    return config


def test_defaults_are_those_of_the_dataclasses():
    assert read(defaults()) == Config()


@pytest.mark.parametrize("arg", ["", "mbpp"])
def test_the_tiny_config_reads(request, arg):
    config = read(tiny(request, arg))
    assert config.tasks.train.startswith(arg or "generated")
    assert config != Config()


def test_the_tiny_config_refuses_another_argument(request):
    with pytest.raises(ValueError, match="found 'gpu'"):
        tiny(request, "gpu")


def test_a_config_comes_back_from_json(request):
    config = read(tiny(request))
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_dict(values, Config) == config


def test_a_misspelt_field_is_refused_with_the_nearest_name():
    values = dataclasses.asdict(Config())
    values["rlvr"]["optimizer"]["learnin_rate"] = 1.0
    with pytest.raises(UserError, match="did you mean rlvr.optimizer.learning_rate?"):
        from_dict(values, Config)
    with pytest.raises(UserError, match="no field zzz$"):
        from_dict({"zzz": 1}, Config)
    with pytest.raises(AttributeError, match="steps"):
        defaults().sft.stepz = 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sft.steps", "many", "sft.steps is 'many' .str., expected int"),
        ("sft.steps", 1.5, "sft.steps is 1.5 .float., expected int"),
        ("sft.steps", True, "sft.steps is True .bool., expected int"),
        ("model.tie_embeddings", 1, "model.tie_embeddings is 1 .int., expected bool"),
        ("sampler.lengths", (4, "x"), r"sampler.lengths\[1\] is 'x'"),
        ("sampler.lengths", 4, "sampler.lengths is 4, expected a tuple"),
        ("rlvr.loss", 3, "rlvr.loss is a section, found 3"),
        ("seed", None, "seed is None"),
    ],
)
def test_a_wrong_type_is_refused_by_name(path, value, message):
    values = dataclasses.asdict(Config())
    *parents, last = path.split(".")
    section = values
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(UserError, match=message):
        from_dict(values, Config)


def test_an_int_will_do_for_a_float():
    assert read(changed(rlvr__temperature=1.0)).rlvr.temperature == 1.0
    values = dataclasses.asdict(Config())
    values["rlvr"]["temperature"] = 1
    temperature = from_dict(values, Config).rlvr.temperature
    assert temperature == 1.0 and type(temperature) is float


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": ("sft", "ppo")}, "stages"),
        ({"train": "lora"}, "lora_rank"),
        ({"train": "half"}, "train is 'half'"),
        ({"demos__order": "random"}, "demos.order"),
        ({"demos__traces": "s1k.jsonl"}, "demos.traces is for mode 'cot'"),
        ({"demos__kinds": ()}, "demos.kinds"),
        ({"demos__kinds": ("swap",)}, "demos.kinds"),
        ({"demos__min_corruptions": 6}, "min_corruptions=6"),
        ({"text__prompt": "long"}, "text.prompt"),
        ({"text__max_command": 4096}, "text.max_command"),
        ({"rlvr__row_length": 1024}, "rlvr.row_length=1024"),
        ({"rlvr__samples": 1}, "rlvr.samples=1"),
        ({"sampler__slots": 0}, "slots is 0"),
        ({"sampler__top_p": 0.0}, "top_p is 0.0"),
        (
            {"sampler__top_k": 5},
            "top_k=5 and sampler.top_p=1.0 are for eval",
        ),
        ({"sampler__top_p": 0.9}, "top_k=0 and sampler.top_p=0.9 are for eval"),
        ({"sampler__cache_dtype": "int8"}, "cache_dtype is 'int8'"),
        ({"sft__steps": 0}, "sft.steps is 0"),
        ({"rlvr__problems": -1}, "rlvr.problems is -1"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"model__heads": 3}, "heads=3 must be a multiple"),
        ({"sft__state_weight": 1.0}, "state_weight=1.0"),
        ({"rlvr__temperature": 0.0}, "temperature=0.0"),
        ({"rlvr__advantages__estimator": "reinforced"}, "estimator 'reinforced'"),
        ({"rlvr__loss__kl_estimator": "k9"}, "kl_estimator"),
        ({"sft__optimizer__name": "sgd"}, "sgd"),
        ({"rlvr__optimizer__decay": "step"}, "step"),
        ({"sampler__block": 0}, "block is 0"),
        ({"eval__samples": -1}, "eval.samples"),
        ({"eval__temperature": -0.5}, "eval.temperature"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_starts(fields, message):
    with pytest.raises(UserError, match=message):
        read(changed(**fields))


def test_checks_of_a_stage_hold_only_where_it_runs():
    config = changed(rlvr__samples=1, rlvr__row_length=64)
    config.stages = ("sft", "eval")
    config.sampler.top_p = 0.9
    assert read(config).rlvr.samples == 1


@pytest.mark.parametrize("name", sorted(presets.HUB))
def test_the_papers_recipe_reads_in_every_mode(request, name):
    path = str(request.config.rootpath / "configs" / f"{name}.py")
    get_config = runpy.run_path(path)["get_config"]
    for mode in ("coe", "direct", "cot"):
        config = read(get_config(mode))
        assert config.mode == mode and config.init_from == presets.HUB[name]
        assert config.model == presets.SHAPES[name] and config.model.lora_rank == 16
        assert (config.text.max_length, config.rlvr.samples) == (2048, 4)
        loss = config.rlvr.loss
        assert (loss.kl_coef, loss.clip_low, loss.clip_high) == (0.01, 0.2, 0.2)
    with pytest.raises(ValueError, match="found 'gpu'"):
        get_config("gpu")
