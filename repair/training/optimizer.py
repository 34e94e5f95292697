"""The state of a training stage, and its optimizer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from repair.errors import expect

OPTIMIZERS = ("adamw", "muon")
DECAYS = ("linear", "cosine", "constant")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """State of a stage.

    Attributes:
      step: Steps made so far, int32; also the position in the data, since every batch
        is a function of (seed, step).
      trainable: Parameters that the stage trains.
      optimizer: State of the optimizer.
    """

    step: jax.Array
    trainable: Any
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its schedule.

    Attributes:
      name: "adamw", or "muon" (Jordan et al. 2024): orthogonalised momentum for the
        matrices of the layers, AdamW for embeddings, head, norms and adapters.
      learning_rate: Peak for the matrices under muon, for everything under adamw.
      adam_learning_rate: Peak for the parameters that AdamW trains under muon.
      warmup: Steps of linear warm-up.
      final_fraction: Share of the peak at the last step.
      decay: "linear", "cosine" or "constant".
      weight_decay: Decoupled decay of the matrices.
      clip_norm: Gradients are scaled down to this global norm.
      b2: AdamW's second-moment decay.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    adam_learning_rate: float = 1e-3
    warmup: int = 20
    final_fraction: float = 0.1
    decay: str = "cosine"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    b2: float = 0.99

    def __post_init__(self):
        for name, known in (("name", OPTIMIZERS), ("decay", DECAYS)):
            value = getattr(self, name)
            expect(value in known, name, value, f"one of {', '.join(known)}")


def make_schedule(config: OptimizerConfig, peak: float, steps: int):
    """Return a schedule: linear warm-up, then the decay, down to the fraction."""
    warmup = min(config.warmup, max(steps - 1, 0))
    end = peak * config.final_fraction
    rest = max(steps - warmup, 1)
    if config.decay == "constant":
        decay = optax.constant_schedule(peak)
    elif config.decay == "linear":
        decay = optax.linear_schedule(peak, end, rest)
    else:
        decay = optax.cosine_decay_schedule(peak, rest, config.final_fraction)
    # From one step's worth rather than from 0: a first step of 0 is a step lost.
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Return gradient clipping, then the optimizer under its schedule."""
    schedule = make_schedule(config, config.learning_rate, steps)
    if config.name == "adamw":
        inner = optax.adamw(
            schedule, b2=config.b2, weight_decay=config.weight_decay, mask=_is_matrix
        )
    else:
        inner = optax.contrib.muon(
            schedule,
            adam_learning_rate=make_schedule(config, config.adam_learning_rate, steps),
            weight_decay=config.weight_decay,
            adam_b2=config.b2,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_muon_dimensions,
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), inner)


def init_state(trainable, optimizer) -> TrainState:
    """Return a stage's state before its first step."""
    return TrainState(jnp.zeros((), jnp.int32), trainable, optimizer.init(trainable))


def apply_gradients(state: TrainState, gradients, optimizer) -> TrainState:
    """Return the state after one update."""
    updates, inner = optimizer.update(gradients, state.optimizer, state.trainable)
    trainable = optax.apply_updates(state.trainable, updates)
    return TrainState(state.step + 1, trainable, inner)


def learning_rate(state: TrainState, config: OptimizerConfig, updates: int) -> float:
    """Return the learning rate of the next update, of so many in all.

    By the updates that were made, since steps without signal make none.
    """
    (_, made), *_ = optax.tree_utils.tree_get_all_with_path(state.optimizer, "count")
    return float(make_schedule(config, config.learning_rate, updates)(made))


def _is_layer_kernel(path) -> bool:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return "layers" in name and name.endswith("kernel")


def _is_matrix(tree):
    return jax.tree_util.tree_map_with_path(lambda p, _: _is_layer_kernel(p), tree)


def _muon_dimensions(tree):
    def dimensions(path, leaf):
        if not _is_layer_kernel(path):
            return None
        # Under nn.scan a leading axis stacks the layers; it is no part of a matrix.
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(dimensions, tree)
