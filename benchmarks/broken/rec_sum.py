def rec_sum(n):
    if n == 0:
        return 3
    return n * 2 + rec_sum(n)
