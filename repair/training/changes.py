"""Differences between the config of a workdir and that of a run that resumes it.

Two kinds are allowed. Fields of the first kind change no result, but for the rounding
of sums with those that decide on the shapes of arrays (`sampler`, `loss_chunk`,
`sft.accumulate`, `rlvr.rows`, `mesh`). Fields of the second kind prolong or shorten a
run. Any other difference makes it another run, and is refused.
"""

from collections.abc import Collection

from repair.errors import UserError

# Whole names, or sections that end with a dot.
_NO_RESULT = (
    *("checkpoint_every", "checkpoint_minutes", "keep", "log."),
    *("sandbox_level", "sandbox_workers", "mesh.", "loss_chunk"),
    *("sampler.slots", "sampler.cohorts", "sampler.places", "sampler.prefill"),
    *("sampler.stragglers", "sampler.block", "sampler.lengths", "sampler.warm_up"),
    *("sft.accumulate", "sft.eval_every", "rlvr.rows", "rlvr.eval_every"),
    "rlvr.trajectories_every",
)
_LENGTH = (
    *("stages", "eval.samples", "sft.steps", "sft.patience"),
    *("rlvr.steps", "rlvr.sampled_tokens", "rlvr.patience"),
)


def changed_fields(old: dict, new: dict, defaults: dict) -> dict[str, tuple]:
    """Return {dotted name: (old value, new value)} of flat configs.

    A field that an older version did not have counts as its default.
    """
    return {
        name: (then, new.get(name, "absent"))
        for name in sorted(old.keys() | new.keys())
        if (then := old.get(name, defaults.get(name, "absent")))
        != new.get(name, "absent")
    }


def is_other_run(changes: dict, new: dict) -> bool:
    """Return True if any of the changes makes it another run.

    Args:
      changes: As from `changed_fields`.
      new: The new config, flat.
    """
    return any(not _allowed(name, new) for name in changes)


def check_changes(changes: dict, new: dict, begun: Collection[str], where) -> None:
    """Refuse changes that make it another run.

    Args:
      changes: As from `changed_fields`.
      new: The new config, flat.
      begun: Stages that have checkpoints.
      where: The workdir, for the message.

    Raises:
      UserError: With every field that may not change.
    """
    refused = [
        f"{name}: {then!r} there, {now!r} here"
        for name, (then, now) in changes.items()
        if not _allowed(name, new)
    ]
    if refused:
        raise UserError(
            f"{where} holds a run of another config ({'; '.join(refused)}); choose"
            " another --workdir or give the same config to resume"
        )
    late = [name for name in ("sft.steps", "sft.patience") if name in changes]
    if "stages" in changes and "sft" not in changes["stages"][0]:
        late += ["stages"] if "sft" in new["stages"] else []
    if late and "rlvr" in begun:
        raise UserError(
            f"{where} has begun stage 'rlvr' from the end of SFT, so {late[0]} can no"
            " longer change; to train SFT for longer choose another --workdir with"
            f" --config.init_from={where}/checkpoints/sft"
        )


def _allowed(name: str, new: dict) -> bool:
    if name == "rlvr.rows":  # rows decide what is in one of several minibatches
        return new["rlvr.minibatches"] == 1
    return any(
        name == known or (known.endswith(".") and name.startswith(known))
        for known in _NO_RESULT + _LENGTH
    )
