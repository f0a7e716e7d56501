"""The routes for apps are what OpenAPI says of them: requests made out of the description, allowed and forbidden ones."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from serving.apps.conftest import Served, response_id

ROUTES = (
    "/v1/feedback",
    "/v1/comparisons",
    "/v1/demonstrations",
    "/v1/prompts",
    "/v1/consents",
    "/v1/users",
    "/v1/tasks",
    "/v1/export",
    "/v1/webhooks",
)
EACH = 2
"""Requests per route, allowed and forbidden ones."""
CHECKS: tuple[Any, ...] = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)


def test_made_requests_get_the_replies_that_are_described(served: Served) -> None:
    app = served.client("fuzz", store="prompts", scopes=("chat", "feedback", "tasks"))
    id = response_id(app)
    schema: Any = schemathesis.openapi.from_dict(app.get("/openapi.json").json())
    found = [result.ok() for result in schema.get_all_operations()]
    operations = [operation for operation in found if operation.path.startswith(ROUTES)]
    assert len(operations) == 19
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    came = dict[tuple[str, int], int]()
    quiet: dict[str, Any] = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}

    def send(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("response_id"), str) and len(came) % 2:
            case.body["response_id"] = id  # a made-up one is a 404, whatever else the request says
        try:
            answer = case.call(base_url=served.url, headers=dict(app.headers), timeout=30)
        except (ValueError, OSError):  # the client's library refuses to send it
            return
        key = (case.operation.path, answer.status_code)
        came[key] = came.get(key, 0) + 1
        case.validate_response(answer, checks=list(CHECKS))

    for operation in operations:
        for mode in modes:
            drawn = given(case=operation.as_strategy(generation_mode=mode))
            with suppress(Unsatisfiable):  # a route without inputs cannot be asked wrongly
                settings(max_examples=EACH, phases=[Phase.generate], **quiet)(drawn(send))()
    assert {status for _, status in came} >= {200, 201, 400, 404}
    assert {path for path, _ in came} >= {*ROUTES} - {"/v1/export"}
