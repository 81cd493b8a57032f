import io
import types

import numpy as np
import pytest
from PIL import Image

from restr_jax.data.splits import Split
from restr_jax.evaluation.cases import Cases

SENTENCES = [["a"], [], ["b", "c"], ["d"], [], ["e"], ["f", "g", "h"], ["i"]]
SPLIT = Split("shapes:val", range(8), SENTENCES, [""] * 8)
ALONE = types.SimpleNamespace(gather=lambda items: items)


def positions_of(cases):
    every = [(i, k) for i, some in enumerate(SENTENCES) for k in range(len(some))]
    return [position for position in every if position in cases]


def example(image, truth):
    return types.SimpleNamespace(image=image, masks=[truth])


def test_four_images_are_selected_by_the_seed_alone():
    selected = {seed: positions_of(Cases(SPLIT, seed)) for seed in range(20)}
    assert all(len({i for i, _ in some}) == 4 for some in selected.values())
    assert selected[3] == positions_of(Cases(SPLIT, 3))
    # Every expression has its chance.
    assert len({position for some in selected.values() for position in some}) == 9
    two = Split("shapes:val", range(2), SENTENCES[:2], ["", ""])
    assert [(0, 0) in Cases(two, 0), (1, 0) in Cases(two, 0)] == [True, False]


@pytest.mark.parametrize("width", [40, 1280])
def test_a_picture_has_image_truth_and_prediction(width):
    cases = Cases(SPLIT, 0)
    position = positions_of(cases)[0]
    height = width // 2
    image = np.full((height, width, 3), 200, np.uint8)
    truth, mask = np.zeros((2, height, width), bool)
    truth[:, : width // 2] = True
    mask[: height // 2] = True
    cases.draw(position, example(image, truth), 0, mask)
    ((tag, (title, content)),) = cases.collect(ALONE).items()
    assert title == SENTENCES[position[0]][position[1]]
    picture = Image.open(io.BytesIO(content))
    # Large images are reduced.
    side = min(width, 320)
    assert (picture.format, picture.size) == ("JPEG", (3 * side, side // 2))
    quarter = side // 4
    points = [
        (x, y) for y in (quarter // 2, 3 * quarter // 2) for x in (quarter, -quarter)
    ]
    tinted, bare = 0.6 * 200 + 0.4 * np.array([213, 94, 0]), 200
    expected = {"image": [bare] * 4, "truth": [tinted, bare] * 2}
    expected["mask"] = [tinted, tinted, bare, bare]
    for number, colors in enumerate(expected.values()):
        left, right = number * side, (number + 1) * side
        for (x, y), color in zip(points, colors, strict=True):
            found = picture.getpixel((left + x if x > 0 else right + x, y))
            np.testing.assert_allclose(found, np.broadcast_to(color, 3), atol=6)
    assert cases.collect(ALONE) == {}  # Each picture is collected once.


def test_pictures_of_all_processes_are_collected_in_order():
    image, nothing = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool)
    processes = [Cases(SPLIT, 1), Cases(SPLIT, 1)]
    positions = sorted(processes[0]._places, key=processes[0]._places.get)
    for place in (3, 0, 2):
        processes[place % 2].draw(positions[place], example(image, nothing), 0, nothing)
    sent = []
    processes[1].collect(
        types.SimpleNamespace(gather=lambda own: sent.extend(own) or [])
    )
    both = types.SimpleNamespace(gather=lambda own: sent + own)
    pictures = processes[0].collect(both)
    assert list(pictures) == [f"shapes:val/case-{n}" for n in (1, 3, 4)]
    titles = [title for title, _ in pictures.values()]
    assert titles == [SENTENCES[i][k] for i, k in (positions[p] for p in (0, 2, 3))]
