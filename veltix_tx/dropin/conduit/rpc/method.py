"""A method of a server: its arguments checked by pydantic, its result or failure taken out of netconduit's maps."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast, get_type_hints

import pydantic
from pydantic_core import ArgsKwargs, to_jsonable_python

from veltix_tx.errors import RpcError
from veltix_tx.net.awaitables import LATER
from veltix_tx.net.session.session import Session
from veltix_tx.wire.netconduit.payloads import unpack
from veltix_tx.wire.netconduit.rpc import Envelope, describe_method
from veltix_tx.wire.rpc import Call

__all__ = ["RPCMethod"]

_log = logging.getLogger("conduit.rpc")

_INVALID = "netconduit_2000"

_ANY_CLASS = pydantic.ConfigDict(arbitrary_types_allowed=True)


class RPCMethod:
    """A method of a server, as :class:`~veltix_tx.app.rpc.Methods` serves it.

    A function whose one parameter is a model of pydantic gets all arguments as that model. Otherwise each argument is
    validated, and converted, by its parameter's annotation.

    Args:
        function: what serves it, a coroutine function or not.
        name: its name; the function's by default.

    Attributes:
        name: its name.
        title: what the log calls it.
        info: what discovery tells of it.
    """

    concurrent = True
    timeout = None
    allow = None

    def __init__(self, function: Callable[..., object], name: str | None = None) -> None:
        self.name = function.__name__ if name is None else name
        self.title = f"the method {self.name}"
        hints = _hints_of(function)
        self._call = _validating(function, hints)
        returns = _name_of(hints.pop("return")) if "return" in hints else "Any"
        parameters: dict[str, object] = {}
        for parameter, hint in hints.items():
            if _is_model(hint):
                parameters |= {field: _name_of(each.annotation) for field, each in hint.model_fields.items()}
            else:
                parameters[parameter] = _name_of(hint)
        self.info = describe_method(self.name, inspect.getdoc(function) or "", parameters, returns)

    def call(self, session: Session, call: Call) -> object:
        """Call the function; return its result, or a coroutine of it.

        Raises:
            RpcError: the arguments do not fit, or it returned a failure.
        """
        try:
            result = self._call(*unpack(bytes(call.args)), **unpack(bytes(call.kwargs)))
        except pydantic.ValidationError as refused:
            errors = [
                {"field": ".".join(map(str, each["loc"])), "message": each["msg"], "type": each["type"]}
                for each in refused.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise RpcError(_INVALID, f"Validation error in {self.name}", {"errors": errors}) from None
        return _settled(result) if isinstance(result, LATER) else _result_of(result)


def _validating(function: Callable[..., object], hints: Mapping[str, Any]) -> Callable[..., object]:
    """Return a function that validates its arguments, raising pydantic's ValidationError, and calls another with them."""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) == 1 and _is_model(hints.get(parameters[0])):
        model: type[pydantic.BaseModel] = hints[parameters[0]]
        return lambda **arguments: function(model(**arguments))
    if hints.keys() != getattr(function, "__annotations__", {}).keys():
        _log.warning("the annotations of %s cannot be looked up: its arguments are not validated", function)
        function = _without_annotations(function)
    adapter = pydantic.TypeAdapter[Any](cast(Any, function), config=_ANY_CLASS)
    validate: Callable[..., object] = adapter.validator.validate_python
    return lambda *args, **arguments: validate(ArgsKwargs(args, arguments))


def _without_annotations(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function that takes the same arguments, and calls it."""
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]

    def call(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    call.__signature__ = inspect.Signature(bare)  # type: ignore[attr-defined]
    call.__annotations__ = {}
    return call


async def _settled(result: Any) -> object:
    return _result_of(await result)


def _result_of(returned: object) -> object:
    """Return the result in what a function returned.

    Raises:
        RpcError: it is a failure.
    """
    if isinstance(returned, pydantic.BaseModel):
        return returned.model_dump()
    if not isinstance(returned, dict) or "success" not in returned:
        return returned
    if returned["success"]:
        return Envelope(returned)
    code = returned.get("code")
    number = int(code) if isinstance(code, int) and 0 <= code < 10**9 else 1000
    details = returned.get("details")
    said = None if details is None else to_jsonable_python(details, fallback=str)
    raise RpcError(f"netconduit_{number}", str(returned.get("error", "Unknown error")), said)


def _hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """Return the annotations of a function, none where they cannot be looked up."""
    try:
        return get_type_hints(function)
    except Exception:  # whatever an annotation raises when it is evaluated
        return {}


def _is_model(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def _name_of(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
