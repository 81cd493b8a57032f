"""Every key of a configuration, with its unit and its default.

The defaults are the paper's: preset `paper`, size `B/16`, Section 4.1's training. An
experiment (gref.py, shapes.py) calls `get_config` and overrides keys. Any key can
be set on the command line, as in --config.optimizer.learning_rate=2e-5.

An experiment accepts words after a colon, separated by commas, as in
--config=configs/gref.py:tiny,released.
"""

import ml_collections

# Presets by name, with their changes to the config. `paper` follows the printed paper
# and, where it is silent, the authors' released program; `released` is that program.
PRESETS = {
    "paper": {},
    "released": {
        "data": {"resize": "released", "tokenizer": "released", "padding": "left"},
        "model": {
            "scale_scores": False,
            "sigmoid_gate": False,
            "vision": {"class_token": True, "resize_by_count": True},
            "language": {
                "mlp_dim": 1200,
                "post_norm": True,
                "mask_padding": False,
                "project": True,
            },
            "fusion": {
                "mask_padding": False,
                "norm_each": False,
                "map_outputs": True,
            },
        },
        "loss": {"patch_threshold": 0.0},
        "optimizer": {"lr_scale": {"vision": 0.1}},
    },
}

# Sizes by name, with their changes to config.model.
SIZES = {
    "B/16": {},
    # Fusion and decoder are as wide as the vision encoder: they do most of the work
    # if an image has several expressions.
    "S/16": {
        "vision": {"width": 384, "num_heads": 6, "mlp_dim": 1536},
        "language": {"num_layers": 4, "num_heads": 6, "mlp_dim": 1200},
        "fusion": {"width": 384, "num_heads": 6, "mlp_dim": 1536},
    },
    "Ti/16": {
        "vision": {"width": 192, "num_heads": 3, "mlp_dim": 768},
        # As wide as GloVe's 50-d vectors.
        "language": {"width": 50, "num_layers": 2, "num_heads": 5, "mlp_dim": 200},
        "fusion": {"width": 192, "num_heads": 3, "mlp_dim": 768},
    },
    "tiny": {
        "patch_size": 8,
        "image_size": (64, 64),
        "vision": {
            "width": 128,
            "num_layers": 3,
            "num_heads": 4,
            "mlp_dim": 256,
            "init_std": 0.07,
            "drop_path_rate": 0.0,
            "positions_init": "sinusoidal",
            "conv_init": False,
        },
        "language": {
            "width": 64,
            "num_layers": 1,
            "num_heads": 2,
            "mlp_dim": 128,
            "init_std": 0.07,
        },
        "fusion": {
            "width": 128,
            "num_heads": 4,
            "mlp_dim": 256,
            "init_std": 0.07,
            "input_std": 0.07,
            "drop_path_rate": 0.0,
        },
    },
}


