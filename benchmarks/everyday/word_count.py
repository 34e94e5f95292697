def count_words(text):
    """Count how often each word occurs in a text, in lower case."""
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0)
    return counts
