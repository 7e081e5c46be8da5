"""Starts the desk: ``python -m help_desk``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from help_desk.settings import SettingsError, load_settings
from help_desk.web import make_app

SHUTDOWN_TIMEOUT_S = 5


def main() -> None:
    """Read the options and settings, build the application, serve it until Ctrl-C."""
    parser = argparse.ArgumentParser("help_desk", description="Answers from your own pages.")
    parser.add_argument("--config", default="help-desk.toml", type=Path, help="the settings")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", default=8200, type=int)
    options = parser.parse_args()
    try:
        app = make_app(load_settings(options.config))
    except SettingsError as error:
        sys.exit(str(error))
    # A visitor's address is taken from X-Forwarded-For only if a proxy on this machine sent it.
    uvicorn.run(
        app, host=options.host, port=options.port, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S
    )


main()
