"""Documents of a conversation: files that a user adds by a form, whose sentences its answers then quote.

A file is read outside the event loop, two at a time, and a PDF in a process of its own with a deadline (``accord.data.attached``). Its text
is kept, the file is not. What cannot be read is refused by its name, and the other files of the form are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from accord.data import attached
from accord.data.attached import Unreadable
from accord.feedback import chats, documents
from accord.feedback.documents import Read
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.multipart import File
from accord.feedback.web.translations import REFUSALS
from accord.serving.web import conversations, site, translations, uploads
from accord.serving.web.conversation_tools import as_file
from accord.serving.web.uploads import thread

router = APIRouter()
UPLOAD = "/documents"
STREAMED = {UPLOAD: 2 * attached.MOST_BYTES + 100_000}
"""Most bytes of a form with its files."""
_READERS = ThreadPoolExecutor(2, "documents")


@router.post(UPLOAD)
async def add(request: Request, token: str = "", to: str = "", key: str = "") -> Response:
    """Add files to a conversation, or to a new one. Whoever may not send any is answered before a byte of them is read."""
    found, account = await uploads.sender(request, token)
    house = site.of(found)
    if not house.chat.documents:
        raise Refused("role", 403, "documents are switched off")
    if to:
        await thread(chats.opened, house.store, account.id, to)
    async with uploads.sending(found, account):
        read, problems = await _read(found, await uploads.received(request), most=house.chat.documents)
    if read:
        begun = {"system": house.chat.system, "key": key}
        try:
            to = await thread(documents.add, house.store, account.id, to, read, most=house.chat.documents, now=found.now, **begun)
        except Refused as error:
            if error.status != 422:
                raise
            problems.append(found.say(REFUSALS[error.key]))
    if found.wants_json and problems and not read:
        return JSONResponse({"error": "\n".join(problems)}, 422)
    if problems and not found.wants_json:
        return await thread(conversations.render, found, account, to or None, {"problem": "\n".join(problems)}, status=422)
    return found.go(f"/c/{to}" if to else "/chat", problem="\n".join(problems))


@router.post("/c/{id}/documents/{document}/remove")
def remove(request: Request, id: str, document: str) -> Response:
    """Remove a document from a conversation. Answers that quote it stay."""
    found, account, _ = act(request)
    documents.remove(found.site.store, account.id, id, document, now=found.now)
    return found.go(f"/c/{id}")


@router.get("/c/{id}/documents/{document}/export")
def export(request: Request, id: str, document: str) -> Response:
    """Return a document's text as it was read, and as it is quoted."""
    found, account = enter(request)
    for one in documents.texts(found.site.store, account.id, id):
        if one.id == document:
            return as_file(one.text.replace(attached.PAGE, "\n\n\f"), "text/plain; charset=utf-8", f"{document}.txt")
    raise Refused("no_such_document", 404, document)


async def _read(found: Visit, files: Sequence[File], *, most: int) -> tuple[list[Read], list[str]]:
    """Return the texts of the files, and a line for each that cannot be read."""
    if len(files) > most:
        return [], [found.say(REFUSALS["too_many_documents"])]
    read, problems = list[Read](), list[str]()
    for file in files:
        try:
            made = await asyncio.get_running_loop().run_in_executor(_READERS, attached.read, file.name, file.content)
        except Unreadable as error:
            problems.append(f"{file.name}: {found.say(translations.UNREADABLE[error.problem])}")
            continue
        pages = len(made.pages) if made.paged else 0
        read.append(Read(made.name, made.text, pages, sum(not page.strip() for page in made.pages)))
    return read, problems
