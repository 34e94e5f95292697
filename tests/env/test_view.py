"""Parts of files."""

import textwrap

from hypothesis import given
from hypothesis import strategies as st

from repair.env.editor import split_program
from repair.env.view import function_views, names_in, whole_view

CODE = textwrap.dedent(
    '''
    import math

    def first(x):
        return helper(x)

    @staticmethod
    def helper(x):
        def inner(y):
            return y

        return inner(x)

    class Box:
        def put(self, x):
            """Put."""

            self.x = x

        async def text(self):
            return """
    left
    """
    '''
).strip("\n")


def names(views):
    return [view.name for view in views]


def test_every_view_gives_its_file_back():
    views = function_views(CODE, (), set())
    assert names(views) == ["first", "helper", "inner", "put", "text"]
    for view in (*views, whole_view(CODE)):
        assert view.whole(view.code) == CODE


def test_a_view_is_one_function_without_its_indentation():
    put = function_views(CODE, (), {"put"})[0]
    assert put.code == 'def put(self, x):\n    """Put."""\n\n    self.x = x'
    changed = put.whole(put.code.replace("= x", "= 2"))
    assert changed == CODE.replace("self.x = x", "self.x = 2")
    line = 1 + split_program(CODE).index("        self.x = x")
    assert put.line(line) == 4 and put.line(1) is None and put.line(line + 1) is None
    text = function_views(CODE, (), {"text"})[0]  # a text is less indented
    assert text.code.startswith("    async def text")
    helper = function_views(CODE, (), {"helper"})[0]
    assert helper.code.startswith("@staticmethod\ndef helper")


def test_the_likeliest_functions_come_first():
    line = 1 + split_program(CODE).index("        self.x = x")
    assert names(function_views(CODE, (line, 1), {"first"}))[:3] == [
        *("put", "first", "helper"),
    ]
    assert names(function_views(CODE, (), names_in("assert box.text() == 1")))[0] == (
        "text"
    )
    assert function_views("def f(:", (), set()) == [] and names_in("def f(:") == set()


@given(st.lists(st.sampled_from(["    ", "", "  x = 1", "\ty = 2", "      z", "#"])))
def test_views_lose_nothing(body):
    code = "if 1:\n    def f():\n        pass\n" + "\n".join(body)
    for view in function_views(code, (), set()):
        assert view.whole(view.code) == code
