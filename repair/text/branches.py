"""Episodes of one beginning as branches of it, so that it is computed once.

All samples of a bug begin with the same prompt and state. A row holds that prefix once,
then each sample's own part: a branch, which attends to the prefix and itself, and whose
positions go on from the prefix's. Log-probs, loss and gradients are those of the whole
episodes.
"""

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


def shared_prefixes(episodes, keys: Sequence) -> Prefixes:
    """Return the longest beginnings without commands that equal keys share."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = [numbers[key] for key in keys]
    firsts: dict[int, np.ndarray] = {}
    for group, episode in zip(groups, episodes, strict=True):
        ids = np.asarray(episode.ids)
        # At least one token stays to the branch.
        ends = [*np.flatnonzero(episode.mask), len(ids) - 1]
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
    held: list[set[int]] = []
    longest: dict[int, int] = {}
    for group, length in zip(prefixes.groups, lengths, strict=True):
        longest[group] = max(length, longest.get(group, 0))

    def order(i):
        group = prefixes.groups[i]
        return -longest[group], group, -lengths[i], i

    for index in sorted(range(len(lengths)), key=order):
        group = prefixes.groups[index]
        if lengths[index] > row_length:
            raise ValueError(
                f"episode {index} has {lengths[index]} tokens, a row {row_length}"
            )

        def cost(row, group=group, index=index):
            shared = prefixes.lengths[group] if group in held[row] else 0
            return lengths[index] - shared

        fitting = [row for row, room in enumerate(rooms) if cost(row) <= room]
        row = min(
            fitting,
            key=lambda row: (group not in held[row], rooms[row] - cost(row)),
            default=len(rows),
        )
        if row == len(rows):
            rows.append([])
            rooms.append(row_length)
            held.append(set())
        rooms[row] -= cost(row)
        rows[row].append(index)
        held[row].add(group)
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
