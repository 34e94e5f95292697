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
    expected = "no argument gpu; expected none, or one of mbpp, direct, cot"
    with pytest.raises(UserError, match=f"^{expected}$"):
        tiny(request, "gpu")


def test_a_config_comes_back_from_json(request):
    config = read(tiny(request))
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_dict(values, Config) == config


def test_a_misspelt_field_is_refused_with_the_nearest_name():
    values = dataclasses.asdict(Config())
    values["rlvr"]["optimizer"]["learnin_rate"] = 1.0
    with pytest.raises(UserError) as caught:
        from_dict(values, Config)
    assert str(caught.value) == (
        "config: no field rlvr.optimizer.learnin_rate;"
        " did you mean rlvr.optimizer.learning_rate?"
    )
    with pytest.raises(AttributeError, match="steps"):
        defaults().sft.stepz = 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sft.steps", "many", "sft.steps is 'many', expected int"),
        ("sft.steps", 1.5, "sft.steps is 1.5, expected int"),
        ("sft.steps", True, "sft.steps is True, expected int"),
        ("model.tie_embeddings", 1, "model.tie_embeddings is 1, expected bool"),
        ("sampler.lengths", (4, "x"), "sampler.lengths[1] is 'x', expected int"),
        ("sampler.lengths", 4, "sampler.lengths is 4, expected a tuple"),
        ("stages", ("sft", 3), "stages[1] is 3, expected str"),
        (
            "rlvr.loss",
            3,
            "rlvr.loss is 3, expected a section with fields, such as rlvr.loss.FIELD",
        ),
        ("seed", None, "seed is None, expected int"),
    ],
)
def test_a_wrong_type_is_refused_by_name(path, value, message):
    values = dataclasses.asdict(Config())
    *parents, last = path.split(".")
    section = values
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(UserError) as caught:
        from_dict(values, Config)
    assert str(caught.value) == f"config: {message}"


def test_an_int_will_do_for_a_float():
    assert read(changed(rlvr__temperature=1.0)).rlvr.temperature == 1.0
    values = dataclasses.asdict(Config())
    values["rlvr"]["temperature"] = 1
    temperature = from_dict(values, Config).rlvr.temperature
    assert temperature == 1.0 and type(temperature) is float


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zzz", "config: no field sft.zzz"),
        ("step", "config: no field sft.step; did you mean sft.steps?"),
        ("lr", "config: no field sft.lr; did you mean sft.optimizer.learning_rate?"),
        ("warmup", "config: no field sft.warmup; did you mean sft.optimizer.warmup?"),
    ],
)
def test_the_nearest_field_is_sought_in_the_sections_below_too(name, message):
    with pytest.raises(UserError) as caught:
        from_dict({"sft": {name: 1}}, Config)
    assert str(caught.value) == message


def test_words_between_commas_are_a_tuple():
    for given in ("rlvr,eval", "rlvr, eval", ("rlvr,eval",), ("rlvr", "eval")):
        assert from_dict({"stages": given}, Config).stages == ("rlvr", "eval")
    assert from_dict({"stages": "sft"}, Config).stages == ("sft",)


KINDS = "delete, add, replace, word"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"stages": ("sft", "ppo")},
            "stages is ('sft', 'ppo'), expected some of sft, ",
        ),
        ({"train": "lora"}, "model.lora_rank is 0, expected 1 or more with train='lo"),
        ({"train": "half"}, "train is 'half', expected one of full, lora"),
        ({"mode": "cow"}, "mode is 'cow', expected one of coe, direct, cot"),
        ({"sandbox_level": "no"}, "sandbox_level is 'no', expected one of"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0, expected 1 or more"),
        ({"loss_chunk": 3}, "loss_chunk is 3, expected 0 or a divisor of "),
        ({"loss_chunk": -1}, "loss_chunk is -1, expected 0 or a divisor of "),
        ({"demos__order": "random"}, "demos.order is 'random', expected one of reve"),
        ({"demos__traces": "s1k.jsonl"}, "demos.traces is 's1k.jsonl', expected noth"),
        ({"demos__kinds": ()}, f"demos.kinds is (), expected some of {KINDS}"),
        ({"demos__kinds": ("swap",)}, "demos.kinds is ('swap',), expected some of"),
        (
            {"demos__min_corruptions": 6},
            "demos.max_corruptions is 5, expected min_corruptions=6 or more",
        ),
        ({"demos__per_task": 0}, "demos.per_task is 0, expected 1 or more"),
        ({"text__prompt": "long"}, "text.prompt is 'long', expected one of full, sho"),
        (
            {"text__max_command": 4096},
            "text.max_command is 4096, expected 1 to below max_length=2048",
        ),
        ({"text__max_turns": 0}, "text.max_turns is 0, expected 1 or more"),
        (
            {"rlvr__row_length": 1024},
            "rlvr.row_length is 1024, expected text.max_length=2048 or more",
        ),
        ({"rlvr__samples": 1}, "rlvr.samples is 1, expected 2 or more"),
        ({"sampler__slots": 0}, "sampler.slots is 0, expected 1 or more"),
        ({"sampler__top_p": 0.0}, "sampler.top_p is 0.0, expected above 0 and"),
        ({"sampler__top_k": 5}, "sampler.top_k is 5, expected 0 with stage 'rlvr'"),
        ({"sampler__top_p": 0.9}, "sampler.top_p is 0.9, expected 1.0 with stage 'rl"),
        ({"sampler__cache_dtype": "int8"}, "sampler.cache_dtype is 'int8'"),
        ({"sampler__block": 0}, "sampler.block is 0, expected 1 or more"),
        ({"sft__steps": 0}, "sft.steps is 0, expected 1 or more"),
        ({"sft__accumulate": 3}, "sft.accumulate is 3, expected a divisor of rows=16"),
        ({"sft__state_weight": 1.0}, "sft.state_weight is 1.0, expected 0 to below 1"),
        ({"sft__optimizer__name": "sgd"}, "sft.optimizer.name is 'sgd', expected one"),
        ({"rlvr__problems": -1}, "rlvr.problems is -1, expected 1 or more"),
        ({"rlvr__temperature": 0.0}, "rlvr.temperature is 0.0, expected above 0"),
        ({"rlvr__curriculum": 1.5}, "rlvr.curriculum is 1.5, expected a share from"),
        (
            {"rlvr__advantages__estimator": "reinforced"},
            "rlvr.advantages.estimator is 'reinforced', expected one of grpo, per",
        ),
        (
            {"rlvr__loss__importance_cap": -1.0},
            "rlvr.loss.importance_cap is -1.0, expected 0 or more",
        ),
        (
            {"rlvr__optimizer__decay": "step"},
            "rlvr.optimizer.decay is 'step', expected one of linear, cosine, constant",
        ),
        (
            {"model__heads": 3, "model__kv_heads": 2},
            "model.heads is 3, expected a multiple of kv_heads=2",
        ),
        ({"eval__samples": -1}, "eval.samples is -1, expected 0 or more"),
        ({"eval__temperature": -0.5}, "eval.temperature is -0.5, expected 0 or more"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_their_path(fields, message):
    with pytest.raises(UserError) as caught:
        read(changed(**fields))
    assert str(caught.value).startswith(f"config: {message}")


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
    with pytest.raises(
        UserError, match="^no argument gpu; expected one of coe, direct, cot$"
    ):
        get_config("gpu")
