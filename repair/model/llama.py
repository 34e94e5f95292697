"""Llama and its kin in flax.linen: RMSNorm, RoPE, grouped-query attention, SwiGLU.

One decoder for Llama 3, SmolLM2, Qwen2.5 (biases on q, k, v) and Qwen3 (norms on q, k).

The network is a pure function of (variables, tokens, positions, segments, cache). The
cache is an explicit pytree, never a mutable collection. Adapters are the collection
"lora" next to "params": policy, reference and sampler are views of one tree.

Axis letters in names and einsums everywhere in `repair` (an axis that is none of these
is a word):

  B batch rows           N query heads        D width        P problems
  T tokens of the call   K key-value heads    F mlp width    C samples of a problem
  S cache slots          G = N / K            V vocabulary   E turns
  L layers               H head size          R adapter rank

Sources: Touvron et al. 2023 (arXiv 2302.13971), the Llama 3 report (arXiv 2407.21783),
Ainslie et al. 2023 (arXiv 2305.13245) for grouped queries, Hu et al. 2021 (arXiv
2106.09685) for adapters, the Qwen2.5 and Qwen3 reports (arXiv 2412.15115, 2505.09388).
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from repair.errors import expect, expect_between
from repair.model import kv_cache as kv
from repair.model.rope import Rope, rope_tables, rotate
from repair.model.sharding import over_rows, over_vocabulary

# Values that a layer saves for its backward pass, which computes the rest again.
REMAT = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}

DTYPES = ("float32", "bfloat16", "float16")
_MOST_SIZE = 10**7


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
    """Shape and numerics of a decoder.

    Attributes:
      vocab_size: V.
      width: D.
      mlp_width: F.
      layers: L.
      heads: N, a multiple of kv_heads.
      kv_heads: K.
      head_size: H, even.
      rope: Rotary frequencies.
      rms_eps: Term added to the mean square before its root.
      qkv_bias: True for biases on q, k and v (Qwen2).
      qk_norm: True for a norm of each head of q and k before its rotation (Qwen3).
      tie_embeddings: True if the output head is the transposed embedding.
      lora_rank: R; 0 for no adapters.
      lora_alpha: Numerator of the adapters' scale, lora_alpha / lora_rank.
      dtype: Type of activations; softmax and norms are computed in float32.
      param_dtype: Type of the stored parameters.
      scan_layers: True for one traced layer under `nn.scan` (compiles fast, for deep
        models), False for an unrolled loop (runs faster on CPU).
      remat: Part of each layer that the backward pass computes again: "none", all but
        the products with its weights ("dots"), or "full", which needs least memory.
      query_block: Queries attended at once in a pass without a cache; a block meets no
        keys past its own end, which skips most of the masked half.
    """

    vocab_size: int = 1024
    width: int = 128
    mlp_width: int = 384
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 32
    rope: Rope = Rope()
    rms_eps: float = 1e-5
    qkv_bias: bool = False
    qk_norm: bool = False
    tie_embeddings: bool = True
    lora_rank: int = 0
    lora_alpha: float = 32.0
    dtype: str = "float32"
    param_dtype: str = "float32"
    scan_layers: bool = False
    remat: str = "none"
    query_block: int = 128

    def __post_init__(self):
        sizes = ("vocab_size", "width", "mlp_width", "layers", "heads", "kv_heads")
        expect_between(self, 1, _MOST_SIZE, *sizes, "head_size", "query_block")
        expect_between(self, 0, _MOST_SIZE, "lora_rank")
        expect_between(self, 0, _MOST_SIZE, "lora_alpha", above=True)
        expect_between(self, 0, 1, "rms_eps", above=True)
        heads, groups, size = self.heads, self.kv_heads, self.head_size
        expected = f"a multiple of kv_heads={groups}"
        expect(heads % groups == 0, "heads", heads, expected)
        expect(size % 2 == 0, "head_size", size, "an even number, for RoPE")
        for name, known in (
            ("dtype", DTYPES),
            ("param_dtype", DTYPES),
            ("remat", REMAT),
        ):
            value = getattr(self, name)
            expect(value in known, name, value, f"one of {', '.join(known)}")


def attend_packed(q_BTNH, k_BTKH, v_BTKH, segments_BT, query_block: int):
    """Attend causally within segments, in blocks of queries: BT(N*H).

    A block that ends at t meets the keys before t only, so about half of the T * T
    scores are never computed.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BTKH.shape[2]
    G = N // K
    # Heads before time, and the queries of a group as rows of one matrix: batched
    # matmuls that repeat no keys or values.
    q_BKGTH = (q_BTNH * H**-0.5).reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
    k_BKHT = k_BTKH.transpose(0, 2, 3, 1)
    v_BKTH = v_BTKH.transpose(0, 2, 1, 3)
    steps = jnp.arange(T)
    outs = []
    for start in range(0, T, query_block):
        end = min(start + query_block, T)
        causal = (steps[start:end, None] >= steps[None, :end])[None]
        same = segments_BT[:, start:end, None] == segments_BT[:, None, :end]
        q = q_BKGTH[:, :, :, start:end].reshape(B, K, -1, H)
        scores = jnp.matmul(q, k_BKHT[..., :end], preferred_element_type=jnp.float32)
        # Added, not selected with where: jax hoists the mask out of a scan over layers,
        # and would hold a selection's mask broadcast over all heads.
        bias = jnp.where(causal & same, 0.0, kv.MASKED)[:, None, None]
        scores = scores.reshape(B, K, G, end - start, end) + bias
        weights = jax.nn.softmax(scores, axis=-1).astype(v_BKTH.dtype)
        out = weights.reshape(B, K, -1, end) @ v_BKTH[:, :, :end]
        outs.append(out.reshape(B, K, G, end - start, H))
    out_BKGTH = outs[0] if len(outs) == 1 else jnp.concatenate(outs, axis=3)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N * H)


