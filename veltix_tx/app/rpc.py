"""Remote procedure calls: methods served by name, typed by the annotations of their functions."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import msgspec
from msgspec.structs import astuple
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from veltix_tx.app.allow import Allow, allows, check_allow
from veltix_tx.errors import InvalidArguments, InvalidContent, MessageTypeError, MethodNotFound, RpcError, SettingsError
from veltix_tx.limits import check_seconds
from veltix_tx.net.awaitables import LATER, as_deferred
from veltix_tx.net.session.handler_log import StepFailed
from veltix_tx.net.session.handler_timeouts import TimeLimited
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.signatures import hints_of, return_type
from veltix_tx.net.threads import Workers
from veltix_tx.wire.contents import content_codec, pack
from veltix_tx.wire.error_codes import CANCELLED, MALFORMED_CALL
from veltix_tx.wire.messages import RESULT, Request, Response
from veltix_tx.wire.rpc import DISCOVER, EMPTY_ARRAY, EMPTY_MAP, MAX_METHOD_SIZE, RESERVED, Call, MethodInfo, RpcCodec

__all__ = ["CallContext", "Methods", "context_of"]

_NO_DEFAULT = inspect.Parameter.empty

_RAW_ARGS = content_codec(list[msgspec.Raw], "msgpack").decode
_RAW_KWARGS = content_codec(dict[str, msgspec.Raw], "msgpack").decode


@dataclass(frozen=True, slots=True)
class CallContext:
    """Facts about the call that a function serves; a parameter annotated with this class gets them.

    Attributes:
        session: the caller's session.
        method: the method's name.
        timeout: seconds the caller waits, from its sending on; None where it did not say.
        metadata: what the caller gave as ``metadata=``.
    """

    session: Session
    method: str
    timeout: float | None
    metadata: Mapping[str, str]


def context_of(session: Session, call: Call) -> CallContext:
    """Return the facts about a call."""
    return CallContext(session, call.method, None if call.timeout_ms is None else call.timeout_ms / 1000, call.metadata)


Provider = Callable[[Session, Call], object]
"""Returns what a parameter gets that is not the caller's to give."""


class Methods:
    """Methods that one server or client serves.

    Args:
        workers: gives the threads for functions that ask for one; without it none can.
    """

    def __init__(self, workers: Callable[[], Workers] | None = None) -> None:
        self._workers = workers
        self._providers: dict[type, Provider] = {Session: lambda session, call: session, CallContext: context_of}
        self._methods = {DISCOVER: _Method(DISCOVER, self._describe, self._providers, concurrent=False, workers=None, timeout=None)}

    def provide(self, kind: type, provider: Provider) -> None:
        """Give parameters of methods registered from now on that are annotated with a class what a function returns."""
        self._providers[kind] = provider

    def register(
        self,
        function: Callable[..., object],
        name: str | None = None,
        *,
        thread: bool = False,
        concurrent: bool = True,
        timeout: float | None = None,
        allow: Allow | None = None,
    ) -> None:
        """Register a function as a method; see :meth:`Server.register_rpc <veltix_tx.Server.register_rpc>`."""
        if not callable(function):
            raise SettingsError("rpc", function, "a function")
        method = function.__name__ if name is None else name
        if not isinstance(method, str) or not 0 < len(method.encode()) <= MAX_METHOD_SIZE or method.startswith(RESERVED):
            raise SettingsError("rpc", method, f"a name of 1 to {MAX_METHOD_SIZE} bytes that does not begin with {RESERVED!r}")
        if method in self._methods:
            raise SettingsError("rpc", method, "a name that no other method has")
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        if thread and (inspect.iscoroutinefunction(function) or self._workers is None):
            raise SettingsError("thread", True, "False for a coroutine function, and where there are no workers")
        check_allow(allow)
        workers = self._workers if thread else None
        terms: dict[str, Any] = {"concurrent": concurrent, "workers": workers, "timeout": timeout, "allow": allow}
        self._methods[method] = _Method(method, function, self._providers, **terms)

    def unregister(self, name: str) -> bool:
        """Serve a method no more; return whether there was one."""
        return self._methods.pop(name, None) is not None

    def serve(self, session: Session, message: Response) -> object:
        """Handle a CALL, as a route does; return its RESULT, or a Deferred of it that is bounded in time.

        Raises:
            RpcError: for the caller: the method is unknown, or its arguments do not fit.
            StepFailed: the function failed, or what it returned cannot be sent.
        """
        codec = session._rpc
        assert codec is not None  # there are no such messages where calls have not been agreed on
        try:
            call = codec.decode_call(message.content)
        except InvalidContent as error:
            raise RpcError(MALFORMED_CALL, error.summary) from None
        method = self._methods.get(call.method)
        if method is None:
            raise MethodNotFound(call.method)
        if method.allow is not None and not allows(method.allow, session):
            session._forbid(message, f"a call of {method.name}")
            return None
        try:
            result = method.call(session, call)
            if not isinstance(result, LATER):
                return Request(RESULT, codec.encode_result(call.method, result))
        except Exception:
            _failed(Failure(), method.title).raiseException()
        running = as_deferred(result, session._reactor).addCallback(_packed, codec, call.method).addErrback(_failed, method.title)
        own = session._handler_seconds if method.timeout is None else method.timeout
        deadline = math.inf if call.timeout_ms is None else call.timeout_ms / 1000
        limited = TimeLimited(min(own, deadline), running, cancellable=codec.cancels, deadline=deadline < own)
        if not method.concurrent:
            return limited
        session.reply(message, limited)
        return None

    def _describe(self, session: Session) -> list[MethodInfo]:
        """Return what a session may call."""
        served = [method for name, method in self._methods.items() if name != DISCOVER]
        return [method.info for method in served if method.allow is None or allows(method.allow, session)]


