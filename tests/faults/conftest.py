"""The uninterrupted run that killed ones are compared with."""

import pytest

from benchmarks import chaos, chaos_data


@pytest.fixture(scope="session")
def chaos_folder(made_once):
    """Returns the folder of the data, config.py and uninterrupted runs of 40 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chaos_data, "STEPS", 40)

        def fill(folder):
            chaos.straight_run(chaos.SCENARIOS[0], folder)

        yield made_once("chaos", fill)


@pytest.fixture(scope="session")
def straight_workdir(chaos_folder):
    """Returns the workdir of the uninterrupted run in one process."""
    return chaos.straight_run(chaos.SCENARIOS[0], chaos_folder)
