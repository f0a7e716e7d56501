"""All texts of the site that are not in a template. The English text is the message id; locales/ has the Chinese."""

from __future__ import annotations

from accord.feedback.queue import Kind
from accord.records import GuidelineSet, Role


def _(text: str) -> str:
    """Mark a text for translation, which happens where it is shown."""
    return text


KINDS: dict[Kind, str] = {
    "rank": _("Rank responses"),
    "compare": _("Compare two responses"),
    "demonstrate": _("Write a response"),
    "correct": _("Correct a response"),
    "conversation": _("Rate a conversation"),
    "evaluate": _("Blind evaluation"),
    "prompt": _("Write a prompt"),
    "mark": _("Mark passages"),
    "fact": _("Check a fact"),
}
HINTS: dict[Kind, str] = {
    "rank": _("Rate each response on its own, then rank them all."),
    "compare": _("Which of these two responses would you rather get?"),
    "demonstrate": _("Somebody asked this. Respond as a good assistant would."),
    "correct": _("One response to this prompt needs correction."),
    "conversation": _("Rate each of the assistant's responses in its context."),
    "prompt": _("Write what somebody could ask an assistant. It becomes a prompt of this project."),
    "mark": _("Mark the passages of one response that the questions ask for. If there are none, save it unmarked."),
    "fact": _("Does the document say what the response claims? What you know from elsewhere does not count here."),
    "evaluate": _("These responses come from different, unnamed models. Truthful and harmless come first here."),
}
RANK_ONLY = _("Read the prompt and every response, then rank them all.")
"""The hint of a ranking without ratings."""
WRITE = {
    "plain": _("Write any task that comes to your mind. Take care that the tasks differ from each other."),
    "few-shot": _("Write an instruction, then several examples of a query with its response, and a last query without one."),
    "user-based": _("A user wants to use the assistant for this. Write a prompt that the user could send."),
}
"""What each kind of prompt is, for the labeler who writes it (Ouyang et al. 2022, appendix A.1)."""
ROLES: dict[Role, str] = {"system": _("Instructions to the assistant"), "user": _("User"), "assistant": _("Assistant")}
SETS: dict[GuidelineSet, str] = {"training": _("Guideline for training"), "evaluation": _("Guideline for evaluation")}
CHOICES = {"first": _("A is better"), "second": _("B is better"), "tie": _("About equal"), "both_bad": _("Both are bad")}
VERDICTS = {
    "supported": _("The document supports it"),
    "contradicted": _("The document contradicts it"),
    "absent": _("The document does not say"),
}
"""The answers to a claim, ``accord.feedback.payloads.VERDICTS``."""