def _packed(result: object, codec: RpcCodec, method: str) -> Request[Any, Any]:
    return Request(RESULT, codec.encode_result(method, result))


def _failed(failure: Failure, title: str) -> Failure:
    """Return how a method failed: an RpcError of its own as it is, anything else under the method's name."""
    if isinstance(failure.value, RpcError) and not failure.value.remote:
        return failure
    if failure.check(CancelledError):
        return Failure(RpcError(CANCELLED, "the call was cancelled"))
    return Failure(StepFailed(title, failure))


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a method's function.

    Attributes:
        name: its name.
        hint: its type.
        default: its default, :data:`_NO_DEFAULT` for none.
        keyword_only: True if it takes no positional argument.
        provider: returns what it gets; None where that is the caller's to give.
    """

    name: str
    hint: Any
    default: object
    keyword_only: bool
    provider: Provider | None

    @property
    def has_default(self) -> bool:
        """True if it need not be given."""
        return self.default is not _NO_DEFAULT


class _Method:
    """A method: its function, and the decoders of its arguments.

    Args:
        name: its name.
        function: what serves it.
        providers: class -> what gives parameters that are annotated with it, or with one derived from it, their values.
        concurrent: whether other messages go ahead while it is not done.
        workers: of a function that runs in a thread, else None.
        timeout: seconds it may take, None for ``timeouts.handler``.
        allow: decides whom it serves; everybody by default.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        providers: Mapping[type, Provider],
        *,
        concurrent: bool,
        workers: Callable[[], Workers] | None,
        timeout: float | None,
        allow: Allow | None = None,
    ) -> None:
        self.name = name
        self.title = f"the method {name}"
        self.concurrent = concurrent
        self.timeout = timeout
        self.allow = allow
        self._function = function
        self._workers = workers
        self._parameters = _parameters(function, providers)
        self._given = given = [each for each in self._parameters if each.provider is None]
        positional = [each for each in given if not each.keyword_only]
        self._positional = [each.name for each in positional]
        self._only_positional = len(positional) == len(given)
        self._plain = workers is None and len(positional) == len(self._parameters) and not any(each.has_default for each in given)
        try:
            self._by_name = content_codec(_struct(name, given, array_like=False), "msgpack").decode
            self._by_position = content_codec(_struct(name, positional, array_like=True), "msgpack").decode
        except MessageTypeError as error:
            raise SettingsError("rpc", name, f"a function whose parameters have types that can be sent ({error})") from None

    def call(self, session: Session, call: Call) -> object:
        """Call the function and return what it returns.

        Raises:
            InvalidArguments: the arguments do not fit; the function was not called.
        """
        values = self._decode(call)
        if self._plain:
            return self._function(*astuple(values))
        args: list[object] = []
        kwargs: dict[str, object] = {}
        for parameter in self._parameters:
            if parameter.provider is not None:
                value: object = parameter.provider(session, call)
            else:
                value = getattr(values, parameter.name)
                if value is msgspec.UNSET:
                    value = parameter.default
            if parameter.keyword_only:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        if self._workers is None:
            return self._function(*args, **kwargs)
        return self._workers().run(partial(self._function, **kwargs), *args)

    @cached_property
    def info(self) -> MethodInfo:
        """Description that :data:`DISCOVER` tells; made once, as it takes 0.3 ms."""
        params = _schema(_struct("params", self._given, array_like=False))
        for parameter in self._given:
            if parameter.has_default:
                try:
                    params["properties"][parameter.name] |= {"default": msgspec.to_builtins(parameter.default)}
                except (TypeError, ValueError, RecursionError):  # none that JSON has
                    continue
        return MethodInfo(self.name, inspect.getdoc(self._function) or "", params, _schema(return_type(self._function)))

    def _decode(self, call: Call) -> msgspec.Struct:
        try:
            if self._only_positional and call.kwargs == EMPTY_MAP:
                return self._by_position(bytes(call.args))
            if call.args == EMPTY_ARRAY:
                return self._by_name(bytes(call.kwargs))
            return self._by_name(self._as_named(call))
        except InvalidContent as error:
            raise InvalidArguments(self.name, self._named_path(error.path), error.detail) from None

    def _as_named(self, call: Call) -> bytes:
        """Return positional and keyword arguments together as keyword arguments."""
        args, kwargs = _RAW_ARGS(bytes(call.args)), _RAW_KWARGS(bytes(call.kwargs))
        if len(args) > len(self._positional):
            raise InvalidArguments(self.name, "", f"at most {len(self._positional)} positional arguments, not {len(args)}")
        for name, value in zip(self._positional, args, strict=False):
            if name in kwargs:
                raise InvalidArguments(self.name, name, "given once, not by position and by name")
            kwargs[name] = value
        return pack(kwargs)

    def _named_path(self, path: str) -> str:
        """Return where in the arguments an error is, with a parameter's name in place of its position."""
        path = path.removeprefix("$")
        position = re.match(r"\[(\d+)\]", path)
        if position is not None and int(position[1]) < len(self._positional):
            path = self._positional[int(position[1])] + path[position.end() :]
        return path.removeprefix(".")


