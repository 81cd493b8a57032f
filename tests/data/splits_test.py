import pickle

import pytest

from configs import combined
from restr_jax.data import splits
from restr_jax.data.data_sets import DataSets, listed
from restr_jax.data.splits import Split
from tfds_builders import prepare


def make(name, records):
    """Returns a split of {image: [sentence, ...]}; each record is its image's name."""
    source = [
        {"image_id": image, "expressions": {"object": [0] * len(sentences)}}
        for image, sentences in records.items()
    ]
    return Split(name, source, list(records.values()), list(records))


A = make("a:train", {"coco/1": ["one"], "coco/2": ["two", "zwei"], "coco/3": ["three"]})
B = make("b:train", {"coco/3": ["drei"], "iapr/1": ["eins"]})


def ids(split):
    return [split.source[i]["image_id"] for i in range(len(split.source))]


def test_splits_are_concatenated():
    joined = splits.join([A, B], without=set())
    assert joined.name == "a:train + b:train"
    assert ids(joined) == ["coco/1", "coco/2", "coco/3", "coco/3", "iapr/1"]
    assert joined.images == ids(joined)
    assert joined.sentences == [["one"], ["two", "zwei"], ["three"], ["drei"], ["eins"]]


def test_images_are_excluded_from_every_part():
    joined = splits.join([A, B], without={"coco/3", "coco/1", "elsewhere/2"})
    assert ids(joined) == joined.images == ["coco/2", "iapr/1"]
    assert joined.sentences == [["two", "zwei"], ["eins"]]


def test_a_joined_split_can_be_sent_to_workers():
    joined = pickle.loads(pickle.dumps(splits.join([A, B], {"coco/1"})))
    assert ids(joined) == ["coco/2", "coco/3", "coco/3", "iapr/1"]


def test_a_single_split_is_unchanged():
    assert splits.join([A], set()) is A


def test_excluding_everything_is_refused():
    with pytest.raises(ValueError, match="excludes every image of a:train"):
        splits.join([A], set(A.images))


@pytest.fixture(scope="module")
def all_sets(tmp_path_factory, testdata):
    """Returns a data_dir with small samples of the sets of configs/combined.py."""
    folder = str(tmp_path_factory.mktemp("all"))
    refer, referit = str(testdata / "refer"), str(testdata / "referit")
    for name in ("unc", "unc_plus", "gref/google"):
        prepare.prepare(name, folder, refer)
    prepare.prepare("referit", folder, referit)
    return folder


def test_the_combined_run_excludes_all_scored_images(all_sets):
    data = combined.get_config("tiny").data
    data.data_dir = all_sets
    data.dataset = "unc,unc_plus,gref/google,referit/text_objseg"
    data.exclude = "unc, unc_plus ,gref/google, referit/text_objseg"
    # In the samples, 600002 is in train and val of UNC and UNC+, 600003 in train and
    # val of Gref, and 91001 in train and val of ReferIt; 600001 is in Gref's train
    # only.
    assert DataSets(data).training.images == ["mscoco/600001"]
    data.exclude, data.dataset = "", data.dataset.replace(",", ", ")
    assert sorted(DataSets(data).training.images) == [
        "mscoco/600001",
        "mscoco/600002",
        "mscoco/600002",
        "mscoco/600003",
        "saiapr/91001",
    ]


def test_a_split_of_several_sets_must_be_named(all_sets, tiny_config):
    config = tiny_config("shapes")
    config.data.data_dir = all_sets
    config.data.dataset = "unc, unc_plus"
    with pytest.raises(ValueError, match="could belong to any .* as in unc:val"):
        DataSets(config.data).scored("val")
    names = listed("unc_plus:val, unc:val")
    opened = [DataSets(config.data).scored(name).name for name in names]
    assert opened == ["unc_plus:val", "unc:val"]


def test_a_set_is_opened_once(shapes_dir, tiny_config, monkeypatch):
    opened = []

    class Counting(splits.DataSet):
        def __init__(self, data_dir, name):
            opened.append(name)
            super().__init__(data_dir, name)

        def __getitem__(self, split):
            opened.append(split)
            return super().__getitem__(split)

    monkeypatch.setattr(splits, "DataSet", Counting)
    data = DataSets(tiny_config("shapes").data)
    assert data.training is data.training
    assert data.scored("val") is data.scored("shapes:val")
    assert opened == ["shapes", "train", "val"]


def test_a_set_that_is_missing_is_named(tmp_path, shapes_dir):
    folder = str(tmp_path)
    with pytest.raises(FileNotFoundError) as raised:
        splits.open_split(folder, "gref/umd", "train")
    command = (
        f"tfds_builders.prepare gref/umd --manual_dir=DOWNLOADS --data_dir={folder}"
    )
    assert command in str(raised.value)
    with pytest.raises(FileNotFoundError, match="prepare shapes --data_dir"):
        splits.open_split(folder, "shapes", "train")
    with pytest.raises(ValueError, match="no split 'testA'; it has"):
        splits.open_split(shapes_dir, "shapes", "testA")


def test_a_misspelt_set_gets_the_known_names(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        splits.open_split(str(tmp_path), "grefs/umd", "train")
    said = str(raised.value)
    assert "There is no data set 'grefs/umd'" in said and "Is it 'gref'?" in said
    assert "README.md" not in said and "prepare" not in said
    # Each name that the message lists can be built.
    listed = said.partition("none of the data sets ")[2].partition(".")[0]
    assert sorted(listed.split(", ")) == sorted(prepare.DATASETS)


def test_expressions_are_shuffled_across_all_records():
    dealt = splits.with_shuffled_text(A, seed=0)
    assert list(map(len, dealt.sentences)) == [1, 2, 1]
    flat = [s for sentences in dealt.sentences for s in sentences]
    assert sorted(flat) == ["one", "three", "two", "zwei"]
    assert dealt.sentences != A.sentences and ids(dealt) == ids(A)


def test_expressions_that_fit_nothing_are_not_shuffled():
    source = [{"expressions": {"object": [0, -1]}}, {"expressions": {"object": [0, 1]}}]
    sentences = [["one", "none"], ["two", "three"]]
    split = splits.Split("a:val", source, sentences, ["a", "b"])
    orders = [splits.with_shuffled_text(split, seed).sentences for seed in range(9)]
    assert all(dealt[0][1] == "none" for dealt in orders)
    assert len({dealt[0][0] for dealt in orders}) > 1
    assert all(sorted(sum(dealt, [])) == sorted(sum(sentences, [])) for dealt in orders)
