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


nan, inf = float("nan"), float("inf")
LORA = {"train": "lora", "model__lora_rank": 2}
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
        ({"loss_chunk": -1}, "loss_chunk is -1, expected 0 or more"),
        ({"demos__order": "random"}, "demos.order is 'random', expected one of reve"),
        ({"demos__traces": "s1k.jsonl"}, "demos.traces is 's1k.jsonl', expected noth"),
        ({"demos__kinds": ()}, f"demos.kinds is (), expected some of {KINDS}"),
        ({"demos__kinds": ("swap",)}, "demos.kinds is ('swap',), expected some of"),
        (
            {"demos__min_corruptions": 6},
            "demos.max_corruptions is 5, expected min_corruptions=6 or more",
        ),
        ({"demos__per_task": 0}, "demos.per_task is 0, expected 1 or more"),
        ({"text__prompt": "long"}, "text.prompt is 'long', expected one of full, cha"),
        (
            {"text__max_command": 4096},
            "text.max_command is 4096, expected 1 to below max_length=2048",
        ),
        ({"text__max_turns": 0}, "text.max_turns is 0, expected 1 or more"),
        ({"text__max_answers": 2}, "text.max_answers is 2, expected 1 in mode 'coe'"),
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
        ({"sft__state_weight": 1.0}, "sft.state_weight is 1.0, expected below 1"),
        ({"sft__optimizer__name": "sgd"}, "sft.optimizer.name is 'sgd', expected one"),
        ({"rlvr__problems": -1}, "rlvr.problems is -1, expected 1 or more"),
        ({"rlvr__temperature": 0.0}, "rlvr.temperature is 0.0, expected above 0"),
        ({"rlvr__curriculum": 1.5}, "rlvr.curriculum is 1.5, expected 1 or less"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"seed": 2**31}, "seed is 2147483648, expected 2,147,483,647 or less"),
        ({"eval__samples": 10**9}, "eval.samples is 1000000000, expected 10,000 or l"),
        ({"eval__temperature": nan}, "eval.temperature is nan, expected a finite num"),
        ({"model__width": 0}, "model.width is 0, expected 1 or more"),
        ({"model__dtype": "fp8"}, "model.dtype is 'fp8', expected one of float32, bf"),
        ({"model__param_dtype": "int8"}, "model.param_dtype is 'int8', expected one"),
        ({"model__rope__factor": 0.5}, "model.rope.factor is 0.5, expected 1 or more"),
        ({"model__rope__low": 4.0}, "model.rope.low is 4.0, expected below high=4.0"),
        ({"rlvr__loss__ratio": "turn"}, "rlvr.loss.ratio is 'turn', expected one of"),
        ({"rlvr__loss__kl_coef": -0.1}, "rlvr.loss.kl_coef is -0.1, expected 0 or mo"),
        ({"rlvr__loss__clip_low": 0.0}, "rlvr.loss.clip_low is 0.0, expected above 0"),
        ({"rewards__malformed": 0.5}, "rewards.malformed is 0.5, expected 0 or less"),
        ({"rewards__tests": "none"}, "rewards.tests is 'none', expected one of shown"),
        ({"mesh__data": 0}, "mesh.data is 0, expected 1 or more, or -1 for all dev"),
        ({"sampler__lengths": (0,)}, "sampler.lengths is (0,), expected lengths of 1"),
        *[
            ({f"sft__optimizer__{name}": value}, f"sft.optimizer.{name} is {value}, ex")
            for name, value in (
                *(("learning_rate", 0.0), ("adam_learning_rate", -0.1)),
                *(("clip_norm", 0.0), ("clip_norm", -1.0), ("clip_norm", nan)),
                *(("b2", 2.0), ("b2", 1.0), ("final_fraction", 1.5), ("warmup", -1)),
            )
        ],
        # Fields that would do nothing beside another.
        (
            {"sft__optimizer__adam_learning_rate": 0.5},
            "sft.optimizer.adam_learning_rate is 0.5, expected 0.001 with name='adamw'",
        ),
        (
            {
                "rlvr__optimizer__decay": "constant",
                "rlvr__optimizer__final_fraction": 0.5,
            },
            "rlvr.optimizer.final_fraction is 0.5, expected 0.1 with decay='constant'",
        ),
        (
            {"rlvr__curriculum_steps": 5},
            "rlvr.curriculum_steps is 5, expected 10 with curriculum=0.0",
        ),
        (
            {**LORA, "sft__optimizer__name": "muon"},
            "sft.optimizer.name is 'muon', expected 'adamw' with train='lora'",
        ),
        (
            {**LORA, "rlvr__optimizer__weight_decay": 0.1},
            "rlvr.optimizer.weight_decay is 0.1, expected 0.0 with train='lora'",
        ),
        (
            {"model__lora_alpha": 8.0},
            "model.lora_alpha is 8.0, expected 32.0 with model.lora_rank=0",
        ),
        (
            {"adapter": "x"},
            "adapter is 'x', expected '' unless init_from is a published model",
        ),
        (
            {"adapter": "x", "init_from": "owner/model"},
            "train is 'full', expected 'lora' with an adapter",
        ),
        (
            {"init_from": "folder", "model__width": 64},
            "model.width is 64, expected its default: the shape comes with init_from",
        ),
        (
            {"model__param_dtype": "bfloat16"},
            "model.param_dtype is 'bfloat16', expected float32 with train='full'",
        ),
        (
            {"stages": ("rlvr", "sft")},
            "stages is ('rlvr', 'sft'), expected each once, in the order sft,rlvr",
        ),
        ({"stages": ("sft", "sft")}, "stages is ('sft', 'sft'), expected each once"),
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