def _parameters(function: Callable[..., object], providers: Mapping[type, Provider]) -> list[_Parameter]:
    hints = hints_of(function)
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SettingsError("rpc", str(parameter), "a function whose parameters each have a name, without *args and **kwargs")
        hint = hints.get(parameter.name, Any)
        kinds = [kind for kind in providers if isinstance(hint, type) and issubclass(hint, kind)]
        provider = providers[kinds[0]] if kinds else None
        found.append(_Parameter(parameter.name, hint, parameter.default, parameter.kind is parameter.KEYWORD_ONLY, provider))
    return found


def _struct(name: str, parameters: list[_Parameter], *, array_like: bool) -> type[msgspec.Struct]:
    """Return a type of arguments: each field a parameter, unset where it has a default and is not given."""
    fields: list[Any] = [
        (each.name, each.hint) if not each.has_default else (each.name, each.hint | msgspec.UnsetType, msgspec.UNSET)
        for each in parameters
    ]
    fields.sort(key=len)  # keyword-only parameters without a default may come behind others with one
    if array_like:
        return msgspec.defstruct(name, fields, forbid_unknown_fields=True, array_like=True)
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)


def _schema(kind: Any) -> dict[str, Any]:
    """Return a type's JSON Schema, an empty one for a type that has none."""
    try:
        schema = msgspec.json.schema(kind)
    except (TypeError, RecursionError):
        return {}
    named = schema.pop("$ref", None)
    if named is None:
        return schema
    known: dict[str, Any] = schema["$defs"]
    own: dict[str, Any] = known[named.rpartition("/")[2]]
    if not _refers(own, named):
        known = {name: each for name, each in known.items() if each is not own}
    return own | ({"$defs": known} if known else {})


def _refers(schema: object, name: str) -> bool:
    return name in repr(schema)
