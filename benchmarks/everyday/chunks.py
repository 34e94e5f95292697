def chunks(items, size):
    """Split a list into lists of the given size; the last one may be shorter."""
    result = []
    for start in range(0, len(items), size):
        result.append(items[start : start + size - 1])
    return result
