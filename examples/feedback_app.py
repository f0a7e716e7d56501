"""A small FastAPI app that asks `accord serve` and sends its users' thumbs back.

accord keys add my-town bakery --scope chat --scope feedback --store feedback
ACCORD_URL=http://127.0.0.1:8000 ACCORD_KEY=accord-... uvicorn feedback_app:app
"""

import os
from typing import Annotated

import httpx
from fastapi import Body, FastAPI

from accord.client import Client

URL, KEY = os.environ["ACCORD_URL"], os.environ["ACCORD_KEY"]
app, accord = FastAPI(), Client(URL, KEY)
Text = Annotated[str, Body()]


@app.post("/ask")
def ask(user: Text, question: Text, model: Text) -> dict[str, str]:
    body = {"model": model, "user": user, "messages": [{"role": "user", "content": question}], "max_tokens": 32}
    reply = httpx.post(f"{URL}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    answer = reply.raise_for_status().json()
    return {"id": answer["id"], "text": answer["choices"][0]["message"]["content"]}


@app.post("/thumb")
def thumb(user: Text, id: Text, up: Annotated[bool, Body()], better: Text = "") -> str:
    # Ask your users first: without their consent the feedback is stored, and nothing learns from it.
    stored = accord.feedback(id, user=user, consent=True, thumb="up" if up else "down", correction=better or None)
    return stored.items[0].state
