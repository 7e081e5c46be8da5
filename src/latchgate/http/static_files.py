"""The console's static files: asked about by ETag, or kept a year where the URL has a version."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

#: A URL such as ``/static/app.css?v=1f3c`` changes with the file: what it names never does.
VERSION_PARAM = "v"
_FOREVER = "public, max-age=31536000, immutable"
#: Kept, but asked about each time; the ETag makes that a 304.
_REVALIDATE = "public, max-age=0, must-revalidate"
_KEPT = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED})


class VersionedFiles(StaticFiles):
    """Starlette's static files (ETag, ranges, no way out of the folder) with our caching."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, saying how long it may be kept."""
        response = await super().get_response(path, scope)
        if response.status_code in _KEPT:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            has_version = bool(query.get(VERSION_PARAM, [""])[0])
            response.headers["cache-control"] = _FOREVER if has_version else _REVALIDATE
        return response
