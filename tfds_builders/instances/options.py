"""Options of a build of `instances`."""

import dataclasses

import tensorflow_datasets as tfds

from tfds_builders.instances import pasting


@dataclasses.dataclass(eq=False, kw_only=True)
class Options(tfds.core.BuilderConfig):
    """Options of `instances/NAME`, set by `--option KEY=VALUE`.

    Attributes:
        sources: folders below the manual directory that are read together,
            comma-separated; "." is the manual directory itself.
        expressions: maximum number of expressions of an image.
        nothing: share of the expressions that fit no object.
        min_area: share of the image that an object must cover to get expressions.
        loose: use names such as "man" and "puppy" in `train`, and words such as
            "sitting" beside words that select the object.
        partial: those of the sources, comma-separated, that lack annotations of some
            objects of their own categories. No class is called absent in their images,
            and no objects are pasted into them.
        several: use only images with two or more objects of one class.
        scenes: number of pasted scenes that replace the images of `train`; 0 keeps the
            images.
        most_area: largest share of the image that a pasted object covers.
        seed: seed of all choices.
    """

    sources: str = "."
    expressions: int = 12
    nothing: float = 0.125
    min_area: float = 0.01
    loose: bool = True
    partial: str = ""
    several: bool = False
    scenes: int = 0
    most_area: float = 0.2
    seed: int = 0

    def folders(self) -> dict[str, bool]:
        """Returns {source: whether all of its objects are annotated}."""
        partial = set(_parts(self.partial))
        return {folder: folder not in partial for folder in _parts(self.sources)}

    def given(self) -> dict[str, str | int | float | bool]:
        """Returns all options with their values."""
        return {key: getattr(self, key) for key in KEYS}


KEYS = tuple(Options.__annotations__)


def make(name: str, given: list[str]) -> Options:
    """Makes the options of instances/NAME.

    Args:
        name: name of the data set.
        given: options, "KEY=VALUE" each.

    Raises:
        ValueError: if a key is unknown or a value is not of its type or range.
    """
    values = {}
    for text in given:
        key, equals, value = map(str.strip, text.partition("="))
        if key not in KEYS or not equals:
            raise ValueError(
                f"--option {text!r} is not KEY=VALUE with a KEY of {', '.join(KEYS)}."
            )
        kind = Options.__annotations__[key]
        try:
            values[key] = _truth(value) if kind is bool else kind(value)
        except ValueError as error:
            raise ValueError(
                f"--option {text!r}: {value!r} is not of type {kind.__name__}."
            ) from error
    options = Options(name=name, **values)
    if not (0 <= options.nothing < 0.9 and 0 < options.min_area < 1):
        raise ValueError(
            "--option nothing must be a share below 0.9, and min_area a share above 0 "
            f"and below 1; found {options.nothing} and {options.min_area}."
        )
    if not pasting.LEAST_AREA < options.most_area <= 0.6:
        raise ValueError(
            f"--option most_area must be a share above {pasting.LEAST_AREA} and at "
            f"most 0.6; found {options.most_area}."
        )
    if options.expressions < 1 or options.scenes < 0 or options.seed < 0:
        raise ValueError(
            "--option expressions must be at least 1, scenes and seed at least 0; "
            f"found {options.expressions}, {options.scenes} and {options.seed}."
        )
    folders = options.folders()
    if not folders or not set(_parts(options.partial)) <= set(folders):
        raise ValueError(
            f"--option partial={options.partial} names folders that are not among "
            f"--option sources={options.sources}."
        )
    return options


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError
    return value.lower() == "true"
