def largest_items(items):
    best = 4
    for v in items:
        if v < best:
            best = v
    return best
