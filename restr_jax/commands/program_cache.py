"""Compiled programs on disk, so that a command compiles them only once."""

import hashlib
import logging
import os
import pathlib
import platform

import jax
import platformdirs

logger = logging.getLogger(__name__)


def keep_programs() -> None:
    """Turns on JAX's compilation cache, in a folder of the user's cache directory.

    JAX's own variables take precedence: ``JAX_ENABLE_COMPILATION_CACHE=false`` turns
    the cache off, and ``JAX_COMPILATION_CACHE_DIR`` sets another folder.
    """
    config = jax.config
    if not config.jax_enable_compilation_cache or config.jax_compilation_cache_dir:
        return
    folder = platformdirs.user_cache_path("restr_jax", False) / "programs" / _machine()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
    except OSError as error:
        logger.warning(
            "compiled programs are not kept (%s); set JAX_COMPILATION_CACHE_DIR to a "
            "writable folder, or JAX_ENABLE_COMPILATION_CACHE=false",
            error,
        )
        return
    config.update("jax_compilation_cache_dir", str(folder))
    # These programs are small, and each of them compiles within seconds.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _machine() -> str:
    """Returns a name for this kind of processor.

    JAX looks for a program by its code alone, and a home folder may serve machines with
    different instruction sets.
    """
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        found = {x for x in lines if x.startswith(("model name", "flags", "Features"))}
    except OSError:  # Not on Linux, where a home folder rarely serves several machines.
        found = {platform.processor()}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:12]
