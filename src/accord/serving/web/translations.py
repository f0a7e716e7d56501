"""The chat's texts outside the templates. The English text is the message's key; locales/ has the Chinese."""

from __future__ import annotations


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


REASONS = {"helpful": _("helpful"), "untrue": _("untrue"), "harmful": _("harmful"), "other": _("other")}
CHOICES = {"first": _("A is better"), "second": _("B is better"), "tie": _("About equal"), "both_bad": _("Both are bad")}
BETTER = {"second": _("Better"), "tie": _("About equal"), "first": _("Worse"), "both_bad": _("Both are bad")}
"""Choices for a regenerated answer compared with the previous one."""
STATES = {
    "waiting": _("waits for a review"),
    "accepted": _("accepted for training"),
    "refused": _("not used"),
    "lapsed": _("no longer used"),
    "withdrawn": _("taken back"),
}
UNUSED = _("kept for you alone")
"""State of a waiting reaction while its author has not agreed to its use."""
WHAT = {"thumb": _("Thumb"), "choice": _("Choice"), "correction": _("Correction"), "report": _("Report of harm")}
FINISHES = {
    "stop": "",
    "length": _("cut at its length limit"),
    "stopped": _("stopped"),
    "withheld": _("said by a rule of this site, not by the model"),
}
FINDINGS = {"personal": _("personal data, taken out"), "harm": _("harm"), "injection": _("orders to the model"), "noise": _("noise")}

TOO_LONG = _("This conversation no longer fits what the model can read. Start a new one, or edit an earlier turn.")
BUSY = _("The model has too much to do at the moment. Try again in a while.")
UNAVAILABLE = _("The model does not answer at the moment. What you wrote is kept; ask again in a while.")
MODEL_FAILED = _("The model could not be opened. What you wrote is kept; choose another one, or ask again.")
NOTHING_CAME = _("The model had nothing to say. Ask again.")
NOT_KEPT = _("The answer could not be kept, so it does not count. Ask again in a while.")
NO_MODEL = _("The project has no model yet that can be talked to.")
SCRIPT = {
    "copied": _("copied"),
    "lost": _("No connection. What you wrote is kept here; send it again."),
    "writing": _("The answer is being written."),
    "done": _("The answer is there."),
    "kept": _("kept"),
}
"""Texts of the browser's script."""