def choose(words: str, allowed: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Reads the words after a config file's colon.

    Args:
        words: words separated by commas; may be empty.
        allowed: the words of each subject, its default first.

    Returns:
        One word per subject.

    Raises:
        ValueError: if a word is unknown, or two words share a subject.
    """
    chosen: dict[str, str] = {}
    for word in filter(None, map(str.strip, words.split(","))):
        subject = next((s for s, all_of in allowed.items() if word in all_of), None)
        if subject is None or subject in chosen:
            raise ValueError(
                f"Cannot use {word!r} in the config string {words!r}; choose at most "
                f"one of each: {allowed}."
            )
        chosen[subject] = word
    return {s: chosen.get(s, all_of[0]) for s, all_of in allowed.items()}


def _data() -> ml_collections.ConfigDict:
    """Returns the keys of data sets, images and words."""
    data = ml_collections.ConfigDict()
    data.dataset = ml_collections.config_dict.placeholder(str)  # comma-separated
    data.data_dir = "data"  # folder of the built data sets
    data.train_split = "train"  # the split to train on
    data.val_split = "val"  # or "unc:val"; scored in training to keep the best step
    data.exclude = ""  # sets, comma-separated, whose images outside train* are excluded
    data.resize = "stretch"  # to image_size: "stretch", or "letterbox" or "released",
    # which keep the aspect ratio; "released" uses the released program's filters
    data.flip = False  # mirror half of the examples and swap left and right in words
    data.color_jitter = 0.0  # range of brightness, contrast and colour: 1 -+ this share
    data.max_words = 20  # L, words per expression; longer ones are truncated
    data.expressions_per_image = 1  # K in training; the paper's is 1
    data.tokenizer = "paper"  # or "released": word splitting and the unknown words' id
    data.padding = "right"  # or "left": padding side of short expressions
    data.vocabulary = ""  # file of one word per line; "": those of the model in
    # init_from, or else of the training split
    data.min_word_count = 0  # rarer training words count as unknown; 0 keeps all
    data.glove = ""  # GloVe .txt, .txt.gz or .zip with initial vectors; "": random
    data.glove_words = 400_000  # additional words from that file, its first ones
    data.word_dropout = 0.0  # probability that a word becomes unknown, in training
    data.num_workers = 0  # processes that make batches; 0 uses threads
    data.skip_bad = False  # skip and count damaged records, or end with an error
    return data


def _profile() -> ml_collections.ConfigDict:
    """Returns the keys of a trace of some steps."""
    profile = ml_collections.ConfigDict()
    profile.num_steps = 0  # steps to trace into WORKDIR/profile; 0: none
    profile.after_steps = 10  # steps of this run before them, to compile and warm up
    return profile


def _vision() -> ml_collections.ConfigDict:
    """Returns the keys of the vision encoder."""
    vision = ml_collections.ConfigDict()
    vision.width = 768  # D of a patch token
    vision.num_layers = 12
    vision.num_heads = 12
    vision.mlp_dim = 3072  # hidden width
    vision.init_std = 0.02  # spread of the linears' first weights
    vision.drop_path_rate = 0.1  # stochastic depth of the last layer, a probability
    vision.positions_init = "normal"  # or "sinusoidal": initial values of the table
    vision.conv_init = True  # Xavier for patches as of a convolution, or a linear
    vision.class_token = False  # a learned token passes the encoder with the patches
    vision.resize_by_count = False  # keep positions if only the patches' layout differs
    return vision


def _language() -> ml_collections.ConfigDict:
    """Returns the keys of the language encoder."""
    language = ml_collections.ConfigDict()
    language.width = 300  # E of a word vector, GloVe's
    language.num_layers = 6
    language.num_heads = 12
    language.mlp_dim = 3072  # hidden width
    language.init_std = 0.02  # spread of the linears' first weights
    language.post_norm = False  # normalise after each branch, not before
    language.mask_padding = True  # padding is never attended to
    language.project = False  # end with a linear to fusion.width
    return language


def _fusion() -> ml_collections.ConfigDict:
    """Returns the keys of the fusion encoder."""
    fusion = ml_collections.ConfigDict()
    fusion.kind = "cme"  # "cme", or the ablations "vme" and "ime"
    fusion.width = 768  # D, of fusion and decoder
    fusion.num_layers = 4  # total; cme and ime give half to each of two encoders
    fusion.num_heads = 12
    fusion.mlp_dim = 3072  # hidden width
    fusion.init_std = 0.02  # spread of the linears' first weights
    fusion.input_std = 0.02  # the same for the input linears, see models/fusion.py
    fusion.drop_path_rate = 0.1  # stochastic depth of each last layer, a probability
    fusion.share_weights = False  # one layer's weights per encoder, the paper's dagger
    fusion.zero_padding = True  # padding enters the encoders as zeros
    fusion.mask_padding = True  # padding is never attended to
    fusion.norm_each = True  # a LayerNorm for each encoder's output; or one for all,
    # which the patches and words of "cme" do not pass
    fusion.coordinates = False  # add a linear of its position to each input patch
    fusion.map_outputs = False  # multiply patches and classifier by a matrix each
    return fusion


def _model() -> ml_collections.ConfigDict:
    """Returns the keys of the network."""
    model = ml_collections.ConfigDict()
    model.image_size = (480, 480)  # height, width of the network's input, pixels
    model.patch_size = 16  # P, pixels
    model.decoder = True  # False: the paper's ablation without a decoder
    model.scale_scores = True  # divide the patch scores by sqrt(D) (Eq. 9)
    model.sigmoid_gate = True  # multiply patches by probabilities (Eq. 10), or logits
    model.decode_projected = True  # the decoder's patches: the fusion's input, z_v of
    # Eq. 7, or the vision encoder's output, z_v of Eq. 6
    model.remat = "none"  # recomputed for the gradient, to save memory: "none",
    # "attention" (its weights), or "layer" (all but the inputs of encoder layers)
    model.vision = _vision()
    model.language = _language()
    model.fusion = _fusion()
    return model


def _loss() -> ml_collections.ConfigDict:
    """Returns the keys of the loss."""
    loss = ml_collections.ConfigDict()
    loss.patch_weight = 0.1  # lambda of Eq. 12
    loss.patch_threshold = 0.8  # tau of Eq. 11, share of a patch; 0: any one pixel
    loss.dice_weight = 0.0  # of a dice term, which is not in the paper; 0: none
    return loss


def _optimizer() -> ml_collections.ConfigDict:
    """Returns the keys of the optimizer."""
    optimizer = ml_collections.ConfigDict()
    optimizer.total_steps = 400_000
    optimizer.warmup_steps = 40_000  # linear from 0 to learning_rate
    optimizer.learning_rate = 1e-5  # the peak
    optimizer.poly_power = 0.9  # of the decay from the peak to 0
    optimizer.rule = "adamw"  # or "muon": orthogonal updates of the matrices between
    # the first and the last layer, and AdamW for everything else
    optimizer.beta1 = 0.9  # of AdamW
    optimizer.beta2 = 0.999  # of AdamW
    optimizer.weight_decay = 5e-4
    optimizer.decay_mask = "all"  # "all" parameters, or "matrices": the weights of
    # linear maps, without biases, norms, positions, class token, seed and word vectors
    optimizer.clip_norm = 0.0  # maximum norm of the gradient; 0 does not clip
    optimizer.nonfinite = "stop"  # on a non-finite loss or gradient; or "skip" that
    # step. "skip" costs every step time, and memory for a copy of the parameters; the
    # learning rate still follows the step's number
    optimizer.lr_scale = lr_scale = ml_collections.ConfigDict()
    lr_scale.vision = 1.0  # times learning_rate; 0 freezes the part, without moments
    lr_scale.language = 1.0
    lr_scale.fusion = 1.0
    lr_scale.decoder = 1.0
    optimizer.freeze_words = False  # True keeps the initial word table, False trains it
    optimizer.ema_decay = 0.0  # of an average of the parameters over the steps, such as
    # 0.999, to score and export instead of them; 0: none
    return optimizer


def _eval() -> ml_collections.ConfigDict:
    """Returns the keys of scoring."""
    evaluation = ml_collections.ConfigDict()
    evaluation.every_steps = 5_000  # steps; a multiple of checkpoint_every_steps
    evaluation.at_start = False  # also score and save before the first step, to see the
    # effect of init_from
    evaluation.splits = "val"  # scored at the end, comma-separated: "val" or "unc:val"
    evaluation.checkpoints = "best"  # scored at the end: latest, best, all, 1000,2000,
    # or a folder of workdirs (./best if it is called so), to score the best of each, or
    # else its latest
    evaluation.images_per_device = 8  # per batch, each with all of its expressions
    evaluation.thresholds = (0.5,)  # probability thresholds of masks; the first is for
    # validation, figures and predictions
    evaluation.shuffled_text = False  # also score with shuffled expressions
    evaluation.num_figures = 12  # cases on the figures page, one per image
    evaluation.watch = False  # --mode=eval scores each new checkpoint until the last
    return evaluation


def get_config(size: str = "B/16", preset: str = "paper") -> ml_collections.ConfigDict:
    """Returns the defaults of a preset, with the model in a named size."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # for initialisation, data order, word dropout, stochastic depth
    config.parallel = "jit"  # "jit" or "pmap": distribution of a step over devices
    config.fsdp = 1  # devices that share one copy of parameters and moments (jit only)
    config.preset = preset  # name in PRESETS; the keys below spell it out
    config.init_from = ""  # initial weights: a file from restr_jax.pretrained, a
    # workdir, one of its checkpoints, an export, or the name of a shipped model;
    # missing parts start from scratch
    config.data = _data()
    config.batch_size = 8  # B, images per step, over all devices
    config.accumulate_steps = 1  # parts of a batch, processed one after another
    config.dtype = "auto"  # of the computation: "float32", "bfloat16", or "auto":
    # bfloat16 on GPU and TPU; parameters, loss and metrics are always float32
    config.log_every_steps = 100  # steps between two lines of metrics
    config.checkpoint_every_steps = 1_000  # steps
    config.keep_checkpoints = 3  # number of latest ones to keep, besides the best
    config.profile = _profile()
    config.model = _model()
    config.loss = _loss()
    config.optimizer = _optimizer()
    config.eval = _eval()
    config.update(PRESETS[preset])
    config.model.update(SIZES[size])
    return config


def config_of(words: str) -> ml_collections.ConfigDict:
    """Returns the defaults; ``words`` may name a size and a preset."""
    return get_config(**choose(words, {"size": tuple(SIZES), "preset": tuple(PRESETS)}))
