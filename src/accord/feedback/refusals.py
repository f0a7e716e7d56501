"""Refusals of the site, each with an HTTP status and a key that selects its message in the reader's language."""

from __future__ import annotations

from accord.errors import StoreError


class Refused(StoreError):
    """An understood request that is not carried out; nothing of it was stored.

    Args:
        key: names the message, for example ``late``; ``KEYS`` lists them all.
        status: the HTTP status that fits.
        detail: specifics such as the response's id; for the log and for tests, not for the reader.
    """

    def __init__(self, key: str, status: int = 422, detail: str = "") -> None:
        self.key, self.status, self.detail = key, status, detail
        super().__init__(f"{KEYS[key]}{f': {detail}' if detail else ''}")


class Conflict(Refused):
    """The request conflicts with the current state (409): another revision, or another content under the same key."""

    def __init__(self, key: str, detail: str = "") -> None:
        super().__init__(key, 409, detail)


KEYS = {
    "stale": "the answer was changed elsewhere since this page was made",
    "key_reused": "another answer was already sent under this key",
    "not_yours": "this task was not given to this labeler",
    "late": "the time for this task ran out and others have answered it since",
    "retracted": "this answer was retracted",
    "malformed": "the answer has a field that does not fit its task",
    "ranks_incomplete": "every response needs a rank, and only these responses",
    "rating_missing": "every response needs a rating from 1 to 7",
    "text_missing": "the text is empty",
    "transcript_missing": "the transcript is empty",
    "text_unchanged": "the corrected text is the same as the response",
    "choice_missing": "one of the choices must be taken",
    "verdict_missing": "one of supported, contradicted, absent must be chosen",
    "turn_missing": "every turn of the assistant needs a rating from 1 to 7",
    "no_such_doubt": "there is no such thread",
    "prompt_missing": "no prompt was written",
    "prompt_known": "this prompt is in the store already",
    "question_missing": "a question that must be answered is open",
    "questions_changed": "a question was changed since this page was made",
    "span_misplaced": "a marked part is not in the text, or of no known kind",
    "too_long": "the text is too long",
    "other_guideline": "the answer was given under another guideline than its task asks for",
    "unknown_labeler": "there is no such labeler",
    "bad_link": "the invitation is not valid, was used already, or is over",
    "too_many_attempts": "too many attempts; wait a while",
    "paused": "the account is paused",
    "role": "this role may not do that",
    "no_such_turn": "there is no such conversation or turn of this person's",
    "nothing_said": "there is nothing in what was sent",
    "same_text": "the corrected text is the same as the answer",
    "too_fast": "too many turns in a minute",
    "reviewed": "it was reviewed already, or no longer stands",
    "no_consent": "its user's consent is not in force",
    "name_missing": "an invitation needs a name",
    "sso_failed": "single sign-on did not succeed",
    "sso_unknown": "nobody's account is linked with this identity",
    "sso_taken": "this identity is linked with another account",
    "sso_domain": "this identity has no verified address of an allowed domain",
    "sso_group": "this identity is in no group that has a role",
    "days": "a link holds for more than 0 and at most 365 days",
    "revoked": "the account's access was ended",
    "own_access": "nobody ends their own access",
    "no_file": "there is no file in what was sent, or it is empty",
    "no_such_upload": "there is no such file waiting to be imported",
    "too_many_uploads": "too many files wait to be imported",
    "upload_broken": "the file did not arrive whole",
    "too_many_documents": "the conversation would have too many documents",
    "too_much_text": "the documents of the conversation would have too much text",
    "documents_full": "this person has too many documents",
    "no_such_document": "there is no such document in this conversation",
    "too_many_pictures": "the message or the conversation would have too many pictures",
    "no_such_picture": "no such picture waits for this person's next message",
    "pictures_beside_documents": "the conversation has documents, which are all that its answers quote",
    "text_alone": "the model that would answer reads text alone",
    "uploading": "this person, or too many others, are sending files at the moment",
    "no_such_record": "there is no such record",
    "voted": "this person has voted on this pair",
    "too_many_votes": "this person has asked for too many pairs in an hour",
}
