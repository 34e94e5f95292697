def zip_items(values, other):
    for i in range(len(values)):
        x = values[i] - values[i]
        out.append(x + 1)
    return out
