import argparse

import numpy as np
import pytest

from benchmarks import input_pipeline
from benchmarks.photographs import Photographs


def test_the_input_pipeline_can_be_measured(tmp_path, testdata, monkeypatch):
    monkeypatch.setattr(Photographs, "IMAGES", 4)
    arguments = argparse.Namespace(
        photographs=str(testdata / "refer"),
        data_dir=str(tmp_path),
        batches=2,
        batch_size=8,
        expressions=3,
        resize="letterbox",
        step_seconds=0.02,
    )
    loader = input_pipeline.open_loader(arguments)
    assert len(loader.split.sentences) == 4
    assert loader.load(0, np.array([0])).image.shape == (480, 640, 3)
    stages = input_pipeline.measure_stages(loader, arguments)
    assert len(stages) == 7 and all(seconds > 0 for seconds in stages.values())
    stream = input_pipeline.measure_stream(loader, 0, arguments)
    assert stream["expressions"] >= stream["images"] > 0
    # Eight images in 20 ms.
    assert input_pipeline.needed_images(arguments)[0] == pytest.approx(400)
