import json

import ml_collections
import pytest

from restr_jax import shipped
from restr_jax.workdir import card, model_files


@pytest.fixture
def default():
    data = {"dataset": "gref/umd, shapes,gref/umd"}
    return card.of_config(ml_collections.ConfigDict({"data": data}))


def test_a_model_without_a_card_names_its_data_sets(tmp_path, default):
    assert default.trained_on == "gref/umd, shapes"
    assert default.domain == "images and expressions like those of gref/umd, shapes"
    assert card.read(tmp_path, default) == default


def test_an_entry_replaces_the_default_in_one_line(tmp_path, default):
    (tmp_path / "card.json").write_text('{"domain": "street\\n signs "}')
    assert card.read(tmp_path, default) == card.Card("street signs", "gref/umd, shapes")


@pytest.mark.parametrize("content", ["", "[]", '{"domain": 3}', '{"doman": "x"}'])
def test_a_damaged_card_is_named_with_its_entries(tmp_path, default, content):
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(ValueError, match="card.json is damaged.*domain and trained_on"):
        card.read(tmp_path, default)


def test_a_card_travels_with_the_weights(tmp_path):
    about = card.Card("r\u00e9sum\u00e9s", "papers")
    trained = model_files.read("shapes")._replace(card=about)
    model_files.write(trained, tmp_path)
    assert model_files.read(tmp_path).card == about


@pytest.mark.parametrize("name", shipped.NAMES)
def test_the_shipped_models_state_their_domain(name):
    content = json.loads((shipped.folder(name) / "card.json").read_text("utf-8"))
    assert set(content) == {"domain", "trained_on"} and all(content.values())
