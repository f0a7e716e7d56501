"""The report inside the site: rendered anew when a run, a model or the summary has changed, for leads and viewers."""

from __future__ import annotations

import threading

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from accord.feedback.web.access import enter
from accord.feedback.web.languages import Language
from accord.report.live import Live, state_of
from accord.report.page import live_policy
from accord.site import project_site

router = APIRouter()
FRAMES = "frame-ancestors 'none'"
_LIVE: dict[tuple[str, str, Language], Live] = {}
_MAKING = threading.Lock()


@router.get("/report")
def report_page(request: Request) -> Response:
    """Show the report of the project as it is now. It is one page of its own, with a link back."""
    found, _ = enter(request, "lead", "viewer")
    path, back = project_site.of(found).project.path, f"{found.root}/"
    key = str(path), back, found.language
    with _MAKING:
        live = _LIVE.setdefault(key, Live(path, back=back, language=found.language))
    headers = {"Content-Security-Policy": f"{live_policy()}; {FRAMES}"}
    return Response(live.newest()[1], media_type="text/html; charset=utf-8", headers=headers)


@router.get("/report/state")
def report_state(request: Request) -> Response:
    """Return the state of the files that the report shows, so that an open page knows when to renew itself."""
    found, _ = enter(request, "lead", "viewer")
    return JSONResponse({"state": state_of(project_site.of(found).project.path)})
