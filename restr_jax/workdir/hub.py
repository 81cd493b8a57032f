"""Downloads trained models from the Hugging Face Hub; nothing else imports its client.

A model is named "hf://OWNER/NAME", or "hf://OWNER/NAME@REVISION" for a branch, a tag or
a commit. The client keeps it in its cache, which later serves without a network.
"""

import pathlib
import re

from restr_jax.files import first_line

WEIGHTS = "model.safetensors"  # the name that the Hub expects
_SCHEME = "hf://"
_NAME = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>\S+))?")
_NEEDED = ("config.json", "vocabulary.txt", WEIGHTS)
_FILES = [*_NEEDED, "card.json"]


def is_name(path: str) -> bool:
    """Returns True for the name of a model of the Hub, even a malformed one."""
    return path.startswith(_SCHEME)


def download(name: str) -> pathlib.Path:
    """Downloads a model, unless the cache has this revision; returns its folder.

    The environment variables of the client apply, such as HF_ENDPOINT, HF_HOME,
    HF_TOKEN and HF_HUB_OFFLINE.

    Raises:
        FileNotFoundError: if it is a model of another library.
        ModuleNotFoundError: if huggingface_hub is not installed.
        OSError: if it cannot be downloaded.
        ValueError: if the name is malformed.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(
            f"{name} is not of the form hf://OWNER/NAME or hf://OWNER/NAME@REVISION."
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{name} needs huggingface_hub; install it with `pip install "
            "'restr-jax[hub]'`, or download the model and give its folder."
        ) from error
    try:
        folder = huggingface_hub.snapshot_download(
            match["repo"],
            revision=match["revision"],
            allow_patterns=_FILES,
            library_name="restr-jax",
        )
    except Exception as error:  # The client's and its HTTP library's own types.
        raise OSError(
            f"{name} cannot be downloaded ({type(error).__name__}: "
            f"{first_line(error)}). Check the name and the connection; a private model "
            "needs `hf auth login`."
        ) from error
    missing = [file for file in _NEEDED if not (pathlib.Path(folder) / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{name} lacks {', '.join(missing)}: it is no model of restr_jax. Choose "
            "one that `restr export --format=hub` wrote."
        )
    return pathlib.Path(folder)
