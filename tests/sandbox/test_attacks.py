# ruff: noqa: E501 (programs and tests on one line each)
"""Programs that steal, forge or sabotage: none passes by value.

Each program knows the tests, as a policy does, and works in its own process with the
audit hook left out. A verdict with trust="in_child" is no forgery: it earns no reward.
"""

import sys
import time

import pytest

from repair.sandbox import Limits, Sandbox

LIMITS = Limits(cpu_seconds=0.5, memory_mb=256)
RIGHT = "def f(x):\n    return x + 1"
# Objects that agree with everything.
ANYTHING = """\
class A:
    def yes(self, *arguments, **options): return True
    def same(self, *arguments, **options): return self
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = yes
    __ne__ = lambda self, other: False
    __sub__ = __rsub__ = __add__ = __radd__ = __abs__ = __call__ = same
    __getitem__ = __mul__ = __mod__ = __round__ = same
    __len__ = lambda self: 1
    __hash__ = lambda self: 1
    __iter__ = lambda self: iter([True])
    __getattr__ = lambda self, name: self
f = g = lambda *arguments, **options: A()
"""
# (program, test): the program gives no right value.
FORGED = {
    "square_root": (
        "import math\nmath.sqrt = lambda x: 0\ndef f(x): return 0",
        "assert abs(f(2) - math.sqrt(2)) < 1e-6",
    ),
    "circle": (
        "import math\nmath.pi = 0\ndef f(x): return 0",
        "assert math.isclose(f(2), math.pi * 4, rel_tol=1e-9)",
    ),
    "isclose": (
        "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 0",
        "assert math.isclose(f(2), 1.5)",
    ),
    "own_isclose": (
        "isclose = lambda *a, **k: True\ndef f(x): return 0",
        "assert isclose(f(2), 1.5)",
    ),
    "absolute": ("abs = lambda x: 0\nf = lambda x: 9", "assert abs(f(2) - 4) < 1e-6"),
    "length": ("len = lambda x: 3\nf = lambda x: None", "assert len(f(2)) == 3"),
    "sorting": ("sorted = lambda x: [1, 2]\nf = id", "assert sorted(f(2)) == [1, 2]"),
    "builtin_sum": (
        "import builtins\nbuiltins.sum = lambda x: 6\nf = lambda x: []",
        "assert sum(f(2)) == 6",
    ),
    "all_of": (
        "import builtins\nbuiltins.all = bool\nf = lambda x: [0]",
        "assert all(f(1))",
    ),
    "is_instance": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\nf = lambda x: 'a'",
        "assert isinstance(f(1), int)",
    ),
    "text": (
        "import builtins\nbuiltins.str = lambda x: '3'\nf = lambda x: 4",
        "assert str(f(1)) == '3'",
    ),
    "class_of_name": (
        "class ValueError(Exception): pass\ndef f(x): raise ValueError",
        "with pytest.raises(ValueError):\n    f(1)",
    ),
    "renamed_class": (
        "E = type('ValueError', (Exception,), {})\ndef f(x): raise E",
        "try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass",
    ),
    "constructor_raises": (
        "class A:\n    def __init__(self, x): raise ValueError",
        "a = A(0)\nwith pytest.raises(ValueError):\n    a.go()",
    ),
    "constant_of_prelude": (
        "import re, sys\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        found = re.search(r'(?:expected.{1,9}|== )(\\d+)', str(frame.f_locals))\n"
        "        if found: return int(found[1])\n"
        "        frame = frame.f_back",
        "expected = 777\nassert f(2) == expected",
    ),
    "helper_of_test": (
        "import gc, types\n"
        "def f(x):\n"
        "    for each in gc.get_objects():\n"
        "        if isinstance(each, types.FunctionType) and each.__name__ == 'wanted':\n"
        "            return each()\n",
        "def wanted():\n    return 777\nassert f(2) == wanted()",
    ),
    "redefined_checker": (
        "def check(*a): return True\ndef f(x): return 0",
        "assert check(f(2), 777)",
    ),
    "checker_value": (
        "def check(*a): return True\ndef f(x): return 0",
        "assert check(f(2), 777) == True",
    ),
    "prelude_comparison": (ANYTHING, "ok = f(2) == 777\nassert ok"),
    "prelude_arithmetic": (ANYTHING, "rest = f(2) - 777\nassert not rest"),
    "expected_in_call": (ANYTHING, "assert f(f(2) == 777)"),
    "two_sides": (ANYTHING, "assert f(2) == g(2)"),
    "difference": ("f = g = lambda x: 0", "assert f(2) - g(5) == 0"),
    "set_of_two": ("f = g = lambda x: 0", "assert len({f(2), g(5)}) == 1"),
    "set_of_list": ("f = g = lambda x: 0", "assert len(set([f(2), g(5)])) == 1"),
    "names_of_two": ("f = g = lambda x: 0", "a = f(2)\nb = g(5)\nassert a == b"),
    "close_to_each_other": (
        "import math\nf = g = lambda x: 0",
        "assert math.isclose(f(2), g(5))",
    ),
    "method_of_answer": (ANYTHING, "assert f(2).startswith('ab')"),
    "method_in_two": (ANYTHING, "assert f(2).__eq__(777)"),
    "equals": (ANYTHING, "assert f(2) == 777"),
    "less": (ANYTHING, "assert 776 < f(2) < 778"),
    "member": (ANYTHING, "assert 777 in f(2)"),
    "within": (ANYTHING, "assert f(2) in (777, 778)"),
    "near": (ANYTHING, "assert abs(f(2) - 777) < 1"),
    "negated": (ANYTHING, "assert not f(2) != 777"),
    "identity": (ANYTHING, "assert f(2) is True"),
    "nothing": (ANYTHING, "assert f(2) is None"),
    "item": (ANYTHING, "assert f(2)[0] == 777"),
    "attribute": (ANYTHING, "assert f(2).value == 777"),
    "display": (ANYTHING, "assert [f(1), f(2)] == [776, 777]"),
    "any_of_two": (ANYTHING, "assert f(1) == 776 or f(2) == 777"),
    "number_subclass": (
        "class I(int):\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\n"
        "f = lambda x: I(5)",
        "assert f(2) == 777",
    ),
    "text_subclass": (
        "class S(str):\n    __eq__ = lambda *a: True\n    __ne__ = lambda *a: False\n"
        "    __hash__ = str.__hash__\nf = lambda x: S('a')",
        "assert f(2) == 'secret'",
    ),
    "metaclass": (
        "class M(type):\n    __eq__ = lambda *a: True\n    __hash__ = type.__hash__\n"
        "class A(metaclass=M): pass\nf = lambda x: A",
        "assert f(2) == 777",
    ),
    "class_attribute": (
        "class A:\n    @property\n    def __class__(self): return int\nf = lambda x: A()",
        "assert f(2) == 777",
    ),
    "encoder": (
        "import sys\nfor m in list(sys.modules.values()):\n"
        "    if hasattr(m, 'TooLarge'): m.encode = lambda *a, **k: 1\n"
        "f = lambda x: 0",
        "assert f(2) == 777",
    ),
    "json": ("import json\njson.dumps = lambda x: '{}'\nf = int", "assert f(2) == 777"),
    "exit": ("import os\nos._exit(0)", "assert f(2) == 777"),
    "system_exit": ("raise SystemExit(0)", "assert f(2) == 777"),
    "thread_of_exit": (
        "import atexit\natexit.register(print)\nf = int",
        "assert f(2) == 7",
    ),
    "assertion_error": (
        "import builtins\nbuiltins.AssertionError = Warning\nf = int",
        "assert f(2) == 777",
    ),
    "job_in_frames": (
        "import sys, re\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        found = re.search(r'== (\\d+)', str(frame.f_locals))\n"
        "        if found: return int(found[1])\n"
        "        frame = frame.f_back",
        "assert f(2) == 777",
    ),
    "job_in_objects": (
        "import gc, re\n"
        "def f(x):\n"
        "    for each in gc.get_objects():\n"
        "        found = re.search(r'== ?(777)\\b', str(each)[:10**5]) if isinstance(\n"
        "            each, (dict, list, tuple)) else None\n"
        "        if found: return 777",
        "assert f(2) == 777",
    ),
    "loop": (ANYTHING, "for x in [1, 2]:\n    assert f(x) == x + 775"),
    "comprehension": (ANYTHING, "assert all(f(x) == x + 775 for x in [1, 2])"),
    "changed_argument": (
        "def f(x): x.clear(); x.append(A())\nclass A:\n    __eq__ = lambda *a: True",
        "xs = [1]\nf(xs)\nassert xs == [777]",
    ),
    "setup_expected": (ANYTHING, "assert f(2) == answer"),
    "setup_helper": (ANYTHING, "assert near(f(2), 777) == 1"),
    "generator": (
        "def f(x):\n    while True: yield 777",
        "assert f(2) == 777",
    ),
    "regenerated_reference": (
        "import sys\nsys.path += [p + '/site-packages' for p in sys.path]\n"
        "sys.path += {packages!r}\nimport pytest\nf = lambda x: 777",
        "assert f(2) == 777",
    ),
}
SETUPS = {
    "setup_expected": "answer = 777",
    "setup_helper": "def near(a, b):\n    return int(a == b)",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, limits=LIMITS, without=("hooks",), cache=False) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", FORGED)
