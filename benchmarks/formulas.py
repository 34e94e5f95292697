"""What a run should need by hand: closed formulas to hold compiled plans against.

For what the paper's recipe does (repair/training/recipes.py) and no more: adapters on
all linear layers over a frozen base, everything in bfloat16 but the adapters and their
optimizer, layers under a scan with remat="full", the loss in chunks, AdamW. Where the
terms come from: docs/scaling.md. Letters of axes: repair/model/llama.py.
"""

import dataclasses

from repair.errors import UserError
from repair.model.llama import LlamaConfig
from repair.training.config import Config

HALF, FULL = 2, 4  # bytes of a bfloat16 and of a float32


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How many devices each axis has, none of them -1."""

    data: int
    fsdp: int
    tensor: int

    @property
    def rows(self) -> int:
        """Into how many parts the rows of a batch are split."""
        return self.data * self.fsdp


@dataclasses.dataclass(frozen=True)
class Linear:
    """A matrix of a layer; `wide` if tensor splits what it gives, not what it takes."""

    takes: int
    gives: int
    wide: bool

    @property
    def kernel(self) -> int:
        """Its numbers."""
        return self.takes * self.gives

    def adapter(self, rank: int, fsdp: int = 1, tensor: int = 1) -> float:
        """The numbers of its two factors on each device."""
        by_fsdp, by_tensor = self.takes, self.gives
        if not self.wide:
            by_fsdp, by_tensor = by_tensor, by_fsdp
        return rank * (by_fsdp / fsdp + by_tensor / tensor)


def linears(c: LlamaConfig) -> list[Linear]:
    """Of one layer: q, k, v, o, gate, up, down."""
    heads, kv_heads = c.heads * c.head_size, c.kv_heads * c.head_size
    return [
        Linear(c.width, heads, True),
        Linear(c.width, kv_heads, True),
        Linear(c.width, kv_heads, True),
        Linear(heads, c.width, False),
        Linear(c.width, c.mlp_width, True),
        Linear(c.width, c.mlp_width, True),
        Linear(c.mlp_width, c.width, False),
    ]


def expected(config: Config, mesh: Mesh, places: int) -> dict[str, dict[str, float]]:
    """What each phase should need: bytes on each device, operations, bytes sent.

    Args:
      config: A run like the paper's.
      mesh: Its devices.
      places: Parts of them that hold a whole model.

    Raises:
      UserError: The config trains in another way.
    """
    c = config.model
    if (config.train, c.scan_layers, c.remat) != ("lora", True, "full") or not (
        config.loss_chunk and c.dtype == c.param_dtype == "bfloat16"
    ):
        raise UserError(
            "the formulas are for train='lora' with scan_layers, remat='full', a"
            " loss_chunk and bfloat16"
        )
    held = {
        "weights": weights(c, mesh.fsdp, mesh.tensor),
        "trained": 3 * FULL * adapters(c, mesh.fsdp, mesh.tensor),
    }
    found = {}
    parts = config.sft.accumulate
    rows, length = config.sft.rows // parts, config.sft.row_length
    found["sft"] = held | {
        "activations": activations(c, mesh, rows, length, config.loss_chunk),
        "operations": parts * step_operations(c, rows, length),
        "sent": parts * step_sent(c, mesh, rows, length),
    }
    rows, length = config.rlvr.rows, config.rlvr.row_length
    update = held | {
        "activations": activations(c, mesh, rows, length, config.loss_chunk),
        "operations": step_operations(c, rows, length),
        "sent": step_sent(c, mesh, rows, length),
    }
    # Log-probs of the reference, and of the policy before the step.
    loss = config.rlvr.loss
    others = bool(loss.kl_coef) + bool(loss.importance_cap)
    update["operations"] += others * forward_operations(c, rows, length)
    update["sent"] += others * forward_sent(c, mesh, rows, length)
    found["rlvr: update"] = update
    together = weights(c, 1, mesh.tensor) + FULL * adapters(c, 1, mesh.tensor)
    if mesh.fsdp > 1:
        parts = weights(c, mesh.fsdp, mesh.tensor)
        parts += FULL * adapters(c, mesh.fsdp, mesh.tensor)
        found["rlvr: gather"] = {"weights": together, "sent": together - parts}
    found["rlvr: rollouts"] = {
        "weights": together,
        "caches": caches(config, mesh.tensor),
        "operations": config.sampler.slots * places * forward_operations(c, 1, 1),
    }
    return found


def weights(c: LlamaConfig, fsdp: int, tensor: int) -> float:
    """Bytes of the base on each device: 2 P / (fsdp * tensor), but for the norms."""
    tables = (1 if c.tie_embeddings else 2) * c.vocab_size * c.width
    split = c.layers * sum(each.kernel for each in linears(c)) + tables
    whole = c.width + c.layers * (2 * c.width + 2 * c.head_size * c.qk_norm)
    biases = c.layers * c.qkv_bias * (c.heads + 2 * c.kv_heads) * c.head_size
    return HALF * (split / (fsdp * tensor) + whole + biases / tensor)


def adapters(c: LlamaConfig, fsdp: int = 1, tensor: int = 1) -> float:
    """Numbers of all adapters on each device: fsdp splits only one of two factors."""
    one = sum(each.adapter(c.lora_rank, fsdp, tensor) for each in linears(c))
    return c.layers * one


def pairs(c: LlamaConfig, length: int) -> int:
    """Queries times keys that a row's attention meets, block by block."""
    starts = range(0, length, c.query_block)
    ends = [min(start + c.query_block, length) for start in starts]
    return sum((end - start) * end for start, end in zip(starts, ends, strict=True))


