"""Verdicts on test files of all usual forms, against pytest in its own process."""

import pytest

from benchmarks import forms

# All of them are judged by `python -m benchmarks.fix --verdicts`.
BROKEN = ("keep_words", "convert_list")
FORMS = {name: forms.broken_forms()[name] for name in BROKEN} | forms.FORMS
FAST = ("keep_words", "unittest with setUp")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
        for name in FORMS
    ],
)
def test_a_form_is_judged_as_pytest_judges_it(name):
    form = FORMS[name]
    if forms.is_missing(form):
        pytest.skip(f"no {form.needs} here")
    right, broken = forms.compare(form)
    for row in (right, broken):
        theirs, ours = row["outcomes"]
        assert ours == theirs
        assert row["exit_codes"][0] == row["exit_codes"][1]
    assert right["exit_codes"] == (0, 0) and broken["exit_codes"][0] in (1, 2)
    assert set(right["outcomes"][0]) >= set(broken["outcomes"][0])
