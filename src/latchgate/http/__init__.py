"""HTTP for people and their scripts: the edge, sessions in cookies, and the management API."""
