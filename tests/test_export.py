"""The export of a run's checkpoint, called as its command calls it."""

import dataclasses
import json
import pathlib
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from repair import export
from repair.env import Environment, Sandbox
from repair.errors import UserError
from repair.model.api import Model
from repair.model.hf import push
from repair.model.hf.folder import load_hf, settings_folder
from repair.model.hf.model_config import format_config
from repair.model.llama import LlamaConfig
from repair.tasks import Bug, Task
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from repair.training.checkpoint import Checkpointer
from repair.training.config import Config, TextConfig
from repair.training.workdir import path_digest
from tests.text.test_gguf_tokenizer import metadata, save

# As many ids as in the tokenizer that is exported as GGUF.
SHAPE = LlamaConfig(430, 16, 24, 1, 2, 1, 8, lora_rank=2, scan_layers=True)


@pytest.fixture(scope="module")
def params():
    fresh = jax.jit(Model(SHAPE).init_params)(jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.25, fresh)  # adapters that change something


@pytest.fixture
def run(monkeypatch, tmp_path, params):
    """Return a function from config fields and flags to the written folder."""

    def export_run(fields, other_tokenizer=False, **values):
        run = dataclasses.replace(Config(), model=SHAPE, **fields)
        stage = tmp_path / "run" / "checkpoints" / "sft"
        checkpointer = Checkpointer(stage)
        tokenizer = tmp_path / "run" / "tokenizer"
        if not (tokenizer / "tokenizer.json").exists():
            Tokenizer(train_tokenizer(["a b"], 260), "short").save(tokenizer)
        extra = {
            "config": dataclasses.asdict(run),
            "model": dataclasses.asdict(SHAPE),
            "digests": {"tokenizer": path_digest(tokenizer)},
            "base": None,
        }
        held = params
        if run.train == "lora" and run.init_from:
            extra["base"] = {"source": run.init_from, "digest": "0"}
            held = {"lora": params["lora"]}
        checkpointer.save(3, {"params": held}, extra)
        checkpointer.close()
        if other_tokenizer:
            Tokenizer(train_tokenizer(["c d"], 270), "short").save(tokenizer)
        flags = {"checkpoint": str(stage), "out": str(tmp_path / "out")}
        flags |= {
            "adapter": False,
            "model": "",
            "dtype": None,
            "format": "hf",
            "gguf_type": None,
            "push": "",
        }
        flags |= values
        monkeypatch.setattr(export.flags, "FLAGS", types.SimpleNamespace(**flags))
        export.main()
        return pathlib.Path(flags["out"])

    return export_run


def test_the_whole_model_with_its_tokenizer(run, params, capsys):
    out = run({})
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    config, loaded = load_hf(out, scan_layers=True)
    assert config == dataclasses.replace(SHAPE, lora_rank=0)
    zero = jax.tree.map(jnp.zeros_like, params["lora"])
    tokens = jnp.arange(12).reshape(2, 6)
    forward = jax.jit(Model(SHAPE).forward)
    expected, _ = forward(params, tokens)
    without, _ = forward({**params, "lora": zero}, tokens)
    logits, _ = jax.jit(Model(config).forward)(loaded, tokens)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.abs(logits - without).max() > 0.05, "far more than the tolerance"
    assert load_tokenizer(out, "short").encode("a") == [65]
    with pytest.raises(UserError, match="holds a model already"):
        export.main()


@pytest.mark.parametrize("own_tokenizer", [True, False])
def test_the_config_of_the_source_is_kept(run, tmp_path, own_tokenizer):
    """It lies with the run's tokenizer, unless that is another model's."""
    source = format_config(SHAPE)
    source |= {"max_position_embeddings": 32_768, "eos_token_id": [7, 9]}
    init_from = tmp_path / "source"
    for folder, raw in (
        (init_from, source),
        (tmp_path / "run/tokenizer", source if own_tokenizer else {"model_type": "t5"}),
    ):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(raw))
    (tmp_path / "run/tokenizer/generation_config.json").write_text('{"top_k": 7}')
    fields = {"init_from": str(init_from)}
    if own_tokenizer:
        (init_from / "config.json").unlink()  # as when the source is gone
    else:
        fields["text"] = TextConfig(tokenizer="other/model")
    out = run(fields)
    assert json.loads((out / "config.json").read_text()) == source
    assert (out / "generation_config.json").read_text() == '{"top_k": 7}'


def test_another_models_tokenizer_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="is not the tokenizer that the checkpoint"):
        run({}, other_tokenizer=True)
    assert not (tmp_path / "out").exists()


