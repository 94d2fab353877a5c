"""Errors as JSON: {"error": {"code": "snake_case", "message": "one sentence"}}. No traceback leaves the door."""

from __future__ import annotations

import logging
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from models.errors import InputError, PenstockError

__all__ = ["Refusal", "install", "read_as"]

Model = TypeVar("Model", bound=BaseModel)

logger = logging.getLogger("penstock.http")

_CODES = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}


class Refusal(Exception):
    """A request is refused with this status, code and sentence.

    `close` ends the connection: what is left of the body would otherwise be read, to be thrown away.
    """

    def __init__(self, status: int, code: str, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.close = close


def read_as(model: type[Model], body: bytes) -> Model:
    """A JSON body as a model. Raises Refusal 422 without the values: they may be meant to be kept to oneself."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise Refusal(422, "invalid_request", f"{where}: {problem['msg']}.") from None


def answer(status: int, code: str, message: str, close: bool = False) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if close:
        headers["Connection"] = "close"
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def install(app: FastAPI) -> None:
    """Answer every kind of error in the one form."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return answer(error.status, error.code, str(error), error.close)

    @app.exception_handler(PenstockError)
    async def known(_: Request, error: PenstockError) -> JSONResponse:
        if isinstance(error, InputError):
            return answer(400, "bad_input", str(error))
        logger.warning("%s", error)
        return answer(503, "unavailable", str(error))

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, _CODES.get(error.status_code, "refused"), str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the values: they may be what somebody wants kept to themselves.
        found = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'][1:]) or 'body'}: {each['msg']}"
            for each in error.errors()
        )
        return answer(422, "invalid_request", f"{found}.")

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> JSONResponse:
        logger.exception("A request failed", exc_info=error)
        return answer(500, "internal", "Something unexpected went wrong here; the door's log says what.")
