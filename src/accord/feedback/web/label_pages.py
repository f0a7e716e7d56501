"""Pages for labelers: the next task, sending an answer, earlier answers, the guidelines."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, cast, get_args

from fastapi import APIRouter
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from accord.feedback import answers, doubts, guidelines, schema, tasks, written
from accord.feedback.accounts import Account, Role
from accord.feedback.codec import message_value
from accord.feedback.payloads import text_of
from accord.feedback.refusals import Refused
from accord.feedback.tasks import Leased
from accord.feedback.web import asked, doubt_pages, guides, translations
from accord.feedback.web.access import Visit, act, enter, in_line
from accord.feedback.web.asked import ShownQuestion
from accord.feedback.web.forms import Form, Payload, payload_of
from accord.feedback.web.languages import guideline_language
from accord.records import Guideline, GuidelineSet, Message
from accord.settings.questions import Questions, said

router = APIRouter()
ANSWERING: tuple[Role, ...] = ("lead", "labeler")
LETTERS = "ABCDEFGHI"
ON_A_PAGE = 30
COUNTED = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """A response on the page, with the labeler's input so far. Its id stays on the server."""

    letter: str
    place: int
    text: str
    quality: int | None
    flags: tuple[str, ...]
    rank: int | None
    questions: list[ShownQuestion]
    cut: bool
    """Whether it breaks off at the length limit."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant's turn inside a conversation, and the turns before it."""

    index: str
    before: tuple[Message, ...]
    text: str
    quality: int | None
    flags: tuple[str, ...]
    questions: list[ShownQuestion]


@router.get("/")
@router.get("/label")
def home(request: Request) -> Response:
    found, account = enter(request)
    store = found.site.store
    changed = [set for set in guidelines.SETS if guides.changed(found.site, account, set, found.now)]
    own = [_listed(found, answer) for answer in answers.own(store, account.id, limit=5)]
    told = {
        "doubts_answered": doubt_pages.answered(found, account.id) if account.role != "lead" else 0,
        "doubts_waiting": doubts.waiting(store) if account.role == "lead" else 0,
    }
    return found.page("home.html", **told, pace=_pace(found, account), changed_guidelines=changed, set_names=translations.SETS, answers=own)


@router.get("/next")
def next_task(request: Request) -> Response:
    """Lease and show the labeler's next task, or show the current one again."""
    found, account = enter(request, *ANSWERING)
    if account.paused:
        raise Refused("paused", 403)
    config = found.site.config
    leased = tasks.next_task(
        found.site.store,
        account.id,
        now=found.now,
        lease_seconds=config.lease_minutes * 60,
        purpose="work" if account.qualified else "qualification",
        seed=config.seed,
        gold_rate=config.gold_rate,
        repeat_rate=config.repeat_rate,
    )
    if leased is None:
        return JSONResponse({"task": None}) if found.wants_json else found.page("nothing.html")
    return _show(found, account, leased, answers.read_draft(found.site.store, account.id, leased.task.id))


@router.get("/tasks/{task_id:path}")
def one_task(request: Request, task_id: str) -> Response:
    """Show a task given to this labeler before: with the draft, or with the answer, to correct it."""
    found, account = enter(request, *ANSWERING)
    leased = _held(found, account, task_id)
    draft = answers.read_draft(found.site.store, account.id, task_id)
    return _show(found, account, leased, draft or _answered(found, account, leased))


@router.post("/tasks/{task_id:path}/answer")
def answer(request: Request, task_id: str) -> Response:
    """Store an answer: on disk before the 2xx, and once however often it arrives. Drafts and skips come this way without scripts."""
    found, account, form = act(request, *ANSWERING)
    leased = _held(found, account, task_id)
    if form.get("action") == "draft":
        return _keep_draft(found, account, leased, form)
    if form.get("action") == "doubt":
        return _ask(found, account, leased, form)
    skipped = form.get("action") == "skip"
    if not (skipped or found.wants_json or form.get("sure")) and (doubt := _contradiction(found, leased, form)):
        payload = payload_of(leased.task, leased.order, form, found.site.questions)
        return _show(found, account, leased, payload, problems=[doubt], status=422, unsure=True)
    payload = {"skip": form.get("skip_reason")} if skipped else payload_of(leased.task, leased.order, form, found.site.questions)
    try:
        guideline = guides.named(found.site, leased, form.get("version"), found.now)
        saved = answers.submit(
            found.site.store,
            account.id,
            task_id,
            payload,
            key=form.get("key"),
            revision=form.whole("revision") or 0,
            seconds=_seconds(found, form),
            guideline=guideline,
            now=found.now,
            questions=found.site.questions,
            asked=form.get("questions"),
        )
    except Refused as refused:
        again = refused.status == 422 or refused.key == "questions_changed"
        if found.wants_json or skipped or not again:
            raise
        return _show(found, account, leased, payload, problems=[_problem(found, refused)], status=refused.status)
    return found.go("/answers" if saved.revision > 1 else "/next", answer=saved.id, revision=saved.revision)


