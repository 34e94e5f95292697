"""One newline token, nothing lost, segments apart, BOS and EOS ids of a folder."""

import itertools
import json
import subprocess
import sys

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, processors

from repair.errors import UserError
from repair.tasks import Task
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

TEXTS = [
    "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n",
    "### REPL 2 >>>    return total\n### ADDL 3 >>>    n_items = len(xs)\n",
    "L 1 def f(xs):\nL 2     return sum(xs)\n***\nassert f([1, 2]) == 3\n",
    "### EXIT\n### DELL 4\n### REPW 2 >>>total >>>n_items\n",
]
TASK = Task(1, "Fill {text} and {tests} of {}.", "x = 1", ("assert x == {1: 2}[1]",))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(TEXTS * 3, 320), "short")


def test_newline_is_one_token_and_alone_in_holding_a_newline(tokenizer):
    assert tokenizer.encode("\n") == [tokenizer.newline_id]
    assert tokenizer.decode([tokenizer.newline_id]) == "\n"
    assert tokenizer.stop_V.nonzero()[0].tolist() == [tokenizer.newline_id]
    assert tokenizer.encode("\n\n  \n").count(tokenizer.newline_id) == 3


def test_merges_were_learned_and_digits_stand_alone(tokenizer):
    assert len(tokenizer.encode(" total")) == 1
    assert len(tokenizer.encode("        ")) < 4
    a, b, c = (tokenizer.encode(text) for text in ("7", "77", "777"))
    assert b == a * 2 and c == a * 3


def test_the_number_of_a_state_line_becomes_one_token():
    tokenizer = Tokenizer(train_tokenizer(["L 1 x\nL 12 y\n"] * 20, 300), "short")
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("L 12 y\nL 1 x\nXL 12 x")]
    assert pieces[:6] == ["L 12", " y", "\n", "L 1", " x", "\n"]
    assert "L 12" not in pieces[6:]


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet=" \n\t_aL0>#<pd\r\\é\u2028")))
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="abL _\n0>#"), max_size=5))
def test_segments_encode_alike_alone_and_in_company(tokenizer, texts):
    alone = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == alone
    assert tokenizer.decode(itertools.chain(*alone)) == "".join(texts)


def test_an_answer_in_one_piece_has_many_lines_and_an_end_of_its_own(tmp_path):
    tokenizer = train_tokenizer(TEXTS * 3, 320, ("<pad>", "<end>"))
    ends = [tokenizer.token_to_id("<end>")]
    Tokenizer(tokenizer, "short", mode="direct", eos_ids=ends).save(tmp_path)
    tokenizer = load_tokenizer(tmp_path, "short", "direct")
    (ids,) = tokenizer.command_ids(["x = 1\ny = 2"])
    assert (
        ids[:-1] == tokenizer.encode("x = 1\ny = 2") and ids[-1:] == tokenizer.end_ids
    )
    assert tokenizer.stop_V.nonzero()[0].tolist() == tokenizer.end_ids
    assert (
        tokenizer.command_text(ids)
        == tokenizer.command_text(ids[:-1])
        == "x = 1\ny = 2"
    )
    with pytest.raises(UserError, match="needs a tokenizer with a token for the end"):
        Tokenizer(train_tokenizer(TEXTS * 3, 320), "short", mode="cot")


def test_each_mode_is_told_what_to_do():
    told = {
        mode: render_prompt(TASK, "full", mode) for mode in ("coe", "direct", "cot")
    }
    assert len(set(told.values())) == 3
    assert all(text.endswith(told["coe"][-40:]) for text in told.values())
    assert "### ADDL" in told["coe"] and "###" not in told["direct"] + told["cot"]


def test_command_text_ends_at_the_first_newline(tokenizer):
    ids = tokenizer.encode("### EXIT\nrest")
    assert tokenizer.command_text(ids) == "### EXIT"
    assert tokenizer.command_text(tokenizer.encode("### DELL")) == "### DELL"


def test_braces_of_a_task_stay_as_they_are(tokenizer):
    prompt = render_prompt(TASK, "short")
    assert prompt == "Fill {text} and {tests} of {}.\nassert x == {1: 2}[1]\n"
    assert "assert x == {1: 2}[1]" in render_prompt(TASK, "full")


@pytest.fixture
def published(tmp_path):
    """Return a function that writes a folder as a model's authors do."""

    def write(settings, model_type="llama", adds=None, **files):
        backend = train_tokenizer(TEXTS * 3, 320, ("<s>", "</s>", "<|end|>"))
        if adds:
            backend.post_processor = processors.TemplateProcessing(
                single=f"{adds} $A </s>", special_tokens=[(adds, 0), ("</s>", 1)]
            )
        backend.save(str(tmp_path / "tokenizer.json"))
        files |= {"config": {"model_type": model_type}, "tokenizer_config": settings}
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


# As SmolLM2, Qwen2.5 and Llama 3.2 name their tokens and their classes.
SMOLLM2 = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<|end|>",
    "tokenizer_class": "GPT2Tokenizer",
}
QWEN25 = {
    "bos_token": None,
    "eos_token": "</s>",
    "unk_token": "<|end|>",
    "pad_token": "<|end|>",
    "add_bos_token": False,
    "tokenizer_class": "Qwen2Tokenizer",
}
LLAMA32 = {
    "bos_token": {"content": "<s>", "__type": "AddedToken"},
    "eos_token": "</s>",
    "tokenizer_class": "PreTrainedTokenizerFast",
}


