"""The multimodal fusion encoder with its class seed (Section 3.2, Eqs. 7 and 8)."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.arithmetic import share
from restr_jax.models.attention import attended_first, reorder
from restr_jax.models.layers import (
    TransformerEncoder,
    l2_normalize,
    layer_norm,
    linear,
)

FUSION_KINDS = ("cme", "vme", "ime")


class Fused(NamedTuple):
    """Outputs of the fusion encoder.

    Attributes:
        projected: z_v, the patches that enter the fusion, the same for any expression.
        patches: z'_v, the patches fused with the words.
        classifier: e'_s, the adaptive classifier that scores the patches.
    """

    projected: Float[Array, "B N D"]
    patches: Float[Array, "B K N D"]
    classifier: Float[Array, "B K D"]


def place_features(rows: int, columns: int) -> Float[np.ndarray, "N 8"]:
    """Returns cos(pi k u) of the patches' centres, k = 1 to 4, down and then across.

    Args:
        rows: number of patch rows.
        columns: number of patch columns.
    """
    # u is a centre's position as a fraction of the height, then of the width.
    down, across = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    centres = np.stack(np.meshgrid(down, across, indexing="ij"), -1).reshape(-1, 2)
    waves = np.cos(np.pi * centres[:, :, None] * np.arange(1, 5))
    return waves.reshape(-1, 8).astype(np.float32)


class FusionEncoder(nn.Module):
    """Fuses patches and words; turns a class seed into an adaptive classifier.

    Attributes:
        kind: "cme", the paper's coupled encoder: the seed attends to the words that the
            visual-linguistic encoder returns, never to a patch; "ime": the seed attends
            to the words that enter the fusion; "vme": one encoder over all tokens.
        width: D, the width of both modalities inside the fusion.
        num_layers: layers in total; "cme" and "ime" give half to each encoder.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        init_std: standard deviation of the initial weights of linears and seed.
        input_std: standard deviation of the initial weights of the two input linears.
            Their inputs have length 1, so this is the size of each value that enters.
        drop_path_rate: stochastic depth of each encoder's last layer, in training.
        share_weights: each encoder applies one layer's weights repeatedly.
        norm_each: each encoder's output passes its own LayerNorm, as printed; otherwise
            one LayerNorm serves all outputs, and CME's z'_v and z'_l pass none.
        coordinates: add a linear map of its position (`place_features`) to each patch.
        zero_padding: padding enters the encoders as zeros.
        mask_padding: padding is never attended to; otherwise it is treated as a word.
        map_outputs: multiply patches and classifier by a D x D matrix each.
        remat: one of `layers.REMAT`.
    """

    kind: str
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    init_std: float
    input_std: float
    drop_path_rate: float
    share_weights: bool
    zero_padding: bool
    mask_padding: bool
    map_outputs: bool
    coordinates: bool = False
    norm_each: bool = False
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        visual: Float[Array, "B N D_v"],
        language: Float[Array, "B K L D_l"],
        word_mask: Bool[Array, "B K L"],
        *,
        deterministic: bool,
        grid: tuple[int, int] | None = None,
        rows: Int[Array, "B"] | None = None,
    ) -> Fused:
        """Fuses each expression with its image.

        Args:
            visual: z_v, the patches row by row.
            language: z_l.
            word_mask: false at padding.
            deterministic: as in `ReSTR`.
            grid: rows and columns of patches; needed only for `coordinates`.
            rows: as in `ReSTR`.

        Raises:
            ValueError: if the kind is unknown or cannot split its number of layers.
        """
        self._check()
        batch, expressions = language.shape[:2]
        num_patches = visual.shape[-2]
        projected = self._enter_patches(visual, grid)
        # One image serves K expressions, whose gradients `share` sums in float32.
        z_v = share(projected[:, None], (batch, expressions, *projected.shape[-2:]))
        z_l = self._enter(language, "language_linear")
        # Positions, encoder and bias have made padding non-zero.
        if self.zero_padding:
            z_l = jnp.where(word_mask[..., None], z_l, 0.0)
        # e_s: one trainable vector for all images and expressions.
        init = nn.initializers.normal(self.init_std)
        seed = self.param("seed", init, (1, self.width))
        seed = share(seed, (batch, expressions, 1, self.width))
        # Padding has to come last (attention.py), so words come after patches and seed.
        # Attention treats tokens as a set, so their order has no meaning here.
        padded = 0
        if self.mask_padding:
            z_l = reorder(attended_first(word_mask), z_l)
            padded = z_l.shape[-2] - word_mask.sum(-1)
        encode = functools.partial(
            self._encode, padded=padded, deterministic=deterministic, rows=rows
        )
        # With one shared LayerNorm, only the last encoder of CME applies it.
        norm = None if self.norm_each else layer_norm("norm")

        if self.kind == "vme":
            # VME: one encoder over all tokens, so the seed attends to patches as well.
            fused = encode("visual_linguistic", [z_v, seed, z_l], norm)
            patches, e_s = fused[..., :num_patches, :], fused[..., num_patches, :]
        else:
            # Eq. 7: [z'_v, z'_l] from [z_v, z_l].
            fused = encode("visual_linguistic", [z_v, z_l])
            patches, words = jnp.split(fused, [num_patches], axis=-2)
            if self.kind == "ime":
                # IME: the seed reads words that have seen no patch.
                words = z_l
                patches = patches if norm is None else norm(patches)
            # Eq. 8: e'_s from [z'_l, e_s]. None of these tokens is a patch.
            e_s = encode("linguistic_seed", [seed, words], norm)[..., 0, :]
        # The released program maps both before their product (Eq. 9).
        if self.map_outputs:
            patches = self._map(patches, "patch_map")
            e_s = self._map(e_s, "classifier_map")
        return Fused(projected, patches, e_s)

    def _enter(self, x: Float[Array, "*b D_in"], name: str) -> Float[Array, "*b D"]:
        """Maps a modality to D; the input linears read unit vectors at any scale."""
        init = nn.initializers.normal(self.input_std)
        return linear(l2_normalize(x), self.width, name, init)

    def _enter_patches(
        self, visual: Float[Array, "B N D_v"], grid: tuple[int, int] | None
    ) -> Float[Array, "B N D"]:
        """Returns the patches that enter the fusion, with their coordinates if set."""
        projected = self._enter(visual, "visual_linear")
        if not self.coordinates:
            return projected
        places = jnp.asarray(place_features(*grid), projected.dtype)
        zeros = nn.initializers.zeros  # Coordinates have no effect at first.
        shift = linear(places, self.width, "coordinates", zeros, use_bias=False)
        return projected + share(shift, projected.shape)

    def _map(self, x: Float[Array, "*b D"], name: str) -> Float[Array, "*b D"]:
        # With D inputs, this spread keeps the size of the values.
        init = nn.initializers.normal(self.width**-0.5)
        return linear(x, self.width, name, init, use_bias=False)

    def _encode(
        self,
        name: str,
        streams: list[Float[Array, "B K _ D"]],
        norm: nn.LayerNorm | None = None,
        *,
        padded: Int[Array, "B K"] | int,
        **options,
    ) -> Float[Array, "B K T D"]:
        """Concatenates streams of tokens, runs an encoder and normalises its output.

        Args:
            name: name of the encoder.
            streams: tokens; only the last stream may end with padding.
            norm: LayerNorm of the output, used only if `norm_each` is false.
            padded: number of padding tokens at the end.
            options: arguments of `TransformerEncoder`.
        """
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
        tokens = jnp.concatenate(streams, axis=-2)
        # Attention covers a prefix of each sequence, which ends where padding begins.
        lengths = tokens.shape[-2] - padded if self.mask_padding else None
        tokens = encoder(tokens, lengths, **options)
        if self.norm_each:
            # The print applies LN to the output of a transformer encoder.
            norm = layer_norm(f"norm_{name}")
        return tokens if norm is None else norm(tokens)

    def _check(self):
        if self.kind not in FUSION_KINDS:
            raise ValueError(
                f"Unknown fusion kind {self.kind!r}; set config.model.fusion.kind to "
                f"one of {FUSION_KINDS}."
            )
        if self.kind != "vme" and self.num_layers % 2:
            raise ValueError(
                f"Fusion {self.kind!r} splits its layers between two encoders, so "
                f"config.model.fusion.num_layers must be even, not {self.num_layers}."
            )