class RMSNorm(nn.Module):
    """Root-mean-square norm, x / rms(x) * scale, computed in float32."""

    config: LlamaConfig

    @nn.compact
    def __call__(self, x_BTD):
        c, ones = self.config, nn.initializers.ones
        scale_D = self.param("scale", ones, x_BTD.shape[-1:], jnp.dtype(c.param_dtype))
        x32 = x_BTD.astype(jnp.float32)
        mean_square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
        x32 = x32 * jax.lax.rsqrt(mean_square + c.rms_eps)
        return (x32 * scale_D[(None,) * (x32.ndim - 1)]).astype(x_BTD.dtype)


class Linear(nn.Module):
    """Linear layer, x @ kernel, plus scale * (x @ a) @ b with adapters.

    `b` starts at zero, so a fresh adapter changes nothing.
    """

    config: LlamaConfig
    features: int
    init_scale: float = 1.0
    bias: bool = False

    @nn.compact
    def __call__(self, x):
        c = self.config
        fan_in = x.shape[-1]
        param_dtype = jnp.dtype(c.param_dtype)
        kernel = self.param(
            "kernel",
            nn.initializers.normal(self.init_scale * fan_in**-0.5),
            (fan_in, self.features),
            param_dtype,
        )
        out = x @ kernel.astype(x.dtype)
        if c.lora_rank:
            # In float32 even over a bfloat16 base, where small updates would vanish.
            a = self.variable("lora", "a", self._init_a, (fan_in, c.lora_rank))
            b_shape = (c.lora_rank, self.features)
            b = self.variable("lora", "b", jnp.zeros, b_shape, jnp.float32)
            delta = (x @ a.value.astype(x.dtype)) @ b.value.astype(x.dtype)
            out = out + (c.lora_alpha / c.lora_rank) * delta
        if self.bias:
            zeros = nn.initializers.zeros
            bias = self.param("bias", zeros, (self.features,), param_dtype)
            out = out + bias[(None,) * (out.ndim - 1)].astype(x.dtype)
        return out

    def _init_a(self, shape):
        return nn.initializers.normal(shape[0] ** -0.5)(
            self.make_rng("params"), shape, jnp.float32
        )


class Attention(nn.Module):
    """Rotary grouped-query attention over the call's tokens or over a cache."""

    config: LlamaConfig

    @nn.compact
    def __call__(self, x_BTD, cos, sin, positions_BT, segments_BT, cache):
        c = self.config
        B, T, _ = x_BTD.shape

        def heads(name, count):
            linear = Linear(c, count * c.head_size, bias=c.qkv_bias, name=name)
            return linear(x_BTD).reshape(B, T, count, c.head_size)

        q_BTNH, k_BTKH = heads("q", c.heads), heads("k", c.kv_heads)
        if c.qk_norm:
            q_BTNH = RMSNorm(c, name="q_norm")(q_BTNH)
            k_BTKH = RMSNorm(c, name="k_norm")(k_BTKH)
        q_BTNH, k_BTKH = rotate(q_BTNH, cos, sin), rotate(k_BTKH, cos, sin)
        v_BTKH = heads("v", c.kv_heads)
        if cache is None:
            out = attend_packed(q_BTNH, k_BTKH, v_BTKH, segments_BT, c.query_block)
        elif isinstance(segments_BT, kv.Pieces):
            out, cache = segments_BT.attend(q_BTNH, k_BTKH, v_BTKH, cache, positions_BT)
        else:
            cache = kv.write(cache, k_BTKH, v_BTKH, positions_BT)
            out = kv.attend(q_BTNH, cache, positions_BT)
        init_scale = (2 * c.layers) ** -0.5
        return Linear(c, c.width, init_scale, name="o")(out), cache


