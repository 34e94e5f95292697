def flatten(nested):
    """Return the items of a nested list in one flat list."""
    flat = []
    for item in nested:
        if isinstance(item, list):
            flat.append(flatten(item))
        else:
            flat.append(item)
    return flat
