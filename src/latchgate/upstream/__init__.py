"""Other people's model servers: connections, their events, and what may go wrong with them."""