def forward_operations(c: LlamaConfig, rows: int, length: int) -> float:
    """Two for each weight and token, adapters included, and four for each pair."""
    layer = sum(each.kernel + each.adapter(c.lora_rank) for each in linears(c))
    attention = 4 * c.heads * c.head_size * pairs(c, length)
    head = 2 * c.vocab_size * c.width * length
    return rows * (c.layers * (2 * layer * length + attention) + head)


def step_operations(c: LlamaConfig, rows: int, length: int) -> float:
    """Forward, again, and gradients: of activations, and of the adapters alone."""
    # Nothing needs what down gives a second time.
    again = -2 * length * (c.mlp_width * c.width + c.lora_rank * c.width)
    of_adapters = 2 * length * sum(each.adapter(c.lora_rank) for each in linears(c))
    # Of both products of attention, both sides have a gradient.
    of_pairs = 4 * c.heads * c.head_size * pairs(c, length)
    more = rows * c.layers * (again + of_adapters + of_pairs)
    return 3 * forward_operations(c, rows, length) + more


def forward_sent(c: LlamaConfig, mesh: Mesh, rows: int, length: int) -> float:
    """Bytes that a device sends: parts of weights, then sums over parts of heads."""
    tables = (1 if c.tie_embeddings else 2) * c.vocab_size * c.width / mesh.tensor
    per_token = c.layers * (2 * c.width + 2 * c.lora_rank) + c.width
    return _gathered(mesh, tables + c.layers * _parts(c, mesh.tensor)) + _summed(
        mesh.tensor, per_token * rows * length / mesh.rows
    )


def step_sent(c: LlamaConfig, mesh: Mesh, rows: int, length: int) -> float:
    """As forward, the weights of layers again, and the adapters' gradients."""
    # Again what o gives; then what the heads and the mlp take, once each.
    per_token = c.layers * (3 * c.width + 7 * c.lora_rank) + c.width
    return (
        forward_sent(c, mesh, rows, length)
        + _gathered(mesh, c.layers * _parts(c, mesh.tensor))
        + _summed(mesh.tensor, per_token * rows * length / mesh.rows)
        + _summed(mesh.rows, adapters(c) / mesh.tensor)
    )


def _parts(c: LlamaConfig, tensor: int) -> float:
    """Numbers of a layer that fsdp splits, adapters included."""
    kernels = sum(each.kernel for each in linears(c)) / tensor
    factors = sum(each.takes if each.wide else each.gives for each in linears(c))
    return kernels + c.lora_rank * factors


def _gathered(mesh: Mesh, numbers: float) -> float:
    return HALF * numbers * (mesh.fsdp - 1) / mesh.fsdp


def _summed(devices: int, numbers: float) -> float:
    return HALF * numbers * 2 * (devices - 1) / devices


def activations(
    c: LlamaConfig, mesh: Mesh, rows: int, length: int, chunk: int
) -> float:
    """Bytes of what lives while a step runs, at the fullest of three moments."""
    mine = rows / mesh.rows
    tokens = mine * length
    table = HALF * c.vocab_size * c.width / mesh.tensor
    saved = HALF * c.layers * tokens * c.width
    gradients = FULL * adapters(c, mesh.fsdp, mesh.tensor)
    # Logits, their log-probs, probabilities and gradient.
    logits = 4 * FULL * mine * chunk * c.vocab_size / mesh.tensor
    # Softmax in float32 and as it is multiplied with the values.
    scores = (FULL + HALF) * mine * pairs(c, length) * c.heads / mesh.tensor
    # Gate, up, silu, their product, and three gradients; and about twelve of width D.
    layer = HALF * (
        sum(each.kernel for each in linears(c)) / mesh.tensor
        + tokens * (7 * c.mlp_width / mesh.tensor + 12 * c.width)
    )
    start = (1 if c.tie_embeddings else 2) * table if mesh.fsdp > 1 else 0
    return max(start, saved + table + logits, saved + scores + layer + gradients)


def caches(config: Config, tensor: int) -> float:
    """Bytes of keys and values of all slots, one cohort more, and the prompts."""
    c, s = config.model, config.sampler
    rows = -(-s.slots // s.cohorts) * (s.cohorts + 1) + s.prefill
    each = FULL if s.cache_dtype == "float32" else HALF
    heads = c.kv_heads / (tensor if c.kv_heads % tensor == 0 else 1)
    return each * 2 * c.layers * rows * config.text.max_length * heads * c.head_size
