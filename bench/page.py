"""The page docs/benchmarks.md, made from a comparison."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from peers import LITELLM, LITELLM_YAML, NGINX, NGINX_CONF, PORTKEY, PORTKEY_PACKAGE, Peer

from latchgate.bench.machine import Machine
from latchgate.bench.measurer import Row
from latchgate.bench.report import figure, machine_lines
from latchgate.bench.scene import GATEWAY, PLAIN

NAMES = {GATEWAY: "Latchgate", PLAIN: "plain proxy"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison has found."""

    machine: Machine
    machine_after_sync_ms: float
    seconds: float
    rounds: int
    retakes: int
    connections: int
    peers: dict[str, Peer]
    missing: dict[str, str]
    rows: list[Row]
    calls: int
    errors: dict[str, int]
    first_error: str
    elsewhere_percent: float
    audit: dict[str, Any]


def write_page(found: Comparison) -> str:
    """The whole page."""
    subjects = [GATEWAY, PLAIN, *found.peers]
    shared = [row for row in found.rows if len(row.values) > 1]
    alone = [row for row in found.rows if len(row.values) == 1]
    parts = [
        OPENING,
        "## The machine\n",
        *(f"* {line}" for line in machine_lines(found.machine)),
        f"* the same after the run: {found.machine_after_sync_ms} ms",
        f"* of the machine's processor time, something else used {found.elsewhere_percent:.1f} %",
        *([BUSY_NOTE] if found.elsewhere_percent >= BUSY_PERCENT else []),
        "\n## Figures\n",
        *_table(shared, subjects, _value),
        "\n## Latchgate's figure divided by each other's\n",
        "Above 1 is better for rates, below 1 for times and memory.\n",
        *_table(shared, subjects[1:], _ratio),
        "\n## Refusals\n",
        "What a flood of calls that are refused costs, on the same core:\n",
        *(f"* {row.what.removeprefix('Refusals: ')}: {_value(row, GATEWAY)}" for row in alone),
        "\n## Correctness\n",
        *_correctness(found),
        *_missing(found),
        "\n## How it was run\n",
        *_how(found),
    ]
    return "\n".join(parts) + "\n"


OPENING = f"""\
# Benchmarks

What a call through Latchgate costs, beside a bare proxy and other gateways. `python
bench/compare.py` measures all of this anew and writes this page; `latchgate bench` measures
Latchgate and the plain proxy alone, on any machine, in two minutes. That nothing grows
through a million calls, or while thousands of streams stay open, is [a page of its own](soak.md).

Who takes part, and what each does for a call:

* **Latchgate**: checks the key, the account, the model and every field of the request, holds the
  money that the call can cost, meters the answer, and makes the charge durable on the disk
  (`fdatasync`) before the answer's last byte leaves. One process, settings as they come, but for
  bounds that one account alone would meet: they are set so high that nothing meets them.
* **plain proxy**: passes bytes on, and does nothing else; it is written with the same libraries
  (`bench/plain_proxy.py`). What Latchgate costs above it is what its work costs.
* **{NGINX}**: `proxy_pass` with kept connections, one worker. It does nothing else either.
* **{LITELLM}**: its proxy, one worker, one master key, without a database: it checks that key, and
  neither holds nor charges money.
* **{PORTKEY}**: its open gateway on Node. It passes the caller's key on, and neither checks nor
  charges anything.

Each of them is one process, all on the same core; whose turn it is not is stopped. The model
server, which answers at once, and the load generator share another core. Every figure is taken on
each in turn, round after round, and is the median of its rounds. Every answer is checked.

Read the processor time first: it is what a call costs, and what else the machine does changes it
least. The load generator and the model server together are good for about 65,000 calls a second.
"""

