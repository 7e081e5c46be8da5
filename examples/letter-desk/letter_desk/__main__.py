"""Starts the desk: ``python -m letter_desk``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from letter_desk.sealing import load_sealer
from letter_desk.web import make_app

SHUTDOWN_TIMEOUT_S = 5


def main() -> None:
    """Read the options, build the application, serve it until Ctrl-C."""
    parser = argparse.ArgumentParser("letter_desk", description="Helps to write e-mail.")
    parser.add_argument("--api", default="http://localhost:8000/v1", help="Latchgate's base URL")
    parser.add_argument("--model", default="smollm2-135m", help="the model that writes")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", default=8100, type=int)
    parser.add_argument("--data", default="data", type=Path, help="where the seal is kept")
    options = parser.parse_args()
    app = make_app(options.api.rstrip("/"), options.model, load_sealer(options.data))
    uvicorn.run(
        app, host=options.host, port=options.port, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S
    )


main()
