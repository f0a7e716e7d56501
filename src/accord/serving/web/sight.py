"""Which model may be shown which pictures in the chat: a message with a picture is refused before anything of it is stored, not after."""

from __future__ import annotations

from collections.abc import Sequence

from accord.data.pictures import MOST_AT_ONCE, MOST_PIXELS
from accord.feedback import chat_pictures, chats, documents
from accord.feedback.chats import Turn
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit
from accord.feedback.web.forms import Form
from accord.records import Message, composed
from accord.serving.web import site, translations
from accord.serving.web.site import ChatSite


def message(found: Visit, user: str, text: str, form: Form, conversation: str = "") -> Message:
    """Return a message with the pictures of the one that it replaces, if it does: an edited message keeps its pictures.

    Raises:
        Refused: it would have a picture, and cannot (422); see ``_may_show``. The message that it replaces is not there (404).
    """
    house, edited = site.of(found), form.get("edited")
    kept = chats.one(house.store, user, edited).media if edited else ()
    if kept or form.has("picture"):
        digests = [*(medium.digest for medium in kept), *form.all("picture")]
        _may_show(house, user, digests, form, conversation)
    return composed("user", [*kept, text])


def blind(house: ChatSite, models: Sequence[str]) -> bool:
    """Return whether one of the models that are to answer reads text alone."""
    return not all(house.library.sees(model) for model in models)


def problem(found: Visit) -> str:
    """Return what a user is told where ``blind``."""
    seeing = [name for name in site.of(found).library.names() if site.of(found).library.sees(name)]
    return f"{found.say(translations.TEXT_ALONE)} {', '.join(seeing) or found.say(translations.NO_SUCH_MODEL)}"


def _may_show(house: ChatSite, user: str, digests: Sequence[str], form: Form, id: str) -> None:
    """Hold a message with pictures to what its conversation and its model can take, before anything of it is stored.

    Raises:
        Refused: the model reads text alone, the conversation has documents, or there would be too many pictures (422).
    """
    conversation, turns = chats.opened(house.store, user, id) if id else (None, list[Turn]())
    if conversation and documents.listed(house.store, user, conversation.id):
        raise Refused("pictures_beside_documents")
    wanted = form.get("model") if form.has("model") or not conversation else conversation.model
    names = house.library.names()
    first = wanted if wanted in names else house.answering()
    for name in (first, form.get("against")):
        if name in names and not house.library.sees(name):
            raise Refused("text_alone", 422, name)
    parent = form.get("parent")
    before = chats.path(turns, parent) if any(turn.id == parent for turn in turns) else []
    seen = {*digests, *(medium.digest for turn in before for medium in turn.media)}
    much = len(digests) > max(house.chat.pictures, 1) or len(seen) > MOST_AT_ONCE
    if much or chat_pictures.pixels(house.store, seen) > MOST_PIXELS:
        raise Refused("too_many_pictures", 422, f"{len(seen)} in the conversation")
