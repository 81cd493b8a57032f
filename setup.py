"""Parts of the package that pyproject.toml cannot describe; use `pip install .`."""

import pathlib
import re
import tomllib

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent


def long_description(readme: str, repository: str | None) -> str:
    """Returns README for a package index, which shows no file of the project.

    Links and pictures lead to the repository. Without one, pictures are removed and
    links become text.
    """
    link = r"(!?)\[([^]]*)\]\((?!https?:|#)([^)]*)\)"
    if repository is None:
        return re.sub(link, lambda m: "" if m[1] else m[2], readme)
    kinds = {"": "blob", "!": "raw"}

    def absolute(m: re.Match) -> str:
        return f"{m[1]}[{m[2]}]({repository}/{kinds[m[1]]}/HEAD/{m[3]})"

    return re.sub(link, absolute, readme)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    # configs/ stands beside the package, and is installed into it.
    configs = ["restr_jax.configs", "restr_jax.configs.ablations"]
    setup(
        packages=[*find_packages(include=["restr_jax*", "tfds_builders*"]), *configs],
        package_dir={"restr_jax.configs": "configs"},
        long_description=long_description(
            (ROOT / "README.md").read_text("utf-8"), project["urls"].get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
