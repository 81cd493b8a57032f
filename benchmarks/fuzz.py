"""Fuzzes every parser with millions of inputs, guided by coverage.

    pip install -r requirements-dev.txt -r requirements-fuzz.txt
    python -m benchmarks.fuzz --executions=10000000

The targets are those of tests/fuzz. Each runs in its own process, on one core, from its
seeds and tests/fuzz/corpus. Branches of restr_jax and tfds_builders are counted, and
inputs that reach new ones are mutated further. An input that crashes, or exceeds
--timeout or --memory, is kept in --found, and its target continues. Fast targets get
more executions, none fewer than --least. The table has the last run of each target.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

from benchmarks.reports import write
from tfds_builders.markdown import table
from tfds_builders.storage.paths import typed

ROOT = pathlib.Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
_RAM = pathlib.Path("/dev/shm")
_MOST_CRASHES = 5  # per target, which is then abandoned


@dataclasses.dataclass
class Result:
    """The result of a target.

    Attributes:
        name: name of the target.
        executions: number of executions.
        seconds: duration of all executions.
        longest: seconds of the slowest input.
        memory: peak memory of the process, MB.
        crashes: one line per crash.
    """

    name: str
    executions: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    memory: int = 0
    crashes: list[str] = dataclasses.field(default_factory=list)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=10_000_000, help="total")
    parser.add_argument("--least", type=int, default=50_000, help="least per target")
    parser.add_argument("--targets", default="", help="comma-separated; default: all")
    parser.add_argument("--timeout", type=int, default=10, help="seconds per input")
    parser.add_argument("--memory", type=int, default=3_000, help="MB per process")
    parser.add_argument("--seed", type=int, default=1, help="seed of mutations")
    parser.add_argument(
        "--found", type=typed, default="runs/fuzz", help="folder for crashes"
    )
    parser.add_argument(
        "--output", type=typed, default="benchmarks/fuzz.md", help="the table"
    )
    parser.add_argument("--results", type=typed, default="benchmarks/results/fuzz.json")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one target, in this process
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)  # libFuzzer's
    return parser.parse_args()


def _fuzz_one(name: str, flags: list[str]) -> None:
    """Fuzzes one target until libFuzzer ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=["restr_jax", "tfds_builders"]):
        from fuzz.targets import TARGETS

    run, slowest = TARGETS[name].run, pathlib.Path(os.environ["FUZZ_SLOWEST"])
    longest = 0.0

    def timed(content: bytes) -> None:
        nonlocal longest
        start = time.perf_counter()
        run(content)
        spent = time.perf_counter() - start
        if spent > max(1e-3, 1.1 * longest):
            longest = spent
            slowest.write_text(str(spent))

    atheris.Setup([sys.argv[0], *flags], timed)
    atheris.Fuzz()


def _prepare(names: list[str], folder: pathlib.Path) -> dict[str, float]:
    """Writes the seeds of targets; returns executions per second of each target."""
    sys.path.insert(0, str(ROOT / "tests"))
    from fuzz.targets import TARGETS

    unknown = set(names) - TARGETS.keys()
    if unknown:
        sys.exit(f"Unknown --targets {sorted(unknown)}; choose from {list(TARGETS)}.")
    rates = {}
    for name in names or TARGETS:
        target = TARGETS[name]
        (folder / name).mkdir()
        kept = [path.read_bytes() for path in CORPUS.glob(f"{name}-*")]
        for i, content in enumerate(target.seeds + kept):
            (folder / name / f"seed-{i}").write_bytes(content)
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < 0.3:
            with contextlib.suppress(Exception):  # Counted later, by the fuzzer.
                target.run(target.seeds[count % len(target.seeds)])
            count += 1
            if count == len(target.seeds):  # One-time setup is done.
                start = time.perf_counter()
        rates[name] = count / spent
    return rates


def _share(rates: dict[str, float], total: int, least: int) -> dict[str, int]:
    """Divides executions: a target that runs 16 times as fast gets 8 times as many."""
    weights = {name: rate**0.75 for name, rate in rates.items()}
    scale = total / sum(weights.values())
    shares = {name: max(least, int(scale * w)) for name, w in weights.items()}
    over = sum(shares.values()) - total
    fastest = max(shares, key=shares.get)
    shares[fastest] = max(least, shares[fastest] - over)
    return shares


