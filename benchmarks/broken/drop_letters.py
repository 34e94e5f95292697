def drop_letters(text):
    result = ''
    for c in text:
        if c in 'ae':
            result += c
    return result
