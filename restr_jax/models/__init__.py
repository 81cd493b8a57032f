"""ReSTR's model (Section 3 of the paper) as flax.linen modules.

Dimension key, for the whole package:

    B  images in a batch              K  expressions per image
    H  image height, pixels           W  image width, pixels
    h  patch rows, H / P              w  patch columns, W / P
    P  patch side, pixels             N  patches, h * w
    L  words per expression           T  tokens of any sequence
    D  width of a token               E  width of a word vector
    M  attention heads                d  width of one head, D / M
    F  hidden width of an MLP         C  channels in the decoder
    V  words in the vocabulary

A leading ``*b`` in a signature stands for any number of batch axes.

Equations of the paper and the code that computes them:

    Eq.     quantity                          code
    1, 2    transformer layer, z' and z       layers.EncoderBlock
    --      LN of an encoder's output         layers.layer_norm, in each encoder
    3       scaled dot-product attention      attention.attend, attention._logits
    3-5     multi-head self-attention, MSA    layers.SelfAttention
    6       patch tokens and z_v              vision.VisionEncoder, vision.patchify
    --      word features z_l                 language.LanguageEncoder
    7       z'_v and z'_l                     fusion.FusionEncoder, visual_linguistic
    8       adaptive classifier e'_s          fusion.FusionEncoder, linguistic_seed
    9       patch prediction y_p, as logits   restr.ReSTR.segment
    10      masked features z_masked          restr.ReSTR.segment
    --      decoder (Section 3.3)             decoder.Decoder, upsampling.double_leaky
    11      patch labels                      training.losses.patch_labels
    12      training loss                     training.losses.segmentation_losses
    tau     patch threshold                   losses.patch_labels, threshold
    lambda  weight of the patch loss          losses.segmentation_losses, patch_weight
    --      learning rate schedule            training.optimizer.make_schedule

The paper's sizes and the training settings of Section 4.1 are the defaults of
``get_config`` in configs/common.py:

    value                                     key
    480 x 480 pixels, patches of 16           model.image_size, model.patch_size
    20 words                                  data.max_words
    ViT-B/16: 768, 12 layers, 12 heads, 3072  model.vision.{width, num_layers, ...}
    GloVe 300, 6 layers, 12 heads, 3072       model.language.{width, num_layers, ...}
    fusion: CME, 768, 2 + 2 layers            model.fusion.{kind, width, num_layers}
    lambda 0.1, tau 0.8                       loss.patch_weight, loss.patch_threshold
    AdamW, weight decay 5e-4                  optimizer.rule, optimizer.weight_decay
    learning rate 1e-5, at its peak           optimizer.learning_rate
    40,000 warm-up steps of 400,000           optimizer.{warmup_steps, total_steps}
    polynomial decay to 0                     optimizer.poly_power (0.9, as released)
    8 images per batch                        batch_size, data.expressions_per_image

The preset `released` changes some of them; docs/presets.md lists the differences.
"""

from restr_jax.models.decoder import Decoder
from restr_jax.models.fusion import FusionEncoder
from restr_jax.models.language import LanguageEncoder
from restr_jax.models.restr import ReSTR, Segmentation, bound, build_model
from restr_jax.models.vision import VisionEncoder

__all__ = [
    "Decoder",
    "FusionEncoder",
    "LanguageEncoder",
    "ReSTR",
    "Segmentation",
    "VisionEncoder",
    "bound",
    "build_model",
]
