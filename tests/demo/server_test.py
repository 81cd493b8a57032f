import os
import socket
import sys
import threading

import httpx
import pytest

import restr_jax
from restr_jax import cli, demo
from restr_jax.inference import segmenter

pytest.importorskip("gradio")
from restr_jax.demo import server  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return restr_jax.load("shapes")


@pytest.fixture
def taken():
    """Yields a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_before_a_model_is_loaded(taken, monkeypatch):
    monkeypatch.setattr(segmenter, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["serve", f"--port={taken}"])
    message = str(stopped.value)
    assert f"Cannot listen on port {taken} of 127.0.0.1 (Address already" in message
    assert f"--port={taken + 1}" in message and "\n" not in message


def test_a_free_port_is_accepted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server.check_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_invalid_port_is_refused(port):
    with pytest.raises(ValueError, match=f"--port={port} is out of range"):
        server.check_port("127.0.0.1", port)


def test_an_address_of_another_host_is_refused():
    with pytest.raises(OSError, match="Cannot resolve --host=no such host"):
        server.check_port("no such host", 7860)
    with pytest.raises(OSError, match="Cannot listen on port 7860 of 192.0.2.1"):
        server.check_port("192.0.2.1", 7860)  # An address reserved for documentation.


def test_the_page_is_served_before_the_model_is_compiled(model, monkeypatch):
    compiled = threading.Event()
    monkeypatch.setattr(model, "warm_up", lambda: compiled.wait(60))
    monkeypatch.setenv("NO_PROXY", "internal.example")
    page = demo.launch(model, inline=False)
    try:
        assert httpx.get(page.local_url).status_code == 200
        assert page.share_url is None
        ready = next(t for t in threading.enumerate() if t.name == "compilation")
        assert ready.is_alive()
        assert os.environ["NO_PROXY"] == "internal.example,localhost,127.0.0.1"
    finally:
        compiled.set()
        page.close()


def test_sharing_is_off_unless_it_is_asked_for(model, monkeypatch):
    shared = []
    monkeypatch.setattr(segmenter, "load", lambda *_, **__: model)
    monkeypatch.setattr(server, "check_port", lambda *_: None)
    monkeypatch.setattr(server, "serve", lambda *given: shared.append(given[3]))
    cli.main(["serve"])
    cli.main(["serve", "--share"])
    assert shared == [False, True]


def test_a_missing_gradio_is_named_with_the_command(monkeypatch):
    for module in [m for m in sys.modules if m.startswith("restr_jax.demo.")]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("page", "server"):
        monkeypatch.delattr(demo, module)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Gradio; install it with"):
        demo.launch(None)