@pytest.mark.parametrize(
    ("settings", "model_type", "adds", "bos_ids"),
    [
        (SMOLLM2, "llama", None, []),
        (QWEN25, "qwen2", None, []),
        (LLAMA32, "llama", None, []),
        (LLAMA32, "llama", "<s>", [0]),
    ],
)
def test_bos_is_in_front_only_where_the_tokenizer_adds_it(
    published, settings, model_type, adds, bos_ids
):
    folder = published(settings, model_type, adds)
    tokenizer = load_tokenizer(folder, "short")
    ids = tokenizer.encode(render_prompt(TASK, "short"))
    assert 0 not in ids and 1 not in ids
    assert tokenizer.prompt_ids(TASK) == bos_ids + ids
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    added = theirs.encode(render_prompt(TASK, "short"))
    assert added[: len(added) - bool(adds)] == tokenizer.prompt_ids(TASK)


@pytest.mark.parametrize(
    ("files", "eos_ids"),
    [
        ({}, [1]),
        ({"generation_config": {"eos_token_id": [2, 1]}}, [1, 2]),
        ({"generation_config": {"eos_token_id": 2}}, [1, 2]),
        ({"generation_config": {"eos_token_id": [2, 9999]}}, [1, 2]),
        ({"generation_config": {"max_length": 9}}, [1]),
    ],
)
def test_all_eos_ids_of_a_folder_end_an_answer(published, files, eos_ids):
    folder = published(LLAMA32, **files)
    tokenizer = load_tokenizer(folder, "short", "direct")
    assert tokenizer.eos_ids == eos_ids and tokenizer.end_ids == [1]
    assert tokenizer.stop_V.nonzero()[0].tolist() == eos_ids
    stops_V = tokenizer.stops(400)
    assert stops_V.shape == (400,) and stops_V.nonzero()[0].tolist() == eos_ids
    assert not tokenizer.ends(399)
    answer = tokenizer.encode("x = 1\n")
    writer = tokenizer.with_examples([])
    for end in eos_ids:
        assert tokenizer.ends(end) and writer.ends(end)
        assert tokenizer.command_text([*answer, end]) == "x = 1\n"
        assert writer.command_text([*answer, end]) == "x = 1\n"
    # The editor's commands end in newlines alone.
    editor = load_tokenizer(folder, "short")
    assert editor.stop_V.nonzero()[0].tolist() == [editor.newline_id]


def test_eos_ids_of_a_config_count_without_a_generation_config(published):
    folder = published(LLAMA32)
    config = {"model_type": "llama", "eos_token_id": [1, 2]}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_tokenizer(folder, "short", "cot").eos_ids == [1, 2]


def test_a_folder_that_asks_for_short_texts_gets_whole_ones(published):
    folder = published(LLAMA32, adds="<s>")
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole = backend.encode(TEXTS[0], add_special_tokens=False).ids
    backend.enable_truncation(5)
    backend.save(str(folder / "tokenizer.json"))
    assert load_tokenizer(folder, "short").encode(TEXTS[0]) == whole


def test_saved_folder_gives_the_same_ids(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new")
    again = load_tokenizer(tmp_path / "new", "short")
    assert again.bos_ids == again.eos_ids == []
    assert again.vocab_size == tokenizer.vocab_size
    for text in [*TEXTS, "<pad>\u00e9 \r\n"]:
        assert again.encode(text) == tokenizer.encode(text)


def test_transformers_is_imported_only_to_read_a_folder(tmp_path):
    code = "import sys, repair.text.tokenizer; print('transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


def test_saved_folder_opens_in_transformers(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for kind in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = kind.from_pretrained(str(tmp_path))
        assert len(theirs) == tokenizer.vocab_size
        for text in TEXTS:
            assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(
                text
            )
            assert theirs.decode(tokenizer.encode(text)) == text


def test_saving_does_not_name_a_pad_token_that_is_not_there(tokenizer, tmp_path):
    """A tokenizer from elsewhere would get a new id that the model cannot embed."""
    raw = json.loads(tokenizer.backend.to_str())
    raw["added_tokens"] = []
    raw["model"]["vocab"]["<other>"] = raw["model"]["vocab"].pop("<pad>")
    theirs = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(raw)), "short")
    theirs.save(tmp_path)
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "pad_token" not in named


def test_mistakes_are_told_in_a_sentence(tokenizer, tmp_path):
    with pytest.raises(UserError, match="no tokenizer.json in"):
        load_tokenizer(tmp_path / "nowhere", "short")
    with pytest.raises(UserError, match="at least 257"):
        train_tokenizer(TEXTS, 256)
    tokenizer.save(tmp_path)
    settings_path = tmp_path / "tokenizer_config.json"
    settings_path.write_text("{torn")
    with pytest.raises(UserError, match=f"{tmp_path} is unreadable"):
        load_tokenizer(tmp_path, "short")
    tokenizer.save(tmp_path)
    (tmp_path / "generation_config.json").write_text("{torn")
    with pytest.raises(UserError, match=f"{tmp_path} is unreadable .*generation_conf"):
        load_tokenizer(tmp_path, "short")
    (tmp_path / "tokenizer.json").write_text("garbage")
    with pytest.raises(UserError, match=f"{tmp_path} is unreadable"):
        load_tokenizer(tmp_path, "short")


def test_a_tokenizer_without_a_newline_token_is_refused():
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(UserError, match="newline"):
        Tokenizer(words, "short")
