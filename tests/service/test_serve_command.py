"""`patchcore serve` as a process: its start, its memory of libraries, its end."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_kit import Benchmarked
from rights_kit import closed
from service_kit import PREDICT, Service

from patchcore_assets.commands.main import main
from patchcore_ops.service.server import serve
from patchcore_ops.service.settings import ServiceSettings

REPOSITORY = Path(__file__).resolve().parents[2]
FOREIGN = ("torch", "torchvision", "timm", "dagster", "pandas", "pyarrow", "sklearn")


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """Start the command with a free port; it is killed at the end if it still runs."""
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(sorted(set({FOREIGN!r}) & set(sys.modules))))\n"
        "from patchcore_assets.commands.main import main\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("page: http://"), process.communicate()
        service = Service(int(line.strip().rstrip("/").rpartition(":")[2]))
        service.wait_until_ready()
        yield process, service
    finally:
        process.kill()
        process.communicate()


def test_requests_that_have_begun_are_answered_before_the_end(
    models: Path, single: Benchmarked
) -> None:
    image = single.images[0].read_bytes()
    with started("--models", str(models)) as (process, service):
        status: list[int] = []
        begun = threading.Event()

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            connection.putrequest("POST", PREDICT)
            connection.putheader("Content-Length", str(len(image)))
            connection.endheaders(image[:100])
            begun.set()
            time.sleep(0.5)
            connection.send(image[100:])
            status.append(connection.getresponse().status)
            connection.close()

        client = threading.Thread(target=ask)
        client.start()
        begun.wait()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        client.join()
        output, errors = process.communicate(timeout=30)
    assert status == [200]
    assert process.returncode == 0, errors
    # Nothing of the network's or of the graph's libraries was needed.
    assert output.strip() == "[]"
    assert "WARNING" not in errors
    assert "serving version" in errors


def test_a_signal_before_the_first_request_ends_it(models: Path) -> None:
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from patchcore_ops.service.server import serve\n"
        "from patchcore_ops.service.settings import ServiceSettings\n"
        "def end(url):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "serve(ServiceSettings(Path(sys.argv[1])), '127.0.0.1', 0, end)\n"
    )
    command = [sys.executable, "-c", program, str(models)]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("token", "warned"), [(None, True), ("sesame", False)])
def test_everyones_address_without_a_token_is_warned_of(
    models: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    warned: bool,
) -> None:
    # Listens here alone, and not for long.
    monkeypatch.setattr(
        "patchcore_ops.service.server._listener",
        lambda *_: socket.create_server(("127.0.0.1", 0)),
    )
    monkeypatch.setattr("uvicorn.Server.run", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    serve(ServiceSettings(models, token), "0.0.0.0", 0, lambda _: None)
    said = "everyone who reaches this address can use the service; set PATCHCORE_TOKEN"
    assert (said in caplog.text) == warned


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "nowhere"], "nowhere: holds no model; name a folder such as"),
        (["--models", "{models}", "--host", "no.such.host.invalid"], "cannot be listened to"),
        (["--models", "{models}", "--port", "{taken}"], "127.0.0.1:{taken}: cannot be listened to"),
        (["--models", "{models}", "--port", "70000"], "127.0.0.1:70000: cannot be listened to"),
    ],
    ids=["no model", "no host", "taken", "no port"],
)
def test_what_cannot_be_served_is_said(
    models: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        known = {"models": str(models), "taken": str(other.getsockname()[1])}
        assert main(["serve", *(argument.format(**known) for argument in arguments)]) == 2
        assert said.format(**known) in capsys.readouterr().err


def test_models_of_another_user_are_said(
    models: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copied = tmp_path / "models"
    shutil.copytree(models, copied)
    with closed(copied):
        assert main(["serve", "--models", str(copied)]) == 2
    said = f"{copied}/model.json: cannot be read (Permission denied); let the user who runs this"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--max-mb", "lots", "argument --max-mb: 'lots' is not a positive number"),
        ("--max-seconds", "nan", "argument --max-seconds: 'nan' is not a positive number"),
        ("--max-images", "1.5", "argument --max-images: '1.5' is not a whole number from 1 on"),
        ("--max-waiting", "0", "argument --max-waiting: '0' is not a whole number from 1 on"),
    ],
)
def test_an_option_that_is_no_number_is_said(
    capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--models", "models", option, value])
    assert capsys.readouterr().err.splitlines()[-1] == f"patchcore serve: error: {said}"


def test_an_empty_token_is_refused(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATCHCORE_TOKEN", " ")
    assert main(["serve", "--models", str(models)]) == 2
    assert capsys.readouterr().err.startswith("PATCHCORE_TOKEN is empty; give it a token")
