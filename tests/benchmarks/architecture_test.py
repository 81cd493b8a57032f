import ast
import pathlib
import re
import xml.etree.ElementTree

import pytest

from benchmarks import architecture

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def texts():
    """Returns the committed drawing's lines of text."""
    drawing = xml.etree.ElementTree.parse(ROOT / "docs" / "architecture.svg")
    return [
        element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_committed_drawing_is_the_models():
    """Run `python -m benchmarks.architecture --output=docs/architecture.svg`."""
    assert (ROOT / "docs" / "architecture.svg").read_text() == architecture.draw()


def test_the_shapes_are_those_of_the_paper(texts):
    # 480 / 16 = 30 patches a side, 900 in all; with 20 words 920, with the seed 21.
    for line in (
        "image  B × 480 × 480 × 3",
        "z_v  B × 900 × 768",
        "z_l  B × K × 20 × 300",
        "TransformerEncoder, 920 tokens",
        "TransformerEncoder, 21 tokens",
        "z'_v  B × K × 900 × 768",
        "e'_s  B × K × 768",
        "patch_logits  B × K × 30 × 30",
        "pixel_logits  B × K × 480 × 480",
        "12 × EncoderBlock, 12 heads",
        # The first reads z_v and z_masked; each halves channels and doubles sides.
        "linear_0: 1536 to 768, double_leaky: 60 × 60 × 768",
        "linear_3: 192 to 96, double_leaky: 480 × 480 × 96",
        "ToLogit: 96 to 1",
    ):
        assert line in texts


def test_its_classes_and_functions_exist_in_the_model(texts):
    defined = set()
    for file in (ROOT / "restr_jax" / "models").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined.add(node.name)
    named = set(re.findall(r"\b[A-Z]+[a-z]+[A-Z]\w*|\bDecoder\b", " ".join(texts)))
    expected = {"VisionEncoder", "LanguageEncoder", "FusionEncoder", "Decoder"}
    expected |= {"EncoderBlock", "TransformerEncoder", "WordTable", "ToLogit"}
    assert named == expected | {"ReSTR"}
    assert named | {"patchify", "double_leaky", "segment"} <= defined
