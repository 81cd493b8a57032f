"""Builds data sets as array_record files, without TensorFlow.

    python -m tfds_builders.prepare shapes --data_dir=data
    python -m tfds_builders.prepare unc gref/umd --manual_dir=downloads --data_dir=data
    python -m tfds_builders.prepare unc --data_dir=data --check
    python -m tfds_builders.prepare unc gref/umd --data_dir=data --report

All problems of all data sets are reported before the first build starts. A killed build
leaves no folder that looks like a data set.
"""

import argparse
import contextlib
import errno
import importlib
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from tfds_builders import published
from tfds_builders.builder import ReferringBuilder
from tfds_builders.inspection import words
from tfds_builders.instances import options
from tfds_builders.storage import disk, lock
from tfds_builders.storage.built import Built
from tfds_builders.storage.paths import typed

DATASETS = ("gref", "unc", "unc_plus", "referit", "grefcoco", "custom", "instances")
DATASETS += ("shapes",)


def make_builder(
    name: str, data_dir: str, given: Sequence[str] = ()
) -> tfds.core.GeneratorBasedBuilder:
    """Returns the builder of a data set.

    Args:
        name: "unc", or a form of a data set, "gref/umd". Your own sets are "custom" or
            "custom/NAME", where you choose NAME; the same holds for "instances".
        data_dir: folder of all built data sets.
        given: options of `instances`, "KEY=VALUE" each.

    Raises:
        ValueError: if there is no such data set or option, or the built data set is
            damaged.
    """
    dataset, _, form = name.partition("/")
    if dataset not in DATASETS:
        raise ValueError(f"Unknown data set {dataset!r}; expected one of {DATASETS}.")
    module = f"tfds_builders.{dataset}.{dataset}_dataset_builder"
    builder = importlib.import_module(module).Builder
    config = form or None
    if dataset == "custom" and form:
        config = tfds.core.BuilderConfig(name=form)
    elif dataset == "instances":
        config = options.make(form or "default", list(given))
    elif form and form not in builder.builder_configs:
        raise ValueError(
            f"The data set {dataset!r} has no form {form!r}; it has "
            f"{sorted(builder.builder_configs)}."
        )
    try:
        return builder(config=config, data_dir=data_dir, file_format="array_record")
    except Exception as error:  # TFDS reads the built data set, and raises many types.
        raise ValueError(
            f"{name} in {data_dir} cannot be opened ({error}). If it was built there, "
            "remove its folder and build it again."
        ) from error


def full_name(builder: tfds.core.GeneratorBasedBuilder) -> str:
    """Returns the data set's folder in the data_dir: "unc", "gref/google"."""
    config = builder.builder_config
    return f"{builder.name}/{config.name}" if config else builder.name


def prepare(
    name: str,
    data_dir: str,
    manual_dir: str | None = None,
    *,
    skip_bad: bool = False,
    num_workers: int | None = None,
    given: Sequence[str] = (),
) -> str:
    """Builds one data set unless it already exists.

    Args:
        name: as `make_builder` takes it.
        data_dir: folder of all built data sets.
        manual_dir: folder of the user's downloads, for data sets that need them.
        skip_bad: skip unusable records instead of refusing to build.
        num_workers: number of threads that read images; one per core by default.
        given: options of `instances`, "KEY=VALUE" each.

    Returns:
        The folder of the built data set.

    Raises:
        FileNotFoundError: if a required file is missing.
        ValueError: if a file is unusable.
    """
    builder = make_builder(name, data_dir, given)
    if not builder.data_path.exists():
        _configure(builder, manual_dir, skip_bad, num_workers)
        _build(builder, manual_dir)
    return os.fspath(builder.data_path)


def prepare_all(
    names: list[str],
    data_dir: str,
    manual_dir: str | None,
    *,
    skip_bad: bool,
    num_workers: int | None,
    given: Sequence[str] = (),
) -> Iterator[str]:
    """Checks the files of all data sets, then builds one after the other.

    Args:
        names: names of the data sets, as `make_builder` takes them.
        data_dir: see `prepare`.
        manual_dir: see `prepare`.
        skip_bad: see `prepare`.
        num_workers: see `prepare`.
        given: see `prepare`.

    Yields:
        Lines on each set, its counts and their differences from the published ones.

    Raises:
        OSError: if the disk is full or read-only. If the disk is too small for all of
            them, this is raised before the first build.
        ValueError: if any of them has a problem; raised before the first build, with
            all problems.
    """
    builders = {name: make_builder(name, data_dir, given) for name in names}
    new = {n: b for n, b in builders.items() if not b.data_path.exists()}
    wrong, skippable = [], False
    for name, builder in new.items():
        try:
            _configure(builder, manual_dir, skip_bad, num_workers)
            if isinstance(builder, ReferringBuilder):
                _, problems = builder.check(pathlib.Path(manual_dir))
                if problems.lines and not skip_bad:
                    wrong.append(f"{name}: {problems.text()}")
                    skippable = True
        except (FileNotFoundError, ValueError) as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        way = ", or skip unusable records with --skip_bad" if skippable else ""
        raise ValueError("\n".join([*wrong, f"Nothing was built. Fix these{way}."]))
    for builder in new.values():
        with _room_for(builder), lock.building(builder.data_path):
            pass  # Frees the space of killed builds before the check for room.
    disk.check_room(data_dir, {n: b.needed_bytes() for n, b in new.items()})
    for name, builder in builders.items():
        if name in new:
            _build(builder, manual_dir)
        yield f"{name}: {'built' if name in new else 'is'} in {builder.data_path}"
        yield from _describe(Built(data_dir, full_name(builder)))
        if name in new and isinstance(builder, ReferringBuilder):
            root = pathlib.Path(manual_dir)
            yield from (f"  differs: {line}" for line in builder.foreign_files(root))
            yield from (f"  {line}" for line in builder.check(root)[1].notes())