def numbers(section, path=""):
    """Yield (path, default) of all numeric fields of a config."""
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{name}.")
        elif type(value) in (int, float):
            yield name, value
        elif isinstance(value, tuple) and type(value[0]) in (int, float):
            yield name, value


# Fields that may be -1, and why.
MAY_BE_NEGATIVE = {
    "mesh.data": "-1 is all devices that are left",
    "mesh.fsdp": "-1 is all devices that are left",
    "mesh.tensor": "-1 is all devices that are left",
    "rewards.malformed": "a price",
    "rewards.missing_exit": "a price",
    "rewards.exit_unsolved": "a price",
}
NUMBERS = dict(numbers(Config()))


@pytest.mark.parametrize("path", NUMBERS)
def test_every_number_has_a_range(path):
    """A new field without one fails here: give it one by `expect_between`."""
    default = NUMBERS[path]
    kind = type(default[0] if isinstance(default, tuple) else default)
    tried = [kind(10**30), kind(-(10**30))]
    tried += [] if path in MAY_BE_NEGATIVE else [kind(-1)]
    tried += [nan, inf, -inf] if kind is float else []
    for value in tried:
        config = changed(**{path: (value,) if isinstance(default, tuple) else value})
        with pytest.raises(UserError) as caught:
            read(config)
        assert str(caught.value).startswith(f"config: {path}"), value


def test_names_of_fields_that_may_be_negative_are_those_of_fields():
    assert set(MAY_BE_NEGATIVE) < set(NUMBERS)
    for path in MAY_BE_NEGATIVE:
        read(changed(**{path: type(NUMBERS[path])(-1)}))


def test_a_shape_beside_init_from_may_be_that_of_a_published_model():
    shape = {
        f"model__{name}": value
        for name, value in dataclasses.asdict(presets.SHAPES["smollm2_135m"]).items()
        if name != "rope"
    }
    config = changed(**shape, init_from="folder", train="lora", model__rope__theta=1e5)
    assert read(config).model.width == 576
    config.model.layers = 29
    with pytest.raises(UserError, match=r"config: model\.\w+ is .*init_from"):
        read(config)


def test_bfloat16_may_be_computed_in_but_not_trained():
    assert read(changed(model__dtype="bfloat16")).model.dtype == "bfloat16"
    frozen = changed(**LORA, model__param_dtype="bfloat16")
    assert read(frozen).model.param_dtype == "bfloat16"


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
