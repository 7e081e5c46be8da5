"""Other gateways beside ours: each started as its own documentation says, as one process.

What has to be installed goes into a folder that is thrown away; the machine stays as it was.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latchgate.bench.measurer import PROMPT, body_of
from latchgate.bench.mock_upstream import MODEL
from latchgate.bench.processes import Crew
from latchgate.bench.scene import Subject, bearer

NGINX, LITELLM, PORTKEY = "nginx", "LiteLLM", "Portkey"
INSTALL_TIMEOUT_S = 900
START_TIMEOUT_S = 120
#: Portkey's streams fail with the newest of what it stands on (its issue 1389).
PORTKEY_PACKAGE = {
    "dependencies": {"@portkey-ai/gateway": "*"},
    "overrides": {"@hono/node-server": "1.14.0", "hono": "4.9.7"},
}

NGINX_CONF = """\
daemon off;
user root;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_max_body_size 16m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream mock {{
        server 127.0.0.1:{upstream_port};
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /v1/ {{ proxy_pass http://mock; }}
        location /streams/ {{ proxy_pass http://mock/; proxy_buffering off; }}
    }}
}}
"""

LITELLM_YAML = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{upstream_port}/v1
      api_key: sk-mock
general_settings:
  master_key: sk-bench
"""


class NotHere(Exception):
    """A peer cannot be had on this machine; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a peer needs to start."""

    crew: Crew
    folder: Path
    core: int | None
    upstream_port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer, and how it came to run."""

    subject: Subject
    version: str
    commands: tuple[str, ...]


def start_nginx(kit: Kit) -> Peer:
    """Debian's nginx, unpacked rather than installed, so that no service of its own starts."""
    folder = kit.folder / "nginx"
    found = shutil.which("nginx") or folder / "unpacked/usr/sbin/nginx"
    if not Path(found).exists():
        if shutil.which("apt-get") is None:
            raise NotHere("there is no nginx, and no apt-get")
        folder.mkdir(parents=True, exist_ok=True)
        _install(["apt-get", "download", "nginx"], folder)
        package = next(folder.glob("nginx_*.deb"))
        _install(["dpkg", "-x", package.name, "unpacked"], folder)
    port = free_port()
    conf = kit.crew.folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(folder=kit.crew.folder, port=port, upstream_port=kit.upstream_port)
    )
    command = [str(found), "-p", str(kit.crew.folder), "-c", str(conf)]
    process = kit.crew.start("nginx", command, core=kit.core, is_heard=False)
    subject = Subject(NGINX, port, [], stream_path="/streams/v1/chat/completions")
    _wait(subject, process)
    subject.pids = _children(process.pid)
    said = subprocess.run([str(found), "-v"], capture_output=True, text=True, check=True).stderr
    return Peer(
        subject,
        said.strip().rpartition("/")[2],
        ("apt-get download nginx && dpkg -x nginx_*.deb unpacked", "nginx -p DIR -c nginx.conf"),
    )


def start_litellm(kit: Kit) -> Peer:
    """LiteLLM's proxy: one worker, one master key, no database."""
    folder = kit.folder / "litellm"
    if not (folder / "bin/litellm").exists():
        _install([sys.executable, "-m", "venv", str(folder)], kit.folder)
        _install([str(folder / "bin/pip"), "install", "--quiet", "litellm[proxy]"], kit.folder)
    port = free_port()
    conf = kit.crew.folder / "litellm.yaml"
    conf.write_text(LITELLM_YAML.format(model=MODEL, upstream_port=kit.upstream_port))
    options = ["--config", str(conf), "--host", "127.0.0.1", "--port", str(port)]
    process = kit.crew.start(
        "litellm",
        [str(folder / "bin/litellm"), *options, "--num_workers", "1"],
        core=kit.core,
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        is_heard=False,
    )
    subject = Subject(LITELLM, port, [process.pid], bearer("sk-bench"))
    _wait(subject, process)
    subject.pids += _children(process.pid)
    ask = "import importlib.metadata as m; print(m.version('litellm'))"
    said = subprocess.run(
        [str(folder / "bin/python"), "-c", ask], capture_output=True, text=True, check=True
    )
    return Peer(
        subject,
        said.stdout.strip(),
        (
            "pip install 'litellm[proxy]'",
            "litellm --config litellm.yaml --host 127.0.0.1 --port PORT --num_workers 1",
        ),
    )


def start_portkey(kit: Kit) -> Peer:
    """Portkey's gateway on Node: it passes the caller's key on, and checks none."""
    folder = kit.folder / "portkey"
    package = folder / "node_modules/@portkey-ai/gateway"
    words = ["npm", "install", "--no-audit", "--no-fund"]
    if shutil.which("npm") is None:
        raise NotHere("there is no npm")
    if not package.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps(PORTKEY_PACKAGE))
        _install(words, folder)
    port = free_port()
    process = kit.crew.start(
        "portkey",
        ["node", str(package / "build/start-server.js"), f"--port={port}", "--headless"],
        core=kit.core,
        environment={"NODE_ENV": "production"},
        is_heard=False,
    )
    where = f"http://127.0.0.1:{kit.upstream_port}/v1"
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": where}
    subject = Subject(PORTKEY, port, [process.pid], {**bearer("sk-mock"), **headers})
    _wait(subject, process)
    version = json.loads((package / "package.json").read_text())["version"]
    start = "NODE_ENV=production node build/start-server.js --port=PORT --headless"
    return Peer(subject, version, (" ".join(words), start))


STARTERS: dict[str, Callable[[Kit], Peer]] = {
    NGINX: start_nginx,
    LITELLM: start_litellm,
    PORTKEY: start_portkey,
}


def _install(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHere(f"{Path(command[0]).name}: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotHere(f"{Path(command[0]).name} {command[1]} failed: {' '.join(last)[:200]}")


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _wait(subject: Subject, process: subprocess.Popen[bytes]) -> None:
    """Wait until it answers a call as it should."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    headers = {"content-type": "application/json", **subject.headers}
    request = urllib.request.Request(
        f"http://127.0.0.1:{subject.port}{subject.path}", body_of(PROMPT).encode(), headers
    )
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if b"Hello!" in answer.read():
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise NotHere("it was installed, but did not answer a call")
