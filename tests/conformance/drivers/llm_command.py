"""Drives the command line ``llm``, told of the server by extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from drivers.loop import CITY_SCHEMA, QUESTION, Job, Told, red_png_bytes, serve

LLM = str(Path(sys.executable).with_name("llm"))
HOME = Path(os.environ["LLM_USER_PATH"])
TIMEOUT_S = 60
#: How often it is pressed before that time is over.
CTRL_C_MAX = 6
OFFER = """\
- model_id: mine
  model_name: {model}
  api_base: {base_url}/v1
  api_key_name: mine
  supports_schema: true
  supports_tools: true
  vision: true
"""
TOOL = '''
def get_weather(city: str) -> str:
    """Weather."""
    return f"It is sunny in {city}."
'''


class Failed(Exception):
    """``llm`` ended with an error."""


def _command(job: Job, *options: str) -> list[str]:
    (HOME / "extra-openai-models.yaml").write_text(OFFER.format(**job))
    (HOME / "keys.json").write_text(json.dumps({"mine": job["key"]}))
    return [LLM, "prompt", "--model", "mine", *options]


def _run(job: Job, *options: str) -> str:
    command = _command(job, *options, QUESTION)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise Failed(done.stderr)
    return done.stdout.strip()


def _with_usage(job: Job, *options: str) -> Told:
    text = _run(job, "-o", "max_tokens", "8", *options)
    logged = subprocess.run(
        [LLM, "logs", "--json", "--count", "1"], capture_output=True, check=True, timeout=TIMEOUT_S
    )
    entry = json.loads(logged.stdout)[0]
    return {"text": text, "usage": [entry["input_tokens"], entry["output_tokens"]]}


def chat(job: Job) -> Told:
    """A whole answer."""
    return _with_usage(job, "--no-stream")


def stream(job: Job) -> Told:
    """A streamed answer, which is what it does by default."""
    return _with_usage(job)


def hang_up(job: Job) -> Told:
    """Ctrl-C after the first words."""
    process = subprocess.Popen(
        _command(job, QUESTION),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    # Again, as people press it: the interrupt is lost where Python is just letting go of something.
    for _ in range(CTRL_C_MAX):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TIMEOUT_S / CTRL_C_MAX)
            break
    else:
        process.kill()
        raise TimeoutError("Ctrl-C does not end it")
    return {"text": first.decode()}


def tool(job: Job) -> Told:
    """A call of a tool, which ``llm`` runs and whose result it sends back, by itself."""
    told = _run(job, "--functions", TOOL, "--tools-debug", "--no-stream")
    return {"text": told, "tool": '{"city": "Bern"}' if "sunny in Bern" in told else told}


def image(job: Job) -> Told:
    """A question about an image."""
    place = HOME / "red.png"
    place.write_bytes(red_png_bytes())
    return {"text": _run(job, "--attachment", str(place))}


def schema(job: Job) -> Told:
    """An answer of a given shape."""
    return {"text": json.loads(_run(job, "--schema", json.dumps(CITY_SCHEMA)))["city"]}


def refusal(error: Exception) -> Told | None:
    """What stands on stderr: it prints the SDK's sentence, with the whole error in it."""
    if not isinstance(error, Failed):
        return None
    message = str(error)
    status = re.search(r"Error code: (\d+)", message)
    code = re.search(r"'code': '(\w+)'", message)
    return {
        "status": int(status[1]) if status else None,
        "code": code[1] if code else None,
        "message": message,
    }


if __name__ == "__main__":
    serve(
        {
            "chat": chat,
            "stream": stream,
            "hang_up": hang_up,
            "tool": tool,
            "image": image,
            "schema": schema,
        },
        refusal,
    )