def _configure(builder, manual_dir, skip_bad, num_workers) -> None:
    if not isinstance(builder, ReferringBuilder):
        return
    if not manual_dir or not os.path.isdir(manual_dir):
        raise FileNotFoundError(
            f"{builder.name} is built from files that you download yourself; "
            f"--manual_dir has to be the folder that holds them, but it is "
            f"{manual_dir!r}.{builder.MANUAL_DOWNLOAD_INSTRUCTIONS.rstrip()}"
        )
    builder.skip_bad = skip_bad
    builder.num_workers = num_workers or builder.num_workers


def _build(builder: tfds.core.GeneratorBasedBuilder, manual_dir: str | None) -> None:
    with _room_for(builder), lock.building(builder.data_path):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=manual_dir, register_checksums=False
            )
        )


@contextlib.contextmanager
def _room_for(builder: tfds.core.GeneratorBasedBuilder) -> Iterator[None]:
    """Explains errors of a disk that is full, read-only or broken.

    Raises:
        OSError: in place of the error types of TFDS and ArrayRecord.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not any(os.strerror(number) in str(error) for number in errno.errorcode):
            raise
        raise OSError(
            f"{builder.data_path} cannot be written to ({error}). Its partial output "
            "was removed. Free some disk space or choose another --data_dir, then "
            "rerun the same command."
        ) from error


def _describe(built: Built) -> Iterator[str]:
    """Yields the counts of a built data set, and all that may be wrong with it."""
    for split, count in built.counts().items():
        said = ", ".join(f"{number:,} {what}" for what, number in count.items())
        yield f"  {split}: {said}"
    for difference in published.differences(built.name, built.counts()):
        yield f"  differs: {difference}"
    for line in words.untaught(built.metadata["sentences"]):
        yield f"  {line}"
    skipped = built.metadata["skipped"]
    if skipped:
        yield f"  {len(skipped)} problem{'s' if len(skipped) != 1 else ''} skipped:"
    yield from (f"    {line}" for line in skipped)


def _parse(prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"one of {DATASETS}")
    parser.add_argument(
        "--data_dir",
        type=typed,
        default="data",
        help="folder of the built data sets (data)",
    )
    parser.add_argument("--manual_dir", type=typed, help="folder of your downloads")
    parser.add_argument(
        "--skip_bad", action="store_true", help="skip unusable records and list them"
    )
    parser.add_argument(
        "--num_workers", type=int, help="threads that read images (one per core)"
    )
    parser.add_argument(
        "--check", action="store_true", help="verify built data sets instead"
    )
    parser.add_argument(
        "--report", action="store_true", help="describe built data sets instead"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"option of instances, repeatable; KEYs: {', '.join(options.KEYS)}",
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    if arguments.check or arguments.report:
        # Import late, because only these need the plotting library.
        from tfds_builders.inspection import check, data_card

        if arguments.check:
            check.check_all(arguments.data_dir, arguments.names)
        if arguments.report:
            data_card.write_all(arguments.data_dir, arguments.names)
        return
    for line in prepare_all(
        arguments.names,
        arguments.data_dir,
        arguments.manual_dir,
        skip_bad=arguments.skip_bad,
        num_workers=arguments.num_workers,
        given=arguments.option,
    ):
        print(line, flush=True)


def main(prog: str = "python -m tfds_builders.prepare") -> None:
    """Runs the command line."""
    arguments = _parse(prog)
    # TFDS warns about missing TensorFlow, which no builder needs.
    warnings.filterwarnings("ignore", message=".*TensorFlow.*")
    tfds.disable_progress_bar()
    # On SIGTERM, a build still removes its partial output.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run(arguments)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except ImportError as error:
        sys.exit(f"{error}. Install it with `pip install -r requirements.txt`.")
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        sys.exit(f"{error}: too many threads for this machine. Set --num_workers=1.")
    except MemoryError:
        sys.exit("Memory ran out. Large images need less with --num_workers=1.")
    except KeyboardInterrupt:
        sys.exit("Interrupted. No partial data set is left. Rerun the same command.")


if __name__ == "__main__":
    main()
