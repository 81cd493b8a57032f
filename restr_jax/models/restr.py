"""ReSTR: predicts the mask of the object that an expression refers to."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from restr_jax.models.arithmetic import product_precision, share, sum_dtype
from restr_jax.models.decoder import Decoder
from restr_jax.models.fusion import FusionEncoder
from restr_jax.models.language import LanguageEncoder
from restr_jax.models.layers import REMAT
from restr_jax.models.upsampling import upsample
from restr_jax.models.vision import VisionEncoder


class Segmentation(NamedTuple):
    """Model output for each expression of each image.

    Attributes:
        pixel_logits: logits of the mask at the size of the input image.
        patch_logits: logits of the patch prediction (Eq. 9 before the sigmoid).
    """

    pixel_logits: Float[Array, "B K H W"]
    patch_logits: Float[Array, "B K h w"]


class ReSTR(nn.Module):
    """The complete model; each part can be called alone through ``method=``.

    Attributes:
        vision: image encoder, run once per image.
        language: word encoder, run once per expression.
        fusion: fusion encoder, run once per expression.
        decoder: coarse-to-fine decoder; None is the paper's ablation without a decoder,
            in which the upsampled patch prediction is the mask.
        scale_scores: divide the patch scores by sqrt(D) (Eq. 9).
        sigmoid_gate: multiply patches by their probability (Eq. 10), not their logit.
        decode_projected: the decoder reads the patches that enter the fusion, not the
            output of the vision encoder.
    """

    vision: VisionEncoder
    language: LanguageEncoder
    fusion: FusionEncoder
    decoder: Decoder | None
    scale_scores: bool
    sigmoid_gate: bool
    decode_projected: bool

    def encode_image(
        self,
        image: Float[Array, "B H W 3"],
        *,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Float[Array, "B N D"]:
        """Returns patch features z_v of normalised images."""
        return self.vision(image, deterministic=deterministic, rows=rows)

    def encode_text(
        self, tokens: Int[Array, "B K L"], *, deterministic: bool
    ) -> tuple[Float[Array, "B K L D_l"], Bool[Array, "B K L"]]:
        """Returns word features z_l and a mask that is true at words."""
        return self.language(tokens, deterministic=deterministic)

    def segment(
        self,
        visual: Float[Array, "B N D"],
        words: Float[Array, "B K L D_l"],
        word_mask: Bool[Array, "B K L"],
        *,
        deterministic: bool,
        image_size: tuple[int, int] | None = None,
        rows: Int[Array, "B"] | None = None,
    ) -> Segmentation:
        """Fuses encoded images with encoded expressions and decodes masks.

        Args:
            visual: from `encode_image`.
            words: from `encode_text`.
            word_mask: from `encode_text`.
            deterministic: as in `__call__`.
            image_size: (height, width) of the images, if it differs from the model's.
            rows: as in `__call__`.
        """
        height, width = image_size or self.vision.image_size
        size = self.vision.patch_size
        grid = (height // size, width // size)
        projected, patches, classifier = self.fusion(
            visual,
            words,
            word_mask,
            grid=grid,
            deterministic=deterministic,
            rows=rows,
        )
        # Eq. 9 before the sigmoid: z'_v e'_s^T. A logit lets the loss be exact for any
        # value. The sum over D is in float32, also for bfloat16 features.
        logits = jnp.einsum(
            "bknd,bkd->bkn",
            patches,
            classifier,
            precision=product_precision(patches),
            preferred_element_type=sum_dtype(patches),
        )
        # Eq. 9's sqrt(D): a sum of D independent products grows like sqrt(D).
        if self.scale_scores:
            logits = logits / jnp.sqrt(classifier.shape[-1])
        patch_logits = logits.reshape(*logits.shape[:2], *grid)
        # The ablation without a decoder: the upsampled patch map is the mask.
        if self.decoder is None:
            return Segmentation(
                upsample(patch_logits[..., None], size)[..., 0], patch_logits
            )
        # Eq. 10: z_masked = z'_v * y_p. The released program multiplies by the logit.
        gate = nn.sigmoid(logits) if self.sigmoid_gate else logits
        masked = (patches * gate[..., None]).astype(patches.dtype)
        # Back to a grid of h x w patches, which the decoder upsamples.
        masked = masked.reshape(*masked.shape[:2], *grid, -1)
        # z_v of Eq. 7 is D wide, so [z_v, z_masked] has 2D channels; that of Eq. 6 is
        # as wide as the vision encoder.
        seen = projected if self.decode_projected else visual
        # The visual half is the same for all K expressions of an image.
        seen = seen.reshape(seen.shape[0], 1, *grid, -1)
        seen = share(seen, (*masked.shape[:-1], seen.shape[-1]))
        return Segmentation(self.decoder(seen, masked), patch_logits)

    def __call__(
        self,
        image: Float[Array, "B H W 3"],
        tokens: Int[Array, "B K L"],
        *,
        deterministic: bool,
        rows: Int[Array, "B"] | None = None,
    ) -> Segmentation:
        """Segments K expressions in each of B images.

        Args:
            image: normalised RGB in [-1, 1].
            tokens: word ids; 0 is padding.
            deterministic: disable stochastic depth; True except in training.
            rows: each image's row in the whole batch, which selects its draws of
                stochastic depth; counts from 0 unless given. Set it if a device or an
                accumulation step processes only a part of the batch.
        """
        # The image is encoded once, for all of its K expressions.
        visual = self.encode_image(image, deterministic=deterministic, rows=rows)
        words, word_mask = self.encode_text(tokens, deterministic=deterministic)
        return self.segment(
            visual,
            words,
            word_mask,
            deterministic=deterministic,
            image_size=image.shape[-3:-1],
            rows=rows,
        )


@functools.lru_cache
def bound(program: Callable, model: ReSTR, *fixed: Any) -> Callable:
    """Binds a program to a model: JAX traces and compiles the same object only once."""
    return functools.partial(program, model, *fixed)


def build_model(config, vocab_size: int) -> ReSTR:
    """Builds the model that ``config.model`` describes.

    Args:
        config: the ``model`` part of a configuration (configs/common.py).
        vocab_size: V, rows of the word table.

    Raises:
        ValueError: if config.remat is unknown.
    """
    size, remat = config.patch_size, config.remat
    if remat not in REMAT:
        raise ValueError(
            f"Unknown config.model.remat {remat!r}; set it to one of {REMAT}."
        )
    return ReSTR(
        vision=VisionEncoder(
            image_size=tuple(config.image_size),
            patch_size=size,
            remat=remat,
            **config.vision,
        ),
        language=LanguageEncoder(
            vocab_size=vocab_size,
            out_width=config.fusion.width,
            remat=remat,
            **config.language,
        ),
        fusion=FusionEncoder(remat=remat, **config.fusion),
        decoder=Decoder(size, config.fusion.width) if config.decoder else None,
        scale_scores=config.scale_scores,
        sigmoid_gate=config.sigmoid_gate,
        decode_projected=config.decode_projected,
    )
