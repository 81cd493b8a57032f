"""Serves the page to browsers, from a terminal or from a notebook."""

import logging
import os
import socket
import threading

from restr_jax.demo import markup, page
from restr_jax.inference.segmenter import Segmenter

_MAX_FILE_SIZE = "64mb"  # of an upload
_MAX_SESSIONS = 100  # sessions whose encoded images are kept, some megabytes each


def check_port(host: str, port: int) -> None:
    """Checks that the page can be served there, before a model is loaded.

    Raises:
        OSError: if the port is in use, or the address is not one of this machine.
        ValueError: if the port number is out of range.
    """
    if not 0 < port < 65536:
        raise ValueError(
            f"--port={port} is out of range; choose a port from 1 to 65535."
        )
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise OSError(
            f"Cannot resolve --host={host}; choose an address of this machine."
        ) from error
    with socket.socket(family, kind) as probe:
        # As the server does: a port that was just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise OSError(
                f"Cannot listen on port {port} of {host} ({error.strerror}); choose "
                f"another one, such as --port={port + 1 if port < 65535 else 7860}."
            ) from error


def serve(model: Segmenter, host: str, port: int, share: bool = False) -> None:
    """Serves the page until it is interrupted.

    Args:
        model: the segmenter.
        host: address to listen on.
        port: see `check_port`.
        share: makes the page public for a week, through a server of Gradio's.
    """
    # The page itself names unknown words, after every key.
    logging.getLogger("restr_jax.inference").setLevel(logging.ERROR)
    shown = start(model, host, port, share=share, inline=False)
    nearest = "127.0.0.1" if host in ("0.0.0.0", "::") else _name(host)
    print(f"Open http://{nearest}:{port}", flush=True)
    shown.block_thread()


def start(
    model: Segmenter,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    share: bool = False,
    inline: bool | None = None,
    height: int = 900,
) -> page.gr.Blocks:
    """Starts to serve the page, and to compile the model; returns at once.

    Args:
        model: the segmenter.
        host: address to listen on.
        port: the port; by default, the first free one from 7860.
        share: makes the page public for a week, through a server of Gradio's.
        inline: shows the page below the cell of a notebook; by default, in notebooks.
        height: height of the page in a notebook, pixels.
    """
    ready = threading.Event()

    def warm_up():
        try:
            model.warm_up()
        finally:
            ready.set()

    threading.Thread(target=warm_up, daemon=True, name="compilation").start()
    # Gradio calls its own address once, which must not go through a proxy.
    for variable in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(variable)
        os.environ[variable] = ",".join(filter(None, (known, "localhost", host)))
    shown = page.build(model, ready)
    shown.launch(
        server_name=_name(host),
        server_port=port,
        share=share,
        inline=inline,
        height=height,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=_MAX_FILE_SIZE,
        state_session_capacity=_MAX_SESSIONS,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        css=markup.CSS,
        js=page.ON_LOAD,
    )
    return shown


def _name(host: str) -> str:
    return f"[{host}]" if ":" in host else host
