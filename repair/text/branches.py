"""Episodes of one beginning as branches of it, so that it is computed once.

All samples of a bug begin with the same prompt and state, all demonstrations of a task
with the same prompt. A row holds that prefix once,
then each sample's own part: a branch, which attends to the prefix and itself, and whose
positions go on from the prefix's. Log-probs, loss and gradients are those of the whole
episodes.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Prefixes:
    """Beginnings that episodes of one group share.

    Attributes:
      groups: Per episode the number of its group.
      lengths: Per group the tokens of its prefix, fewer than any of its episodes has.
    """

    groups: Sequence[int]
    lengths: Sequence[int]


def shared_prefixes(episodes, keys: Sequence, weights: Sequence) -> Prefixes:
    """Return the longest beginnings without weights that equal keys share.

    Args:
      episodes: All episodes.
      keys: Per episode the key of its group.
      weights: Per episode the weights of its tokens in the loss.
    """
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = [numbers[key] for key in keys]
    firsts: dict[int, np.ndarray] = {}
    for group, episode, weight in zip(groups, episodes, weights, strict=True):
        ids = np.asarray(episode.ids)
        # At least one token stays to the branch.
        ends = [*np.flatnonzero(weight), len(ids) - 1]
        first = firsts.get(group, ids)[: ends[0]]
        differ = np.flatnonzero(first != ids[: len(first)])
        firsts[group] = first[: differ[0]] if len(differ) else first
    return Prefixes(groups, [len(firsts[group]) for group in numbers.values()])


def plan_branches(
    lengths: Sequence[int], prefixes: Prefixes, row_length: int
) -> list[list[int]]:
    """Assign episodes to rows, each prefix once in a row; none is cut.

    Groups come with the longest episode first. An episode goes to the row that its
    prefix is in already, else to that which it leaves least room in.

    Returns:
      For each row the indices of its episodes.
    """
    rows: list[list[int]] = []
    rooms: list[int] = []
    # Rows by the room left in them: a scan over rooms is cheap however many rows.
    by_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    held: dict[int, set[int]] = {}
    longest: dict[int, int] = {}
    for group, length in zip(prefixes.groups, lengths, strict=True):
        longest[group] = max(length, longest.get(group, 0))

    def order(i):
        group = prefixes.groups[i]
        return -longest[group], group, -lengths[i], i

    for index in sorted(range(len(lengths)), key=order):
        group, length = prefixes.groups[index], lengths[index]
        if length > row_length:
            raise ValueError(f"episode {index} has {length} tokens, a row {row_length}")
        ours = held.setdefault(group, set())
        cost = length - prefixes.lengths[group]
        fitting = [(rooms[row], row) for row in ours if rooms[row] >= cost]
        if fitting:
            row = min(fitting)[1]
        else:
            cost = length
            free = (x for room in by_room[cost:] for x in room if x not in ours)
            row = next(free, len(rows))
        if row == len(rows):
            rows.append([])
            rooms.append(row_length)
        else:
            by_room[rooms[row]].remove(row)
        rooms[row] -= cost
        bisect.insort(by_room[rooms[row]], row)
        rows[row].append(index)
        ours.add(row)
    return rows


def pieces(episodes, members, prefixes: Prefixes | None = None):
    """Yield (index, begin, end, group) of the parts of a row, prefixes first."""
    seen = set()
    for index in members:
        group, shared = -1 - index, 0  # a group of its own
        if prefixes:
            group = prefixes.groups[index]
            shared = prefixes.lengths[group]
            if shared and group not in seen:
                yield index, 0, shared, group
                seen.add(group)
            group = group if shared else -1 - index
        yield index, shared, len(episodes[index]), group
