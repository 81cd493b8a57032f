"""The card of a trained model: its domain and its training data, in words.

card.json lies beside config.json. In a workdir it is written by hand, if at all:

    {"domain": "photographs of street signs", "trained_on": "1,200 photos of Paris"}
"""

import json
import pathlib
from typing import Any, NamedTuple

from restr_jax.files import read_json

FILE = "card.json"


class Card(NamedTuple):
    """The card of a trained model.

    Attributes:
        domain: the images and expressions that it knows; completes "the model knows".
        trained_on: its training data.
    """

    domain: str
    trained_on: str

    def to_text(self) -> str:
        """Returns the content of card.json."""
        return json.dumps(self._asdict(), ensure_ascii=False, indent=2) + "\n"


UNKNOWN = Card("an unknown domain", "unknown data")


def of_config(config: Any) -> Card:
    """Returns the card of a model without card.json, from its data sets."""
    if not config.data.dataset:  # Of converted weights.
        return UNKNOWN
    names = (name.strip() for name in config.data.dataset.split(","))
    data = ", ".join(dict.fromkeys(names))
    return Card(f"images and expressions like those of {data}", data)


def read(folder: pathlib.Path, default: Card) -> Card:
    """Reads card.json, which may lack an entry or be absent.

    Raises:
        ValueError: if it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return default
    remedy = f"Its entries are the texts {' and '.join(Card._fields)}; fix it."
    given = read_json(path, _is_card, remedy)
    return default._replace(**{key: " ".join(x.split()) for key, x in given.items()})


def _is_card(content: Any) -> bool:
    known = content.keys() <= set(Card._fields)
    return known and all(isinstance(x, str) for x in content.values())
