"""Verifiers: a function, and the sandbox, behind one protocol."""

import inspect
import pathlib
import textwrap

import pytest

from repair.env import FunctionVerifier, Sandbox, Verifier

ROOT = pathlib.Path(__file__).parent.parent.parent
MEMBERS = ["level", "counts", "map", "allowances", "__enter__", "__exit__"]


def test_a_function_verifies():
    said = {"1": "", "2": "got 3", "3": "got 4"}
    with FunctionVerifier(lambda state, test: said[test]) as verifier:
        first, second = verifier.map([("s", ("1", "2", "3"), ""), ("s", ("1",), "", 1)])
        assert verifier.allowances([("s", ("1",), "")] * 2) == [float("inf")] * 2
    assert (first.passed, first.status, first.feedback) == (False, "failed", "got 3")
    assert first.failed_tests == (1, 2) and first.trust == "value"
    assert (second.passed, second.feedback, second.failed_tests) == (True, "", ())
    assert verifier.counts == {"failed": 1, "passed": 1, "trust_value": 2}
    assert verifier.level is None


@pytest.mark.parametrize("message", [None, True, "two\nlines"])
def test_a_check_must_return_one_line(message):
    with pytest.raises(TypeError, match="expected one line"):
        FunctionVerifier(lambda state, test: message).map([("", ("1",), "")])


def test_the_protocol_has_these_members():
    own = [name for name in vars(Verifier) if name in MEMBERS]
    assert sorted(own) == sorted(MEMBERS)


@pytest.mark.parametrize("kind", [Sandbox, FunctionVerifier])
def test_verifiers_meet_the_protocol(kind):
    made = Sandbox(workers=1) if kind is Sandbox else kind(lambda state, test: "")
    with made as verifier:
        assert verifier is made
        for name in ("map", "allowances"):
            asked, found = (
                list(inspect.signature(getattr(owner, name)).parameters)
                for owner in (Verifier, kind)
            )
            assert asked == found
        verifier.map([("x = 1", ("assert x == 1",), ""), ("", ("1",), "", 1.0)])
        assert verifier.counts["passed"] + verifier.counts["failed"] == 2
        assert verifier.level is None or verifier.level.name


@pytest.mark.slow
def test_a_type_checker_agrees(tmp_path, monkeypatch):
    """Its complaint about a class that lacks `counts` shows that it checks at all."""
    api = pytest.importorskip("mypy.api", reason="needs pip install -e '.[test]'")
    program = textwrap.dedent("""\
        from repair.env import FunctionVerifier, Result, Sandbox, Verifier

        class Half:
            level = None
            def map(self, jobs: list[tuple]) -> list[Result]:
                return []

        verifiers: list[Verifier] = [Sandbox(), FunctionVerifier(lambda s, t: "")]
        wrong: Verifier = Half()
        """)
    monkeypatch.chdir(ROOT)
    path = tmp_path / "uses.py"
    path.write_text(program)
    out, _, _ = api.run([str(path), "--cache-dir", str(tmp_path), "--no-error-summary"])
    errors = [line for line in out.splitlines() if line.startswith(f"{path}:")]
    errors = [line for line in errors if ": error:" in line]
    assert len(errors) == 1 and '"Half"' in errors[0], out