@router.post("/tasks/{task_id:path}/draft")
def draft(request: Request, task_id: str) -> Response:
    """Store an unfinished answer."""
    found, account, form = act(request, *ANSWERING)
    return _keep_draft(found, account, _held(found, account, task_id), form)


@router.post("/tasks/{task_id:path}/doubt")
def doubt(request: Request, task_id: str) -> Response:
    """Store a labeler's note to the lead beside a task."""
    found, account, form = act(request, *ANSWERING)
    return _ask(found, account, _held(found, account, task_id), form)


@router.get("/answers")
def own_answers(request: Request, before: str = "") -> Response:
    """Show a labeler's own last answers."""
    found, account = enter(request, *ANSWERING)
    page = answers.own(found.site.store, account.id, limit=ON_A_PAGE, before=before if before.isprintable() else "")
    older = page[-1].at if len(page) == ON_A_PAGE else ""
    return found.page("answers.html", answers=[_listed(found, answer) for answer in page], older=older)


@router.get("/guidelines")
@router.get("/guidelines/{set}")
def guideline_page(request: Request, set: str = "training") -> Response:
    """Show a guideline, and its changes since this person last read it."""
    found, account = enter(request)
    if set not in get_args(GuidelineSet):
        raise HTTPException(404)
    which = cast("GuidelineSet", set)
    guide = guides.shown(found.site, which, found.now, found.language)
    read = guidelines.last_read(found.site.store, account.id, which)
    return found.page(
        "guidelines.html",
        sets=guidelines.SETS,
        set=which,
        set_names=translations.SETS,
        guideline=guide.reference,
        guideline_html=guide.html,
        read_version=read.version if read else "",
        unread=read != guide.reference,
        rules=_grown(found, which),
        changes=guides.changes(found.site, account, guide.reference, found.language),
    )


@router.post("/guidelines/{set}/read")
def guideline_read(request: Request, set: str) -> Response:
    """Record that this person has read a version."""
    found, account, form = act(request)
    if set not in get_args(GuidelineSet):
        raise HTTPException(404)
    guides.mark_read(found.site, account, form.get("version"), cast("GuidelineSet", set), found.now)
    return found.go("/")


def _grown(found: Visit, set: GuidelineSet) -> list[tuple[doubts.Rule, str]]:
    """Return the rules of a guideline that grew from doubts, with the words of each doubt."""
    rules = doubts.rules_of(found.site.store, set)
    threads = {thread.id: thread for thread in doubts.threads(found.site.store)} if rules else {}
    return [(rule, threads[rule.doubt].notes[0].text) for rule in rules]


def _contradiction(found: Visit, leased: Leased, form: Form) -> str:
    """Return the first two responses whose ranks say the opposite of their ratings, in words; scripts ask before they send."""
    if leased.task.kind not in ("rank", "evaluate"):
        return ""
    given = [(letter, form.whole(f"quality-{n}") or 0, form.whole(f"rank-{n}") or 0) for n, letter in enumerate(LETTERS, 1)]
    for (better, high, rank), (worse, low, other) in permutations(given[: len(leased.order)], 2):
        if high > low > 0 and rank > other > 0:
            return found.say(translations.CONTRADICTION, better=better, high=high, worse=worse, low=low)
    return ""


def _problem(found: Visit, refused: Refused) -> str:
    """Return what keeps an answer from being stored, with the question that is open."""
    question = found.site.questions.by_name.get(refused.detail) if refused.key == "question_missing" else None
    told = found.say(translations.REFUSALS[refused.key])
    return f"{told} {said(question.text, guideline_language(found.language))}" if question else told


