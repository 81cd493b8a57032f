import itertools
from collections import Counter

import numpy as np
import pytest
from streams import assert_equal_batches, make_loader, take

from restr_jax.data import splits


def test_a_batch_depends_only_on_its_position(shapes_dir):
    loader = make_loader(shapes_dir, 2)
    straight = take(loader, 60)  # 40 scenes of five pairs: more than an epoch
    assert_equal_batches(straight[57:], take(loader, 3, start_step=57))
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


# 49: the last batch of an epoch.
@pytest.mark.parametrize(
    ("start_step", "num_workers", "process_count"),
    [(start, 0, count) for start in (0, 49) for count in (1, 2, 4)]
    + [(49, 1, 2), pytest.param(49, 2, 2, marks=pytest.mark.slow)],
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
