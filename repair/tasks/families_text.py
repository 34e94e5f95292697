"""Families of generated functions over strings, lists of words and dictionaries."""

from repair.tasks.blocks import (
    LETTERS,
    WORDS,
    Sketch,
    function_name,
    mapping,
    names,
    predicate,
    table,
    word_mapping,
    word_predicate,
    words,
)

_TEXTS = ("text", "string", "chars", "letters")
_WORDS = ("words", "names", "texts", "strings")
_TABLES = ("table", "dict", "entries", "pairs")


def _one_text(rng):
    return ("".join(rng.sample(WORDS, 2)),)


def _words(rng):
    return (words(rng),)


def _table(rng):
    return (table(rng),)


def count_char(rng):
    text, c, count = names(rng, "text", "char", "count")
    first, second = rng.sample(LETTERS, 2)
    body = (
        f"{count} = 0",
        f"for {c} in {text}:",
        f"    if {c} == '{first}' or {c} == '{second}':",
        f"        {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the letters", "Return the number of letters"))
    spec = f"{verb} '{first}' or '{second}' in the string."
    name = function_name(rng, ("count", "tally"), _TEXTS)
    return Sketch(name, (text,), body, spec, _one_text)


def remove_char(rng):
    text, c, out = names(rng, "text", "char", "out")
    letters = "".join(rng.sample(LETTERS, 2))
    body = (
        f"{out} = ''",
        f"for {c} in {text}:",
        f"    if {c} not in '{letters}':",
        f"        {out} += {c}",
        f"return {out}",
    )
    verb = rng.choice(("Remove every", "Drop every"))
    spec = f"{verb} letter of '{letters}' from the string."
    name = function_name(rng, ("remove", "drop"), _TEXTS)
    return Sketch(name, (text,), body, spec, _one_text)


def replace_char(rng):
    text, c, out = names(rng, "text", "char", "out")
    letter, mark = rng.choice(LETTERS), rng.choice("_*-#")
    body = (
        f"{out} = ''",
        f"for {c} in {text}:",
        f"    if {c} == '{letter}':",
        f"        {out} += '{mark}'",
        "    else:",
        f"        {out} += {c}",
        f"return {out}",
    )
    verb = rng.choice(("Replace every", "Change every"))
    spec = f"{verb} '{letter}' in the string by '{mark}'."
    name = function_name(rng, ("replace", "mask"), _TEXTS)
    return Sketch(name, (text,), body, spec, _one_text)


def first_char(rng):
    text, i = names(rng, "text", "index")
    letter, default = rng.choice(LETTERS), rng.choice(("-1", "None", "0"))
    body = (
        f"for {i} in range(len({text})):",
        f"    if {text}[{i}] == '{letter}':",
        f"        return {i}",
        f"return {default}",
    )
    verb = rng.choice(("Return", "Find"))
    spec = f"{verb} the index of the first '{letter}' in the string, else {default}."
    name = function_name(rng, ("index", "find"), _TEXTS)
    return Sketch(name, (text,), body, spec, _one_text)


def repeat_chars(rng):
    text, c, out = names(rng, "text", "char", "out")
    times, mark = rng.randint(2, 4), rng.choice("-.+*/_")
    place, expression = rng.choice(
        (
            ("after", f"{c} * {times} + '{mark}'"),
            ("before", f"'{mark}' + {c} * {times}"),
        )
    )
    body = (
        f"{out} = ''",
        f"for {c} in {text}:",
        f"    {out} += {expression}",
        f"return {out}",
    )
    verb = rng.choice(("Write", "Repeat"))
    spec = f"{verb} each letter {times} times and put '{mark}' {place} it."
    name = function_name(rng, ("repeat", "spell"), _TEXTS)
    return Sketch(name, (text,), body, spec, lambda rng: (rng.choice(WORDS[:20]),))


def filter_words(rng):
    ws, w, out = names(rng, "words", "word", "out")
    what, condition = word_predicate(rng, w)
    body = (
        f"{out} = []",
        f"for {w} in {ws}:",
        f"    if {condition}:",
        f"        {out}.append({w})",
        f"return {out}",
    )
    verb = rng.choice(("Return the words", "Keep the words"))
    name = function_name(rng, ("keep", "filter"), _WORDS)
    return Sketch(name, (ws,), body, f"{verb} that {what}.", _words)


