"""Templates read as their notation says, and give many different programs."""

import random

import pytest

from repair.tasks.generated.family import families, parse_family
from repair.tasks.generated.variants import anonymous

BLOCK = """\
keep|drop evens|odds: list item out = []
? low = 3..4
? word, sign = under {low}/< | over {low}/>
> <Keep|Take> the items {word}.
if {item} {sign} {low}:
    {out}.append({item})"""


def test_every_family_has_enough_programs():
    assert len(families()) >= 34 and len(families(held_out=True)) >= 6
    for family in families() + families(held_out=True):
        rng = random.Random(0)
        sketches = [family.sketch(rng) for _ in range(900)]
        assert len({s.code.replace(s.name, "f") for s in sketches}) >= 80, family
        assert len({anonymous(s.code) for s in sketches}) >= 24, family


def test_a_loop_by_hand():
    rng = random.Random(0)
    sketches = [parse_family(BLOCK).sketch(rng) for _ in range(300)]
    assert {s.name for s in sketches} == {
        f"{verb}_{noun}" for verb in ("keep", "drop") for noun in ("evens", "odds")
    }
    assert {s.text for s in sketches} == {
        f"{verb} the items {word} {low}."
        for verb in ("Keep", "Take")
        for word in ("under", "over")
        for low in (3, 4)
    }
    for sketch in sketches:
        head, init, loop, guard, step, end = sketch.code.split("\n")
        out = end.removeprefix("    return ")
        assert init == f"    {out} = []" and step.startswith(
            f"            {out}.append("
        )
        xs = head.removeprefix(f"def {sketch.name}(").removesuffix("):")
        item = loop.removesuffix(f" in {xs}:").removeprefix("    for ")
        sign = "<" if "under" in sketch.text else ">"
        assert guard == f"        if {item} {sign} {sketch.text[-2]}:"
        assert len({xs, item, out}) == 3
        (values,) = sketch.draw(rng)
        assert 3 <= len(values) <= 5 and set(values) <= set(range(13))


def test_parameters_arguments_and_the_name_in_the_body():
    block = (
        "rec|recur sum|total: number, index\n? d = / | -\n? name\n> Go.\n@ 7..8\n"
        "return {name}({number} {d} {index}) + {{1}}"
    )
    rng = random.Random(1)
    sketches = [parse_family(block).sketch(rng) for _ in range(60)]
    assert {sketch.draw(rng) for sketch in sketches} == {(7,), (8,)}
    for sketch in sketches:
        head, line = sketch.code.split("\n")
        first, second = head.removesuffix("):").split("(")[1].split(", ")
        calls = {
            f"    return {sketch.name}({first} {d} {second}) + {{1}}" for d in "/-"
        }
        assert line in calls and sketch.text == "Go."


@pytest.mark.parametrize(
    "line", ["? a, b = 1..2", "? a, b = one/two/three", "> Twice.", "? a = {unknown}"]
)
def test_a_wrong_template_fails(line):
    head, *lines = BLOCK.split("\n")
    with pytest.raises((ValueError, KeyError)):
        parse_family("\n".join([head, line, *lines])).sketch(random.Random(0))
