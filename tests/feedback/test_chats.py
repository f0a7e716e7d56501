"""Conversations in the store: trees of turns, once by their key, a person's own alone, emptied when they are deleted."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from accord.feedback import accounts, audit, chats, consents, ownership, reactions, review, schema, withdrawals
from accord.feedback.chats import Turn
from accord.feedback.moderation import Finding
from accord.feedback.reactions import Kind
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.thumbs import thumbs
from accord.records import Sampling

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def no_screen(_: str) -> list[Finding]:
    return []


def secrets(text: str) -> list[Finding]:
    """Finds the word "secret", as a screen for personal data would an address."""
    at = text.find("secret")
    return [Finding("personal", "word", at, at + 6)] if at >= 0 else []


class Talk:
    """A user with a conversation of one question and its answers."""

    def __init__(self, store: Store, name: str = "uma", answers: int = 1, question: str = "Which bread?") -> None:
        accounts.invite(store, "user", name, by="tests", now=NOW)
        self.store, self.user = store, next(p.id for p in accounts.people(store) if p.name == name)
        self.asked = chats.begin(store, self.user, question, system="Be brief.", key="k1", now=NOW)
        self.answers = [self.answer(f"Answer {n}", pair="p" if answers == 2 else "") for n in range(answers)]

    def answer(self, text: str, *, asked: Turn | None = None, model: str = "ppo", pair: str = "", trial: str = "") -> Turn:
        number = len(chats.opened(self.store, self.user, self.asked.conversation)[1])
        return chats.answer(
            self.store,
            asked or self.asked,
            text,
            model=model,
            digest="d" * 12,
            sampling=Sampling(),
            seed=3,
            finish="stop",
            id=f"a{number}-{self.user}",
            pair=pair,
            trial=trial,
            now=NOW,
        )

    def react(self, kind: Kind, other: str = "", turn: str = "", **payload: Any) -> reactions.Reaction:
        return reactions.react(self.store, self.user, kind, turn or self.answers[0].id, payload, other=other, now=NOW)

    def agree(self, given: bool = True) -> None:
        consents.answer(self.store, self.user, given, now=NOW)

    def accept(self, reaction: reactions.Reaction, screen: Any = no_screen) -> list[tuple[str, str]]:
        return review.accept(self.store, reaction.id, by="lea", screen=screen, now=NOW)


def test_turns_make_a_tree_and_come_once_by_their_key(store: Store) -> None:
    talk = Talk(store)
    said = [chats.say(store, talk.user, talk.asked.conversation, "And?", parent=talk.answers[0].id, key="k2", now=NOW) for _ in range(2)]
    assert said[0] == said[1], "sent twice, said once"
    edited = chats.say(store, talk.user, talk.asked.conversation, "Which cake?", parent="", key="k3", now=NOW)
    conversation, turns = chats.opened(store, talk.user, talk.asked.conversation)
    assert [turn.place for turn in turns] == [1, 2, 3, 4]
    assert [turn.text for turn in chats.path(turns, said[0].id)] == ["Which bread?", "Answer 0", "And?"]
    assert chats.newest_below(turns, talk.asked.id) == said[0]
    assert chats.newest_below(turns, "") == edited
    assert [m.role for m in chats.messages(conversation, turns[:2])] == ["system", "user", "assistant"]
    assert turns[1].signature == f"ppo@{'d' * 12}"
    assert turns[1].sampling["seed"] == 3


@pytest.mark.parametrize("key", ["", "x" * 81, "a\nb"])
def test_a_turn_needs_a_key(store: Store, key: str) -> None:
    user = Talk(store).user
    with pytest.raises(Refused):
        chats.begin(store, user, "x", system="", key=key, now=NOW)


def test_another_persons_conversation_is_not_there(store: Store) -> None:
    talk, other = Talk(store), Talk(store, "eve")
    calls: list[Any] = [
        lambda: chats.opened(store, other.user, talk.asked.conversation),
        lambda: chats.one(store, other.user, talk.asked.id),
        lambda: chats.say(store, other.user, talk.asked.conversation, "x", parent="", key="k9", now=NOW),
        lambda: chats.say(store, other.user, other.asked.conversation, "x", parent=talk.answers[0].id, key="k9", now=NOW),
        lambda: reactions.react(store, other.user, "thumb", talk.answers[0].id, {"up": True}, now=NOW),
        lambda: ownership.delete(store, other.user, conversations=(talk.asked.conversation,), now=NOW),
        lambda: chats.opened(store, other.user, "\0"),
    ]
    for call in calls:
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.status == 404
    assert [c.id for c in chats.listed(store, other.user)] == [other.asked.conversation]


def test_writers_at_once_get_places_of_their_own(store: Store) -> None:
    talk, failed = Talk(store), list[Exception]()

    def write(n: int) -> None:
        try:
            chats.say(store, talk.user, talk.asked.conversation, f"{n}", parent=talk.answers[0].id, key=f"w{n}", now=NOW)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [turn.place for turn in chats.opened(store, talk.user, talk.asked.conversation)[1]] == list(range(1, 11))


def test_a_choice_needs_two_answers(store: Store) -> None:
    talk = Talk(store)
    first = talk.answers[0].id
    with pytest.raises(Refused) as refused:
        reactions.react(store, talk.user, "choice", first, {"choice": "first"}, other=first, now=NOW)
    assert refused.value.status == 404
    assert not reactions.own(store, talk.user)


def test_a_second_word_takes_the_place_of_the_first(store: Store) -> None:
    talk = Talk(store)
    talk.react("thumb", up=True)
    second = talk.react("thumb", up=False, reasons=["untrue", "harmful"], note="no")
    talk.react("report", note="bad")
    assert {r.kind: r.payload for r in reactions.own(store, talk.user)}["thumb"] == second.payload
    with store.read() as connection:
        assert len(reactions.found(connection)) == 3, "what was said first is still there"
        assert sorted(r.state for r in reactions.found(connection)) == ["waiting", "waiting", "withdrawn"]


def test_a_choice_said_the_other_way_round_is_the_same_choice(store: Store) -> None:
    talk = Talk(store, answers=2)
    one, two = (turn.id for turn in talk.answers)
    talk.react("choice", turn=one, other=two, choice="first")
    talk.react("choice", turn=two, other=one, choice="first")
    (stands,) = reactions.own(store, talk.user)
    assert (stands.turn, stands.payload["choice"]) == (two, "first")


@pytest.mark.parametrize(
    ("kind", "payload", "key"),
    [
        ("thumb", {"up": "yes"}, "malformed"),
        ("thumb", {"up": True, "reasons": ["because"]}, "malformed"),
        ("thumb", {"up": True, "note": "x" * 4001}, "too_long"),
        ("choice", {"choice": "third"}, "choice_missing"),
        ("correction", {"text": " "}, "text_missing"),
        ("correction", {"text": "Answer 0 "}, "same_text"),
        ("correction", {"text": 3}, "malformed"),
    ],
)
def test_what_does_not_fit_is_refused(store: Store, kind: Kind, payload: dict[str, Any], key: str) -> None:
    talk = Talk(store, answers=2)
    with pytest.raises(Refused) as refused:
        talk.react(kind, other=talk.answers[1].id, **payload)
    assert refused.value.key == key
    assert reactions.own(store, talk.user) == []


def test_nothing_becomes_a_record_without_consent_and_review(store: Store) -> None:
    talk = Talk(store)
    reaction = talk.react("correction", text="Rye.")
    assert review.waiting(store, no_screen) == []
    with pytest.raises(Refused, match="consent"):
        talk.accept(reaction)
    talk.agree()
    assert [item.reaction.id for item in review.waiting(store, no_screen)] == [reaction.id]
    assert list(store.prompts()) == list(store.demonstrations()) == list(store.rankings()) == []
    talk.accept(reaction)
    assert review.count_waiting(store) == 0
    with pytest.raises(Refused, match="reviewed"):
        talk.accept(reaction)


def test_a_deleted_conversation_takes_its_own_reactions_from_the_review_alone(store: Store) -> None:
    gone, kept = Talk(store, answers=2), Talk(store, "eve", answers=2)
    for talk in (gone, kept):
        talk.agree()
        talk.react("choice", other=talk.answers[1].id, choice="first")
    assert {item.reaction.user for item in review.waiting(store, no_screen)} == {gone.user, kept.user}
    with store.write() as connection:  # emptied by its age, with the reaction still there
        withdrawals.withdraw(connection, "conversation", [(gone.asked.conversation, "age")], by="tests", now=NOW)
    assert [item.reaction.user for item in review.waiting(store, no_screen)] == [kept.user]
    assert review.count_waiting(store) == 1


def test_each_kind_becomes_its_record_and_names_its_turns(store: Store) -> None:
    talk = Talk(store, answers=2)
    talk.agree()
    one, two = (turn.id for turn in talk.answers)
    made = [
        talk.accept(reaction)
        for reaction in (
            talk.react("thumb", up=True, reasons=["helpful"]),
            talk.react("choice", other=two, choice="second"),
            talk.react("correction", text="Rye."),
            talk.react("report", turn=two, note="poison"),
        )
    ]
    assert [sorted({kind for kind, _ in records} - {"prompt", "response"}) for records in made] == [
        ["thumb"],
        ["ranking"],
        ["demonstration", "ranking"],
        ["thumb"],
    ]
    (prompt,) = store.prompts()
    assert prompt.source == f"chat {talk.asked.conversation} {talk.asked.id}"
    assert [m.content for m in prompt.messages] == ["Be brief.", "Which bread?"]
    assert {person.kind for person in store.labelers() if person.id == talk.user} == {"user"}
    assert {r.response_ids: r.ranks for r in store.rankings()} == {
        (f"chat-{one}", f"chat-{two}"): (2, 1),
        (made[2][2][1], f"chat-{one}"): (1, 2),
    }
    assert [(d.text, d.labeler) for d in store.demonstrations()] == [("Rye.", talk.user)]
    given = list(thumbs(store, "given", good=5, bad=3))
    assert {(thumb.response.id, thumb.up, thumb.group) for thumb in given} == {
        (f"chat-{one}", True, "users"),
        (f"chat-{two}", False, "users"),
    }
    assert len(list(thumbs(store, "auto", good=5, bad=3))) == 2 + 4
    assert next(store.ranked_prompts()).responses[0].model in (f"ppo@{'d' * 12}", "correction")


def test_a_lead_who_chats_has_a_voice_of_their_own(store: Store) -> None:
    accounts.invite(store, "lead", "lea", by="tests", now=NOW)
    lead = accounts.people(store)[0].id
    with store.write() as connection:
        voice = review.voice(connection, lead)
    assert voice != lead
    assert {person.id: person.kind for person in store.labelers()} == {lead: "person", voice: "user"}


def test_personal_data_is_taken_out_on_every_path(store: Store) -> None:
    talk = Talk(store, question="My secret is rye. Which bread?")
    talk.agree()
    item_of = talk.react("correction", text="Keep your secret.")
    (item,) = review.waiting(store, secrets)
    assert [finding.name for finding in item.findings] == ["word", "word"]
    talk.accept(item_of, secrets)
    kept = [
        *(m.content for p in store.prompts() for m in p.messages),
        *(r.text for r in store.responses()),
        *(d.text for d in store.demonstrations()),
    ]
    assert not [text for text in kept if "secret" in text]
    assert "My [word] is rye. Which bread?" in kept
    assert "secret" in chats.one(store, talk.user, talk.asked.id).text, "the person's own copy stays"


def test_taking_back_takes_it_out_of_training_and_another_word_keeps_the_prompt(store: Store) -> None:
    talk = Talk(store)
    talk.agree()
    thumb, correction = talk.react("thumb", up=True), talk.react("correction", text="Rye.")
    talk.accept(thumb)
    talk.accept(correction)
    reactions.withdraw(store, talk.user, correction.id, now=NOW)
    assert list(store.demonstrations()) == list(store.rankings()) == []
    assert len(list(store.prompts())) == 1, "the thumb still needs it"
    reactions.withdraw(store, talk.user, thumb.id, now=NOW)
    assert list(store.prompts()) == list(store.thumbs()) == []
    with pytest.raises(Refused):
        reactions.withdraw(store, talk.user, thumb.id, now=NOW)
    again = talk.react("thumb", up=False)
    talk.accept(again)
    assert [thumb.prompt.id for thumb in store.thumbs()] == [f"chat-{talk.asked.id}-2"], "a new id beside the withdrawn one"


def test_a_no_ends_all_use_and_a_new_yes_needs_a_new_review(store: Store) -> None:
    talk = Talk(store)
    talk.agree()
    reaction = talk.react("correction", text="Rye.")
    talk.accept(reaction)
    talk.agree(False)
    assert review.lapse(store, talk.user, now=NOW) == 1
    assert list(store.demonstrations()) == list(store.rankings()) == list(store.prompts()) == []
    assert [r.state for r in reactions.own(store, talk.user)] == ["lapsed"]
    talk.agree()
    assert len(review.waiting(store, no_screen)) == 1
    talk.accept(reaction)
    assert len(list(store.demonstrations())) == 1


def test_what_is_refused_is_not_used_and_stays_the_persons(store: Store) -> None:
    talk = Talk(store)
    talk.agree()
    reaction = talk.react("correction", text="Rye.")
    review.refuse(store, reaction.id, by="lea", why="nonsense", now=NOW)
    assert list(store.demonstrations()) == []
    assert [r.state for r in reactions.own(store, talk.user)] == ["refused"]
    assert [(e.what, e.who, e.why) for e in audit.entries(store)][-1] == ("review refused", "lea", "nonsense")


def test_deleting_empties_every_table_and_leaves_an_audit(store: Store) -> None:
    talk, other = Talk(store, question="A private question"), Talk(store, "eve", question="Another one")
    talk.agree()
    talk.accept(talk.react("correction", text="A private answer"))
    exported = ownership.exported(store, talk.user)
    assert exported["conversations"][0]["turns"][0]["text"] == "A private question"
    assert exported["reactions"][0]["state"] == "accepted"
    emptied = ownership.delete(store, talk.user, now=NOW)
    assert (emptied["conversations"], emptied["turns"], emptied["prompts"], emptied["demonstrations"]) == (1, 2, 1, 1)
    with store.read() as connection:
        everything = "".join(str(connection.execute(table.select()).all()) for table in schema.metadata.sorted_tables)
    assert "rivate" not in everything
    assert "Another one" in everything
    assert chats.listed(store, talk.user) == []
    assert list(store.prompts()) == list(store.demonstrations()) == list(store.rankings()) == []
    assert reactions.own(store, talk.user) == []
    assert [e.what for e in audit.entries(store)][-1] == "erase"
    with pytest.raises(Refused):
        talk.answer("too late")
    assert len(chats.listed(store, other.user)) == 1


def test_users_can_be_held_out_whole(store: Store) -> None:
    talk = Talk(store)
    talk.agree()
    review.accept(store, talk.react("thumb", up=True).id, by="lea", screen=no_screen, now=NOW, held_out=1.0)
    assert [prompt.split for prompt in store.prompts()] == ["validation"]


def test_a_text_is_screened_once_and_while_others_may_write(store: Store) -> None:
    talk = Talk(store)
    talk.agree()
    reaction = talk.react("correction", text="Rye.")
    screened, held_up = list[str](), list[str]()

    def slow(text: str) -> list[Finding]:
        """A screen in whose time somebody else writes."""

        def write() -> None:
            with store.write() as connection:
                audit.note(connection, who="tests", what="meanwhile", on=text, why="", at=NOW)

        screened.append(text)
        other = threading.Thread(target=write)
        other.start()
        other.join(3)
        held_up.extend([text] if other.is_alive() else [])
        return []

    talk.accept(reaction, slow)
    assert held_up == []
    assert sorted(screened) == sorted(set(screened))
    assert "Rye." in screened
