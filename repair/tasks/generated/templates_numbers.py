"""Templates over integers, lists of integers and rows; `family` tells their form."""

NUMBERS = """
keep|filter: list item out = []
? what, condition = predicate {item}
> <Return the items|Keep the items> that are {what}.
if {condition}:
    {out}.append({item})

map|change: list item out = []
? how, expression = mapping {item}
> <Return each item|List every item> {how}.
{out}.append({expression})

pick|select: list item out = []
? what, condition = predicate {item}
? how, expression = mapping {item}
> <Return each item|List every item> {how}, for items that are {what}.
if {condition}:
    {out}.append({expression})

convert|adjust: list item out = []
? what, condition = predicate {item}
? how, expression = mapping {item}
? other, otherwise = mapping {item}
> <Return|List> items that are {what} {how}, the others {other}.
if {condition}:
    {out}.append({expression})
else:
    {out}.append({otherwise})

sum|add: list item total = 0
? what, condition = predicate {item}
> <Return the sum of|Add up> the items that are {what}.
if {condition}:
    {total} += {item}

total|gather: list item total = {start}
? start = 0..5
? how, expression = mapping {item}
> Starting from {start}, <add up|sum> each item {how}.
{total} += {expression}

product|multiply: list item total = 1
? what, condition = predicate {item}
> <Return the product of|Multiply> the items that are {what}.
if {condition}:
    {total} *= {item}

count|number_of: list item count = 0
? what, condition = predicate {item}
> <Count the items|Return the number of items> that are {what}.
if {condition}:
    {count} += 1

largest|max: list item best = {start} -> {expression}
? start = 0..9
? how, expression = mapping {best}
> <Return the largest item|Find the largest item>, taken as at least {start}, {how}.
if {item} > {best}:
    {best} = {item}

smallest|min: list item best = {start} -> {expression}
? start = 2..12
? how, expression = mapping {best}
> <Return the smallest item|Find the smallest item>, taken as at most {start}, {how}.
if {item} < {best}:
    {best} = {item}

index|find: list index
? what, condition = predicate {list}[{index}]
> <Return|Find> the index of the first item that is {what}, else -1.
for {index} in range(len({list})):
    if {condition}:
        return {index}
return -1

first|get: list item
? what, condition = predicate {item}
? default = None | 0 | -1
> <Return|Find> the first item that is {what}, else {default}.
for {item} in {list}:
    if {condition}:
        return {item}
return {default}

all|check: list item
? what, condition = predicate {item}
> <Check whether all items are|Return whether all items are> {what}.
for {item} in {list}:
    if not {condition}:
        return False
return True

any|has: list item
? what, condition = predicate {item}
> <Check whether any item is|Return whether any item is> {what}.
for {item} in {list}:
    if {condition}:
        return True
return False

take|until: list item out = []
? what, condition = predicate {item}
> <Return the items|Take the items> before the first one that is {what}.
if {condition}:
    break
{out}.append({item})

running|sums: list item out total
? start = 0..5
? how, expression = mapping {item}
> <List|Return> the running totals from {start} of each item {how}.
{out} = []
{total} = {start}
for {item} in {list}:
    {total} += {expression}
    {out}.append({total})
return {out}

skip|every: list index out
? step = 2..3
? how, expression = mapping {list}[{index}]
> <Return|List> every item {how}, in steps of {step}.
{out} = []
for {index} in range(0, len({list}), {step}):
    {out}.append({expression})
return {out}

* last|final: list item best = None
? what, condition = predicate {item}
> Return the last item that is {what}, else None.
if {condition}:
    {best} = {item}

* balance|net: list item total = 0
? what, condition = predicate {item}
> Add the items that are {what} and subtract the others.
if {condition}:
    {total} += {item}
else:
    {total} -= {item}

pairs|steps: list item index out
? what, operator = sum/+ | difference/- | product/*
? how, expression = mapping {item}
> <Return|List> the {what} of each item and the one before it, {how}.
{out} = []
for {index} in range(len({list}) - 1):
    {item} = {list}[{index} + 1] {operator} {list}[{index}]
    {out}.append({expression})
return {out}

zip|combine: list, other item index out
? what, operator = sum/+ | difference/- | product/*
? how, expression = mapping {item}
> <Return|List> the {what} of two lists' items one by one, {how}.
@ two_lists
{out} = []
for {index} in range(len({list})):
    {item} = {list}[{index}] {operator} {other}[{index}]
    {out}.append({expression})
return {out}

flatten|merge rows|lists: rows row item out = []
? what, condition = predicate {item}
> <Return|List> the items of all rows that are {what}.
if {condition}:
    {out}.append({item})

sum|total rows|grid: rows row item total = 0
? how, expression = mapping {item}
> <Add up|Sum> each item {how}, over all rows.
{total} += {expression}

pairs|count sum|of: list count
? goal = 4..18
? what, sign = {goal}/== | greater than {goal}/> | less than {goal}/<
> <Count the pairs|Return the number of pairs> of items whose sum is {what}.
@ near_pair
{count} = 0
for i in range(len({list})):
    for j in range(i + 1, len({list})):
        if {list}[i] + {list}[j] {sign} {goal}:
            {count} += 1
return {count}

sort|order: list
? c = 2..12
? what, expression = value modulo {c}/x % {c} | distance to {c}/abs(x - {c})
? order, flag = smallest/ | largest/, reverse=True
> <Sort the items|Return the items sorted> by their {what}, {order} first.
{list} = sorted({list}, key=lambda x: {expression}{flag})
return {list}

top|take: list out
? count = 1..3
? what, flag = smallest/ | largest/, reverse=True
? how, expression = mapping x
> <Return|List> the {count} {what} items in order, each {how}.
{out} = sorted({list}{flag})
{out} = {out}[:{count}]
return [{expression} for x in {out}]

sort|ordered: list item out
? what, condition = predicate {item}
? order, flag = rising/ | falling/reverse=True
> <Return|List> the items that are {what} in {order} order.
{out} = []
for {item} in {list}:
    if {condition}:
        {out}.append({item})
{out}.sort({flag})
return {out}

score|weigh: list item out total
? what, condition = predicate {item}
? how, expression = mapping {total}
> <Keep|Take> the items that are {what} and return their sum {how}.
{out} = []
for {item} in {list}:
    if {condition}:
        {out}.append({item})
{total} = sum({out})
return {expression}

* row|part sums|totals: rows row item out
? how, expression = mapping {item}
> List for every row the sum of each item {how}.
{out} = []
for {row} in {rows}:
    subtotal = 0
    for {item} in {row}:
        subtotal += {expression}
    {out}.append(subtotal)
return {out}

clamp|limit: number
? low = 0..9
? high = 11..20
> <Limit the number to|Clamp the number to> the range from {low} to {high}.
@ around
if {number} < {low}:
    return {low}
if {number} > {high}:
    return {high}
return {number}

label|grade: number
? low = 2..9
? high = 11..19
? small, middle, big = small/medium/big | low/mid/high | cold/warm/hot
> <Return|Give> '{small}' below {low}, '{middle}' below {high}, else '{big}'.
@ 0..22
if {number} < {low}:
    return '{small}'
if {number} < {high}:
    return '{middle}'
return '{big}'

branch|switch: number
? what, condition = predicate {number}
? how, expression = mapping {number}
? other, otherwise = mapping {number}
> <Return|Give> the number {how} if it is {what}, else the number {other}.
@ 0..14
if {condition}:
    return {expression}
return {otherwise}

sum|series range|to|upto: number index total
? what, condition = predicate {index}
> <Add up|Sum> the numbers from 1 to {number} that are {what}.
@ 3..14
{total} = 0
for {index} in range(1, {number} + 1):
    if {condition}:
        {total} += {index}
return {total}

range|list of|numbers: number index out
? how, expression = mapping {index}
> <List|Return> each number below {number} {how}.
@ 1..9
{out} = []
for {index} in range({number}):
    {out}.append({expression})
return {out}

halve|divide count|number: number count
? stop = 1..9
? d = 2..5
> <Count the|Return the number of> divisions by {d} until the number is at most {stop}.
@ 1..90
{count} = 0
while {number} > {stop}:
    {number} = {number} // {d}
    {count} += 1
return {count}

rec|recur sum|total: number
? base = 0..9
? how, expression = mapping {number}
? name
> Recursively <add|sum> {number} {how} down to zero, which gives {base}.
@ 0..9
if {number} == 0:
    return {base}
return {expression} + {name}({number} - 1)

rec|recur list|items: list
? base = 0..9
? how, expression = mapping {list}[0]
? name
> Recursively <add up|sum> each item {how}; an empty list gives {base}.
if not {list}:
    return {base}
return {expression} + {name}({list}[1:])

digits|digit sum|total: number
? how, expression = mapping ({number} % 10)
? base = 0..5
? name
> Recursively <add up|sum> each digit {how}, starting from {base}.
@ 0..999
if {number} == 0:
    return {base}
return {expression} + {name}({number} // 10)
"""
