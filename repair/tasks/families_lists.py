"""Families of generated functions with one loop over a list of integers."""

from repair.tasks.blocks import (
    Sketch,
    function_name,
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
    verb = rng.choice(("Return", "List"))
    text = f"{verb} items that are {what} {how}, the others {other}."
    name = function_name(rng, ("convert", "adjust"))
    return Sketch(name, (xs,), body, text, one_list)


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
    verb = rng.choice(("add up", "sum"))
    text = f"Starting from {start}, {verb} each item {how}."
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
    name = function_name(rng, ("product", "multiply"))
    return Sketch(name, (xs,), body, text, one_list)


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
    return Sketch(
        function_name(rng, ("count", "number_of")), (xs,), body, text, one_list
    )


def largest(rng):
    xs, x, best = names(rng, "list", "item", "best")
    start = rng.randint(0, 9)
    how, expression = mapping(rng, best)
    body = (
        f"{best} = {start}",
        f"for {x} in {xs}:",
        f"    if {x} > {best}:",
        f"        {best} = {x}",
        f"return {expression}",
    )
    verb = rng.choice(("Return the largest item", "Find the largest item"))
    text = f"{verb}, taken as at least {start}, {how}."
    name = function_name(rng, ("largest", "max"))
    return Sketch(name, (xs,), body, text, one_list)


def smallest(rng):
    xs, x, best = names(rng, "list", "item", "best")
    start = rng.randint(2, 12)
    how, expression = mapping(rng, best)
    body = (
        f"{best} = {start}",
        f"for {x} in {xs}:",
        f"    if {x} < {best}:",
        f"        {best} = {x}",
        f"return {expression}",
    )
    verb = rng.choice(("Return the smallest item", "Find the smallest item"))
    text = f"{verb}, taken as at most {start}, {how}."
    name = function_name(rng, ("smallest", "min"))
    return Sketch(name, (xs,), body, text, one_list)


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
    verb = rng.choice(("List", "Return"))
    text = f"{verb} the running totals from {start} of each item {how}."
    return Sketch(function_name(rng, ("running", "sums")), (xs,), body, text, one_list)


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
    verb = rng.choice(("Return", "List"))
    text = f"{verb} every item {how}, in steps of {step}."
    return Sketch(function_name(rng, ("skip", "every")), (xs,), body, text, one_list)


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


FAMILIES = (
    filter_items, map_items, filter_map, either_map, sum_items, sum_map,
    product_items, count_items, largest, smallest, first_index, first_item,
    all_items, any_item, take_until, running, every_kth,
)  # fmt: skip
HELD_OUT = (last_item, split_difference)
