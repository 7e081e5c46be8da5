"""What an operator can ask for, by verb: the same table serves the command line and the socket.

arguments.py   arguments as they come over JSON, checked
world.py       what they are given
verbs.py       one function for each verb, over the services
answers.py     what the services return, as JSON
"""

from latchgate.commands.verbs import VERBS, run
from latchgate.commands.world import Copy, Report, World

__all__ = ["VERBS", "Copy", "Report", "World", "run"]
