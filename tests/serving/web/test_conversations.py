"""A user's conversations: renamed, searched, pinned, paged, taken along, each with its model."""

from __future__ import annotations

import json
import re

from serving.web.conftest import Come, Scripted

from accord.feedback import chats
from accord.serving.web import conversations


def listed(page: str) -> list[str]:
    """The titles in the list, in order."""
    part = page.partition('id="talks"')[2].partition("</aside>")[0]
    return [re.sub("<[^>]+>", "", title).strip() for title in re.findall(r"<li>(.*?)</li>", part)]


def test_a_conversation_is_renamed_pinned_and_found(come: Come) -> None:
    uma, eve = come(), come("eve")
    bread, cake = uma.say("Which BREAD is best?"), uma.say("Which cake?")
    assert listed(uma.get("/chat").text) == ["Which cake?", "Which BREAD is best?"]
    uma.post(f"{bread}/rename", title="  Rye   <b>loaf</b> ")
    uma.post(f"{bread}/pin", pinned="yes")
    page = uma.get(cake).text
    assert listed(page) == ["★ Pinned: Rye &lt;b&gt;loaf&lt;/b&gt;", "Which cake?"]
    for wanted, titles in (("rye", 1), ("bread IS", 1), ("heard: Which", 2), ("%", 0), ("_", 0), ("nothing", 0)):
        found = uma.client.get("/chat", params={"q": wanted}).text
        assert len(listed(found)) == titles or "Nothing found." in found, wanted
    assert "Nothing found." in eve.client.get("/chat", params={"q": "rye"}).text
    assert uma.client.get("/chat", params={"q": "\0\ud7ff" + "x" * 9000}).status_code == 200
    uma.post(f"{bread}/pin", pinned="no")
    assert "★" not in uma.get(cake).text
    for path, fields in ((f"{bread}/rename", {"title": "x"}), (f"{bread}/pin", {"pinned": "yes"})):
        assert eve.post(path, **fields).status_code == 404
        assert uma.post(path, title=" ", pinned="?").status_code == 422
    assert uma.post(f"{bread}/rename", title="x" * 121).status_code == 422
    assert eve.get(f"{bread}/export").status_code == 404


def test_the_list_has_pages(come: Come) -> None:
    uma = come()
    for n in range(5):
        uma.say(f"Question {n}?")
    size, conversations.ON_A_PAGE = conversations.ON_A_PAGE, 2
    try:
        pages = [uma.client.get("/chat", params={"page": page}) for page in (1, 2, 3, 4, -1, 10**9)]
    finally:
        conversations.ON_A_PAGE = size
    assert [len(re.findall("Question", " ".join(listed(page.text)))) for page in pages] == [2, 2, 1, 0, 2, 0]
    assert "Older" in pages[0].text
    assert "Newer" not in pages[0].text
    assert "Older" not in pages[2].text


def test_the_model_of_a_conversation_is_remembered(come: Come, models: Scripted) -> None:
    uma = come()
    to = uma.say("Which bread?", model="sft")
    assert "<option selected>sft</option>" in uma.get(to).text
    uma.say("And cake?", to, parent=uma.turns(to)[-1].id)
    assert uma.turns(to)[-1].model == "sft", "a form without the field leaves the choice as it is"
    asked = uma.turns(to)[2]
    uma.post(f"/t/{asked.id}/again", model="ppo")
    assert uma.turns(to)[-1].model == "ppo"
    assert chats.opened(uma.site.store, uma.id, to[3:])[0].model == "sft", "regenerating with another model is for once"
    uma.say("And tea?", to, parent=uma.turns(to)[-1].id, model="")
    assert chats.opened(uma.site.store, uma.id, to[3:])[0].model == ""
    assert uma.turns(to)[-1].model == "ppo"
    uma.say("x", to, parent="", model="no such model")
    assert chats.opened(uma.site.store, uma.id, to[3:])[0].model == ""


def test_a_conversation_is_taken_along(come: Come) -> None:
    uma = come()
    to = uma.say("Which bread?", system="Be brief.\nBe kind.")
    uma.say("Which cake?", to, parent="")
    text = uma.get(f"{to}/export").text
    assert (
        text == "# Which bread?\n\n> Be brief.\n> Be kind.\n\n## You\n\nWhich cake?\n\n## ppo@aaaaaaaaaaaa\n\n**ppo** heard: Which cake?\n"
    )
    first = uma.turns(to)[0].id
    assert "Which bread?\n\n## ppo" in uma.client.get(f"{to}/export", params={"at": first}).text
    whole = uma.client.get(f"{to}/export", params={"form": "json"})
    assert len(json.loads(whole.text)["turns"]) == 4
    assert "attachment" in whole.headers["content-disposition"]


def test_what_is_taken_along_is_blind_until_the_choice(come: Come) -> None:
    uma = come()
    to = uma.say("Which bread?", against="sft")
    first, second = uma.turns(to)[1:]
    exports = [f"{to}/export", f"{to}/export?form=json", "/mine/export"]
    assert not any(digest in uma.get(path).text for path in exports for digest in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"))
    uma.post(f"/t/{first.id}/choice", other=second.id, choice="first")
    assert all("aaaaaaaaaaaa" in uma.get(path).text for path in exports[1:])


def test_the_reasons_fit_the_thumb(come: Come) -> None:
    uma = come()
    to = uma.say("Which bread?")
    answer = uma.turns(to)[-1]
    uma.post(f"/t/{answer.id}/thumb", up="no", reasons=["not_followed", "too_long"], note="I asked for a name.")
    page = uma.get(to).text
    assert 'value="not_followed" checked' in page
    assert 'value="I asked for a name."' in page
    assert 'value="well_written"' not in page
    uma.post(f"/t/{answer.id}/thumb", up="yes")
    page = uma.get(to).text
    assert 'value="well_written"' in page
    assert 'value="refused"' not in page


def test_a_phone_can_install_the_site(come: Come) -> None:
    uma = come()
    page = uma.get("/chat")
    assert "manifest-src 'self'" in page.headers["content-security-policy"]
    address = re.search(r'<link rel="manifest" href="([^"]+)"', page.text)
    assert address
    uma.client.cookies.clear()
    reply = uma.client.get(address[1])
    assert reply.headers["content-type"] == "application/manifest+json"
    told = reply.json()
    assert (told["start_url"], told["display"]) == ("/", "standalone")
    for icon in told["icons"]:
        picture = uma.client.get(icon["src"])
        assert picture.headers["content-type"] == "image/png"
        size = int.from_bytes(picture.content[16:20], "big")
        assert icon["sizes"] == f"{size}x{size}"
