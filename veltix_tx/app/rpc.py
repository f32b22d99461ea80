"""Remote procedure calls: methods served by name, typed by the annotations of their functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import astuple
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from veltix_tx.app.allow import Allow, allows, check_allow
from veltix_tx.app.call_timing import CallTimer, TimedCall
from veltix_tx.app.middleware import Chain
from veltix_tx.errors import (
    Dropped,
    InvalidArguments,
    InvalidContent,
    MessageTypeError,
    MethodNotFound,
    RpcError,
    SettingsError,
    excerpt,
)
from veltix_tx.limits import check_seconds
from veltix_tx.net.awaitables import LATER, SETTLED, as_deferred
from veltix_tx.net.session.handler_log import StepFailed
from veltix_tx.net.session.handler_timeouts import TimeLimited
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.signatures import hints_of, return_type
from veltix_tx.net.threads import Workers
from veltix_tx.wire.contents import MAX_SIZE, ContentCodec, content_codec, pack
from veltix_tx.wire.error_codes import CANCELLED, MALFORMED_CALL
from veltix_tx.wire.messages import Response
from veltix_tx.wire.rpc import DISCOVER, EMPTY_ARRAY, EMPTY_MAP, MAX_METHOD_SIZE, RESERVED, Call, CallResult, MethodInfo, RpcCodec

__all__ = ["CallContext", "Methods", "ServedMethod", "context_of"]

T = TypeVar("T")

_NO_DEFAULT = inspect.Parameter.empty

_RAW_ARGS = content_codec(list[Raw], "msgpack").decode
_RAW_KWARGS = content_codec(dict[str, Raw], "msgpack").decode


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


class ServedMethod(Protocol):
    """A method as :class:`Methods` serves it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def title(self) -> str:
        """Name in the log."""

    @property
    def concurrent(self) -> bool:
        """True if the caller's later messages go ahead while it is not done."""

    @property
    def timeout(self) -> float | None:
        """Seconds it may take, None for ``timeouts.handler``."""

    @property
    def allow(self) -> Allow | None:
        """Decides whom it serves; None for everybody."""

    @property
    def info(self) -> MethodInfo:
        """Description that :data:`DISCOVER` tells."""

    def call(self, session: Session, call: Call) -> object:
        """Call its function; return the result, or a Deferred or coroutine of it, or raise RpcError."""


class Methods:
    """Methods that one server or client serves.

    Args:
        workers: gives the threads for functions that ask for one; without it none can.
        middleware: called around the functions; none by default.
    """

    def __init__(self, workers: Callable[[], Workers] | None = None, middleware: Chain | None = None) -> None:
        self._workers = workers
        self._middleware = middleware or Chain()
        self._providers: dict[type, Provider] = {Session: lambda session, call: session, CallContext: context_of}
        self._methods: dict[str, ServedMethod] = {
            DISCOVER: _Method(DISCOVER, self._describe, self._providers, concurrent=False, workers=None, timeout=None)
        }

    def __iter__(self) -> Iterator[ServedMethod]:
        return iter([method for name, method in self._methods.items() if name != DISCOVER])

    def timed_handlers(self, timer: CallTimer) -> list[Callable[[], None]]:
        """Return a function for each method that has its next call timed; a method of which none is called is as fast as ever."""
        return [partial(_time_next_call, method, timer) for method in self]

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

    def replace(self, method: ServedMethod) -> None:
        """Serve a method that takes its arguments itself, in place of one of its name."""
        self._methods[method.name] = method

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
        if len(message.content) > MAX_SIZE:
            raise InvalidArguments(method.name, "", f"the call has {len(message.content)} bytes, over {MAX_SIZE}")
        try:
            result = self._call_through(method, session, call, message) if self._middleware.steps else method.call(session, call)
            if type(result) in SETTLED or not isinstance(result, LATER):
                return CallResult(codec.encode_result(result))
        except Exception:
            _failed(Failure(), method.title).raiseException()
        running = as_deferred(result, session._reactor).addCallback(_packed, codec).addErrback(_failed, method.title)
        own = session._handler_seconds if method.timeout is None else method.timeout
        deadline = math.inf if call.timeout_ms is None else call.timeout_ms / 1000
        limited = TimeLimited(min(own, deadline), running, cancellable=codec.cancels, deadline=deadline < own)
        if not method.concurrent:
            return limited
        session.reply(message, limited)
        return None

    def _call_through(self, method: ServedMethod, session: Session, call: Call, message: Response) -> object:
        """Call a method with middleware around it, for which the CALL's value is the :class:`Call`."""

        def handle(passed: Response) -> object:
            if passed is not message:
                raise TypeError("middleware passes a call on as it came")
            return method.call(session, call)

        message._value = call
        return self._middleware.around(session, message, handle)

    def _describe(self, session: Session) -> object:
        """Return what a session may call, as its wire tells that."""
        assert session._rpc is not None
        return session._rpc.describe([method.info for method in self if method.allow is None or allows(method.allow, session)])


