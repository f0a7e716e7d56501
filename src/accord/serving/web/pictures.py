"""Pictures in the chat: added to the user's next message by a form, looked at by models that read pictures.

Each is checked, made upright and written anew as pictures of an import are (``accord.data.pictures``), one at a time outside the event
loop. It waits in the store for the message that takes it along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from accord.data import pictures
from accord.data.pictures import Unreadable
from accord.feedback import chat_pictures, chats
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit, act
from accord.feedback.web.multipart import File
from accord.feedback.web.translations import REFUSALS
from accord.records import MediaFile
from accord.serving.web import conversations, site, translations, uploads
from accord.serving.web.uploads import thread

router = APIRouter()
UPLOAD = "/pictures"
STREAMED = {UPLOAD: 2 * pictures.MOST_BYTES + 100_000}
"""Most bytes of a form with its pictures."""
_READER = ThreadPoolExecutor(1, "pictures")


@router.post(UPLOAD)
async def add(request: Request, token: str = "", to: str = "") -> Response:
    """Add pictures to the next message. ``to`` is the conversation whose page sends them; empty for a new one."""
    found, account = await uploads.sender(request, token)
    house = site.of(found)
    if not house.chat.pictures:
        raise Refused("role", 403, "pictures are switched off")
    if to:
        await thread(chats.opened, house.store, account.id, to)
    async with uploads.sending(found, account):
        read, problems = await _read(found, await uploads.received(request), most=house.chat.pictures)
    if read:
        try:
            await thread(chat_pictures.add, house.store, account.id, read, most=house.chat.pictures, now=found.now)
        except Refused as error:
            problems.append(found.say(REFUSALS[error.key]))
            read = []
    if found.wants_json and problems and not read:
        return JSONResponse({"error": "\n".join(problems)}, 422)
    if problems and not found.wants_json:
        return await thread(conversations.render, found, account, to or None, {"problem": "\n".join(problems)}, status=422)
    return found.go(f"/c/{to}" if to else "/chat", problem="\n".join(problems))


@router.post("/pictures/{digest}/remove")
def remove(request: Request, digest: str) -> Response:
    """Remove a picture from the next message."""
    found, account, form = act(request)
    to = form.get("to")
    if to:
        chats.opened(found.site.store, account.id, to)
    chat_pictures.remove(found.site.store, account.id, [digest])
    return found.go(f"/c/{to}" if to else "/chat")


async def _read(found: Visit, files: Sequence[File], *, most: int) -> tuple[list[MediaFile], list[str]]:
    """Return the pictures as they are stored, and a line for each file that is none or cannot be taken."""
    if len(files) > most:
        return [], [found.say(REFUSALS["too_many_pictures"])]
    read, problems = list[MediaFile](), list[str]()
    for file in files:
        try:
            read.append(await asyncio.get_running_loop().run_in_executor(_READER, pictures.read, file.content, file.name))
        except Unreadable as error:
            problems.append(f"{file.name}: {found.say(translations.NO_PICTURE[error.problem])}")
    return read, problems
