"""Our own model servers: find and verify weights, start, watch and stop a child process for each.

embedded.py           what is served, from the settings
weights.py            the files, found and verified
child.py              a child as its parent sees it: started, watched, started again, stopped
parent.py             the parent as a child sees it: orders in, address out, the end with it
llama_child.py        the child that writes: llama.cpp's own server
embeddings_child.py   the child for embeddings: embeddings_api.py (bodies), batcher.py, encoder.py
"""
