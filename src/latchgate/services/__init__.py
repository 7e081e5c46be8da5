"""Use cases, one transaction each: what people, operators and the gateway ask the store to do."""
