"""Measure the console's main pages with Lighthouse, in Debian's Chromium and without a network.

    .venv/bin/python scripts/measure_lighthouse.py [path …]

It installs Lighthouse from the npm registry into build/ (once), starts a server of its own without
a model, makes an account with a key and some credit, and prints for each page, on a phone and at a
desk, the score of each category, and below it every audit that costs one of them points.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.server import ROOT, ServerProcess

LISTS, BUILT = ROOT / "scripts" / "lighthouse", ROOT / "build" / "lighthouse"
DOORS = ("/", "/login", "/signup")
PAGES = ("/home", "/usage", "/api-keys", "/limits", "/billing", "/playground", "/security")
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
FORMS = {"phone": (), "desk": ("--preset=desktop",)}
EMAIL, PASSWORD = "ada@example.com", "seven quiet violet llamas"


def _install() -> None:
    """Put what the lock names into build/, unless it is there."""
    if (BUILT / "node_modules" / ".bin" / "lighthouse").exists():
        return
    BUILT.mkdir(parents=True, exist_ok=True)
    for path in LISTS.glob("package*.json"):
        shutil.copy(path, BUILT)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=BUILT, check=True)  # noqa: S603 - a command of ours


def _login(server: ServerProcess) -> str:
    """Make an account with a key; the cookie that opens it."""
    server.cli("account", "create", EMAIL, "--password-stdin", "--credit", "5.00", stdin=PASSWORD)
    server.cli("key", "create", EMAIL, "--name", "Laptop")
    with httpx.Client(base_url=server.url) as browser:
        browser.post("/api/session", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def _look(url: str, cookie: str, options: tuple[str, ...]) -> dict[str, Any]:
    """What Lighthouse says of a page."""
    flags = "--headless=new --disable-gpu --disable-background-networking"
    flags += " --no-sandbox" if os.geteuid() == 0 else ""
    command = [
        *(str(BUILT / "node_modules" / ".bin" / "lighthouse"), url, *options),
        *("--quiet", "--output=json", f"--only-categories={','.join(CATEGORIES)}"),
        *(f"--chrome-flags={flags}", "--no-enable-error-reporting"),
        f"--extra-headers={json.dumps({'Cookie': cookie} if cookie else {})}",
    ]
    chromium = shutil.which("chromium") or ""
    done = subprocess.run(  # noqa: S603 - as above
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CHROME_PATH": chromium},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _print(path: str, form: str, found: dict[str, Any]) -> None:
    scores = [round((found["categories"][name]["score"] or 0) * 100) for name in CATEGORIES]
    sys.stdout.write(f"{path:12} {form:6}" + "".join(f"{score:5}" for score in scores) + "\n")
    for name in CATEGORIES:
        for part in found["categories"][name]["auditRefs"]:
            audit = found["audits"][part["id"]]
            if part["weight"] and audit["score"] is not None and audit["score"] < 1:
                said = audit.get("displayValue", "")
                sys.stdout.write(f"    {name}: {audit['title']} {said}\n")


def main() -> None:
    """Print the figures."""
    _install()
    asked = tuple(sys.argv[1:])
    sys.stdout.write(
        "page         as    " + "".join(f"{name[:4]:>5}" for name in CATEGORIES) + "\n"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "data", "--no-embedded-model") as server,
    ):
        cookie = _login(server)
        for path in asked or (*DOORS, *PAGES):
            for form, options in FORMS.items():
                found = _look(server.url + path, "" if path in DOORS else cookie, options)
                _print(path, form, found)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
