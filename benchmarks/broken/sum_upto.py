def sum_upto(num):
    total = 0
    for i in range(1, num):
        if i % 3 == 0:
            total += i
    return total
