"""The chat's texts outside the templates. The English text is the message's key; locales/ has the Chinese."""

from __future__ import annotations


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


YOU = _("You")
REASONS = {
    "helpful": _("helpful"),
    "correct": _("correct"),
    "well_written": _("well written"),
    "untrue": _("untrue"),
    "not_followed": _("not what I asked"),
    "incomplete": _("incomplete"),
    "too_long": _("too long"),
    "hard_to_read": _("hard to read"),
    "refused": _("refused for no reason"),
    "harmful": _("harmful"),
    "other": _("other"),
}
CHOICES = {"first": _("A is better"), "second": _("B is better"), "tie": _("About equal"), "both_bad": _("Both are bad")}
BETTER = {"second": _("Better"), "tie": _("About equal"), "first": _("Worse"), "both_bad": _("Both are bad")}
"""Choices for a regenerated answer compared with the previous one."""
STATES = {
    "waiting": _("waits for a review"),
    "accepted": _("accepted for training"),
    "refused": _("not used"),
    "lapsed": _("no longer used"),
    "withdrawn": _("withdrawn"),
}
UNUSED = _("kept for you alone")
"""State of a waiting reaction while its author has not agreed to its use."""
WHAT = {
    "thumb": _("Thumb"),
    "choice": _("Choice"),
    "correction": _("Correction"),
    "report": _("Report of harm"),
    "score": _("Score"),
    "comment": _("Comment"),
    "written": _("Demonstration"),
    "prompt": _("Prompt"),
    "survey": _("Satisfaction with the conversation, of 5:"),
}
FINISHES = {
    "stop": "",
    "length": _("cut at its length limit"),
    "stopped": _("stopped"),
    "withheld": _("written by a rule of this site, not by the model"),
    "quoted": _("out of your documents alone, word for word"),
}
FINDINGS = {"personal": _("personal data, taken out"), "harm": _("harm"), "injection": _("orders to the model"), "noise": _("noise")}

TOO_LONG = _("This conversation is too long for the model. Start a new one, or edit an earlier turn.")
BUSY = _("The model is busy at the moment. Try again later.")
INTERRUPTED = _("The process that answers was started again. Open the page anew: what was stored is there.")
UNAVAILABLE = _("The model is not responding at the moment. Your message is saved; try again later.")
TEXT_ALONE = _("This conversation has a picture, and the model reads text alone. Choose one that reads pictures:")
NO_SUCH_MODEL = _("there is none here")
NOT_WITH_PICTURES = _("The model was not asked, because of the picture:")
MODEL_FAILED = _("The model could not be loaded. Your message is saved; choose another model, or try again.")
NOTHING_CAME = _("The model returned an empty answer. Try again.")
NOT_KEPT = _("The answer could not be saved, so it does not count. Try again later.")
NO_MODEL = _("The project has no model to chat with yet.")
NO_PICTURE = {
    "kind": _("It is no PNG, JPEG, WebP or GIF picture."),
    "empty": _("It is empty."),
    "large": _("It is larger than 20 MB."),
    "pixels": _("It has more than 16,000 pixels on a side, or 40 million in all. Scale it down."),
    "animated": _("It is animated. Save the picture that counts as one of its own."),
    "broken": _("It is damaged, or cut off."),
    "slow": _("Reading it takes too long. Save it anew in another program."),
    "heavy": _("It takes too much memory, or more than 20 MB once it is stored. Scale it down."),
}
"""Problems of ``accord.data.pictures``, and what helps."""
UNREADABLE = {
    "kind": _("It is not plain text, Markdown or PDF."),
    "empty": _("There is no text in it."),
    "large": _("It is larger than 10 MB."),
    "encoding": _("Its text is not UTF-8. Save it as UTF-8, then add it again."),
    "encrypted": _("It is encrypted. Save it without a password, then add it again."),
    "scan": _("It has no text: its pages are pictures. Recognise its text (OCR) first."),
    "broken": _("It is damaged, or no PDF that can be read here."),
    "slow": _("Reading it takes too long. Save its text as plain text, and add that."),
    "heavy": _("Reading it takes too much memory. Save its text as plain text, and add that."),
    "many_pages": _("It has more than 500 pages. Add the pages that you need."),
    "long": _("It has more than 400,000 characters. Add the parts that you need."),
    "no_reader": _("This server reads no PDFs. Save its text as plain text, and add that."),
}
"""What is wrong with a file, for each of ``accord.data.attached.PROBLEMS``."""
SCRIPT = {
    "copy": _("Copy"),
    "copied": _("copied"),
    "lost": _("No connection. Your message is still here; send it again."),
    "reading": _("The files are being read."),
    "writing": _("The answer is being written."),
    "done": _("The answer is complete."),
    "kept": _("kept"),
}
"""Texts of the browser's script."""
