"""The tokenizer's door: one newline token, nothing lost, segments on their own."""

import itertools
import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

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
    Tokenizer(tokenizer, "short", mode="direct", end_token="<end>").save(tmp_path)
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


def test_prompt_starts_with_bos_only_if_there_is_one(tokenizer):
    ids = tokenizer.encode(render_prompt(TASK, "short"))
    assert tokenizer.prompt_ids(TASK) == ids
    with_bos = Tokenizer(tokenizer.backend, "short", "<pad>")
    assert with_bos.prompt_ids(TASK) == [tokenizer.backend.token_to_id("<pad>"), *ids]


@pytest.mark.parametrize("bos", [None, "<pad>"])
def test_saved_folder_gives_the_same_ids(tokenizer, tmp_path, bos):
    Tokenizer(tokenizer.backend, "short", bos).save(tmp_path / "new")
    again = load_tokenizer(tmp_path / "new", "short")
    assert (again.bos_ids == []) == (bos is None)
    assert again.vocab_size == tokenizer.vocab_size
    for text in TEXTS:
        assert again.encode(text) == tokenizer.encode(text)


def test_saved_folder_opens_in_transformers(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
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
    settings_path.write_text('{"bos_token": "<s>"}')
    with pytest.raises(UserError, match="bos_token '<s>'"):
        load_tokenizer(tmp_path, "short")
    settings_path.write_text('{"bos_token": {"content": "<s>"}}')
    with pytest.raises(UserError, match="bos_token '<s>'"):
        load_tokenizer(tmp_path, "short")
    settings_path.write_text("{torn")
    with pytest.raises(UserError, match="tokenizer_config.json"):
        load_tokenizer(tmp_path, "short")
    (tmp_path / "tokenizer.json").write_text("garbage")
    with pytest.raises(UserError, match="no readable tokenizer file"):
        load_tokenizer(tmp_path, "short")


def test_a_tokenizer_without_a_newline_token_is_refused():
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(UserError, match="newline"):
        Tokenizer(words, "short")