def _run(name: str, runs: int, folder: pathlib.Path, given: argparse.Namespace):
    """Runs the executions of a target, restarting after crashes; returns its result."""
    result = Result(name)
    found = pathlib.Path(given.found)
    found.mkdir(parents=True, exist_ok=True)
    longest = max(path.stat().st_size for path in (folder / name).iterdir())
    slowest = folder / f"{name}.slowest"
    while result.executions < runs and len(result.crashes) < _MOST_CRASHES:
        flags = [
            f"-runs={runs - result.executions}",
            f"-max_len={min(max(128, 2 * longest), 8192)}",
            f"-timeout={given.timeout}",
            f"-rss_limit_mb={given.memory}",
            f"-seed={given.seed + len(result.crashes)}",
            f"-artifact_prefix={found}/{name}-",
            "-print_final_stats=1",
            "-detect_leaks=0",
            str(folder / name),
        ]
        command = [sys.executable, "-m", "benchmarks.fuzz", f"--one={name}", "--"]
        environment = {
            "FUZZ_SLOWEST": str(slowest),
            "TMPDIR": str(folder),
            "JAX_PLATFORMS": "cpu",
        }
        with open(folder / f"{name}.log", "w+b") as log:
            process = subprocess.Popen(
                command + flags,
                cwd=ROOT,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                code = process.wait(timeout=120 + runs / 20)
            except subprocess.TimeoutExpired:  # Corrupt memory can block its exit.
                process.kill()
                code = process.wait()
            log.seek(0)
            said = log.read().decode(errors="replace")
        _add(result, code, said, slowest)
    return result


def _add(result: Result, code: int, said: str, slowest: pathlib.Path) -> None:
    """Adds the statistics that a process printed to the result of its target."""
    counts = [int(n) for n in re.findall(r"^#(\d+)\s", said, re.MULTILINE)]
    stats = {k: int(v) for k, v in re.findall(r"stat::(\w+):\s+(\d+)", said)}
    done = stats.get("number_of_executed_units", max(counts, default=0))
    rate = stats.get("average_exec_per_sec", 0)
    ended = re.search(r"Done (\d+) runs in (\d+) second", said)
    result.executions += done
    result.seconds += int(ended[2]) if ended else done / rate if rate else 0.0
    result.memory = max(result.memory, stats.get("peak_rss_mb", 0))
    if slowest.exists():
        result.longest = max(result.longest, float(slowest.read_text()))
    if code:
        lines = [x for x in said.splitlines() if re.match(r"\w*(Error|Exc|ERR|==)", x)]
        file = re.search(r"Test unit written to (\S+)", said)
        where = pathlib.Path(file[1]).name if file else f"exit {code}"
        result.crashes.append(f"{where}: {lines[0] if lines else said[-300:]}")


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.machine()


def _report(results: list[Result], given: argparse.Namespace) -> str:
    names = ("atheris", "jax", "numpy", "pillow", "pycocotools", "safetensors", "scipy")
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    total = sum(r.executions for r in results)
    crashes = sum(len(r.crashes) for r in results)
    header = ["target", "executions", "a second", "new crashes"]
    header += ["longest input, ms", "MB"]
    rows = [
        [
            r.name,
            f"{r.executions:,}",
            f"{r.executions / max(r.seconds, 1):,.0f}",
            len(r.crashes),
            f"{1000 * r.longest:,.0f}",
            f"{r.memory:,}",
        ]
        for r in results
    ]
    return "\n".join(
        [
            "# Fuzzing",
            "",
            "Mutated inputs for every parser of external bytes or text, from",
            "",
            f"    python -m benchmarks.fuzz --executions={given.executions} "
            f"--seed={given.seed}",
            "",
            f"{total:,} executions, {crashes} crashes, timeouts or memory overruns. "
            f"Python {platform.python_version()}, {versions}; one core of "
            f"{_processor()}, under other load. The limits are {given.timeout} seconds "
            f"per input and {given.memory:,} MB per process, of which the libraries "
            f"take {min(r.memory for r in results)} MB. Inputs of less than a "
            "millisecond are not recorded as the longest.",
            "",
            *table(header, rows, "lr"),
            "",
        ]
    )


def main() -> None:
    """Fuzzes all targets in turn and writes the table."""
    given = _parse()
    try:
        importlib.metadata.version("atheris")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("Fuzzing needs atheris; run `pip install -r requirements-fuzz.txt`.")
    if given.one:
        _fuzz_one(given.one, given.flags)
    path = pathlib.Path(given.results)
    results = {}
    if path.exists():
        results = {
            name: Result(**r) for name, r in json.loads(path.read_text()).items()
        }
    with tempfile.TemporaryDirectory(dir=_RAM if _RAM.is_dir() else None) as folder:
        names = [x.strip() for x in given.targets.split(",")] if given.targets else []
        rates = _prepare(names, pathlib.Path(folder))
        shares = _share(rates, given.executions, given.least)
        for name, runs in shares.items():
            results[name] = _run(name, runs, pathlib.Path(folder), given)
            print(results[name], flush=True)
            kept = {name: dataclasses.asdict(r) for name, r in results.items()}
            write(path, kept)
            report = _report(list(results.values()), given)
            pathlib.Path(given.output).write_text(report)


if __name__ == "__main__":
    main()
