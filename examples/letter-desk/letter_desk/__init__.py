"""Letter desk: helps to write e-mail, with the user's own Latchgate key."""
