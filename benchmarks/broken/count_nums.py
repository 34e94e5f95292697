def count_nums(nums):
    c = 0
    for n in nums:
        if n % 2 = 0:
            c += 1
    return c
