"""A small ReSTR for photographs, from a pretrained ViT and GloVe's word vectors.

`make photos PHOTOS=FOLDER` runs all of this, with the photographs of `coco`, `animals`
and `singles` and the two files of weights and word vectors in FOLDER:

    python -m tfds_builders.prepare instances/animals --manual_dir=FOLDER/animals
    python -m tfds_builders.prepare instances/coco --manual_dir=FOLDER/coco
    python -m tfds_builders.prepare instances/singles --manual_dir=FOLDER/singles \
        --option partial=.
    python -m tfds_builders.prepare instances/pasted --manual_dir=FOLDER \
        --option sources=coco,animals,singles --option partial=singles \
        --option scenes=20000
    python -m tfds_builders.prepare instances/things --manual_dir=FOLDER \
        --option sources=coco,animals,singles --option partial=animals,singles \
        --option scenes=8000 --option seed=2
    python -m tfds_builders.prepare instances/pairs --manual_dir=FOLDER \
        --option sources=coco,animals,singles --option partial=coco,singles \
        --option scenes=5000 --option most_area=0.5 --option seed=3
    python -m tfds_builders.prepare instances/several --manual_dir=FOLDER \
        --option sources=coco,animals --option several=true --option seed=5
    python -m restr_jax.pretrained --input=FOLDER/deit_tiny_patch16_224.safetensors \
        --pixels=imagenet --output=deit_tiny.npz
    python main.py --config=configs/photos.py:small --workdir=runs/photos_small \
        --config.init_from=deit_tiny.npz --config.data.glove=FOLDER/glove.6B.50d.txt
    python main.py --config=configs/photos.py --workdir=runs/photos \
        --config.init_from=runs/photos_small

The structure is the paper's, in the size of a DeiT-Tiny. Each deviation from the paper
has its own key, set below with its reason. Training starts on small images (`:small`,
128 x 128), at three times as many expressions a second; the result carries over to
224 x 224. On a GPU, run the same with `--config.batch_size=64
--config.data.num_workers=12`. The next larger size, `:S/16`, is for a DeiT-Small and
GloVe of width 300. `:fine_tune` starts from the shipped weights instead, for the data
set `custom` (docs/own_data.md).
"""

import ml_collections

from configs import common

# `things` has scenes of everyday things, `pairs` scenes of large objects. Photographs
# with several objects of one class are rare, and count six times.
_SETS = ("pasted", "things", "pairs", "animals", "coco", "singles", *("several",) * 6)


def get_config(words: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; ``words`` may name a stage and a size."""
    sizes = ("Ti/16", *(size for size in common.SIZES if size != "Ti/16"))
    stages = ("large", "small", "fine_tune")
    chosen = common.choose(words, {"stage": stages, "size": sizes})
    config = common.get_config(chosen["size"])
    config.seed = 33  # Another order of the same images than the first stage's.
    config.batch_size = 8  # 16 images took more than 16 GB of a CPU's memory.
    config.data.dataset = ",".join(f"instances/{name}" for name in _SETS)
    config.data.val_split = "instances/coco:val"  # Of the two, the harder set.
    # No set trains on the photographs that another is scored on.
    config.data.exclude = "instances/animals,instances/coco"
    config.data.expressions_per_image = 6  # They share one pass of the vision encoder.
    config.data.flip = True  # Each photograph teaches left and right twice.
    config.data.color_jitter = 0.3
    # Words absent from training keep GloVe's vectors, close to those of similar words;
    # word dropout teaches the model to ignore words that GloVe lacks too. The others
    # are trained: GloVe has "left" close to "right", and "second" to "third".
    config.data.word_dropout = 0.05
    config.data.min_word_count = 2
    config.data.glove_words = 20_000
    config.model.image_size = (224, 224)
    # "Left" need not rely on the positions that survive the vision encoder.
    config.model.fusion.coordinates = True
    # The classifier receives patches at the scale of the input. Three keys belong
    # together: a decoder of the vision encoder's own patches, input linears that do not
    # shrink patches and words fifty times, and no norm of the patches afterwards.
    config.model.decode_projected = False
    config.model.fusion.input_std = 1.0
    config.model.fusion.norm_each = False
    # Expressions such as "the second dog from the left" need more than two layers per
    # encoder, and all of them.
    config.model.fusion.num_layers = 8
    config.model.fusion.drop_path_rate = 0.0
    # Small objects rarely cover 80 % of a patch of 16 pixels.
    config.loss.patch_threshold = 0.5
    config.loss.patch_weight = 2.0  # Finding the object comes before its outline.
    # Under cross entropy alone, an undecided model predicts empty masks.
    config.loss.dice_weight = 1.0
    # The shipped weights took them in three runs (benchmarks/photos.md).
    config.optimizer.total_steps = 2_260
    config.optimizer.warmup_steps = 40
    config.optimizer.learning_rate = 1e-3
    config.optimizer.rule = "muon"  # Needs fewer expressions than AdamW.
    config.optimizer.beta2 = 0.98
    config.optimizer.weight_decay = 0.05
    config.optimizer.decay_mask = "matrices"
    config.optimizer.clip_norm = 1.0
    # Pretrained: it should keep its knowledge of photographs.
    config.optimizer.lr_scale.vision = 0.2
    config.optimizer.ema_decay = 0.99
    config.optimizer.nonfinite = "skip"  # One step must not end a night's run.
    config.log_every_steps = 10
    config.checkpoint_every_steps = 50
    config.eval.every_steps = 2_260
    config.eval.splits = "instances/animals:val,instances/coco:val"
    config.eval.shuffled_text = True
    if chosen["stage"] == "small":
        _first_stage(config)
    elif chosen["stage"] == "fine_tune":
        _fine_tuning(config)
    return config


def _first_stage(config: ml_collections.ConfigDict) -> None:
    """Changes the configuration to small images, from pretrained parts."""
    config.seed = 31
    config.batch_size = 16
    config.model.image_size = (128, 128)
    config.model.vision.drop_path_rate = 0.0  # At this size it underfits.
    config.data.max_words = 12  # Two expressions in a thousand are longer.
    config.optimizer.total_steps = 1_450
    config.optimizer.warmup_steps = 50
    config.optimizer.learning_rate = 2e-3
    config.checkpoint_every_steps = 250
    config.eval.every_steps = 1_500


def _fine_tuning(config: ml_collections.ConfigDict) -> None:
    """Changes the configuration to data of the user, from the shipped weights."""
    config.init_from = "photos"  # With their words.
    config.data.dataset = "custom"
    config.data.exclude = ""
    config.data.val_split = config.eval.splits = "val"
    config.optimizer.total_steps = 60
    config.optimizer.warmup_steps = 5
    config.optimizer.learning_rate = 5e-4
    config.optimizer.ema_decay = 0.9
    config.checkpoint_every_steps = config.eval.every_steps = 20
    config.eval.at_start = True  # The scores of the shipped weights.
