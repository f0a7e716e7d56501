"""Pictures and recordings by their digests, from the site's own address, for those alone who may see a record that holds them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import StoreError
from accord.feedback import guideline_pictures, media
from accord.feedback.accounts import Account
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit, enter
from accord.feedback.web.security import POLICY_HEADER

router = APIRouter()
SEES_ALL = ("lead", "viewer")
ALONE = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""The policy of a picture that is opened alone: the browser's own page around it, and nothing that runs."""
KEPT = "private, max-age=600"


@router.get("/media/{digest}")
def one(request: Request, digest: str) -> Response:
    """Send a picture or a recording. Whoever may not see it gets the same answer as for one that is not there."""
    found, account = enter(request)
    sound = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    if not sound or not (account.role in SEES_ALL or _is_shown(found, account, digest)):
        raise Refused("no_such_record", 404, "a picture")
    try:
        file = media.media_file(found.site.store, digest)
    except StoreError as error:
        raise Refused("no_such_record", 404, "a picture") from error
    shown = f'inline; filename="{media.short_name(file)}"'
    headers = {POLICY_HEADER: ALONE, "Cache-Control": KEPT, "Content-Disposition": shown}
    return Response(file.content, media_type=file.mime, headers=headers)


def _is_shown(found: Visit, account: Account, digest: str) -> bool:
    """Return whether somebody sees a record, or a guideline, with it."""
    if media.is_shown_to(found.site.store, account.id, digest):
        return True
    with found.site.store.read() as connection:
        return guideline_pictures.is_shown(connection, digest)