def _held(found: Visit, account: Account, task_id: str) -> Leased:
    """Return a task of this labeler; another labeler's is not distinguished from none."""
    leased = tasks.held(found.site.store, account.id, task_id) if task_id.isprintable() else None
    if leased is None:
        raise Refused("not_yours", 404, task_id)
    return leased


def _keep_draft(found: Visit, account: Account, leased: Leased, form: Form) -> Response:
    payload = payload_of(leased.task, leased.order, form, found.site.questions)
    answers.draft(found.site.store, account.id, leased.task.id, payload, now=found.now)
    if found.wants_json:
        return JSONResponse({"kept": True})
    return _show(found, account, leased, payload, notice=found.say(translations.DRAFT_KEPT))


def _ask(found: Visit, account: Account, leased: Leased, form: Form) -> Response:
    """Store the note; without scripts the page comes again with everything that was entered."""
    payload, problems, notice = payload_of(leased.task, leased.order, form, found.site.questions), list[str](), ""
    try:
        doubts.ask(found.site.store, account.id, leased.task.id, form.get("doubt"), now=found.now)
        notice = found.say(translations.DOUBT_SENT)
    except Refused as refused:
        if found.wants_json:
            raise
        problems = [found.say(translations.REFUSALS[refused.key])]
    if found.wants_json:
        return JSONResponse({"asked": True})
    return _show(found, account, leased, payload, problems=problems, notice=notice, status=422 if problems else 200)


def _seconds(found: Visit, form: Form) -> float:
    """Return the seconds in view as counted by the browser; without scripts, those since the page was made."""
    passed = max(0.0, found.now.timestamp() - form.number("opened"))
    return min(form.number("seconds") or passed, passed)


def _answered(found: Visit, account: Account, leased: Leased) -> Payload | None:
    """Return the labeler's answer to a task, if there is one."""
    a = schema.answers
    query = select(a.c.payload).where(a.c.task_id == leased.task.id, a.c.labeler == account.id, a.c.revision == leased.revision)
    with found.site.store.read() as connection:
        text = connection.scalar(query)
    return json.loads(text) if text else None


def _show(
    found: Visit,
    account: Account,
    leased: Leased,
    payload: Mapping[str, Any] | None,
    *,
    problems: Sequence[str] = (),
    notice: str = "",
    status: int = 200,
    unsure: bool = False,
) -> Response:
    if leased.task.kind == "fact" and leased.task.fact is None:
        raise Refused("retracted", 410, leased.task.id)  # its prompt was erased, with the claim and the document
    task, given = leased.task, {} if payload is None or "skip" in payload else dict(payload)
    questions, language = found.site.questions, guideline_language(found.language)
    ask, intent = written.asked_of(task) if task.kind == "prompt" else ("", "")
    guide = guides.shown(found.site, task.guideline, found.now, found.language)
    key = secrets.token_urlsafe(18)
    scene, scene_note = found.site.scene(task.prompt, language) if found.site.scene and task.kind != "prompt" else ("", "")
    if found.wants_json:
        staged = {"scene": scene, "scene_note": scene_note} if scene else {}
        return JSONResponse({"task": _as_json(leased, given, guide.reference, questions) | staged, "key": key, "csrf": found.csrf})
    kind = "rank" if task.kind == "evaluate" else task.kind
    return found.page(
        f"task_{kind}.html",
        status,
        task=task,
        heading=found.say(translations.KINDS[task.kind]),
        hint=found.say(translations.RANK_ONLY if "ratings" in task.without else translations.HINTS[task.kind]),
        shown_messages=(Message("user", intent),) if intent else () if task.kind == "prompt" else task.prompt.messages,
        scene=scene,
        scene_note=scene_note,
        ask=ask,
        writes=translations.WRITE,
        responses=_shown(found, leased, given),
        turns=_turns(found, leased, given) if task.kind == "conversation" else (),
        payload=given,
        asked=questions.version(task.kind),
        prompt_questions=asked.shown(questions, task.kind, "prompt", language, given.get("answers", {}).get("prompt", {})),
        revision=leased.revision,
        revising=leased.revision > 0,
        key=key,
        opened=f"{found.now.timestamp():.1f}",
        saved_at="",
        problems=problems,
        unsure=unsure,
        notes=doubt_pages.beside(found, account.id, task.id),
        notice=notice,
        guideline=guide.reference,
        guideline_html=guide.html,
        guideline_changed=guides.changed(found.site, account, task.guideline, found.now),
        pace=_pace(found, account),
        set_names=translations.SETS,
        choices=translations.CHOICES,
        verdicts=translations.VERDICTS,
        response_flags=asked.flags(questions, task.kind, "response", language) if "flags" not in task.without else [],
        prompt_flags=asked.flags(questions, task.kind, "prompt", language) if "flags" not in task.without else [],
        rated="ratings" not in task.without,
        shortcuts=[(keys, found.say(what)) for keys, what in translations.SHORTCUTS],
    )


