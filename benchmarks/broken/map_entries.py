def map_entries(prices):
    out = {}
    for k, v in prices:
        out[k] = v + 5
    return out
