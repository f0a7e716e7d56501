"""
title: Tell Accord
description: A button under each answer of Open WebUI that sends a thumb or a better answer to `accord serve`.
requirements: httpx
"""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from pydantic import BaseModel

Call = Callable[[dict[str, Any]], Awaitable[Any]]


class Action:
    class Valves(BaseModel):
        url: str = "http://127.0.0.1:8000"
        key: str = ""

    def __init__(self) -> None:
        self.valves = self.Valves()

    async def action(self, body: dict[str, Any], __user__: dict[str, Any], __event_call__: Call, __event_emitter__: Call) -> None:
        ask = {"title": "How is this answer?", "message": "+ good, - bad, or the answer as it should be. It may train the model."}
        said = (await __event_call__({"type": "input", "data": ask | {"placeholder": "+"}}) or "").strip()
        *before, answer = [{"role": m["role"], "content": m["content"]} for m in body["messages"]]
        told = {"thumb": {"+": "up", "-": "down"}[said]} if said in ("+", "-") else {"thumb": "down", "correction": said}
        sent: dict[str, Any] = {"messages": before, "response": {"content": answer["content"], "model": body["model"]}, "consent": True}
        sent |= {"user": __user__["id"], **told}
        if said:
            async with httpx.AsyncClient(base_url=self.valves.url, headers={"Authorization": f"Bearer {self.valves.key}"}) as http:
                reply = await http.post("/v1/feedback", json=sent)
            done = "Thank you." if reply.is_success else reply.json()["error"]["message"]
            await __event_emitter__({"type": "status", "data": {"description": done, "done": True}})