def test_no_verdict_is_forged(sandbox, name):
    code, test = FORGED[name]
    code = code.replace("{packages!r}", repr([p for p in sys.path if "packages" in p]))
    result = sandbox.run(code, [test], SETUPS.get(name, ""))
    assert not (result.passed and result.trust == "value"), result


# Reads all memory of the process that can be read, and looks for marks. Those that it
# knows have every byte raised by one, so that it does not find its own source.
SCAN = """\
start = bytes([b - 1 for b in {start!r}])
def found():
    seen = set()
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
        for line in maps:
            first, last = [int(x, 16) for x in line.split()[0].split('-')]
            if line.split()[1][0] != 'r' or '[v' in line:
                continue
            for at in range(first, last, 1 << 20):
                memory.seek(at)
                part = memory.read(min(1 << 20, last - at) + 64)
                place = part.find(start)
                while place >= 0:
                    raised = bytes([(b + 1) % 256 for b in part[place:place + 40]])
                    seen |= {{i for i, m in enumerate({marks!r}) if raised.startswith(m)}}
                    place = part.find(start, place + 1)
    return sorted(seen)
"""


def test_no_other_program_is_in_memory():
    """Plant marks in earlier jobs, neighbours, references and expected values."""
    open_layers = ("hooks", "landlock", "user", "seccomp")
    names = ["earlier", "neighbour", "reference", "expected", "setup", "answer", "own"]
    marks = {name: f"mark-of-{name}-{len(name) * 7919}" for name in names}
    shifted = [bytes(b + 1 for b in marks[name].encode()) for name in names]
    scan = SCAN.format(marks=shifted, start=bytes(b + 1 for b in b"mark-of-"))
    scan += f"mine = '{marks['own']}'\n"
    limits = Limits(cpu_seconds=5.0, memory_mb=512)
    with Sandbox(workers=1, limits=limits, without=open_layers, cache=False) as box:
        mark = marks.get
        for _ in range(3):
            box.run(f"x = '{mark('earlier')}'\n{RIGHT}", ["assert f(1) == 2"])
            box.run(RIGHT, ["assert f(1) == 2"], f"y = '{mark('setup')}'")
            box.run(f"def f(x): return '{mark('answer')}'", ["assert f(1) == 2"])
        reference = f"def f(x): return '{mark('reference')}'"
        box.references.map([(reference, [f"assert f(1) == {mark('expected')!r}"])])
        expected = (
            f"assert found() == [{names.index('own')}] or {mark('expected')!r} == 1"
        )
        jobs = [
            (f"z = '{mark('neighbour')}'\n{RIGHT}", [f"assert f(1) == {i}"], "")
            for i in range(5)
        ]
        results = box.map([*jobs, (scan, [expected]), *jobs])
    assert results[5].passed, results[5]