def _as_json(leased: Leased, given: Payload, guideline: Guideline, questions: Questions) -> dict[str, Any]:
    """Return a task for a program. Responses come in order and without ids, so that an evaluation stays blind."""
    texts = {response.id: response.text for response in leased.task.responses}
    draft = leased.task.draft
    return {
        "id": leased.task.id,
        "kind": leased.task.kind,
        "guideline": {"set": guideline.set, "version": guideline.version},
        "messages": list(map(message_value, leased.task.prompt.messages)),
        "responses": [texts[id] for id in leased.order],
        **({"draft": draft.text} if draft else {}),
        **({"fact": asdict(leased.task.fact)} if leased.task.fact else {}),
        "revision": leased.revision,
        "said": given,
        "questions": questions.version(leased.task.kind),
    }


def _shown(found: Visit, leased: Leased, given: Payload) -> list[Shown]:
    responses = {response.id: response for response in leased.task.responses}
    ratings, ranks = given.get("ratings", {}), given.get("ranks", {})
    return [
        Shown(
            letter=LETTERS[place - 1],
            place=place,
            text=responses[id].text,
            quality=ratings.get(id, {}).get("quality"),
            flags=tuple(ratings.get(id, {}).get("flags", ())),
            rank=ranks.get(id),
            questions=_about(found, leased, given, id, str(place)),
            cut=not responses[id].finished,
        )
        for place, id in enumerate(leased.order, 1)
    ]


def _about(found: Visit, leased: Leased, given: Payload, target: str, place: str) -> list[ShownQuestion]:
    """Return the questions about a response or a turn, with the answers so far."""
    task, language, before = leased.task, guideline_language(found.language), given.get("answers", {}).get("responses", {}).get(target, {})
    return asked.shown(found.site.questions, task.kind, "response", language, before, place, text_of(task, target))


def _turns(visit: Visit, leased: Leased, given: Payload) -> list[Turn]:
    messages = [*leased.task.prompt.messages, *(Message("assistant", response.text) for response in leased.task.responses)]
    found, start = list[Turn](), 0
    for index, message in enumerate(messages):
        if message.role == "assistant":
            rating, before = given.get("turns", {}).get(str(index), {}), tuple(messages[start:index])
            about = _about(visit, leased, given, str(index), str(index))
            found.append(Turn(str(index), before, message.content, rating.get("quality"), tuple(rating.get("flags", ())), about))
            start = index + 1
    return found


def _pace(found: Visit, account: Account) -> dict[str, Any]:
    """Return progress and pace, and the number of available tasks, counted as far as that is quick."""
    pace = answers.pace(found.site.store, account.id, now=found.now)
    waiting = tasks.left(found.site.store, account.id, most=COUNTED)
    return {
        "today": pace.today,
        "total": pace.total,
        "median_seconds": pace.median_seconds,
        "waiting": str(waiting) if waiting < COUNTED else f"{COUNTED}+",
    }


def _listed(found: Visit, answer: answers.Answer) -> dict[str, Any]:
    with found.site.store.read() as connection:
        prompt = tasks.load(connection, answer.task_id).prompt
    return {
        "task_id": answer.task_id,
        "kind": answer.kind,
        "asked": "" if answer.kind == "prompt" else " ".join(in_line(prompt.messages[-1].content).split())[:120],
        "skipped": "skip" in answer.payload,
        "at": answer.at[:16].replace("T", " "),
        "revision": answer.revision,
    }
