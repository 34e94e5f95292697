"""Slips parse, change what they say and nothing else, and can be taken back exactly."""

import ast
import dataclasses
import hashlib
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.demos.make import inverses, make_demos
from repair.env import editor
from repair.sandbox import Result
from repair.tasks import Task, load_tasks
from repair.tasks.bugs import CorruptionConfig, make_bugs
from repair.tasks.corrupt import (
    ALL_KINDS,
    KINDS,
    MORE_KINDS,
    apply_corruption,
    corrupt,
    drawn_kinds,
)
from repair.tasks.corrupt_tree import MOST_LINES, propose

# Every kind finds a place here, among all that makes positions hard to tell.
AWKWARD = '''\
"""Not "this" string."""
LIMIT = 0x0f ; WORDS = ["é — ü", 'b', """c"""]

def pick(xs: list[int], n: "int"=1, *rest, key=None) -> "list[int]":
\t"""Nor 'this' one."""
\ttotal, é = 0 , len( xs )-1   # a - b in a comment
\tfor i in range(1, é  +  1):
\t\tif (xs[ i ] <
\t\t\t\tn) and not None  is  not key: # why
\t\t\t# a comment first
\t\t\ttotal += pow(xs[i-1], max(n, i)) % 7
\t\telif xs[-1] not   in (n, i):
\t\t\ttotal = -1
\t\telse: total <<= 2 ** n
\tif total: text = f"{xs[0] + n} {é!r}"
\tif n == 3.5:
\t\ttext = """two
\tlines"""
\treturn {k: v+é for k, v in enumerate(xs[i:-2]) if k or v or True}, text
'''.rstrip()


@pytest.fixture(scope="module")
def programs():
    return [*(task.code for task in load_tasks("generated/train", count=120)), AWKWARD]


@pytest.fixture(scope="module")
def many_programs():
    tasks = load_tasks("generated/train", count=240)
    tasks += load_tasks("generated/heldout", count=60)
    return [*(task.code for task in tasks), AWKWARD]


@pytest.mark.parametrize(
    ("kinds", "digest"),
    [
        (("delete",), "c88092fc01d83578"),
        (("add",), "c9585dd45448ed21"),
        (("replace",), "c4b4030c97f1d2ed"),
        (("word",), "7b9bb2b7f111253d"),
        (("operator",), "485e41a36d04711b"),
        (("constant",), "b7ca173700736ba5"),
        (("swap_arguments",), "f33e5598b1302f04"),
        (("off_by_one",), "b3d2a187468f8238"),
        (("variable",), "d60e9b9acd456382"),
        (("drop_branch",), "88780675c17053b6"),
        (KINDS, "6affde59dfc583c6"),
        (ALL_KINDS, "c3a426c470ae415b"),
    ],
)
def test_draws_are_the_same_to_the_bit(many_programs, kinds, digest):
    """Bugs and demonstrations are named by seed, so no draw may move."""
    found = []
    for number, code in enumerate(many_programs):
        for seed in range(2):
            rng = random.Random(f"{number}/{seed}")
            try:
                faulty, steps = corrupt(
                    code, many_programs[:50], rng, 1 + 2 * seed, kinds
                )
                drawn = [faulty, [dataclasses.astuple(step) for step in steps]]
            except ValueError:
                drawn = None
            found.append([drawn, rng.random()])
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_slips_parse_repeat_and_can_be_taken_back(programs, kind):
    slips = 0
    for code in programs:
        for seed in range(4):
            count = 1 + seed % 2
            try:
                faulty, steps = corrupt(code, [], random.Random(seed), count, (kind,))
            except ValueError:
                continue
            slips += 1
            assert faulty != code
            ast.parse(faulty)
            assert drawn_kinds(steps) == (kind,) * count
            assert count <= len(steps) <= count * MOST_LINES
            again = corrupt(code, [], random.Random(seed), count, (kind,))
            assert again == (faulty, steps)
            lines = faulty.split("\n")
            for command in inverses(code.split("\n"), steps):
                lines = editor.apply(lines, editor.parse(command.format()))
            assert "\n".join(lines) == code
    assert slips > 20