#: From here on what else the machine does shows in the figures.
BUSY_PERCENT = 5
BUSY_NOTE = """
**This machine was busy with other work.** Rates are lower and latencies higher, for everybody, than
on a quiet one; processor time and memory are touched least, so compare by those. Run on a quiet
machine, `python bench/compare.py` writes better figures here."""

HOW = """\
* *Calls*: {connections} connections, each calling again as soon as it is answered.
* *Latency*: calls at a fixed rate whatever the answers do, timed from sending to the last byte. It
  includes the model server's and the load generator's own share, which is the same for everybody;
  the plain proxy's column shows how much that is at most.
* *Events*: {connections} streams of 200 events each, as fast as they can; every event leaves the
  model server in a write of its own. Processor time includes the event's share of its call.
* *Processor time*: user and system time of all threads of the process, divided by all answers.
* *Memory*: resident memory. For open streams: how much it grew, divided by their number.
* Figures of {seconds:g} seconds, {rounds} times; one during which something else used over 5 % of
  the machine is taken again, up to {retakes} times.
"""


PORTKEY_NOTE = f"""\
Portkey's package.json, with older versions of what it stands on, because its streams fail with the
newest:

```json
{json.dumps(PORTKEY_PACKAGE, indent=2)}
```

Calls name their model server in its headers `x-portkey-provider` and `x-portkey-custom-host`."""


def _table(rows: list[Row], subjects: list[str], cell: Any) -> list[str]:
    head = ["", *(NAMES.get(name, name) for name in subjects)]
    return [
        f"| {' | '.join(head)} |",
        f"| --- |{' ---: |' * len(subjects)}",
        *(f"| {row.what} | {' | '.join(cell(row, name) for name in subjects)} |" for row in rows),
    ]


def _value(row: Row, name: str) -> str:
    value = row.values.get(name)
    return "–" if value is None else f"{figure(value)} {row.unit}"


def _ratio(row: Row, name: str) -> str:
    value, ours = row.values.get(name), row.values.get(GATEWAY)
    return "–" if not value or ours is None else f"{ours / value:.2f}"


def _correctness(found: Comparison) -> list[str]:
    checked = ", ".join(f"{count:,} {what}" for what, count in found.audit["checked"].items())
    books = "agrees with itself" if found.audit["agrees"] else "DISAGREES with itself"
    wrong = ", ".join(f"{count} of {name}'s" for name, count in found.errors.items())
    first = f" (the first: {found.first_error})" if wrong else ""
    audited = f"the data directory {books} ({checked.replace('_', ' ')})"
    return [
        f"* Of {found.calls:,} answers, {wrong or 'none'} differed from what was expected{first}.",
        f"* After the run `latchgate audit` derived every balance again: {audited}.",
    ]


def _missing(found: Comparison) -> list[str]:
    return [f"* Without a figure: {what}: {reason}." for what, reason in found.missing.items()]


def _how(found: Comparison) -> list[str]:
    asked = {"seconds": found.seconds, "rounds": found.rounds, "retakes": found.retakes}
    options = " ".join(f"--{name} {value:g}" for name, value in asked.items())
    lines = [HOW.format(connections=found.connections, **asked), "```sh"]
    lines += [f"python bench/compare.py {options}", "", "# What it runs, each on one core:"]
    lines += ["latchgate serve --no-embedded-model --data DIR --port 0"]
    for name, peer in found.peers.items():
        lines += [f"# {name} {peer.version}", *peer.commands]
    lines += ["```", "", "nginx.conf:", "", "```nginx", _as_shown(NGINX_CONF), "```"]
    lines += ["", "litellm.yaml:", "", "```yaml", _as_shown(LITELLM_YAML), "```"]
    if PORTKEY in found.peers:
        lines += ["", PORTKEY_NOTE]
    return lines


def _as_shown(text: str) -> str:
    """A configuration with words in place of what differs each time."""
    filled = {"folder": "DIR", "port": "PORT", "upstream_port": "MOCK", "model": "bench-model"}
    return text.format(**filled).strip()
