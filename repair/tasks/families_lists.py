"""Families of generated functions over lists of integers."""

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


def filter_items(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, condition = predicate(rng, x)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {out}.append({x})",
        f"return {out}",
    )
    verb = rng.choice(("Return the items", "Keep the items"))
    text = f"{verb} that are {what}."
    return Sketch(function_name(rng, ("keep", "filter")), (xs,), body, text, one_list)


def map_items(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return each item", "List every item"))
    text = f"{verb} {what}."
    return Sketch(function_name(rng, ("map", "change")), (xs,), body, text, one_list)


def filter_map(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, condition = predicate(rng, x)
    how, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return each item", "List every item"))
    text = f"{verb} {how}, for items that are {what}."
    return Sketch(function_name(rng, ("pick", "select")), (xs,), body, text, one_list)


def either_map(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, condition = predicate(rng, x)
    how, expression = mapping(rng, x)
    other, otherwise = mapping(rng, x)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {out}.append({expression})",
        "    else:",
        f"        {out}.append({otherwise})",
        f"return {out}",
    )
    text = f"Return items that are {what} {how}, the others {other}."
    return Sketch(function_name(rng, ("convert", "adjust")), (xs,), body, text, one_list)


def sum_items(rng):
    xs, x, total = names(rng, "list", "item", "total")
    what, condition = predicate(rng, x)
    body = (
        f"{total} = 0",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {total} += {x}",
        f"return {total}",
    )
    verb = rng.choice(("Return the sum of", "Add up"))
    text = f"{verb} the items that are {what}."
    return Sketch(function_name(rng, ("sum", "add")), (xs,), body, text, one_list)


def sum_map(rng):
    xs, x, total = names(rng, "list", "item", "total")
    start = rng.randint(0, 5)
    how, expression = mapping(rng, x)
    body = (
        f"{total} = {start}",
        f"for {x} in {xs}:",
        f"    {total} += {expression}",
        f"return {total}",
    )
    text = f"Starting from {start}, add up each item {how}."
    return Sketch(function_name(rng, ("total", "gather")), (xs,), body, text, one_list)


def product_items(rng):
    xs, x, total = names(rng, "list", "item", "total")
    what, condition = predicate(rng, x)
    body = (
        f"{total} = 1",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {total} *= {x}",
        f"return {total}",
    )
    verb = rng.choice(("Return the product of", "Multiply"))
    text = f"{verb} the items that are {what}."
    return Sketch(function_name(rng, ("product", "multiply")), (xs,), body, text, one_list)


def count_items(rng):
    xs, x, count = names(rng, "list", "item", "count")
    what, condition = predicate(rng, x)
    body = (
        f"{count} = 0",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the items", "Return the number of items"))
    text = f"{verb} that are {what}."
    return Sketch(function_name(rng, ("count", "number_of")), (xs,), body, text, one_list)


def largest(rng):
    xs, x, best = names(rng, "list", "item", "best")
    start = rng.randint(0, 9)
    body = (
        f"{best} = {start}",
        f"for {x} in {xs}:",
        f"    if {x} > {best}:",
        f"        {best} = {x}",
        f"return {best}",
    )
    verb = rng.choice(("Return the largest item", "Find the largest item"))
    text = f"{verb}, but at least {start}."
    return Sketch(function_name(rng, ("largest", "max")), (xs,), body, text, one_list)


def smallest(rng):
    xs, x, best = names(rng, "list", "item", "best")
    start = rng.randint(2, 12)
    body = (
        f"{best} = {start}",
        f"for {x} in {xs}:",
        f"    if {x} < {best}:",
        f"        {best} = {x}",
        f"return {best}",
    )
    verb = rng.choice(("Return the smallest item", "Find the smallest item"))
    text = f"{verb}, but at most {start}."
    return Sketch(function_name(rng, ("smallest", "min")), (xs,), body, text, one_list)


def first_index(rng):
    xs, i = names(rng, "list", "index")
    what, condition = predicate(rng, f"{xs}[{i}]")
    body = (
        f"for {i} in range(len({xs})):",
        f"    if {condition}:",
        f"        return {i}",
        "return -1",
    )
    verb = rng.choice(("Return", "Find"))
    text = f"{verb} the index of the first item that is {what}, else -1."
    return Sketch(function_name(rng, ("index", "find")), (xs,), body, text, one_list)


def first_item(rng):
    xs, x = names(rng, "list", "item")
    what, condition = predicate(rng, x)
    default = rng.choice(("None", "0", "-1"))
    body = (
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        return {x}",
        f"return {default}",
    )
    verb = rng.choice(("Return", "Find"))
    text = f"{verb} the first item that is {what}, else {default}."
    return Sketch(function_name(rng, ("first", "get")), (xs,), body, text, one_list)


def all_items(rng):
    xs, x = names(rng, "list", "item")
    what, condition = predicate(rng, x)
    body = (
        f"for {x} in {xs}:",
        f"    if not {condition}:",
        "        return False",
        "return True",
    )
    verb = rng.choice(("Check whether all items are", "Return whether all items are"))
    text = f"{verb} {what}."
    return Sketch(function_name(rng, ("all", "check")), (xs,), body, text, one_list)


def any_item(rng):
    xs, x = names(rng, "list", "item")
    what, condition = predicate(rng, x)
    body = (
        f"for {x} in {xs}:",
        f"    if {condition}:",
        "        return True",
        "return False",
    )
    verb = rng.choice(("Check whether any item is", "Return whether any item is"))
    text = f"{verb} {what}."
    return Sketch(function_name(rng, ("any", "has")), (xs,), body, text, one_list)


def take_until(rng):
    xs, x, out = names(rng, "list", "item", "out")
    what, condition = predicate(rng, x)
    body = (
        f"{out} = []",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        "        break",
        f"    {out}.append({x})",
        f"return {out}",
    )
    verb = rng.choice(("Return the items", "Take the items"))
    text = f"{verb} before the first one that is {what}."
    return Sketch(function_name(rng, ("take", "until")), (xs,), body, text, one_list)


def running(rng):
    xs, x, out, total = names(rng, "list", "item", "out", "total")
    start = rng.randint(0, 5)
    how, expression = mapping(rng, x)
    body = (
        f"{out} = []",
        f"{total} = {start}",
        f"for {x} in {xs}:",
        f"    {total} += {expression}",
        f"    {out}.append({total})",
        f"return {out}",
    )
    text = f"List the running totals from {start} of each item {how}."
    return Sketch(function_name(rng, ("running", "sums")), (xs,), body, text, one_list)


def neighbours(rng):
    xs, i, out = names(rng, "list", "index", "out")
    what, operator = rng.choice(
        (("sum", "+"), ("difference", "-"), ("product", "*"))
    )
    body = (
        f"{out} = []",
        f"for {i} in range(len({xs}) - 1):",
        f"    {out}.append({xs}[{i} + 1] {operator} {xs}[{i}])",
        f"return {out}",
    )
    verb = rng.choice(("Return", "List"))
    text = f"{verb} the {what} of each item and the one before it."
    return Sketch(function_name(rng, ("pairs", "steps")), (xs,), body, text, one_list)


def every_kth(rng):
    xs, i, out = names(rng, "list", "index", "out")
    step = rng.randint(2, 3)
    how, expression = mapping(rng, f"{xs}[{i}]")
    body = (
        f"{out} = []",
        f"for {i} in range(0, len({xs}), {step}):",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    text = f"Return every item {how}, in steps of {step}."
    return Sketch(function_name(rng, ("skip", "every")), (xs,), body, text, one_list)


def two_lists(rng):
    xs, ys, i, out = names(rng, "list", "other", "index", "out")
    what, operator = rng.choice((("Add", "+"), ("Subtract", "-"), ("Multiply", "*")))
    body = (
        f"{out} = []",
        f"for {i} in range(len({xs})):",
        f"    {out}.append({xs}[{i}] {operator} {ys}[{i}])",
        f"return {out}",
    )
    text = f"{what} the items of two lists one by one."

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
    text = f"Add up each item {how}, over all rows."
    return Sketch(
        function_name(rng, ("sum", "total"), ("rows", "grid")),
        (rows,),
        body,
        text,
        lambda rng: (grid(rng),),
    )


def pair_count(rng):
    xs, count = names(rng, "list", "count")
    goal = rng.randint(5, 14)
    body = (
        f"{count} = 0",
        f"for i in range(len({xs})):",
        f"    for j in range(i + 1, len({xs})):",
        f"        if {xs}[i] + {xs}[j] == {goal}:",
        f"            {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the pairs", "Return the number of pairs"))
    text = f"{verb} of items whose sum is {goal}."

    def draw(rng):
        first = rng.randint(1, goal - 1)
        rest = [rng.randint(0, 9), rng.choice((goal - first, rng.randint(0, 9)))]
        return ([first, *rest, rng.choice((goal - rest[0], 3))],)

    return Sketch(function_name(rng, ("pairs", "count"), ("sum", "of")), (xs,), body, text, draw)


def sort_key(rng):
    xs, x = names(rng, "list", "item")
    c = rng.randint(3, 9)
    what, expression = rng.choice(
        (
            (f"value modulo {c}", f"{x} % {c}"),
            (f"distance to {c}", f"abs({x} - {c})"),
        )
    )
    body = (f"{xs} = sorted({xs}, key=lambda {x}: {expression})", f"return {xs}")
    verb = rng.choice(("Sort the items", "Return the items sorted"))
    text = f"{verb} by their {what}."
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
    text = f"Return the {count} {what} items in order, each {how}."
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
    text = f"Return the items that are {what} in {order} order."
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
    text = f"Keep the items that are {what} and return their sum {how}."
    return Sketch(function_name(rng, ("score", "weigh")), (xs,), body, text, one_list)


# Held out of train, validation and test.


def last_item(rng):
    xs, x, best = names(rng, "list", "item", "best")
    what, condition = predicate(rng, x)
    body = (
        f"{best} = None",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {best} = {x}",
        f"return {best}",
    )
    text = f"Return the last item that is {what}, else None."
    return Sketch(function_name(rng, ("last", "final")), (xs,), body, text, one_list)


def split_difference(rng):
    xs, x, total = names(rng, "list", "item", "total")
    what, condition = predicate(rng, x)
    body = (
        f"{total} = 0",
        f"for {x} in {xs}:",
        f"    if {condition}:",
        f"        {total} += {x}",
        "    else:",
        f"        {total} -= {x}",
        f"return {total}",
    )
    text = f"Add the items that are {what} and subtract the others."
    return Sketch(function_name(rng, ("balance", "net")), (xs,), body, text, one_list)


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
    filter_items, map_items, filter_map, either_map, sum_items, sum_map,
    product_items, count_items, largest, smallest, first_index, first_item,
    all_items, any_item, take_until, running, neighbours, every_kth, two_lists,
    flatten, grid_sum, pair_count, sort_key, sort_take, filter_sort, filter_total,
)  # fmt: skip
HELD_OUT = (last_item, split_difference, row_sums)
