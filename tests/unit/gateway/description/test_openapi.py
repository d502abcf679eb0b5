"""/openapi.json: valid, complete, and its examples are what its schemas say."""

from __future__ import annotations

import json
from typing import Any

import openapi_spec_validator
import pytest
from aiohttp import web
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from gateway.description.openapi import UndescribedRoute, openapi
from gateway.description.operations import OPERATIONS
from gateway.routes import healthz, routes
from tests.gateway.test_access_matrix import CHANGES, GUARDED
from tests.helpers.schemas import assert_described, assert_references_lead_somewhere

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi(routes, "0.1.0")))


def test_the_document_is_valid() -> None:
    openapi_spec_validator.validate(DOCUMENT)


def test_an_invalid_document_is_found() -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["paths"]["/api/meta"]["get"]["responses"] = {"200": {}}
    with pytest.raises(OpenAPIValidationError):
        openapi_spec_validator.validate(document)


def test_every_reference_leads_somewhere() -> None:
    assert_references_lead_somewhere(DOCUMENT)


def test_a_route_without_a_description_is_an_error() -> None:
    with pytest.raises(UndescribedRoute, match="GET /api/new"):
        openapi([*routes, web.get("/api/new", healthz)], "0.1.0")


def test_a_description_without_a_route_is_an_error() -> None:
    with pytest.raises(UndescribedRoute, match="GET /readyz"):
        openapi([route for route in routes if route.path != "/readyz"], "0.1.0")


def test_the_roles_are_those_that_may() -> None:
    """The same as the access matrix, which is run against the server."""
    described = {key: set(map(str, operation.roles)) for key, operation in OPERATIONS.items() if operation.roles}
    everyone = {"admin", "viewer", "customer"}
    assert described == {**{("GET", path): roles for path, roles in GUARDED.items()}, **CHANGES, ("GET", "/api/ws"): everyone}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_examples_are_what_the_schemas_say(operation: Any) -> None:
    if operation.answer.schema is not None:
        assert_described(operation.answer.example, operation.answer.schema)
    if operation.body is not None:
        name, example = operation.body
        assert_described(example, name)


def test_examples_of_errors_are_what_the_schema_says() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        assert_described(response["content"]["application/json"]["example"], "Error")