SABOTAGE = {
    "modules": "import math\nmath.floor = lambda x: 99",
    "as_self": "import math as self\nself.sqrt = lambda x: 99",
    "wrapper": "import functools, math\nfunctools.update_wrapper(math, print)",
    "builtins": "import builtins\nbuiltins.len = lambda x: 99",
    "dispatch": "import copy\ncopy._deepcopy_dispatch[list] = lambda x, m: 99",
    "registry": "import collections.abc as c\nc.Sized.register(int)",
    "recursion": "import sys\nsys.setrecursionlimit(60)",
    "random": "import random\nrandom.seed(5)",
    "garbage": "import gc\ngc.disable()\nx = [[] for _ in range(10**5)]",
    "hook": "import sys\nsys.addaudithook(lambda *a: 1 / 0)",
    "frames": "import sys\nframe = sys._getframe()\nframe.f_globals.clear()",
    "finalizer": "class A:\n    def __del__(self):\n        while 1: pass\na = A()",
    "generator": "def g():\n    try: yield\n    finally:\n        while 1: pass\n"
    "x = g()\nnext(x)",
    "killed_parent": "import os\nos.kill(os.getppid(), 9)",
    "terminated_parent": "import os\nos.kill(os.getppid(), 15)",
    "interrupted_parent": "import os\nos.kill(os.getppid(), 2)",
    "woken_parent": "import os\nfor _ in range(1000): os.kill(os.getppid(), 17)",
    "every_signal": "import os\nfor n in range(1, 65): os.kill(os.getppid(), n)",
    "killed_everything": "import os\nos.kill(-1, 9)",
    "stopped_parent": "import os\nos.kill(os.getppid(), 19)",
    "closed_socket": "import os\nos.closerange(0, 64)",
    "flooded_socket": "import os\nwhile 1: os.write(3, b'x' * 65536)",
    "environment": "import os\nos.environ['PYTHONHASHSEED'] = '1'",
    "memory": "x = bytearray(200 * 2**20)\nwhile 1: pass",
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_no_program_harms_another(sandbox, name):
    look = (
        "import collections.abc, copy, functools, math, random, sys\n"
        "def f(x): return [len([1]), math.floor(2.5), math.sqrt(4), copy.deepcopy([1]),"
        " isinstance(3, collections.abc.Sized), sys.getrecursionlimit() > 99,"
        " random.random() < 1, x + 1]"
    )
    wanted = "assert f(1) == [1, 2, 2.0, [1], False, True, True, 2]"
    jobs = [(look, [wanted])] * 3
    bad = (f"{SABOTAGE[name]}\n{RIGHT}", ["assert f(1) == 2"])
    others = [(f"{look}  # {i}", [wanted]) for i in range(6)]
    results = sandbox.map([*others[:3], bad, *others[3:], bad, *jobs])
    assert all(r.passed for i, r in enumerate(results) if i not in (3, 7)), results


def test_an_answer_cannot_stall_the_trainer(sandbox):
    """Integers with one hash make a set of quadratic cost; the answer is refused."""
    alike = "P = 2**61 - 1\n"
    programs = {
        "set": alike + "def f(x): return {i * P for i in range(1, 15_000)}",
        "dict": alike + "def f(x): return {i * P: 0 for i in range(1, 8_000)}",
        "list": alike + "def f(x): return [i * P for i in range(1, 15_000)]",
        "deep": "def f(x):\n    for _ in range(10**5): x = [x]\n    return x",
        "wide": "def f(x):\n    for _ in range(40): x = [x, x]\n    return x",
        "digits": "def f(x): return 1 << 3_000_000",
        "text": "def f(x): return 'a' * 10**6",
        "fraction": "from fractions import Fraction\n"
        "def f(x): return Fraction(1, 7 ** 300_000)",
        "decimal": "from decimal import Decimal\ndef f(x): return Decimal('1e999999')",
        "range": "def f(x): return range(10**12)",
    }
    tests = [
        "assert f(1) == {1}",
        "assert set(f(1)) == {1}",
        "assert f(1) * 7 == 1",
        "assert sum(f(1)) == 1",
        "assert int(f(1)) == 1",
        "assert f(1) ** 99999 == 1",
        "assert round(f(1)) == 1",
        "assert sorted(f(1)) == 1",
    ]
    for name, code in programs.items():
        result = sandbox.run(code, tests[:1])
        before = time.process_time()
        result = sandbox.run(code, tests)
        assert not result.passed
        assert time.process_time() - before < 1.0, name
