"""Families over lists of integers with two loops, two lists, a sort or two steps."""

from repair.tasks.blocks import (
    Sketch,
    function_name,
    grid,
    ints,
    mapping,
    names,
    one_list,
    predicate,
)


def _operation(rng):
    """An operation on two numbers: (its result, operator)."""
    return rng.choice((("sum", "+"), ("difference", "-"), ("product", "*")))


def neighbours(rng):
    xs, x, i, out = names(rng, "list", "item", "index", "out")
    what, operator = _operation(rng)
    how, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {i} in range(len({xs}) - 1):",
        f"    {x} = {xs}[{i} + 1] {operator} {xs}[{i}]",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the {what} of each item and the one before it, {how}."
    return Sketch(function_name(rng, ("pairs", "steps")), (xs,), body, text, one_list)


def two_lists(rng):
    xs, ys, x, i, out = names(rng, "list", "other", "item", "index", "out")
    what, operator = _operation(rng)
    how, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {i} in range(len({xs})):",
        f"    {x} = {xs}[{i}] {operator} {ys}[{i}]",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the {what} of two lists' items one by one, {how}."

    def draw(rng):
        first = ints(rng, 2, 3)
        return first, ints(rng, len(first), len(first))

    return Sketch(function_name(rng, ("zip", "combine")), (xs, ys), body, text, draw)


def flatten(rng):
    rows, row, x, out = names(rng, "rows", "row", "item", "out")
    what, condition = predicate(rng, x)
    body = (
        f"{out} = []",
        f"for {row} in {rows}:",
        f"    for {x} in {row}:",
        f"        if {condition}:",
        f"            {out}.append({x})",
        f"return {out}",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the items of all rows that are {what}."
    return Sketch(
        function_name(rng, ("flatten", "merge"), ("rows", "lists")),
        (rows,),
        body,
        text,
        lambda rng: (grid(rng),),
    )


def grid_sum(rng):
    rows, row, x, total = names(rng, "rows", "row", "item", "total")
    how, expression = mapping(rng, x)
    body = (
        f"{total} = 0",
        f"for {row} in {rows}:",
        f"    for {x} in {row}:",
        f"        {total} += {expression}",
        f"return {total}",
    )
    verb = rng.choice(("Add up", "Sum"))
    text = f"{verb} each item {how}, over all rows."
    return Sketch(
        function_name(rng, ("sum", "total"), ("rows", "grid")),
        (rows,),
        body,
        text,
        lambda rng: (grid(rng),),
    )


def pair_count(rng):
    xs, count = names(rng, "list", "count")
    goal = rng.randint(4, 18)
    what, sign = rng.choice((("", "=="), ("greater than ", ">"), ("less than ", "<")))
    body = (
        f"{count} = 0",
        f"for i in range(len({xs})):",
        f"    for j in range(i + 1, len({xs})):",
        f"        if {xs}[i] + {xs}[j] {sign} {goal}:",
        f"            {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the pairs", "Return the number of pairs"))
    text = f"{verb} of items whose sum is {what}{goal}."

    def draw(rng):
        first = rng.randint(1, goal - 1)
        return ([first, rng.randint(0, 9), goal - first + rng.randint(-1, 1)],)

    name = function_name(rng, ("pairs", "count"), ("sum", "of"))
    return Sketch(name, (xs,), body, text, draw)


def sort_key(rng):
    (xs,) = names(rng, "list")
    c = rng.randint(2, 12)
    what, expression = rng.choice(
        (
            (f"value modulo {c}", f"x % {c}"),
            (f"distance to {c}", f"abs(x - {c})"),
        )
    )
    order, flag = rng.choice((("smallest", ""), ("largest", ", reverse=True")))
    body = (
        f"{xs} = sorted({xs}, key=lambda x: {expression}{flag})",
        f"return {xs}",
    )
    verb = rng.choice(("Sort the items", "Return the items sorted"))
    text = f"{verb} by their {what}, {order} first."
    return Sketch(function_name(rng, ("sort", "order")), (xs,), body, text, one_list)


def sort_take(rng):
    xs, out = names(rng, "list", "out")
    count = rng.randint(1, 3)
    what, flag = rng.choice((("smallest", ""), ("largest", ", reverse=True")))
    how, expression = mapping(rng, "x")
    body = (
        f"{out} = sorted({xs}{flag})",
        f"{out} = {out}[:{count}]",
        f"return [{expression} for x in {out}]",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the {count} {what} items in order, each {how}."
    return Sketch(function_name(rng, ("top", "take")), (xs,), body, text, one_list)


def filter_sort(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, condition = predicate(rng, x)
    order, flag = rng.choice((("rising", ""), ("falling", "reverse=True")))
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {out}.append({x})",
        f"{out}.sort({flag})",
        f"return {out}",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the items that are {what} in {order} order."
    return Sketch(function_name(rng, ("sort", "ordered")), (xs,), body, text, one_list)


def filter_total(rng):
    xs, x, out, total = names(rng, "list", "item", "out", "total")
    what, condition = predicate(rng, x)
    how, expression = mapping(rng, total)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {out}.append({x})",
        f"{total} = sum({out})",
        f"return {expression}",
    )
    verb = rng.choice(("Keep", "Take"))
    text = f"{verb} the items that are {what} and return their sum {how}."
    return Sketch(function_name(rng, ("score", "weigh")), (xs,), body, text, one_list)


# Held out of train, validation and test.


def row_sums(rng):
    rows, row, x, out = names(rng, "rows", "row", "item", "out")
    how, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {row} in {rows}:",
        "    subtotal = 0",
        f"    for {x} in {row}:",
        f"        subtotal += {expression}",
        f"    {out}.append(subtotal)",
        f"return {out}",
    )
    text = f"List for every row the sum of each item {how}."
    return Sketch(
        function_name(rng, ("row", "part"), ("sums", "totals")),
        (rows,),
        body,
        text,
        lambda rng: (grid(rng),),
    )


FAMILIES = (
    neighbours, two_lists, flatten, grid_sum, pair_count, sort_key, sort_take,
    filter_sort, filter_total,
)  # fmt: skip
HELD_OUT = (row_sums,)
