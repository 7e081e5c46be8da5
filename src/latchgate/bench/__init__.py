"""The benchmark: what a call through the gateway costs beside one through a bare proxy.

run.py            `latchgate bench`: start everything, measure, audit, print
measures.py       what is measured, on each subject in turn
scene.py          the processes of a run: model server, gateway, plain proxy
load.py           the load generator, a process of its own; client.py is one of its connections
mock_upstream.py  a model server that costs as little as possible
plain_proxy.py    the baseline: bytes in, bytes out
serving.py        how the latter two listen
processes.py      start on a core, look at, and end processes
machine.py        what the figures were taken on
report.py         the figures as a table
"""
