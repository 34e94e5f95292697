def pick_items(values):
    out = []
    for x in values:
        if x >= 6:
            out.append(x * 3)
        return out
