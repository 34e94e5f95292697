"""Names do not count in the anonymous form, and near misses are one slip away."""

from repair.tasks.generated.variants import anonymous, near_misses


def test_variants_by_hand():
    code = (
        "def keep(xs):\n    for x in xs:\n        if x.key > 7:\n            return 'x'"
    )
    assert anonymous(code) == (
        "def v0(v1):\n    for v2 in v1:\n        if v2.key > 7:\n            return 'x'"
    )
    assert anonymous(code) == anonymous(
        code.replace("xs", "len_of").replace("keep", "g")
    )
    assert anonymous("def f(a, b):\n    return a") != anonymous(
        "def f(a, b):\n    return b"
    )
    changed = [
        [line for line in miss.split("\n") if line not in code.split("\n")]
        for miss in near_misses(code)
    ]
    assert changed == [
        ["        if x.key >= 7:"],
        ["        if x.key > 8:"],
        ["        if True:"],
        ["        if False:"],
        ["            return 'y'"],
    ]