def test_the_adapter_names_its_base(run, params):
    out = run({"train": "lora", "init_from": "owner/model"}, adapter=True)
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/model"
    stored = load_file(out / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    up = params["lora"]["layers"]["mlp"]["up"]["a"][0]
    np.testing.assert_array_equal(stored[name], up.T)
    assert {f"{path.stat().st_mode & 0o777:o}" for path in out.iterdir()} == {"644"}
    assert (out / "README.md").read_text().startswith("---\nbase_model: owner/model\n")


def test_the_base_can_be_named(run):
    out = run({"train": "lora"}, adapter=True, model="other/model")
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "other/model"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": "full", "init_from": "owner/model"}, "train='full'"),
        ({"train": "lora"}, "--model"),
    ],
)
def test_adapters_that_belong_to_nothing_are_refused(run, fields, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(fields, adapter=True)
    assert not (tmp_path / "out").exists()


def test_a_gguf_file_has_the_adapters_merged(run, params, tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "run/tokenizer").mkdir(parents=True)
    tokenizer = save(metadata("smollm"), tmp_path / "run/tokenizer", "smollm")
    out = run({}, format="gguf", gguf_type="Q8_0", out=str(tmp_path / "x.gguf"))
    run({}, out=str(tmp_path / "folder"))
    _, expected = load_hf(tmp_path / "folder")
    config, loaded = load_hf(out)
    assert config == dataclasses.replace(SHAPE, lora_rank=0, scan_layers=False)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=0.01), loaded, expected
    )
    with settings_folder(out) as folder:
        text = "x1 = 1234\n"
        assert load_tokenizer(folder, "short").encode(text) == tokenizer.encode(text)
    with pytest.raises(UserError, match="exists already"):
        run({}, format="gguf", out=str(out))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"out": "x.gguf"}, "add --format=gguf"),
        ({"format": "gguf", "out": "x"}, "ends in .gguf"),
        ({"format": "gguf", "out": "x.gguf", "adapter": True}, "PEFT's format only"),
        ({"format": "gguf", "out": "x.gguf", "push": "me/x"}, "uploads a folder"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(run, flags, message):
    with pytest.raises(UserError, match=message):
        run({}, **flags)


def test_a_tokenizer_of_our_own_has_no_name_in_llama_cpp(run, tmp_path):
    pytest.importorskip("gguf")
    with pytest.raises(UserError, match="splits text in another way"):
        run({}, format="gguf", out=str(tmp_path / "x.gguf"))
    assert not (tmp_path / "x.gguf").exists()


class FakeHub:
    """A Hub that keeps the files of each upload, or fails from some call on."""

    def __init__(self, fails=""):
        self.fails, self.calls, self.uploads = fails, [], {}

    def _call(self, name):
        self.calls.append(name)
        if name == self.fails:
            raise ConnectionError("no route to huggingface.co. Try again.")

    def whoami(self):
        self._call("whoami")

    def create_repo(self, name, *, exist_ok):
        assert exist_ok
        self._call("create_repo")
        return f"https://huggingface.co/{name}"

    def upload_folder(self, *, repo_id, folder_path):
        self._call("upload_folder")
        self.uploads[repo_id] = {path.name for path in folder_path.iterdir()}


@pytest.mark.parametrize("adapter", [False, True])
def test_a_folder_is_pushed_once_it_is_whole(run, monkeypatch, capsys, adapter):
    hub = FakeHub()
    monkeypatch.setattr(push, "HfApi", lambda: hub)
    fields = {"train": "lora", "init_from": "owner/model"} if adapter else {}
    out = run(fields, adapter=adapter, push="me/mender")
    assert hub.calls == ["whoami", "create_repo", "upload_folder"]
    assert hub.uploads == {"me/mender": {path.name for path in out.iterdir()}}
    weights = "adapter_model.safetensors" if adapter else "model.safetensors"
    assert {"README.md", weights} <= hub.uploads["me/mender"]
    assert "and on https://huggingface.co/me/mender" in capsys.readouterr().out


def test_a_push_without_network_or_login_is_refused_before_the_export(
    run, monkeypatch, tmp_path
):
    hub = FakeHub(fails="whoami")
    monkeypatch.setattr(push, "HfApi", lambda: hub)
    with pytest.raises(UserError, match="ConnectionError: no route.*hf auth login"):
        run({}, push="me/mender")
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        run({}, push="mender")
    assert hub.calls == ["whoami"] and not (tmp_path / "out").exists()


def test_a_failed_push_leaves_the_export_and_says_how_to_go_on(
    run, monkeypatch, tmp_path
):
    monkeypatch.setattr(push, "HfApi", lambda: FakeHub(fails="upload_folder"))
    with pytest.raises(UserError, match="is whole, but .* run `hf upload me/mender"):
        run({}, push="me/mender")
    assert (tmp_path / "out" / "model.safetensors").exists()


PAGE = pathlib.Path(__file__).parent.parent / "docs" / "export.md"


def block(kind):
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found


def test_the_page_shows_the_prompt_as_it_is():
    """Two turns of an episode, with the commands that the page gives to the model."""
    tests = ("assert double(2) == 4", "assert double(-1) == -2")
    task = Task("double", "Return twice the number.", "def double(x):\n    x", tests)
    bug = Bug("double/0", task, "def double(x):\n    return 2 + x")
    with Sandbox() as sandbox:
        environment = Environment(sandbox)
        text = render_prompt(task, "full") + environment.reset(bug).state_text
        for command in ("### REPL 2 >>>    return 2 * x", "### EXIT"):
            step = environment.step(command)
            text += f"{command}\n" + ("" if step.done else step.state_text)
    assert step.status == "solved"
    assert block("text") == text


def test_the_snippet_for_transformers_plays_a_command(run, monkeypatch, capsys):
    pytest.importorskip("torch", reason="needs the extra parity")
    folder = run({})
    capsys.readouterr()
    monkeypatch.chdir(folder.parent)
    folder.rename("exported")
    names = {}
    exec(compile(block("python"), PAGE.name, "exec"), names)
    command = names["command"]
    assert capsys.readouterr().out.startswith(f"{command}\nL 1 def double(x):\n")
    # Greedy by our own model, on ids that our own tokenizer makes.
    config, params = load_hf("exported")
    tokenizer = load_tokenizer("exported", "short")
    ids = tokenizer.prompt_ids(names["task"]) + tokenizer.state_ids(
        names["state"], True
    )
    assert names["ids"] == ids
    logits, _ = jax.jit(Model(config).forward)(params, jnp.array([ids]))
    first = int(jnp.argmax(logits[0, -1]))
    assert first == int(names["answer"][0, len(ids)])
