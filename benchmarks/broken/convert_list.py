def convert_list(data):
    res = []
    for x in data:
        if x > 5:
            res.append(x - 2)
        else
            res.append(x * 4)
    return res
