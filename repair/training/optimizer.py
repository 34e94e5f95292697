"""The state of a training stage, and its optimizer."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from repair.errors import MOST, expect, expect_between, expect_default

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
      final_fraction: Share of the peak at the end of the stage.
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
        rates = ("learning_rate", "adam_learning_rate")
        expect_between(self, 0, 10, *rates, above=True)
        expect_between(self, 0, MOST, "warmup")
        expect_between(self, 0, 1, "final_fraction")
        expect_between(self, 0, 10, "weight_decay")
        # 0 would stop all learning, and a negative norm climb.
        expect_between(self, 0, MOST, "clip_norm", above=True)
        expect_between(self, 0, 1, "b2", below=True)
        expect_default(
            *(self, "adam_learning_rate", self.name == "muon"),
            "with name='adamw', which trains all by learning_rate",
        )
        expect_default(
            *(self, "final_fraction", self.decay != "constant"),
            "with decay='constant', which does not decay",
        )


def learning_rate_scale(
    config: OptimizerConfig, step: int, steps: int, spent: float | None = None
) -> float:
    """Return the learning rate's share of its peak.

    Linear warm-up over steps, times a decay over what ends the stage. Updates of one
    step share a rate.

    Args:
      config: The schedule.
      step: Steps made so far.
      steps: Steps of the stage; the warm-up leaves at least one of them.
      spent: Share of a budget that is spent, where that ends the stage; None to decay
        over the steps after the warm-up.
    """
    warmup = min(config.warmup, steps - 1)
    # From one step's worth rather than from 0: a first step of 0 is a step lost.
    rise = min((step + 1) / (warmup + 1), 1.0)
    done = (step - warmup) / (steps - warmup) if spent is None else spent
    done = min(max(done, 0.0), 1.0)
    end = config.final_fraction
    if config.decay == "constant":
        return rise
    if config.decay == "linear":
        return rise * (1 - (1 - end) * done)
    return rise * (end + (1 - end) * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Return gradient clipping, then the optimizer at its peak learning rate."""
    if config.name == "adamw":
        inner = optax.adamw(
            config.learning_rate,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=_is_matrix,
        )
    else:
        inner = optax.contrib.muon(
            config.learning_rate,
            adam_learning_rate=config.adam_learning_rate,
            weight_decay=config.weight_decay,
            adam_b2=config.b2,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_muon_dimensions,
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), inner)


def init_state(trainable, optimizer) -> TrainState:
    """Return a stage's state before its first step."""
    return TrainState(jnp.zeros((), jnp.int32), trainable, optimizer.init(trainable))


def apply_gradients(state: TrainState, gradients, optimizer, scale) -> TrainState:
    """Return the state after one update, at a share of the peak learning rate."""
    updates, inner = optimizer.update(gradients, state.optimizer, state.trainable)
    updates = optax.tree.scale(scale, updates)
    trainable = optax.apply_updates(state.trainable, updates)
    return TrainState(state.step + 1, trainable, inner)


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