def _packed(result: object, codec: RpcCodec) -> CallResult:
    return CallResult(codec.encode_result(result))


def _failed(failure: Failure, title: str) -> Failure:
    """Return how a method failed: an RpcError of its own, or its drop, as it is, anything else under the method's name."""
    if isinstance(failure.value, Dropped) or (isinstance(failure.value, RpcError) and not failure.value.remote):
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

    Attributes:
        function: as given.
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
        self.function = function
        self._workers = workers
        self._parameters = _parameters(function, providers)
        self._given = given = [each for each in self._parameters if each.provider is None]
        positional = [each for each in given if not each.keyword_only]
        self._positional = [each.name for each in positional]
        # Every argument may be given by position; the function is called with just these, here.
        self._by_position = len(positional) == len(given)
        self._plain = workers is None and len(positional) == len(self._parameters) and not any(each.has_default for each in given)
        try:
            self._by_name = content_codec(_struct(name, given, array_like=False), "msgpack")
            by_position = content_codec(_struct(name, positional, array_like=True), "msgpack")
        except MessageTypeError as error:
            raise SettingsError("rpc", name, f"a function whose parameters have types that can be sent ({error})") from None
        self._read_named, self._read_positional = _reader(self._by_name), _reader(by_position)

    def _read(self, call: Call) -> msgspec.Struct:
        """Return a call's arguments, be they given by name or by both; raises anything for those that do not fit."""
        return self._read_named(call.kwargs if call.args == EMPTY_ARRAY else self._as_named(call))

    def call(self, session: Session, call: Call) -> object:
        """Call the function with the arguments of a call and what others provide; return what it returns.

        Raises:
            RpcError: the arguments do not fit; besides that, what the function raises.
        """
        try:
            by_position = self._by_position and call.kwargs == EMPTY_MAP
            values = self._read_positional(call.args) if by_position else self._read(call)
        except Exception as error:
            raise self._refusal(call, error) from None
        return self.function(*astuple(values)) if self._plain else self._call_with(session, call, values)

    def _call_with(self, session: Session, call: Call, values: msgspec.Struct) -> object:
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
            return self.function(*args, **kwargs)
        return self._workers().run(partial(self.function, **kwargs), *args)

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
        return MethodInfo(self.name, inspect.getdoc(self.function) or "", params, _schema(return_type(self.function)))

    def _as_named(self, call: Call) -> Raw:
        """Return positional and keyword arguments together as keyword arguments.

        Raises:
            InvalidArguments: there are too many or too few of them, or one that no parameter takes.
            InvalidContent: they are no array and map.
        """
        args, kwargs = _RAW_ARGS(bytes(call.args)), _RAW_KWARGS(bytes(call.kwargs))
        by_position = self._positional[: len(args)]
        if len(args) > len(by_position):
            raise InvalidArguments(self.name, "", f"takes {self._number} but {_were_given(len(args))}")
        for name in by_position:
            if name in kwargs:
                raise InvalidArguments(self.name, name, "given once, not by position and by name")
        kwargs |= zip(by_position, args, strict=True)
        unknown = kwargs.keys() - {each.name for each in self._given}
        if unknown:
            raise InvalidArguments(self.name, "", f"got an unexpected keyword argument {excerpt(min(unknown))}")
        missing = [repr(each.name) for each in self._given if not each.has_default and each.name not in kwargs]
        if missing:
            raise InvalidArguments(self.name, "", f"missing {_counted(len(missing), 'required argument')}: {', '.join(missing)}")
        return Raw(pack(kwargs))

    @property
    def _number(self) -> str:
        """Number of positional arguments that it takes, in words."""
        most = len(self._positional)
        least = sum(not each.has_default for each in self._given if not each.keyword_only)
        return ("" if least == most else f"from {least} to ") + _counted(most, "positional argument")

    def _refusal(self, call: Call, error: Exception) -> InvalidArguments:
        """Return the error that tells a caller why its arguments cannot be decoded."""
        try:
            self._by_name.decode(bytes(self._as_named(call)))
        except InvalidArguments as wrong:
            return wrong
        except InvalidContent as wrong:
            return InvalidArguments(self.name, wrong.path.removeprefix("$").removeprefix("."), wrong.detail)
        return InvalidArguments(self.name, "", type(error).__name__)  # of a type's own code, which has changed its mind


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _were_given(number: int) -> str:
    return f"{number} {'was' if number == 1 else 'were'} given"


def _reader(codec: ContentCodec[T]) -> Callable[[Raw], T]:
    """Return a codec's decoder for arguments whose size has been checked."""
    return codec.decode_flat or (lambda packed: codec.decode(bytes(packed)))


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
        return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False, array_like=True)
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False)


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


def _time_next_call(method: Any, timer: CallTimer) -> None:
    """Have a method's next call timed: its own ``call`` goes before that of its class until then."""
    if not isinstance(method.call, TimedCall):
        method.call = TimedCall(method.call, f"method {method.name}", partial(delattr, method, "call"), timer)