REFUSALS = {
    "stale": _("You have changed this answer elsewhere since you opened this page. Reopen it to see the newer version."),
    "key_reused": _("This page was already submitted with a different answer. Reopen the task."),
    "not_yours": _("You have no such task."),
    "late": _("Your time for this task ran out, and others have answered it. Nothing was saved; please continue with the next one."),
    "retracted": _("This answer and its task were withdrawn."),
    "malformed": _("Something in this answer does not fit the task. Reopen the task."),
    "ranks_incomplete": _("Every response needs a rank."),
    "rating_missing": _("Every response needs a rating from 1 to 7."),
    "text_missing": _("Write a response first."),
    "transcript_missing": _("Write what is said in the recording."),
    "text_unchanged": _("The response is unchanged. Correct it, or skip the task."),
    "choice_missing": _("Choose one of the four options."),
    "verdict_missing": _("Say what the document says of the claim."),
    "turn_missing": _("Each of the assistant's responses needs a rating from 1 to 7."),
    "no_such_doubt": _("There is no such thread."),
    "prompt_missing": _("Write a prompt first."),
    "prompt_known": _("This prompt is there already. Write another one."),
    "question_missing": _("A question is not answered:"),
    "questions_changed": _("The questions changed while this page was open. Reopen the task; your answers are kept."),
    "span_misplaced": _("A marked passage is not in the text, or its kind is not in the list."),
    "too_long": _("This text is too long."),
    "other_guideline": _("This page uses another version of the guideline. Reopen the task."),
    "unknown_labeler": _("There is no such labeler."),
    "bad_link": _("This invitation is not valid: it was already used, has expired, or is incomplete. Ask for a new one."),
    "too_many_attempts": _("Too many attempts. Wait 15 minutes and try again."),
    "paused": _("Your account is paused. Please ask the person who invited you."),
    "role": _("Your role does not allow this."),
    "no_such_turn": _("You have no such conversation."),
    "nothing_said": _("Write something first."),
    "same_text": _("The response is unchanged. Correct it first."),
    "too_fast": _("Too many messages in one minute. Wait a moment, then continue."),
    "reviewed": _("This was already reviewed or withdrawn."),
    "no_consent": _("This user has not consented to its use, or has withdrawn consent."),
    "name_missing": _("Give the person a name."),
    "sso_failed": _("Single sign-on did not succeed. Try again."),
    "sso_unknown": _("Nobody here knows this account yet. Open your invitation first, then link the account under “About you”."),
    "sso_taken": _("This account is linked with somebody else here."),
    "sso_domain": _("Your organisation's account has no verified address that may sign in here."),
    "sso_group": _("None of your groups may sign in here."),
    "days": _("A link can be valid for at most 365 days."),
    "revoked": _("This person's access has ended. Restore it first."),
    "own_access": _("You cannot end your own access. Ask another lead."),
    "no_file": _("Choose a file that is not empty."),
    "no_such_upload": _("There is no such file: it was imported or removed, or waited for more than a day."),
    "too_many_uploads": _("Too many files wait to be imported. Import or remove some of them first."),
    "upload_broken": _("The file did not arrive whole. Nothing was kept; send it again."),
    "too_many_documents": _("That would be too many documents for one conversation. Remove some of them first."),
    "too_much_text": _("The documents of one conversation can have 400,000 characters together. Remove some of them first."),
    "documents_full": _("You have 200 documents in your conversations. Remove some of them first."),
    "no_such_document": _("There is no such document in this conversation."),
    "too_many_pictures": _("That would be too many pictures for one message or conversation. Remove some, or start a new conversation."),
    "no_such_picture": _("The picture is not there any more. Add it again."),
    "pictures_beside_documents": _("Answers of this conversation quote its documents, and pictures cannot be quoted. Start a new one."),
    "text_alone": _("The chosen model reads text alone, and sees no pictures. Nothing was sent. Choose another model."),
    "uploading": _("Files are being read at the moment. Wait until that is done, then send yours again."),
    "no_such_record": _("There is no such record."),
    "voted": _("You have voted on this pair already. A vote counts once."),
    "too_many_votes": _("Many pairs within an hour. Come back later."),
}
"""The message for each of ``accord.feedback.refusals.KEYS``."""
TITLES = {
    400: _("Cannot read this request"),
    401: _("Please sign in"),
    403: _("Not allowed"),
    404: _("Page not found"),
    405: _("Page not found"),
    409: _("This changed in the meantime"),
    410: _("Too late"),
    422: _("Something is missing"),
    429: _("Too many requests"),
    500: _("Something went wrong"),
    503: _("The database does not respond"),
}
LOGIN = _("Sign in with the link that you received. If it has been used, ask for a new one; your answers are kept.")
HOME = _("Back to the start page")
HAVE_LINK = _("I have an invitation")
NO_PAGE = _("There is nothing at this address.")
CSRF = _("This page belongs to another session. Reopen it; your text is kept.")
BROKEN = _("This was our fault, not yours. Your browser keeps what you sent and will send it again.")
STORE_DOWN = _("The database is unavailable at the moment. Your browser keeps what you sent and will send it again.")
DRAFT_KEPT = _("Draft saved.")

SHORTCUTS = (
    ("Enter", _("next step; at the last step, save")),
    ("← →", _("previous or next step")),
    ("1 … 7", _("rate, rank or choose")),
    ("A S D …", _("set or clear the flag with this letter")),
    ("↑ ↓", _("ranking: previous or next response")),
    ("Shift+↑ Shift+↓", _("ranking: one rank up or down")),
    ("B", _("ranking: all responses are bad")),
    ("I", _("what the flags mean")),
    ("N", _("ask the lead")),
    ("R", _("enter a reason")),
    ("Z", _("undo")),
    ("X", _("skip the task")),
    ("V", _("show or hide the guideline")),
    ("Ctrl+Enter", _("next step, also from a text field")),
    ("Esc", _("leave a text field, close a window")),
    ("?", _("show this list")),
)
LEAD, YOU = _("Lead"), _("You")
DOUBT_SENT = _("Sent to the lead.")
CONTRADICTION = _("You rated {better} {high} and {worse} {low}, but {worse} has the better rank. Save again to keep it, or change it.")
SCRIPT = {
    "waiting": _("No connection. {count} answers are kept in this browser and will be sent automatically."),
    "login": _("{count} answers are kept in this browser. Sign in again to send them."),
    "refused": _("An answer was not accepted:"),
    "dismiss": _("Dismiss"),
    "draft": _("draft saved"),
    "local": _("draft saved in this browser"),
    "doubt": DOUBT_SENT,
    "unsent": _("No connection. Your note is still in the field; send it again."),
    "contradiction": CONTRADICTION,
    "unranked": _("Not yet ranked: {letters}"),
    "ranked": _("{letter} has rank {rank}"),
    "copy": _("Copy"),
    "copied": _("copied"),
}
"""Texts of the browser scripts, which fill in the placeholders."""

