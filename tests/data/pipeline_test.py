import contextlib
import dataclasses
import io
import itertools
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from restr_jax.data import pipeline, preprocess, splits
from restr_jax.data.loader import Loader
from restr_jax.data.text import Vocabulary
from tfds_builders import masks


def make_loader(data_dir, expressions, dataset="shapes", split="train"):
    opened = splits.open_split(data_dir, dataset, split)
    sentences = (s for of_record in opened.sentences for s in of_record)
    vocabulary = Vocabulary.from_sentences(sentences)
    return Loader(opened, vocabulary, (32, 32), "stretch", 10, expressions)


def take(loader, number, *, start_step=0, seed=0, num_workers=0, **options):
    stream = pipeline.train_batches(
        loader, 4, seed=seed, start_step=start_step, num_workers=num_workers, **options
    )
    with contextlib.closing(stream):
        return list(itertools.islice(stream, number))


def assert_equal_batches(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_depends_only_on_its_position(shapes_dir):
    loader = make_loader(shapes_dir, 2)
    straight = take(loader, 60)  # 40 scenes of five pairs: more than an epoch
    assert_equal_batches(straight[57:], take(loader, 3, start_step=57))
    assert_equal_batches(straight[:2], take(loader, 2, num_workers=2))
    other = take(loader, 1, seed=1)
    assert (other[0]["tokens"] != straight[0]["tokens"]).any()


@pytest.mark.parametrize("expressions", [1, 2, 9, 12])
def test_an_epoch_shows_every_expression_once(shapes_dir, expressions):
    loader = make_loader(shapes_dir, expressions)
    groups = len(loader.groups())
    assert groups == 40 * -(-9 // expressions)
    epochs = []
    for start in (0, groups // 4):
        shown = Counter()
        for batch in take(loader, groups // 4, start_step=start):
            shown.update(map(tuple, batch["tokens"][batch["valid"]].tolist()))
        epochs.append(shown)
    all_sentences = itertools.chain(*loader.split.sentences)
    expected = Counter(
        tuple(loader.vocabulary.encode(s, 10).tolist()) for s in all_sentences
    )
    assert epochs == [expected, expected]


def test_masks_belong_to_their_expressions(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    example = loader.load(3, np.array([4, 0, 8]))
    assert example.valid.tolist() == [True] * 3 + [False] * 6
    stored = example.fields
    for k, i in enumerate((4, 0, 8)):
        sentence = stored["expressions"]["sent"][i].decode()
        encoded = loader.vocabulary.encode(sentence, 10)
        np.testing.assert_array_equal(example.tokens[k], encoded)
        # An attribute named in the expression belongs to the object.
        position = stored["expressions"]["object"][i]
        category = stored["objects"]["category"][position].decode().split()
        noun = sentence.split(" the ")[0].removeprefix("the ").split()
        named = set(noun) & {"small", "large", "red", "green", "blue", "yellow"}
        assert named <= set(category)
        # ... and so is the color under the mask.
        color = example.image[example.masks[k]].mean(0)
        if "red" in category:
            assert color[0] > 1.5 * color[2]
        if "blue" in category:
            assert color[2] > 1.5 * color[0]


def test_scoring_sees_every_expression_once_and_pads_the_batch(shapes_dir):
    loader = make_loader(shapes_dir, 1, split="val")
    seen, rows = [], 0
    for batch, examples in pipeline.eval_batches(loader, 1, num_devices=5):
        assert batch["image"].shape == (5, 32, 32, 3)
        assert batch["tokens"].shape == (5, 9, 10)
        for image, example in zip(batch["image"], examples, strict=False):
            fitted = preprocess.fit_image(example.image, (32, 32), "stretch")
            np.testing.assert_array_equal(image, fitted)
        assert batch["valid"].sum() == sum(len(e.chosen) for e in examples)
        assert not batch["valid"][len(examples) :].any()
        seen += [(e.record, i) for e in examples for i in e.chosen]
        rows += 1
    assert seen == [(r, i) for r in range(8) for i in range(9)]
    assert rows == 2


def test_images_with_equally_many_expressions_are_scored_together(shapes_dir):
    split = splits.open_split(shapes_dir, "shapes", "val")
    counts = [3, 9, 1, 0, 9, 3, 2, 1]
    sentences = [s[:n] for s, n in zip(split.sentences, counts, strict=True)]
    split = dataclasses.replace(split, sentences=sentences)
    loader = dataclasses.replace(make_loader(shapes_dir, 1), split=split)
    batches = [
        [(e.record, len(e.chosen)) for e in examples]
        for _, examples in pipeline.eval_batches(loader, 2)
    ]
    # An image without expressions is skipped.
    assert batches == [[(1, 9), (4, 9)], [(0, 3), (5, 3)], [(6, 2), (2, 1)], [(7, 1)]]


def test_processes_share_the_batches_in_scoring(shapes_dir):
    loader = make_loader(shapes_dir, 1, split="val")
    shares = [
        [
            (example.record, i)
            for _, examples in pipeline.eval_batches(
                loader, 1, process_index=process, process_count=3
            )
            for example in examples
            for i in example.chosen
        ]
        for process in range(3)
    ]
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == [
        (r, i) for r in range(8) for i in range(9)
    ]


def test_shuffling_keeps_all_texts_and_moves_them(shapes_dir):
    split = splits.open_split(shapes_dir, "shapes", "test")
    shuffled = splits.with_shuffled_text(split, 0)
    before = list(itertools.chain(*split.sentences))
    after = list(itertools.chain(*shuffled.sentences))
    assert Counter(before) == Counter(after)
    assert list(map(len, split.sentences)) == list(map(len, shuffled.sentences))
    assert sum(a == b for a, b in zip(before, after, strict=True)) < len(before) / 4


def test_a_missing_set_or_split_is_reported_with_a_remedy(shapes_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="tfds_builders.prepare gref"):
        splits.open_split(str(tmp_path), "gref", "train")
    with pytest.raises(ValueError, match=r"no split 'testA'; it has \['test', 'train'"):
        splits.open_split(shapes_dir, "shapes", "testA")


def test_a_record_that_cannot_be_decoded_is_named(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 1)
    record = dict(loader.split.source[0], image=b"damaged")
    monkeypatch.setattr(type(loader.split.source), "__getitem__", lambda *_: record)
    with pytest.raises(ValueError, match="shapes:train, image train_000000 is trunc"):
        loader.load(0, np.array([0]))


def test_a_stream_resumed_by_workers_continues_at_its_position(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    straight = take(loader, 13)  # an epoch is ten batches
    resumed = take(loader, 4, start_step=9, num_workers=2)
    assert_equal_batches(straight[9:], resumed)


def test_epochs_have_different_orders(shapes_dir):
    loader = make_loader(shapes_dir, 9)
    first, second = take(loader, 10), take(loader, 10, start_step=10)
    images = [np.concatenate([b["image"] for b in epoch]) for epoch in (first, second)]
    assert (images[0] != images[1]).any(axis=(1, 2, 3)).sum() > 20
    # ... and an image's expressions come in a different order.
    by_image = [
        {
            i.tobytes(): t.tolist()
            for b in epoch
            for i, t in zip(b["image"], b["tokens"], strict=True)
        }
        for epoch in (first, second)
    ]
    assert by_image[0].keys() == by_image[1].keys() and len(by_image[0]) == 40
    assert sum(by_image[0][i] != by_image[1][i] for i in by_image[0]) > 30


def test_each_expression_comes_with_the_mask_of_its_own_object(gref_dir, testdata):
    expected = json.loads((testdata / "expected_refer.json").read_text())["gref/google"]
    areas = {
        o["expressions"][0]: o["area_px"]
        for split in ("train", "val")
        for o in expected[split]["objects"]
    }
    for split in ("train", "val"):
        loader = make_loader(gref_dir, 1, "gref/google", split)
        found = {
            loader.split.sentences[example.record][i]: mask.sum()
            for _, examples in pipeline.eval_batches(loader, 2)
            for example in examples
            for i, mask in zip(example.chosen, example.masks, strict=True)
        }
        assert found == {sentence: areas[sentence] for sentence in found}
        assert len(found) == 2


@pytest.mark.parametrize("start_step", [0, 49])  # 49: the last batch of an epoch
@pytest.mark.parametrize(
    ("num_workers", "process_count"), [(0, 1), (0, 2), (0, 4), (2, 2)]
)
def test_processes_share_one_stream_whatever_their_number(
    shapes_dir, start_step, num_workers, process_count
):
    loader = make_loader(shapes_dir, 2)
    whole = take(loader, 2, start_step=start_step, mirror=True)
    shares = [
        take(
            loader,
            2,
            start_step=start_step,
            num_workers=num_workers,
            mirror=True,
            process_index=index,
            process_count=process_count,
        )
        for index in range(process_count)
    ]
    assert shares[0][0]["image"].shape[0] == 4 // process_count
    assert whole[0]["row"].tolist() == [0, 1, 2, 3]
    joined = [
        {name: np.concatenate([batch[name] for batch in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert_equal_batches(joined, whole)


def test_processes_that_cannot_share_a_batch_are_refused(shapes_dir):
    loader = make_loader(shapes_dir, 2)
    with pytest.raises(ValueError, match="batch of 4 images .* over 3 processes"):
        take(loader, 1, process_count=3)


def test_each_epoch_mirrors_different_examples(shapes_dir):
    loader = make_loader(shapes_dir, 9)  # An epoch is ten batches.
    straight, mixed = take(loader, 20), take(loader, 20, mirror=True)
    is_mirrored = []
    for plain, mirrored in zip(straight, mixed, strict=True):
        for one, other in zip(plain["mask"], mirrored["mask"], strict=True):
            flipped = (other == one[:, :, ::-1]).all()
            assert flipped or (other == one).all()
            is_mirrored.append(flipped)
    first, second = is_mirrored[:40], is_mirrored[40:]
    assert 10 <= sum(first) <= 30 and 10 <= sum(second) <= 30 and first != second
    again = take(loader, 3, start_step=17, mirror=True)
    assert_equal_batches(mixed[17:], again)


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


def test_closing_the_stream_ends_its_workers(shapes_dir):
    before = set(multiprocessing.active_children())
    stream = pipeline.train_batches(
        make_loader(shapes_dir, 2), 4, seed=0, start_step=0, num_workers=2
    )
    next(stream)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    stream.close()
    assert not any(worker.is_alive() for worker in workers)


def test_workers_of_a_killed_trainer_end_too(shapes_dir):
    code = f"""
import multiprocessing, os, signal
from absl import flags
from restr_jax.data import pipeline, splits, text
from restr_jax.data.loader import Loader
flags.FLAGS.mark_as_parsed()
split = splits.open_split({shapes_dir!r}, "shapes", "train")
vocabulary = text.Vocabulary.from_sentences(split.sentences[0])
loader = Loader(split, vocabulary, (32, 32), "stretch", 10, 1)
stream = pipeline.train_batches(loader, 4, seed=0, start_step=0, num_workers=1)
next(stream)
print(*(p.pid for p in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        worker = int(trainer.stdout.readline())
        assert trainer.wait(60) == -signal.SIGKILL
        # The worker keeps this pipe open as long as it lives.
        ended, _, _ = select.select([trainer.stdout], [], [], 30)
        if not ended:
            os.kill(worker, signal.SIGKILL)
    assert ended


def test_stopping_early_ends_the_threads_of_scoring(shapes_dir):
    batches = pipeline.eval_batches(make_loader(shapes_dir, 2), 2)
    next(batches)
    threads = [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]
    assert threads
    batches.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@dataclasses.dataclass(frozen=True)
class UsesJax(Sequence):
    source: Sequence

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        import jax

        jax.devices()
        return self.source[index]


def test_workers_do_not_touch_the_accelerator(shapes_dir, monkeypatch):
    loader = make_loader(shapes_dir, 1)
    expected = take(loader, 1)
    # Starting JAX's backends fails in workers started from here.
    monkeypatch.setenv("JAX_PLATFORMS", "none_such")
    assert_equal_batches(expected, take(loader, 1, num_workers=1))
    source = UsesJax(loader.split.source)
    split = dataclasses.replace(loader.split, source=source)
    with pytest.raises(RuntimeError, match="none_such"):
        take(dataclasses.replace(loader, split=split), 1, num_workers=1)


def test_only_grain_imports_jax_in_the_data_modules():
    code = (
        "import sys; from restr_jax.data import flip, preprocess, splits, text; "
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


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
