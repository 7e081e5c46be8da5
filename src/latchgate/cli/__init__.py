"""The command line: what an operator types.

main.py      the whole of it put together; exit codes; one line for every mistake
place.py     where the data is, and how a command reaches it: the running server, or directly
output.py    tables for people, JSON for programs
accounts.py  account, invite
keys.py      key
catalog.py   upstream, model
server.py    serve, status, audit, doctor, config, version
bench.py     bench
doctor.py    the checks of `latchgate doctor`
document.py  the page docs/cli.md, made from the commands themselves
"""

from latchgate.cli.main import main

__all__ = ["main"]