AGREEMENT = _("Agreement with other labelers")
POSITION = _("Position bias: prefers the response higher on the page")
LENGTH = _("Length bias: prefers longer responses more than others do")
USUAL_AGREEMENT = 0.726
"""Agreement among InstructGPT's training labelers (Ouyang et al. 2022, section 4.1): the line in the plot."""
FIGURES = {
    "pairwise_dropped": _("pairwise agreement, ties excluded"),
    "pairwise_disagreement": _("pairwise agreement, a tie agrees only with a tie"),
    "pairwise_half": _("pairwise agreement, a tie counts half"),
    "rank_tau_b": _("Kendall tau-b of the rankings"),
    "comparison_alpha": _("Krippendorff alpha of comparisons"),
    "comparison_alpha_ordinal": _("Krippendorff alpha of comparisons, ordinal"),
    "comparison_fleiss": _("Fleiss kappa of comparisons"),
    "comparison_cohen": _("Cohen kappa of comparisons"),
    "rating_alpha_ordinal": _("Krippendorff alpha of ratings, ordinal"),
    "rating_alpha_interval": _("Krippendorff alpha of ratings, interval"),
    "rating_fleiss": _("Fleiss kappa of ratings"),
    "rating_cohen": _("Cohen kappa of ratings, weighted"),
    "flag_alpha": _("Krippendorff alpha of flags"),
    "flag_fleiss": _("Fleiss kappa of flags"),
    "flag_cohen": _("Cohen kappa of flags"),
}
"""Names of the metrics that docs/agreement.md defines; one without a name is shown by its key."""
SIDES = {"first": _("the first is better"), "tie": _("about equal"), "second": _("the second is better")}
SCREENED = {
    "sensitivity": _("Agreement with the researchers on sensitive content"),
    "ranking": _("Agreement with the researchers' rankings"),
    "demonstrations": _("Mean score of the demonstrations, out of 7"),
}
"""The parts of ``accord.feedback.quality.Qualification``."""
ROLE_NAMES = {"lead": _("lead"), "labeler": _("labeler"), "viewer": _("viewer"), "user": _("chat user")}
STATES = {
    "active": _("active"),
    "screening": _("in screening"),
    "invited": _("invited"),
    "away": _("not signed in"),
    "paused": _("paused"),
    "revoked": _("access ended"),
}
"""States of a person on the people page."""
ACTS = {
    "invite": _("invited"),
    "uninvite": _("open links canceled"),
    "redeem": _("signed in by a link"),
    "role": _("role changed"),
    "pause": _("paused"),
    "resume": _("resumed"),
    "revoke": _("access ended"),
    "qualify": _("screening decided"),
    "exclude": _("excluded from training"),
    "include": _("included again"),
    "erase": _("personal data erased"),
    "consent": _("consented to training"),
    "refuse consent": _("refused consent"),
    "retract": _("taken back"),
    "remove": _("removed from training"),
    "import": _("file imported"),
    "undo import": _("import undone"),
    "queue": _("tasks queued"),
    "settle": _("note settled"),
    "rule": _("guideline rule added"),
    "link": _("account linked to single sign-on"),
    "prompts": _("prompts changed"),
    "provenance": _("provenance changed"),
    "correct transcript": _("transcript corrected"),
    "undo transcript": _("transcript taken back"),
    "redact": _("personal data redacted"),
    "purge": _("old requests of apps deleted"),
    "switch": _("another model answers"),
    "begin trial": _("trial begun"),
    "end trial": _("trial ended"),
}
"""What the audit log says was done; one without a text is shown by its key."""
TRANSCRIBERS = {"person": _("a person"), "model": _("a speech model"), "import": _("an import")}
"""Who wrote a version of a transcript, where there is no account's name."""
DONE = _("done")
IN_HOURS, IN_DAYS, IN_WEEKS = _("about {count} hours"), _("about {count} days"), _("about {count} weeks")
"""Estimates of the time until a kind of task is done."""