def map_words(rng):
    ws, w, out = names(rng, "words", "word", "out")
    how, expression = word_mapping(rng, w)
    body = (
        f"{out} = []",
        f"for {w} in {ws}:",
        f"    {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return each word", "List every word"))
    name = function_name(rng, ("map", "change"), _WORDS)
    return Sketch(name, (ws,), body, f"{verb} {how}.", _words)


def filter_map_words(rng):
    ws, w, out = names(rng, "words", "word", "out")
    what, condition = word_predicate(rng, w)
    how, expression = word_mapping(rng, w)
    body = (
        f"{out} = []",
        f"for {w} in {ws}:",
        f"    if {condition}:",
        f"        {out}.append({expression})",
        f"return {out}",
    )
    verb = rng.choice(("Return each word", "List every word"))
    spec = f"{verb} {how}, for words that {what}."
    name = function_name(rng, ("pick", "select"), _WORDS)
    return Sketch(name, (ws,), body, spec, _words)


def count_words(rng):
    ws, w, count = names(rng, "words", "word", "count")
    what, condition = word_predicate(rng, w)
    body = (
        f"{count} = 0",
        f"for {w} in {ws}:",
        f"    if {condition}:",
        f"        {count} += 1",
        f"return {count}",
    )
    verb = rng.choice(("Count the words", "Return the number of words"))
    name = function_name(rng, ("count", "number_of"), _WORDS)
    return Sketch(name, (ws,), body, f"{verb} that {what}.", _words)


def join_words(rng):
    ws, w, out = names(rng, "words", "word", "out")
    how, expression = word_mapping(rng, w)
    mark = rng.choice("-,+/")
    body = (
        f"{out} = []",
        f"for {w} in {ws}:",
        f"    {out}.append({expression})",
        f"return '{mark}'.join({out})",
    )
    verb = rng.choice(("Join", "Glue"))
    spec = f"{verb} the words, each {how}, with '{mark}'."
    name = function_name(rng, ("join", "glue"), _WORDS)
    return Sketch(name, (ws,), body, spec, _words)


def sort_words(rng):
    ws, out = names(rng, "words", "out")
    what, key = rng.choice((("length", "len"), ("last letter", "lambda w: w[-1]")))
    how, expression = word_mapping(rng, "w")
    body = (
        f"{out} = sorted({ws}, key={key})",
        f"return [{expression} for w in {out}]",
    )
    verb = rng.choice(("Sort", "Order"))
    spec = f"{verb} the words by {what} and return each {how}."
    name = function_name(rng, ("sort", "order"), _WORDS)
    return Sketch(name, (ws,), body, spec, _words)


def count_dict(rng):
    xs, x, d = names(rng, "list", "item", "dict")
    how, expression = mapping(rng, x)
    body = (
        f"{d} = {{}}",
        f"for {x} in {xs}:",
        f"    k = {expression}",
        f"    {d}[k] = {d}.get(k, 0) + 1",
        f"return {d}",
    )
    verb = rng.choice(("Count in a dictionary", "Return a dictionary of"))
    spec = f"{verb} how often each item {how} occurs."
    name = function_name(rng, ("count", "tally"), ("dict", "table", "values"))
    draw = lambda rng: ([rng.randint(0, 6) for _ in range(rng.randint(2, 4))],)  # noqa: E731
    return Sketch(name, (xs,), body, spec, draw)


def length_dict(rng):
    ws, w, d = names(rng, "words", "word", "dict")
    how, expression = word_mapping(rng, w)
    body = (
        f"{d} = {{}}",
        f"for {w} in {ws}:",
        f"    {d}[{w}] = {expression}",
        f"return {d}",
    )
    verb = rng.choice(("Map each word to", "Make a dictionary from each word to"))
    name = function_name(rng, ("make", "build"), ("dict", "table", "lookup"))
    return Sketch(
        name, (ws,), body, f"{verb} itself {how}.", lambda rng: (words(rng, 1, 3),)
    )