def _slips(kind, code, draws=400):
    """All that a kind makes of a program, each as (line, new text) step by step."""
    rng, lines = random.Random(0), code.split("\n")
    return {propose(kind, lines, rng) for _ in range(draws)} - {(), None}


def _changed(kind, code):
    """Return new texts of the only line that changes."""
    return {text for ((_, text),) in _slips(kind, code)}


@pytest.mark.parametrize(
    ("kind", "code", "wanted"),
    [
        ("operator", "a  <b", {f"a  {op}b" for op in ("<=", ">", ">=", "==", "!=")}),
        ("operator", "x **= 2 # x - 2", {"x *= 2 # x - 2"}),
        ("operator", "a is  not b", {"a is b"}),
        ("operator", "(a)or(b)or not c", {"(a)and(b)or not c", "(a)or(b)and not c"}),
        ("operator", "f(*a, -b, c=1, d='x + y')", set()),
        ("constant", "x = 7.5", {"x = 8.5", "x = 6.5"}),
        ("constant", "f(-1, True)", {"f(-2, True)", "f(-0, True)", "f(-1, False)"}),
        ("constant", "x = 'a', \"b\"", {"x = \"b\", \"b\"", "x = 'a', 'a'"}),
        ("constant", "x = 'a', 'a'", set()),
        ("constant", "'doc'\nx = 'a'", set()),
        ("swap_arguments", "f(a+1, g, *c, k=d)", {"f(g, a+1, *c, k=d)"}),
        ("swap_arguments", "f(é, b , 'ü')", {
            "f(b, é , 'ü')", "f('ü', b , é)", "f(é, 'ü' , b)",
        }),
        ("swap_arguments", "f(a, a)", set()),
        ("off_by_one", "range(n + 1)", {"range(n)", "range(n + 2)"}),
        ("off_by_one", "range(n + k1)", {"range(n + k1 + 1)", "range(n + k1 - 1)"}),
        ("off_by_one", "x[-1:]", {"x[0:]", "x[-2:]"}),
        ("off_by_one", "x[a if b else c]['k'], y[::2]", set()),
        ("off_by_one", "def f(x: list[n]): pass", set()),
        ("off_by_one", "x[é] = 1", {"x[é + 1] = 1", "x[é - 1] = 1"}),
        ("variable", "def f(é, b=n): return g(é)", {"def f(é, b=n): return g(b)"}),
        ("variable", "a = b = 1\nf'{a}'", set()),
        ("variable", "f = lambda a, b: a", {"f = lambda a, b: b"}),
        ("variable", "xs = 1; [x for x in xs]", {"xs = 1; [xs for x in xs]"}),
        ("variable", "[x for x in n if x]", set()),
        ("variable", "a, b = 1; [0 for x in a]", {"a, b = 1; [0 for x in b]"}),
    ],
)  # fmt: skip
def test_each_kind_by_hand(kind, code, wanted):
    assert _changed(kind, code) == wanted


def test_dropped_branches_by_hand():
    code = "if a:\n  # so\n  b = (1 +\n    2)\nelse:\n  c"
    assert _slips("drop_branch", code) == {((6, None), (5, None))}
    code = "if a:\n  b\nelif c:\n  d\nelse: e"
    assert _slips("drop_branch", code) == {
        ((5, None),),
        ((4, None), (3, None)),
        ((5, None), (4, None), (3, None)),
    }
    code = "while x:\n\tif a: b\n\tif (c\n\t\tor d):\n\n\t\te\n\t\tg"
    # The first is all on one line; without the second whole, five lines would go.
    assert _slips("drop_branch", code) == {
        ((7, "\tg"), (6, "\te"), (4, None), (3, None))
    }
    # The only line of a block stays, and so does one whose blanks are a string's.
    assert _slips("drop_branch", "def f():\n  if a:\n    b") == {
        ((3, "  b"), (2, None))
    }
    assert _slips("drop_branch", 'if a:\n  b = """\n  c"""') == {
        ((3, None), (2, None), (1, None))
    }


