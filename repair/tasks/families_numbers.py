"""Families of generated functions over integers: conditionals, ranges, recursion."""

from repair.tasks.blocks import (
    Sketch,
    function_name,
    mapping,
    names,
    one_list,
    predicate,
)


def clamp(rng):
    (n,) = names(rng, "number")
    low, high = rng.randint(0, 9), rng.randint(11, 20)
    body = (
        f"if {n} < {low}:",
        f"    return {low}",
        f"if {n} > {high}:",
        f"    return {high}",
        f"return {n}",
    )
    verb = rng.choice(("Limit the number to", "Clamp the number to"))
    text = f"{verb} the range from {low} to {high}."
    return Sketch(
        function_name(rng, ("clamp", "limit"), ("number", "value")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(low - 5, high + 5),),
    )


def label(rng):
    (n,) = names(rng, "number")
    low, high = rng.randint(2, 9), rng.randint(11, 19)
    small, middle, big = rng.choice(
        (("small", "medium", "big"), ("low", "mid", "high"), ("cold", "warm", "hot"))
    )
    body = (
        f"if {n} < {low}:",
        f"    return '{small}'",
        f"if {n} < {high}:",
        f"    return '{middle}'",
        f"return '{big}'",
    )
    verb = rng.choice(("Return", "Give"))
    text = f"{verb} '{small}' below {low}, '{middle}' below {high}, else '{big}'."
    return Sketch(
        function_name(rng, ("label", "grade"), ("number", "value")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(0, 22),),
    )


def branch(rng):
    (n,) = names(rng, "number")
    what, condition = predicate(rng, n)
    how, expression = mapping(rng, n)
    other, otherwise = mapping(rng, n)
    body = (
        f"if {condition}:",
        f"    return {expression}",
        f"return {otherwise}",
    )
    verb = rng.choice(("Return", "Give"))
    text = f"{verb} the number {how} if it is {what}, else the number {other}."
    return Sketch(
        function_name(rng, ("branch", "switch"), ("number", "value")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(0, 14),),
    )


def range_sum(rng):
    n, i, total = names(rng, "number", "index", "total")
    what, condition = predicate(rng, i)
    body = (
        f"{total} = 0",
        f"for {i} in range(1, {n} + 1):",
        f"    if {condition}:",
        f"        {total} += {i}",
        f"return {total}",
    )
    verb = rng.choice(("Add up", "Sum"))
    text = f"{verb} the numbers from 1 to {n} that are {what}."
    return Sketch(
        function_name(rng, ("sum", "series"), ("range", "to", "upto")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(3, 14),),
    )


def range_list(rng):
    n, i, out = names(rng, "number", "index", "out")
    how, expression = mapping(rng, i)
    body = (
        f"{out} = []",
        f"for {i} in range({n}):",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("List", "Return"))
    text = f"{verb} each number below {n} {how}."
    return Sketch(
        function_name(rng, ("range", "list"), ("of", "numbers")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(1, 9),),
    )


def halving(rng):
    n, count = names(rng, "number", "count")
    stop, divisor = rng.randint(1, 9), rng.randint(2, 5)
    body = (
        f"{count} = 0",
        f"while {n} > {stop}:",
        f"    {n} = {n} // {divisor}",
        f"    {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the", "Return the number of"))
    noun = f"divisions by {divisor} until the number is at most {stop}"
    text = f"{verb} {noun}."
    return Sketch(
        function_name(rng, ("halve", "divide"), ("count", "number")),
        (n,),
        body,
        text,
        lambda rng: (rng.randint(1, 90),),
    )


def recursive_sum(rng):
    (n,) = names(rng, "number")
    base = rng.randint(0, 9)
    how, expression = mapping(rng, n)
    name = function_name(rng, ("rec", "recur"), ("sum", "total"))
    body = (
        f"if {n} == 0:",
        f"    return {base}",
        f"return {expression} + {name}({n} - 1)",
    )
    verb = rng.choice(("add", "sum"))
    text = f"Recursively {verb} {n} {how} down to zero, which gives {base}."
    return Sketch(name, (n,), body, text, lambda rng: (rng.randint(0, 9),))


def recursive_list(rng):
    (xs,) = names(rng, "list")
    base = rng.randint(0, 9)
    how, expression = mapping(rng, f"{xs}[0]")
    name = function_name(rng, ("rec", "recur"), ("list", "items"))
    body = (
        f"if not {xs}:",
        f"    return {base}",
        f"return {expression} + {name}({xs}[1:])",
    )
    verb = rng.choice(("add up", "sum"))
    text = f"Recursively {verb} each item {how}; an empty list gives {base}."
    return Sketch(name, (xs,), body, text, one_list)


def digit_sum(rng):
    (n,) = names(rng, "number")
    how, expression = mapping(rng, f"({n} % 10)")
    base = rng.randint(0, 5)
    name = function_name(rng, ("digits", "digit"), ("sum", "total"))
    body = (
        f"if {n} == 0:",
        f"    return {base}",
        f"return {expression} + {name}({n} // 10)",
    )
    verb = rng.choice(("add up", "sum"))
    text = f"Recursively {verb} each digit {how}, starting from {base}."
    return Sketch(name, (n,), body, text, lambda rng: (rng.randint(0, 999),))


FAMILIES = (
    clamp, label, branch, range_sum, range_list, halving, recursive_sum,
    recursive_list, digit_sum,
)  # fmt: skip