class Mlp(nn.Module):
    """SwiGLU, down(silu(gate(x)) * up(x))."""

    config: LlamaConfig

    @nn.compact
    def __call__(self, x_BTD):
        c = self.config
        gate_BTF = Linear(c, c.mlp_width, name="gate")(x_BTD)
        up_BTF = Linear(c, c.mlp_width, name="up")(x_BTD)
        init_scale = (2 * c.layers) ** -0.5
        return Linear(c, c.width, init_scale, name="down")(nn.silu(gate_BTF) * up_BTF)


class Block(nn.Module):
    """One pre-norm layer, as `nn.scan` takes it: (carry, cache) in and out."""

    config: LlamaConfig
    mesh: Any = None

    @nn.compact
    def __call__(self, x_BTD, cache, cos, sin, positions_BT, segments_BT):
        c = self.config
        normed_BTD = RMSNorm(c, name="attention_norm")(x_BTD)
        attended_BTD, cache = Attention(c, name="attention")(
            normed_BTD, cos, sin, positions_BT, segments_BT, cache
        )
        x_BTD = x_BTD + attended_BTD
        x_BTD = x_BTD + Mlp(c, name="mlp")(RMSNorm(c, name="mlp_norm")(x_BTD))
        return over_rows(self.mesh, x_BTD), cache


class Llama(nn.Module):
    """The decoder; `hidden` and `logits` are apart for losses that chunk the head."""

    config: LlamaConfig
    mesh: Any = None

    def setup(self):
        c = self.config
        self.embed = nn.Embed(
            c.vocab_size,
            c.width,
            embedding_init=nn.initializers.normal(0.02),
            param_dtype=jnp.dtype(c.param_dtype),
            dtype=jnp.dtype(c.dtype),
        )
        block = Block
        if c.remat != "none":
            # Under a scan, CSE cannot undo the recomputation; in a loop it would.
            loop = not c.scan_layers
            block = nn.remat(Block, policy=REMAT[c.remat], prevent_cse=loop)
        if c.scan_layers:
            self.layers = nn.scan(
                block,
                variable_axes={"params": 0, "lora": 0},
                split_rngs={"params": True},
                in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast, nn.broadcast),
                out_axes=0,
                length=c.layers,
            )(c, self.mesh)
        else:
            self.layers = [block(c, self.mesh) for _ in range(c.layers)]
        self.final_norm = RMSNorm(c)
        if not c.tie_embeddings:
            self.head = nn.Dense(
                c.vocab_size,
                use_bias=False,
                kernel_init=nn.initializers.normal(c.width**-0.5),
                param_dtype=jnp.dtype(c.param_dtype),
                dtype=jnp.dtype(c.dtype),
                dot_general=functools.partial(
                    jax.lax.dot_general, preferred_element_type=jnp.float32
                ),
            )

    def hidden(self, tokens_BT, positions_BT, segments_BT, cache) -> Any:
        """Return the final normed activations BTD and the updated cache, or None."""
        c = self.config
        # Each device looks up whole embeddings in its part of the vocabulary.
        table_VD = over_vocabulary(self.mesh, self.embed.embedding)
        x_BTD = jnp.take(table_VD.astype(c.dtype), tokens_BT, axis=0)
        x_BTD = over_rows(self.mesh, x_BTD)
        cos, sin = rope_tables(positions_BT, c.head_size, c.rope)
        shared = (cos, sin, positions_BT, segments_BT)
        if c.scan_layers:
            x_BTD, cache = self.layers(x_BTD, cache, *shared)
        else:
            caches = []
            for layer, old in zip(self.layers, cache or [None] * c.layers, strict=True):
                x_BTD, new = layer(x_BTD, old, *shared)
                caches.append(new)
            cache = cache and tuple(caches)
        return self.final_norm(x_BTD), cache

    def logits(self, hidden_D):
        """Return float32 logits over V of activations with any leading axes.

        Their products are summed in float32 and never rounded to the activations' type:
        bfloat16 would move log-probs by a tenth of a nat.
        """
        c = self.config
        if not c.tie_embeddings:
            return self.head(hidden_D)
        hidden_D, table_VD = (
            x.astype(c.dtype) for x in (hidden_D, self.embed.embedding)
        )
        return jnp.dot(hidden_D, table_VD.T, preferred_element_type=jnp.float32)

    def __call__(self, tokens_BT, positions_BT, segments_BT, cache):
        """Return logits BTV and the updated cache."""
        hidden_BTD, cache = self.hidden(tokens_BT, positions_BT, segments_BT, cache)
        return self.logits(hidden_BTD), cache