def test_slips_touch_only_code():
    for kind in MORE_KINDS[:-1]:
        before = AWKWARD.split("\n")
        found = _slips(kind, AWKWARD, draws=150)
        assert len(found) > 1
        for ((line, text),) in found:
            assert text != before[line - 1]
            # Comments, docstrings and annotations are no code that could slip.
            assert text.partition("#")[2] == before[line - 1].partition("#")[2]
            assert line not in (1, 5)
            if line == 4:
                assert text.startswith('def pick(xs: list[int], n: "int"=')
                assert text.endswith(', *rest, key=None) -> "list[int]":')


def test_what_does_not_parse_goes_to_the_other_kinds():
    broken = "def f(a, b):\n    return a +"
    kinds = ("operator", "variable", "delete")
    for seed in range(20):
        _, (step,) = corrupt(broken, [], random.Random(seed), 1, kinds)
        assert step.kind == "delete" and not step.drawn
    with pytest.raises(ValueError, match="no corruption of"):
        corrupt(broken, [], random.Random(0), 1, MORE_KINDS)
    for code in ("x = 1\r\ny = 2", "\f", "'\0'"):
        assert propose("constant", code.split("\n"), random.Random(0)) is None


def test_more_kinds_are_drawn_as_often_as_the_four():
    rng = random.Random(0)
    code = AWKWARD.replace("é", "e")
    drawn = [corrupt(code, [code], rng, 1, ALL_KINDS)[1][0] for _ in range(600)]
    counts = {kind: 0 for kind in ALL_KINDS}
    for step in drawn:
        counts[step.drawn or step.kind] += 1
    # Four standard deviations of a share of a tenth.
    assert all(abs(count - 60) < 4 * 7.3 for count in counts.values()), counts


def test_the_four_kinds_are_the_default_and_unchanged():
    assert KINDS == ("delete", "add", "replace", "word")
    code = "def f(a):\n    if a:\n        return a + 1\n    return a"
    for seed in range(50):
        faulty, steps = corrupt(code, [code], random.Random(seed), 3)
        assert not any(step.drawn for step in steps)
        assert [step.draw for step in steps] == [0, 1, 2]


@given(st.text(alphabet="xyif:()[]=+ <'\n\t1#é", max_size=40), st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused_or_slips(code, seed):
    for kind in MORE_KINDS:
        try:
            faulty, steps = corrupt(code, [], random.Random(seed), 1, (kind,))
        except ValueError:
            continue
        lines = code.split("\n")
        for step in steps:
            lines = apply_corruption(lines, step)
        assert "\n".join(lines) == faulty != code
        ast.parse(faulty)


class Verifier:
    """A sandbox that passes one program."""

    def __init__(self, code):
        self.code = code

    @property
    def references(self):
        return self

    def steady(self, jobs):
        return self.map(jobs)

    def map(self, jobs):
        return [
            Result(code == self.code, "-", "" if code == self.code else "no", (), 0, "")
            for code, *_ in jobs
        ]

    def allowances(self, references):
        return [1.0 for _ in references]


def test_a_dropped_branch_of_several_lines_is_one_corruption_and_several_edits():
    code = "def f(a):\n    if a:\n        a = 1\n        a = 2\n    return a"
    task, judge = Task(1, "Twist.", code, ("assert f(0) == 0",)), Verifier(code)
    kinds = MORE_KINDS[-1:]
    config = CorruptionConfig(per_task=9, max_corruptions=1, kinds=kinds)
    demos, report = make_demos([task], judge, config)
    assert {demo.bug.corruptions for demo in demos} == {1}
    assert {demo.bug.faulty_code for demo in demos} == {
        "def f(a):\n    a = 1\n    a = 2\n    return a",
        "def f(a):\n    return a",
    }
    assert report.by_edits == {3: 2}
    (bug,) = make_bugs([task], judge, dataclasses.replace(config, per_task=1))
    assert bug.corruptions == 1
