"""All texts of the site that are not in a template. The English text is the message id; locales/ has the Chinese."""

from __future__ import annotations

from accord.feedback.queue import Kind
from accord.records import GuidelineSet, PromptFlag, ResponseFlag, Role


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
}
HINTS: dict[Kind, str] = {
    "rank": _("Look at each response by itself, then rank them all."),
    "compare": _("Two responses to one prompt: which would you rather get?"),
    "demonstrate": _("This is what somebody asked. Answer it as a good assistant would."),
    "correct": _("One response to this prompt needs mending."),
    "conversation": _("Rate every answer of the assistant, in its place in the conversation."),
    "evaluate": _("Responses of different models, which are not named. Truthful and harmless come first here."),
}
ROLES: dict[Role, str] = {"system": _("Instruction to the assistant"), "user": _("Person"), "assistant": _("Assistant")}
SETS: dict[GuidelineSet, str] = {"training": _("Guideline for training"), "evaluation": _("Guideline for evaluation")}
CHOICES = {"first": _("A is better"), "second": _("B is better"), "tie": _("About equal"), "both_bad": _("Both are bad")}
FLAGS: dict[ResponseFlag, str] = {
    "fails_to_follow_instructions": _("fails to follow the instruction"),
    "inappropriate_for_customer_assistant": _("inappropriate for a customer assistant"),
    "hallucination": _("hallucination"),
    "satisfies_constraint": _("satisfies the stated constraint"),
    "sexual_content": _("sexual content"),
    "violent_content": _("violent content"),
    "encourages_harm": _("encourages or fails to discourage violence, abuse, terrorism or self-harm"),
    "denigrates_protected_class": _("denigrates a protected class"),
    "gives_harmful_advice": _("gives harmful advice"),
    "expresses_opinion": _("expresses an opinion"),
    "expresses_moral_judgment": _("expresses a moral judgment"),
}
PROMPT_FLAGS: dict[PromptFlag, str] = {
    "ambiguous": _("ambiguous"),
    "sensitive": _("sensitive"),
    "identity_dependent": _("identity-dependent"),
    "closed_domain": _("closed domain"),
    "continuation_style": _("continuation style"),
    "asks_for_opinion": _("asks for an opinion"),
    "asks_for_advice": _("asks for advice"),
    "asks_for_moral_judgment": _("asks for a moral judgment"),
    "explicit_safety_constraint": _("explicit safety constraint"),
    "other_constraint": _("other constraint"),
    "intent_unclear": _("intent unclear"),
}
FLAG_KEYS = "asdfghjklqw"
"""The keyboard key of each flag, along the home row."""

REFUSALS = {
    "stale": _("You changed this answer elsewhere since this page was opened. Open it again to see the newer one."),
    "key_reused": _("This page was sent before with another answer. Open the task again."),
    "not_yours": _("There is no such task for you."),
    "late": _("The time for this task ran out, and others have answered it since. Nothing was stored; please go on with the next one."),
    "retracted": _("This answer was taken back, and the task with it."),
    "malformed": _("Something in this answer does not fit its task. Open the task again."),
    "ranks_incomplete": _("Every response needs a rank."),
    "rating_missing": _("Every response needs a rating from 1 to 7."),
    "text_missing": _("Write a response first."),
    "text_unchanged": _("This is the response as it was. Change what is wrong, or skip the task."),
    "choice_missing": _("Choose one of the four."),
    "turn_missing": _("Every answer of the assistant needs a rating from 1 to 7."),
    "too_long": _("This text is too long."),
    "other_guideline": _("This page was made under another guideline. Open the task again."),
    "unknown_labeler": _("There is no such labeler."),
    "bad_link": _("This invitation is not valid: it was used before, it is over, or it is not complete. Ask for a new one."),
    "too_many_attempts": _("Too many attempts. Wait a quarter of an hour and try again."),
    "paused": _("Your account is paused. Please ask the person who invited you."),
    "role": _("Your role may not do that."),
    "no_such_turn": _("There is no such conversation of yours."),
    "nothing_said": _("Write something first."),
    "same_text": _("This is the answer as it was. Change what is wrong in it."),
    "too_fast": _("That was a lot in one minute. Wait a moment and go on."),
    "reviewed": _("This was reviewed already, or was taken back."),
    "no_consent": _("The person who said this has not agreed to its use, or no longer does."),
}
"""The message for each of ``accord.feedback.refusals.KEYS``."""
TITLES = {
    400: _("That cannot be read"),
    401: _("Please log in"),
    403: _("That is not allowed"),
    404: _("There is no such page"),
    405: _("There is no such page"),
    409: _("It changed in the meantime"),
    410: _("Too late"),
    422: _("Something is missing"),
    429: _("Slowly, please"),
    500: _("Something went wrong here"),
    503: _("The store does not answer"),
}
LOGIN = _("You come in by the link that you were sent. If it is used up, ask for a new one; your answers are kept.")
HOME = _("To the first page")
HAVE_LINK = _("I have an invitation")
NO_PAGE = _("Nothing is at this address.")
CSRF = _("This page was made for another session. Open it again; what you wrote is kept.")
BROKEN = _("This was our fault, not yours. What you sent is kept in your browser and is sent again.")
STORE_DOWN = _("The database refuses at the moment. What you sent is kept in your browser and is sent again.")
DRAFT_KEPT = _("The draft is kept.")

SHORTCUTS = (
    ("Enter", _("go on; save at the last step")),
    ("← →", _("one step back or on")),
    ("1 … 7", _("rate the response, rank it, or choose")),
    ("A S D …", _("set the flag with this letter")),
    ("↑ ↓", _("ranking: to the response before or after")),
    ("Shift+↑ Shift+↓", _("ranking: one rank better or worse")),
    ("B", _("ranking: all are bad")),
    ("R", _("write a reason")),
    ("Z", _("undo")),
    ("X", _("skip the task")),
    ("V", _("show or hide the guideline")),
    ("Ctrl+Enter", _("go on, out of a text as well")),
    ("Esc", _("leave a text, close a window")),
    ("?", _("this list")),
)
SCRIPT = {
    "waiting": _("No connection. {count} answers wait in this browser and are sent by themselves."),
    "login": _("{count} answers wait in this browser. Log in again and they are sent."),
    "refused": _("An answer was not taken:"),
    "dismiss": _("Dismiss"),
    "draft": _("draft kept"),
    "local": _("draft kept in this browser"),
    "unranked": _("Still to be ranked: {letters}"),
    "ranked": _("{letter} has rank {rank}"),
}
"""Texts of the browser scripts, which fill in the placeholders."""

AGREEMENT = _("Agreement with the others")
POSITION = _("Prefers what stands higher on the page")
LENGTH = _("Prefers the longer one more than others do")
USUAL_AGREEMENT = 0.726
"""Agreement among InstructGPT's training labelers (Ouyang et al. 2022, section 4.1): the line in the plot."""
FIGURES = {
    "pairwise_dropped": _("pairs alike, ties left out"),
    "pairwise_disagreement": _("pairs alike, a tie agrees with a tie alone"),
    "pairwise_half": _("pairs alike, a tie counts half"),
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
    "sensitivity": _("Says as the researchers what is sensitive"),
    "ranking": _("Ranks as the researchers"),
    "demonstrations": _("Mean score of the demonstrations, of 7"),
}
"""The parts of ``accord.feedback.quality.Qualification``."""
ROLE_NAMES = {"lead": _("lead"), "labeler": _("labeler"), "viewer": _("viewer"), "user": _("user of the chat")}
