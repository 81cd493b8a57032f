"""A small ReSTR of photographs, from a pretrained ViT and GloVe's words.

    python -m tfds_builders.prepare instances/animals --manual_dir=photos/animals
    python -m tfds_builders.prepare instances/coco --manual_dir=photos/coco
    python -m tfds_builders.prepare instances/singles --manual_dir=photos/singles \
        --option partial=.
    python -m tfds_builders.prepare instances/pasted --manual_dir=photos \
        --option sources=coco,animals,singles --option partial=singles \
        --option scenes=20000
    python -m restr_jax.pretrained --input=deit_tiny_patch16_224.safetensors \
        --pixels=imagenet --output=deit_tiny.npz
    python main.py --config=configs/photos.py --workdir=runs/photos \
        --config.init_from=deit_tiny.npz --config.data.glove=glove.6B.50d.txt

The structure is the paper's, in the size of a DeiT-Tiny. What is not in the paper is a
key of its own, set below with its reason. The default sees 1.3 million expressions:
nineteen hours at the 1.7 s a step of two busy CPU cores. `:short` stops after a fifth
of it. Nobody has trained it to its end yet. A GPU takes the same with
`--config.batch_size=64 --config.data.num_workers=12`. The next larger size, `:S/16`,
is for a DeiT-Small and GloVe of width 300.
"""

import ml_collections

from configs import common

_SETS = "instances/pasted,instances/animals,instances/coco,instances/singles"


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may ask for a short run and a size."""
    sizes = ("Ti/16", *(size for size in common.SIZES if size != "Ti/16"))
    chosen = common.choose(words, {"duration": ("full", "short"), "size": sizes})
    config = common.get_config(chosen["size"])
    config.data.dataset = _SETS
    config.data.val_split = "instances/coco:val"  # The harder set to be best on.
    # Photographs that a set is scored on are in no other set's training.
    config.data.exclude = "instances/animals,instances/coco"
    config.data.expressions_per_image = 4  # They share the vision encoder's pass.
    config.data.flip = True  # Each photograph teaches left and right twice.
    config.data.color_jitter = 0.3
    # People use words that training lacks. Their vectors stay GloVe's, near those of
    # like words; and word dropout teaches the model to pass over what GloVe lacks too.
    config.data.word_dropout = 0.1
    config.data.min_word_count = 2
    config.data.glove_words = 20_000
    config.optimizer.freeze_words = True
    config.model.image_size = (224, 224)
    # Small objects seldom cover 80 % of a patch of 16 pixels.
    config.loss.patch_threshold = 0.5
    config.loss.patch_weight = 0.5
    # An undecided model answers nothing under cross entropy alone.
    config.loss.dice_weight = 1.0
    config.optimizer.total_steps = 40_000
    config.optimizer.warmup_steps = 1_000
    config.optimizer.learning_rate = 5e-4
    config.optimizer.beta2 = 0.98
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay_mask = "matrices"
    config.optimizer.clip_norm = 1.0
    # Pretrained; it soon overfits few photographs.
    config.optimizer.lr_scale.vision = 0.1
    config.optimizer.ema_decay = 0.999
    config.optimizer.nonfinite = "skip"  # A night's run does not end for one step.
    config.checkpoint_every_steps = 500
    config.eval.every_steps = 2_000
    config.eval.splits = "instances/animals:val,instances/coco:val"
    config.eval.shuffled_text = True
    if chosen["duration"] == "short":
        config.optimizer.total_steps = 8_000
        config.optimizer.warmup_steps = 500
    return config
