def keep_words(words):
    found = []
    for w in words:
        if len(w) > 3:
            found.append(words)
    return found
