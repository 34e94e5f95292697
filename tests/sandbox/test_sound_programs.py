# ruff: noqa: E501 (programs and tests on one line each)
"""Sound programs pass, as they do in plain Python, and most of them by value."""

import pytest

from repair.sandbox import Sandbox, asserts

# Name: (program, tests, number of tests that are judged in the child).
SOUND = {
    "repeated_list": ("def f(x): return [0]*3", ["assert f(1) == [0] * 3"], 0),
    "string_sum": ("def f(x): return 'ab'", ["assert f(1) + 'c' == 'abc'"], 0),
    "bytes_sum": ("def f(x): return b'ab'", ["assert f(1) + b'c' == b'ab' + b'c'"], 0),
    "set_difference": ("def f(x): return {1,2,3}", ["assert f(1) - {1} == {2,3}"], 0),
    "list_sum": ("def f(x): return [1,2]", ["assert f(1) + [3] == [1,2,3]"], 0),
    "short_circuit": (
        "def f(x): return None if x==0 else [1]",
        ["assert f(0) is None or f(0)[0] == 1", "assert f(1) is None or f(1)[0] == 1"],
        0,
    ),
    "not_none": ("def f(x): return object()", ["assert f(0) is not None"], 0),
    "truth_of_objects": (
        "class A: pass\ndef f(x): return A()",
        ["assert f(0)", "assert f(0) != 3"],
        0,
    ),
    "all_of_map": ("def f(x): return x > 0", ["assert all(map(f, [1,2,3]))"], 0),
    "fraction": (
        "from fractions import Fraction\ndef f(x): return Fraction(1,2)",
        [
            "from fractions import Fraction\nassert f(1) == Fraction(1, 2)",
            "assert f(1) == 0.5",
        ],
        0,
    ),
    "decimal": (
        "from decimal import Decimal\ndef f(x): return Decimal('1.5')",
        [
            "assert f(1) == 1.5",
            "from decimal import Decimal\nassert f(1) == Decimal('1.50')",
        ],
        0,
    ),
    "int_enum": (
        "import enum\nclass C(enum.IntEnum):\n    A=1\ndef f(x): return C.A",
        ["assert f(1) == 1"],
        0,
    ),
    "named_tuple": (
        "import collections\nP=collections.namedtuple('P','x y')\ndef f(x): return P(1,2)",
        ["assert f(1) == (1,2)", "assert f(1).x == 1"],
        0,
    ),
    "dict_keys": ("def f(x): return {1:2}.keys()", ["assert f(1) == {1}"], 0),
    "dict_values": ("def f(x): return {1:2}.values()", ["assert list(f(1)) == [2]"], 0),
    "dict_items": ("def f(x): return {1:2}.items()", ["assert f(1) == {(1,2)}"], 0),
    "subclass_of_exception": (
        "class E(ValueError): pass\ndef f(x): raise E('a')",
        [
            "with pytest.raises(ValueError):\n    f(1)",
            "try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass",
        ],
        0,
    ),
    "long_lists": (
        "def f(n): return list(range(n))",
        [
            "assert f(5000) == list(range(5000))",
            "assert f(50000) == list(range(50000))",
        ],
        0,
    ),
    "power": ("def f(x): return 10**9", ["assert f(1) == 10 ** 9"], 0),
    "int32": ("def f(x): return 2147483647", ["assert f(1) == 2**31 - 1"], 0),
    "infinity": ("def f(x): return float('inf')", ["assert f(1) == float('inf')"], 0),
    "set_call": ("def f(x): return {1,2}", ["assert f(1) == set([1,2])"], 0),
    "list_of_range": ("def f(x): return [0,1,2]", ["assert f(1) == list(range(3))"], 0),
    "loops": (
        "def f(x): return x*x",
        [
            "for x in [1,2,3]:\n    assert f(x) == x * x",
            "assert [f(x) for x in range(3)] == [0,1,4]",
            "assert all(f(x) == x ** 2 for x in range(5))",
            "for i, (a, b) in enumerate([(1,1),(2,4)]):\n    assert f(a) == b",
        ],
        0,
    ),
    "self_referring_dataclass": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass N:\n    v: int\n    next: 'N | None' = None\ndef f(x): return N(x, N(1)).next.v",
        ["assert f(2) == 1"],
        0,
    ),
    "type_hints": (
        "import typing\nclass A:\n    x: 'B'\nclass B: pass\ndef f(x): return typing.get_type_hints(A)['x'] is B",
        ["assert f(1)"],
        0,
    ),
    "pickled_class": (
        "import pickle\nclass A:\n    def __init__(self, x): self.x = x\ndef f(x): return pickle.loads(pickle.dumps(A(x))).x",
        ["assert f(3) == 3"],
        0,
    ),
    "generator": (
        "def f(x):\n    while x: yield x; x -= 1",
        [
            "assert list(f(3)) == [3,2,1]",
            "assert sum(f(3)) == 6",
            "assert sorted(f(2)) == [1,2]",
        ],
        0,
    ),
    "named_as_builtin": (
        "def sum(a,b): return a+b",
        ["assert sum(10,15)==25", "assert sum(1,2)==3"],
        0,
    ),
    "square_root": (
        "import math\ndef f(x): return math.sqrt(x)",
        [
            "assert abs(f(2) - math.sqrt(2)) < 1e-6",
            "assert math.isclose(f(2), math.sqrt(2), rel_tol=1e-9)",
        ],
        0,
    ),
    "stack_class": (
        "class S:\n    def __init__(self): self.a=[]\n    def push(self,x): self.a.append(x)\n    def pop(self): return self.a.pop()\n    def __len__(self): return len(self.a)\n    def __str__(self): return 'S'",
        [
            "s = S()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert len(s) == 1\nassert str(s) == 'S'"
        ],
        0,
    ),
    "nested_class_call": (
        "class Solution:\n    def isValid(self, s): return s == '()'",
        ["assert Solution().isValid('()')", "assert not Solution().isValid('(')"],
        0,
    ),
    "collections": (
        "from collections import Counter, deque, OrderedDict, defaultdict\ndef f(x): return Counter('aab')\ndef g(x): return deque([1,2])\ndef h(x):\n    d=defaultdict(list); d[1].append(2); return d",
        [
            "assert f(1) == {'a':2,'b':1}",
            "assert list(g(1)) == [1,2]",
            "assert h(1) == {1:[2]}",
            "from collections import Counter\nassert f(1) == Counter('aab')",
        ],
        0,
    ),
    "changed_in_place": (
        "def f(x): return x.sort()",
        ["xs = [2,1]\nf(xs)\nassert xs == [1,2]"],
        0,
    ),
    "constants_in_prelude": (
        "def f(x): return sorted(x)",
        ["xs = [2,1]\nassert f(xs) == sorted(xs)", "assert f([3,1]) == sorted([3,1])"],
        1,
    ),
    "constants": (
        "def f(x): return x+1",
        [
            "expected = 4\nassert f(3) == expected",
            "n = 3\nassert f(n) == n + 1",
            "assert 1 < f(1) <= 2",
            "assert isinstance(f(1), int) and f(1) == 2",
            "x = f(1)\ny = f(2)\nassert x == 2 and y == 3",
        ],
        0,
    ),
    "list_subclass": (
        "class L(list): pass\ndef f(x): return L([1,2])",
        ["assert f(1) == [1,2]", "assert f(1) == [1,2] and isinstance(f(1), list)"],
        0,
    ),
    "date": (
        "import datetime\ndef f(x): return datetime.date(2020,1,2)",
        [
            "import datetime\nassert f(1) == datetime.date(2020,1,2)",
            "assert f(1).year == 2020",
        ],
        0,
    ),
    "methods_of_strings": (
        "def f(x): return 'Hello'",
        [
            "assert f(1).lower() == 'hello'",
            "assert f(1)[0] == 'H'",
            "assert f(1).startswith('He')",
            "assert 'ell' in f(1)",
        ],
        1,
    ),
    "both_sides_asked": (
        "def f(x): return x+1\ndef g(x): return x-1",
        ["assert f(1) == g(3)", "assert g(f(3)) == 3", "assert f(g(4)) - 4 == 0"],
        1,
    ),
    "rounding": (
        "def f(x): return 1.0",
        ["assert round(f(1), 2) == 1.0", "assert f(1) == 0.5 * 2"],
        0,
    ),
    "bytearray": ("def f(x): return bytearray(b'ab')", ["assert f(1) == b'ab'"], 0),
    "not_a_number": (
        "def f(x): return float('nan')",
        ["assert f(1) != f(1)", "import math\nassert math.isnan(f(1))"],
        1,
    ),
    "star_arguments": (
        "def f(a, b=2, *c, **d): return (a,b,c,d)",
        ["assert f(1, *[2,3], z=4) == (1,2,(3,),{'z':4})"],
        0,
    ),
    "global_counter": (
        "x = 0\ndef inc():\n    global x\n    x += 1\n    return x",
        ["assert inc() == 1", "assert inc() == 2"],
        0,
    ),
    "range": (
        "def f(x): return range(3)",
        ["assert f(1) == range(3)", "assert list(f(1)) == [0,1,2]"],
        0,
    ),
    "complex": (
        "def f(x): return 3+4j",
        ["assert abs(f(1)) == 5.0", "assert f(1) == 3+4j"],
        0,
    ),
    "closure": (
        "def make(n):\n    return lambda x: x + n",
        ["assert make(2)(3) == 5"],
        0,
    ),
    "decorator": (
        "import functools\n@functools.lru_cache(None)\ndef f(n):\n"
        "    return n if n < 2 else f(n - 1) + f(n - 2)",
        ["assert f(30) == 832040"],
        0,
    ),
    "slots": (
        "class P:\n    __slots__ = ('x',)\n    def __init__(self, x):\n        self.x = x",
        ["p = P(3)\nassert p.x == 3", "assert P(4).x == 4"],
        0,
    ),
    "property": (
        "class C:\n    def __init__(self):\n        self._v = 2\n    @property\n"
        "    def v(self):\n        return self._v",
        ["assert C().v == 2"],
        0,
    ),
    "own_equality": (
        "class V:\n    def __init__(self, x):\n        self.x = x\n"
        "    def __eq__(self, other):\n        return self.x == other.x",
        ["assert V(1) == V(1)", "assert V(1) != V(2)"],
        2,
    ),
    "own_container": (
        "class S:\n    def __init__(self):\n        self.a = [1]\n"
        "    def __contains__(self, x):\n        return x in self.a",
        ["s = S()\nassert 1 in s"],
        1,
    ),
    "own_length": (
        "class S:\n    def __len__(self):\n        return 3\ndef f(): return S()",
        ["assert len(f()) == 3", "assert f()"],
        0,
    ),
    "own_order": (
        "import functools\n@functools.total_ordering\nclass N:\n"
        "    def __init__(self, v):\n        self.v = v\n"
        "    def __lt__(self, o):\n        return self.v < o.v\n"
        "    def __eq__(self, o):\n        return self.v == o.v\n"
        "    def __repr__(self):\n        return f'N({self.v})'\n"
        "def f(): return [N(2), N(1)]",
        [
            "assert str(sorted(f())) == '[N(1), N(2)]'",
            "assert repr(max(f())) == 'N(2)'",
        ],
        0,
    ),
    "async": (
        "async def f(x):\n    return x + 1",
        ["import asyncio\nassert asyncio.run(f(1)) == 2"],
        1,
    ),
    "context_manager": (
        "import contextlib\n@contextlib.contextmanager\ndef f():\n    yield 3",
        ["with f() as x:\n    assert x == 3"],
        1,
    ),
    "module_level_state": (
        "items = []\ndef f(x):\n    items.append(x)\n    return items",
        ["assert f(1) == [1]", "assert f(2) == [1, 2]"],
        0,
    ),
    "shared_names": (
        "def f(x): return x + 1",
        ["y = 3\nassert f(y) == 4", "assert f(y) == 4"],
        0,
    ),
    "setup_values": ("def f(root): return root['a']", ["assert f(root) == 1"], 0),
    "unicode": (
        "def f(x): return x.upper() + 'ß\\ud800'",
        ["assert f('é') == 'Éß\\ud800'"],
        0,
    ),
    "big_integers": ("def f(x): return 7 ** x", ["assert f(2000) == 7 ** 2000"], 0),
    "nested_values": (
        "def f(x): return {'a': [(1, {2.5}), None]}",
        ["assert f(1) == {'a': [(1, {2.5}), None]}"],
        0,
    ),
    "print": (
        "def f(x):\n    print('x' * 1000)\n    return x",
        ["assert f(1) == 1"],
        0,
    ),
    "recursion": (
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)",
        ["assert f(900) == 900"],
        0,
    ),
    "raises_own": (
        "class E(KeyError): pass\ndef f(x): raise E",
        ["import pytest\nwith pytest.raises((KeyError, IndexError)):\n    f(1)"],
        0,
    ),
    "messages": ("def f(x): return x", ["assert f(1) == 1, f'got {f(1)}'"], 0),
    "conditional": ("def f(x): return x", ["assert (f(1) if True else f(2)) == 1"], 1),
    "main_guard": (
        "def f(x): return x\nif __name__ == '__main__':\n    f(1)",
        ["assert f(1) == 1"],
        0,
    ),
    "inspect_self": (
        "import sys\nX = 3\ndef f(): return sys.modules[__name__].X",
        ["assert f() == 3"],
        0,
    ),
    "builtins_set": (
        "import builtins\nbuiltins.two = 2\ndef f(): return two",
        ["assert f() == 2"],
        0,
    ),
    "default_dict": (
        "import collections\ndef f():\n    return collections.defaultdict(int, a=1)",
        ["assert f() == {'a': 1}", "assert f()['b'] == 0"],
        0,
    ),
    "set_in_order": ("def f(): return {3, 1, 2}", ["assert list(f()) == [1, 2, 3]"], 0),
    "time_delta": (
        "import datetime as d\ndef f(): return d.date(2020, 3, 1) - d.date(2020, 2, 1)",
        ["import datetime\nassert f() == datetime.timedelta(days=29)"],
        0,
    ),
    "ordered_dict": (
        "import collections\ndef f(): return collections.OrderedDict(a=1)",
        ["assert f() == {'a': 1}"],
        0,
    ),
    "empty_answers": (
        "def f(x): return x",
        ["assert f([]) == []", "assert not f(())", "assert f('') == ''"],
        0,
    ),
}
SETUPS = {"setup_values": "root = {'a': 1}"}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, cache=False) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", SOUND)
def test_sound_programs_pass(sandbox, name):
    code, tests, in_child = SOUND[name]
    setup = SETUPS.get(name, "")
    result = sandbox.run(code, tests, setup)
    assert result.passed, result
    split = asserts.split_tests(tests, setup)
    assert sum(test.kind == "exec" for test in split) == in_child
    assert result.trust == ("in_child" if in_child else "value")


@pytest.mark.parametrize("name", SOUND)
def test_their_tests_can_fail(sandbox, name):
    """An empty program fails every test of the list but those of the test alone."""
    _, tests, _ = SOUND[name]
    assert not sandbox.run("def nothing(): pass", tests, SETUPS.get(name, "")).passed
