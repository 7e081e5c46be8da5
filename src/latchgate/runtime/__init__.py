"""Our own model server: find and verify its weights, start, watch and stop its child process.

embedded.py      what is served, from the settings
weights.py       the files, found and verified
child.py         the child as its parent sees it: started, watched, started again, stopped
parent.py        the parent as a child sees it: orders in, address out, the end with it
llama_child.py   the child that writes
"""