def filter_dict(rng):
    d, k, v, out = names(rng, "dict", "key", "value", "out")
    what, condition = predicate(rng, v)
    body = (
        f"{out} = {{}}",
        f"for {k}, {v} in {d}.items():",
        f"    if {condition}:",
        f"        {out}[{k}] = {v}",
        f"return {out}",
    )
    verb = rng.choice(("Return the entries", "Keep the entries"))
    name = function_name(rng, ("keep", "filter"), _TABLES)
    return Sketch(name, (d,), body, f"{verb} whose values are {what}.", _table)


def map_dict(rng):
    d, k, v, out = names(rng, "dict", "key", "value", "out")
    how, expression = mapping(rng, v)
    body = (
        f"{out} = {{}}",
        f"for {k}, {v} in {d}.items():",
        f"    {out}[{k}] = {expression}",
        f"return {out}",
    )
    verb = rng.choice(("Return the dictionary with each value", "Make each value"))
    name = function_name(rng, ("map", "change"), _TABLES)
    return Sketch(name, (d,), body, f"{verb} {how}.", _table)


def sum_dict(rng):
    d, k, total = names(rng, "dict", "key", "total")
    what, condition = predicate(rng, f"{d}[{k}]")
    body = (
        f"{total} = 0",
        f"for {k} in {d}:",
        f"    if {condition}:",
        f"        {total} += {d}[{k}]",
        f"return {total}",
    )
    verb = rng.choice(("Return the sum of", "Add up"))
    name = function_name(rng, ("sum", "total"), _TABLES)
    return Sketch(name, (d,), body, f"{verb} the values that are {what}.", _table)


def keys_list(rng):
    d, k, v, out = names(rng, "dict", "key", "value", "out")
    what, condition = predicate(rng, v)
    body = (
        f"{out} = []",
        f"for {k}, {v} in {d}.items():",
        f"    if {condition}:",
        f"        {out}.append({k})",
        f"return sorted({out})",
    )
    verb = rng.choice(("List the keys", "Return the sorted keys"))
    name = function_name(rng, ("keys", "find"), _TABLES)
    return Sketch(name, (d,), body, f"{verb} whose values are {what}.", _table)


# Held out of train, validation and test.


def longest_word(rng):
    ws, w, best = names(rng, "words", "word", "best")
    what, condition = word_predicate(rng, w)
    body = (
        f"{best} = ''",
        f"for {w} in {ws}:",
        f"    if {condition} and len({w}) > len({best}):",
        f"        {best} = {w}",
        f"return {best}",
    )
    spec = f"Return the longest of the words that {what}."
    name = function_name(rng, ("longest", "max"), _WORDS)
    return Sketch(name, (ws,), body, spec, _words)


def group_words(rng):
    ws, w, d = names(rng, "words", "word", "dict")
    how, expression = word_mapping(rng, w)
    body = (
        f"{d} = {{}}",
        f"for {w} in {ws}:",
        f"    if len({w}) not in {d}:",
        f"        {d}[len({w})] = []",
        f"    {d}[len({w})].append({expression})",
        f"return {d}",
    )
    spec = f"Group the words by length, each {how}."
    name = function_name(rng, ("group", "bucket"), _WORDS)
    return Sketch(name, (ws,), body, spec, _words)


def best_key(rng):
    d, k, best = names(rng, "dict", "key", "best")
    how, expression = mapping(rng, f"{d}[{k}]")
    body = (
        f"{best} = None",
        f"for {k} in {d}:",
        f"    if {best} is None or {d}[{k}] > {d}[{best}]:",
        f"        {best} = {k}",
        f"{k} = {best}",
        f"return {expression}",
    )
    spec = f"Return the largest value of the dictionary {how}."
    name = function_name(rng, ("best", "largest"), _TABLES)
    return Sketch(name, (d,), body, spec, _table)


FAMILIES = (
    count_char, remove_char, replace_char, first_char, repeat_chars, filter_words,
    map_words, filter_map_words, count_words, join_words, sort_words, count_dict,
    length_dict, filter_dict, map_dict, sum_dict, keys_list,
)  # fmt: skip
HELD_OUT = (longest_word, group_words, best_key)
