"""The admin API: what operators do in the console and on the command line, for their programs.

routes.py     every route, a row each: its verb of the command line, its scope, its shapes
asked.py      what requests carry
answered.py   what answers carry
keys.py       who asks: an admin key in the Authorization header, and nothing else
router.py     from a row to a route, and to the OpenAPI document
"""

from latchgate.http.admin.router import admin_api
from latchgate.http.admin.routes import ADMIN_PREFIX, ROUTES, Run

__all__ = ["ADMIN_PREFIX", "ROUTES", "Run", "admin_api"]
