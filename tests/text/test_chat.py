"""Contexts as a chat, against transformers' own rendering of the messages."""

import pytest
import transformers

from repair.demos.records import Demo
from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.text.chat import read_chat
from repair.text.episodes import encode_demos
from repair.text.prompts import render_prompt
from repair.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n\n{{ m.content | trim }}"
    "<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
)
TASK = Task(1, "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
BUG = Bug("1/0", TASK, "def f(x):\n    return x - 1", 1)
STATES = ("L 1 def f(x):\nL 2     return x - 1\n***\ntest 1: got 0\n", "L 1 x\n***\n\n")
DEMO = Demo(BUG, STATES, ("### REPL 2 >>>    return x + 1", "### EXIT"))


@pytest.fixture
def load(tmp_path):
    """Return a function from a chat template to (our tokenizer, transformers')."""

    def load(template, mode="coe", prompt="chat", examples=()):
        specials = ("<s>", "<|im_start|>", "<|im_end|>", "<|eot|>")
        backend = train_tokenizer(["a b\n"], 300, specials)
        Tokenizer(backend, "full").save(tmp_path)
        auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
        auto.bos_token, auto.eos_token = "<s>", "<|im_end|>"
        auto.chat_template = template
        auto.save_pretrained(tmp_path)
        return load_tokenizer(tmp_path, prompt, mode, examples), auto

    return load


def rendered(auto, *contents):
    roles = ("user", "assistant") * 4
    messages = [
        {"role": r, "content": c} for r, c in zip(roles, contents, strict=False)
    ]
    return auto.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )


@pytest.mark.parametrize("template", [CHATML, LLAMA])
def test_an_episode_is_the_chat_that_transformers_renders(load, template):
    ours, auto = load(template)
    (episode,) = encode_demos(ours, [DEMO])
    text = ours.decode(episode.ids)
    prompt = render_prompt(TASK, "chat")
    first = rendered(auto, prompt + STATES[0])
    if template is CHATML:  # the other one trims
        whole = rendered(auto, prompt + STATES[0], DEMO.commands[0] + "\n", STATES[1])
        assert text == f"{whole}### EXIT\n" and text.startswith(first)
    assert text.count("<s>") == first.count("<s>")
    for special in ("<|im_start|>", "<|eot|>"):
        (id_,) = ours.encode(special)
        assert (episode.ids == id_).sum() == text.count(special)
    assert ours.decode(episode.ids[episode.mask]) == "".join(
        f"{command}\n" for command in DEMO.commands
    )


def test_an_answer_ends_where_the_template_ends_it(load):
    ours, auto = load(CHATML, mode="direct")
    answer = Demo(BUG, STATES[:1], (TASK.code,))
    (episode,) = encode_demos(ours, [answer])
    text = rendered(auto, render_prompt(TASK, "chat", "direct") + STATES[0])
    assert ours.decode(episode.ids) == f"{text}{TASK.code}<|im_end|>"


def test_a_second_answer_goes_on_with_the_chat(load):
    ours, auto = load(CHATML, mode="direct")
    answers = Demo(BUG, STATES, ("x = 1", TASK.code))
    (episode,) = encode_demos(ours, [answers])
    contents = render_prompt(TASK, "chat", "direct") + STATES[0], "x = 1", STATES[1]
    text = f"{rendered(auto, *contents)}{TASK.code}<|im_end|>"
    assert ours.decode(episode.ids) == text


@pytest.mark.parametrize(("mode", "end"), [("coe", "\n"), ("direct", "")])
def test_examples_are_messages_before_the_prompt(load, mode, end):
    example = Demo(BUG, STATES, DEMO.commands)
    if mode == "direct":
        example = Demo(BUG, STATES[:1], (TASK.code,))
    ours, auto = load(CHATML, mode, examples=[example])
    prompt = render_prompt(TASK, "chat", mode)
    contents = [prompt + example.states[0], example.commands[0] + end]
    for state, command in list(zip(example.states, example.commands, strict=True))[1:]:
        contents += [state, command + end]
    text = rendered(auto, *contents, prompt + STATES[0])
    found = ours.prompt_ids(TASK) + ours.state_ids(STATES[0], first=True)
    assert ours.decode(found) == text


def test_other_prompts_have_no_chat(load):
    ours, _ = load(CHATML, prompt="full")
    assert "<|im_start|>" not in ours.decode(encode_demos(ours, [DEMO])[0].ids)


def test_a_template_that_takes_no_messages_is_refused(load):
    for template, message in (
        (None, "has no chat template; use 'full'"),
        ("{{ raise_exception('no') }}", "takes no messages .*no.*; use 'full'"),
        ("{{ messages[0].content }}", "takes no messages"),
    ):
        with pytest.raises(UserError, match=message):
            load(template)


def test_texts_around_messages(load):
    _, auto = load(CHATML)
    chat = read_chat(auto)
    assert chat.head == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    assert chat.tail == "<|im_end|>\n<|im_start|>assistant\n"
    assert chat.middle == "<|im_end|>\n<|im_start|>user\n"
