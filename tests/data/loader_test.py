import io
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from streams import make_loader

from restr_jax.data import preprocess, splits
from restr_jax.data.loader import Loader
from restr_jax.data.text import Vocabulary
from tfds_builders import masks


def test_masks_belong_to_their_expressions(shapes_dir):
    loader, counted = make_loader(shapes_dir, 9), Counter()
    example = loader.load(3, np.array([4, 0, 8]))
    assert example.valid.tolist() == [True] * 3 + [False] * 6
    for record in range(24):
        chosen = np.random.default_rng(record).permutation(9)
        check_masks(loader.load(record, chosen), chosen, loader, counted)
    assert min(counted[key] for key in ("named", "red", "blue")) > 5


def check_masks(example, chosen, loader, counted):
    stored = example.fields
    for k, i in enumerate(chosen):
        sentence = stored["expressions"]["sent"][i].decode()
        encoded = loader.vocabulary.encode(sentence, 10)
        np.testing.assert_array_equal(example.tokens[k], encoded)
        # An attribute named in the expression belongs to the object.
        position = stored["expressions"]["object"][i]
        category = stored["objects"]["category"][position].decode().split()
        noun = sentence.split(" the ")[0].removeprefix("the ").split()
        named = set(noun) & {"small", "large", "red", "green", "blue", "yellow"}
        assert named <= set(category)
        counted["named"] += len(named)
        # ... and so is the color under the mask.
        color = example.image[example.masks[k]].mean(0)
        counted.update({"red", "blue"} & set(category))
        if "red" in category:
            assert color[0] > 1.5 * color[2]
        if "blue" in category:
            assert color[2] > 1.5 * color[0]


def test_a_record_that_cannot_be_decoded_is_named(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 1)
    record = dict(loader.split.source[0], image=b"damaged")
    monkeypatch.setattr(type(loader.split.source), "__getitem__", lambda *_: record)
    with pytest.raises(ValueError, match="shapes:train, image train_000000 is trunc"):
        loader.load(0, np.array([0]))


def test_a_mirrored_scene_is_mirrored_with_its_words(shapes_dir):
    # Left: a red square. Right: a blue one.
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:16, 2:10] = (255, 0, 0)
    image[8:16, 20:28] = (0, 0, 255)
    red, blue = (image[..., channel] > 0 for channel in (0, 2))
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    record = {
        "image": file.getvalue(),
        "image_id": b"hand-made",
        "objects": {"mask": [masks.encode_mask(m).encode() for m in (red, blue)]},
        "expressions": {"object": np.array([0, 1, 1])},
    }
    sentences = ["the leftmost square", "Right of the red one", "blue"]
    split = splits.Split("s", [record], [sentences], ["0"])
    words = ["the", "leftmost", "rightmost", "square", "left", "right", "of", "red"]
    vocabulary = Vocabulary(["<pad>", "<unk>", *words, "one", "blue"])
    loader = Loader(split, vocabulary, (32, 32), "stretch", 5, 4)

    example = loader.load(0, np.array([0, 1, 2]), mirrored=True)
    said = [" ".join(vocabulary.words[t] for t in row if t) for row in example.tokens]
    assert said == ["the rightmost square", "left of the red one", "blue", ""]
    np.testing.assert_array_equal(example.image, image[:, ::-1])
    expected = [red[:, ::-1], blue[:, ::-1], blue[:, ::-1], np.zeros((32, 32), bool)]
    np.testing.assert_array_equal(example.masks, expected[:3])
    batch = loader.stack([example])
    np.testing.assert_array_equal(batch["image"], [image[:, ::-1]])
    np.testing.assert_array_equal(batch["mask"], [expected])
    # The red square, previously left, is now right of the blue one.
    columns = [np.flatnonzero(mask.any(0)).mean() for mask in example.masks[:2]]
    assert columns == [25.5, 7.5]


def test_a_mask_is_made_once_for_all_expressions_of_its_object(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 9)
    made = {"decode_mask": 0, "fit_mask": 0}

    def count(name):
        real = getattr(preprocess, name)

        def counted(*args):
            # Threads of a stream closed earlier may still be running.
            made[name] += threading.current_thread() is threading.main_thread()
            return real(*args)

        monkeypatch.setattr(preprocess, name, counted)

    count("decode_mask")
    count("fit_mask")
    example = loader.load(0, np.arange(9))
    batch = loader.stack([example])
    objects = len(set(example.fields["expressions"]["object"]))
    assert made == {"decode_mask": objects, "fit_mask": objects} and objects < 9
    for k in range(9):
        alone = loader.load(0, np.array([k]))
        np.testing.assert_array_equal(example.masks[k], alone.masks[0])
        np.testing.assert_array_equal(
            batch["mask"][0, k], loader.stack([alone])["mask"][0, 0]
        )


def test_an_expression_that_fits_nothing_has_an_empty_mask(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 9)
    record = dict(loader.split.source[0])
    objects = np.array(record["expressions"]["object"])
    objects[[2, 5]] = -1
    record["expressions"] = record["expressions"] | {"object": objects}
    monkeypatch.setattr(type(loader.split.source), "__getitem__", lambda *_: record)
    example = loader.load(0, np.arange(9), mirrored=True)
    filled = [bool(mask.any()) for mask in example.masks]
    assert filled == [k not in (2, 5) for k in range(9)]
    assert [example.object_of(k) for k in range(9)] == objects.tolist()
    batch = loader.stack([example])
    assert batch["valid"].all()
    assert batch["mask"].any((-2, -1)).tolist() == [filled]
