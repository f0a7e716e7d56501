"""An identity provider that can be told to lie: `python oidc_provider.py` prints its address. It checks PKCE and the client's secret.

``POST /control`` sets what it says of people and how its next tokens are wrong.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

CLIENT, SECRET = "bakery", "the-client-secret"
KEY, OTHER = (jwk.RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("k1", "k2"))
STATE: dict[str, Any] = {"claims": {}, "userinfo": {}, "lie": "", "key": KEY}
CODES: dict[str, dict[str, str]] = {}


def address(request: Request) -> str:
    return f"http://{request.headers['host']}"


async def describe(request: Request) -> Response:
    here = address(request)
    issuer = "http://127.0.0.1:1" if STATE["lie"] == "other name" else here
    ends = {"authorization": "authorize", "token": "token", "userinfo": "userinfo", "end_session": "end"}
    places = {f"{name}_endpoint": f"{here}/{end}" for name, end in ends.items()}
    return JSONResponse({"issuer": issuer, "jwks_uri": f"{here}/keys", **places})


async def keys(_: Request) -> Response:
    return JSONResponse({"keys": [STATE["key"].as_dict(private=False)]})


async def authorize(request: Request) -> Response:
    asked = dict(request.query_params)
    if asked["client_id"] != CLIENT or asked["code_challenge_method"] != "S256" or asked["response_type"] != "code":
        return JSONResponse({"error": "invalid_request"}, 400)
    code = secrets.token_urlsafe(8)
    CODES[code] = asked
    answer = {"code": code, "state": asked["state"]}
    if STATE["lie"] == "denied":
        answer = {"error": "access_denied", "state": asked["state"]}
    if STATE["lie"] == "other iss":
        answer["iss"] = "https://evil.example"
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)


async def drips() -> AsyncIterator[bytes]:
    """A byte every fifth of a second for half a minute: no single read takes long."""
    for _ in range(150):
        yield b" "
        await asyncio.sleep(0.2)


async def pours() -> AsyncIterator[bytes]:
    for _ in range(200):
        yield b" " * 100_000


async def token(request: Request) -> Response:
    if STATE["lie"] in ("drips", "pours"):
        return StreamingResponse({"drips": drips, "pours": pours}[STATE["lie"]](), media_type="application/json")
    given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    id, _, secret = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    asked = CODES.pop(given.get("code", ""), None)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(given.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
    if (id, secret) != (CLIENT, SECRET):
        return JSONResponse({"error": "invalid_client"}, 401)
    if asked is None or challenge != asked["code_challenge"] or given["redirect_uri"] != asked["redirect_uri"]:
        return JSONResponse({"error": "invalid_grant"}, 400)
    return JSONResponse({"access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": signed(request, asked["nonce"])})


def signed(request: Request, nonce: str) -> str:
    now, lie = int(time.time()), STATE["lie"]
    claims: dict[str, Any] = {"iss": address(request), "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce, **STATE["claims"]}
    wrong: dict[str, dict[str, Any]] = {
        "issuer": {"iss": "https://evil.example"},
        "audience": {"aud": "another"},
        "audiences": {"aud": [CLIENT, "another"]},
        "party": {"azp": "another"},
        "nonce": {"nonce": "another"},
        "expired": {"exp": now - 120},
        "not yet": {"nbf": now + 3600},
        "nobody": {"sub": ""},
    }
    claims |= wrong.get(lie, {})
    for missing in ("nonce", "exp", "sub", "iat"):
        if lie == f"no {missing}":
            claims.pop(missing)
    if lie == "unsigned":
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
    if lie == "shared secret":
        return jwt.encode({"alg": "HS256"}, claims, jwk.OctKey.import_key(SECRET * 3))
    if lie == "public key as secret":
        return jwt.encode({"alg": "HS256", "kid": "k1"}, claims, jwk.OctKey.import_key(KEY.as_pem(private=False)))
    key = OTHER if lie == "another key" else STATE["key"]
    made = jwt.encode({"alg": "RS256", "kid": "k1" if lie == "another key" else key.kid}, claims, key)
    return made[:-6] + "AAAAAA" if lie == "changed" else made


async def userinfo(request: Request) -> Response:
    if request.headers.get("authorization") != "Bearer at":
        return JSONResponse({"error": "invalid_token"}, 401)
    return JSONResponse({"sub": STATE["claims"].get("sub"), **STATE["userinfo"]})


async def control(request: Request) -> Response:
    STATE.update({"claims": {}, "userinfo": {}, "lie": "", "key": KEY} | await request.json())
    if STATE["key"] == "new":
        STATE["key"] = OTHER
    return Response()


ROUTES = [
    Route("/.well-known/openid-configuration", describe),
    Route("/keys", keys),
    Route("/authorize", authorize),
    Route("/token", token, methods=["POST"]),
    Route("/userinfo", userinfo),
    Route("/control", control, methods=["POST"]),
]

if __name__ == "__main__":
    made = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{made.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(Starlette(routes=ROUTES), log_level="error")).run(sockets=[made])
