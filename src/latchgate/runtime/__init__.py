"""Our own model server: find and verify its weights, start, watch and stop the llama.cpp child."""
