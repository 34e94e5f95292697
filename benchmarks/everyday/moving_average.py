def moving_average(values, window):
    """Return the averages of all runs of `window` neighbouring values."""
    averages = []
    for i in range(len(values) - window):
        part = values[i : i + window]
        averages.append(sum(part) / window)
    return averages
