"""Templates over strings, words and dictionaries; `family` tells their form."""

TEXTS = """
count|tally: text char count = 0
? first, second = letters
> <Count the|Return the number of> letters '{first}' or '{second}' in the string.
if {char} == '{first}' or {char} == '{second}':
    {count} += 1

remove|drop: text char out = ''
? first, second = letters
> <Remove every|Drop every> letter of '{first}{second}' from the string.
if {char} not in '{first}{second}':
    {out} += {char}

replace|mask: text char out = ''
? letter = letter
? mark = _ | * | - | #
> <Replace every|Change every> '{letter}' in the string by '{mark}'.
if {char} == '{letter}':
    {out} += '{mark}'
else:
    {out} += {char}

index|find: text index
? letter = letter
? default = -1 | None | 0
> <Return|Find> the index of the first '{letter}' in the string, else {default}.
for {index} in range(len({text})):
    if {text}[{index}] == '{letter}':
        return {index}
return {default}

repeat|spell: text char out = ''
? n = 2..4
? mark = - | . | + | * | / | _
? place, expression = after/{char} * {n} + '{mark}' | before/'{mark}' + {char} * {n}
> <Write|Repeat> each letter {n} times and put '{mark}' {place} it.
@ word
{out} += {expression}

keep|filter: words word out = []
? what, condition = word_predicate {word}
> <Return the words|Keep the words> that {what}.
if {condition}:
    {out}.append({word})

map|change: words word out = []
? how, expression = word_mapping {word}
> <Return each word|List every word> {how}.
{out}.append({expression})

pick|select: words word out = []
? what, condition = word_predicate {word}
? how, expression = word_mapping {word}
> <Return each word|List every word> {how}, for words that {what}.
if {condition}:
    {out}.append({expression})

count|number_of: words word count = 0
? what, condition = word_predicate {word}
> <Count the words|Return the number of words> that {what}.
if {condition}:
    {count} += 1

join|glue: words word out = [] -> '{mark}'.join({out})
? how, expression = word_mapping {word}
? mark = - | , | + | /
> <Join|Glue> the words, each {how}, with '{mark}'.
{out}.append({expression})

sort|order: words out
? what, key = length/len | last letter/lambda w: w[-1]
? how, expression = word_mapping w
> <Sort|Order> the words by {what} and return each {how}.
{out} = sorted({words}, key={key})
return [{expression} for w in {out}]

count|tally dict|table|values: list item dict = {{}}
? how, expression = mapping {item}
> <Count in a dictionary|Return a dictionary of> how often each item {how} occurs.
@ repeats
k = {expression}
{dict}[k] = {dict}.get(k, 0) + 1

make|build dict|table|lookup: words word dict = {{}}
? how, expression = word_mapping {word}
> <Map each word to|Make a dictionary from each word to> itself {how}.
@ few_words
{dict}[{word}] = {expression}

keep|filter: dict key value out = {{}}
? what, condition = predicate {value}
> <Return the entries|Keep the entries> whose values are {what}.
if {condition}:
    {out}[{key}] = {value}

map|change: dict key value out = {{}}
? how, expression = mapping {value}
> <Return the dictionary with each value|Make each value> {how}.
{out}[{key}] = {expression}

sum|total: dict key total = 0
? what, condition = predicate {dict}[{key}]
> <Return the sum of|Add up> the values that are {what}.
if {condition}:
    {total} += {dict}[{key}]

keys|find: dict key value out = [] -> sorted({out})
? what, condition = predicate {value}
> <List the keys|Return the sorted keys> whose values are {what}.
if {condition}:
    {out}.append({key})

* longest|max: words word best = ''
? what, condition = word_predicate {word}
> Return the longest of the words that {what}.
if {condition} and len({word}) > len({best}):
    {best} = {word}

* group|bucket: words word dict = {{}}
? how, expression = word_mapping {word}
> Group the words by length, each {how}.
if len({word}) not in {dict}:
    {dict}[len({word})] = []
{dict}[len({word})].append({expression})

* best|largest: dict key best
? how, expression = mapping {dict}[{key}]
> Return the largest value of the dictionary {how}.
{best} = None
for {key} in {dict}:
    if {best} is None or {dict}[{key}] > {dict}[{best}]:
        {best} = {key}
{key} = {best}
return {expression}
"""
