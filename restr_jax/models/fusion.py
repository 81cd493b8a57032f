"""The multimodal fusion encoder with its class seed (Section 3.2, Eqs. 7 and 8)."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.layers import (
    TransformerEncoder,
    l2_normalize,
    layer_norm,
    linear,
)

FUSION_KINDS = ("cme", "vme", "ime")


class Fused(NamedTuple):
    """What the fusion makes of images and expressions.

    Attributes:
        projected: the patches as they enter the fusion, the same for any expression.
        patches: z'_v, the patches as the words changed them.
        classifier: e'_s, the adaptive classifier that scores them.
    """

    projected: Float[Array, "B N D"]
    patches: Float[Array, "B K N D"]
    classifier: Float[Array, "B K D"]


class FusionEncoder(nn.Module):
    """Fuses patches and words; turns a class seed into an adaptive classifier.

    Attributes:
        kind: "cme", the paper's coupled encoder: the seed attends to the words as the
            visual-linguistic encoder leaves them, never to a patch; "ime": the seed
            attends to the words as they came; "vme": one encoder over everything.
        width: D, the width of both modalities inside the fusion.
        num_layers: layers in all; "cme" and "ime" give half to each encoder.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: spread of the first weights of linears and seed.
        drop_path_rate: stochastic depth of each encoder's last layer, in training.
        share_weights: each encoder applies one layer's weights repeatedly.
        zero_padding: padding enters the encoders as zeros.
        mask_padding: padding is never attended to; else it is as any word.
        map_outputs: multiply patches and classifier with a D x D matrix each.
        remat: one of `layers.REMAT`.
    """

    kind: str
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    drop_path_rate: float
    share_weights: bool
    zero_padding: bool
    mask_padding: bool
    map_outputs: bool
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        visual: Float[Array, "B N D_v"],
        language: Float[Array, "B K L D_l"],
        word_mask: Bool[Array, "B K L"],
        *,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Fused:
        """Fuses each expression with its image; `rows` as in `ReSTR`."""
        self._check()
        batch, expressions = language.shape[:2]
        num_patches = visual.shape[-2]
        init = nn.initializers.normal(self.init_std)
        projected = linear(l2_normalize(visual), self.width, "visual_linear", init)
        z_v = jnp.broadcast_to(
            projected[:, None], (batch, expressions, *projected.shape[-2:])
        )
        z_l = linear(l2_normalize(language), self.width, "language_linear", init)
        if self.zero_padding:
            z_l = jnp.where(word_mask[..., None], z_l, 0.0)
        seed = self.param("seed", init, (1, self.width))
        seed = jnp.broadcast_to(seed, (batch, expressions, 1, self.width))
        # Patches and the seed are always attended to, words where they are words.
        if not self.mask_padding:
            word_mask = jnp.ones_like(word_mask)
        of_patches = z_v, jnp.ones(z_v.shape[:-1], bool)
        of_words = z_l, word_mask
        of_seed = seed, jnp.ones(seed.shape[:-1], bool)
        norm = layer_norm("norm")
        encode = functools.partial(self._encode, deterministic=deterministic, rows=rows)

        if self.kind == "vme":
            streams = [of_patches, of_words, of_seed]
            fused = norm(encode("visual_linguistic", streams))
            patches, e_s = fused[..., :num_patches, :], fused[..., -1, :]
        else:
            streams = [of_patches, of_words]
            fused = encode("visual_linguistic", streams)
            patches, words = jnp.split(fused, [num_patches], axis=-2)
            if self.kind == "ime":
                patches, words = norm(patches), z_l
            streams = [(words, word_mask), of_seed]
            seeded = encode("linguistic_seed", streams)
            e_s = norm(seeded[..., -1, :])
        if self.map_outputs:
            patches = self._map(patches, "patch_map")
            e_s = self._map(e_s, "classifier_map")
        return Fused(projected, patches, e_s)

    def _map(self, x: Float[Array, "*b D"], name: str) -> Float[Array, "*b D"]:
        init = nn.initializers.normal(self.width**-0.5)
        return linear(x, self.width, name, init, use_bias=False)

    def _encode(self, name: str, streams: list, **options):
        """Joins (tokens, mask) streams and runs one of the two encoders on them."""
        encoder = TransformerEncoder(
            num_layers=self.num_layers if self.kind == "vme" else self.num_layers // 2,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            init_std=self.init_std,
            remat=self.remat,
            drop_path_rate=self.drop_path_rate,
            share_weights=self.share_weights,
            name=name,
        )
        tokens, masks = zip(*streams, strict=True)
        return encoder(
            jnp.concatenate(tokens, axis=-2),
            jnp.concatenate(masks, axis=-1),
            **options,
        )

    def _check(self):
        if self.kind not in FUSION_KINDS:
            raise ValueError(
                f"Unknown fusion kind {self.kind!r}; it is one of {FUSION_KINDS}."
            )
        if self.kind != "vme" and self.num_layers % 2:
            raise ValueError(
                f"Fusion {self.kind!r} splits its layers between two encoders, so "
                f"num_layers has to be even, not {self.num_layers}."
            )
