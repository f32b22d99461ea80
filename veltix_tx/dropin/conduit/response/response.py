"""Results of methods as netconduit's maps."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["Response"]

_PLAIN = (dict, list, str, bytes, int, float, bool, type(None))


class Response:
    """Makes what a method returns as its result. The caller's ``rpc.call`` returns the ``data`` in it."""

    def __call__(self, data: object, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a result.

        Args:
            data: the result: a model of pydantic, an object whose attributes it is, or what msgpack holds.
            metadata: what is said beside it, to clients of netconduit itself.
        """
        if isinstance(data, BaseModel):
            data = data.model_dump()
        elif not isinstance(data, _PLAIN) and hasattr(data, "__dict__"):
            data = vars(data)
        return {"success": True, "data": data, **({"metadata": metadata} if metadata else {})}

    def ok(self, data: object = None, message: str = "") -> dict[str, Any]:
        """Return a result that may be nothing, with a text beside it."""
        said: dict[str, Any] = {"success": True}
        if data is not None:
            said["data"] = data.model_dump() if isinstance(data, BaseModel) else data
        if message:
            said["message"] = message
        return said

    def with_pagination(self, data: list[Any], total: int, page: int = 1, page_size: int = 10) -> dict[str, Any]:
        """Return one page of a list.

        Args:
            data: the page.
            total: entries of the whole list.
            page: the page's number, from 1.
            page_size: entries of a page.
        """
        pagination = {
            "total": total,
            "page": page,
            "page_size": page_size,
            "total_pages": -(-total // page_size),
            "has_next": page * page_size < total,
            "has_prev": page > 1,
        }
        return {"success": True, "data": data, "pagination": pagination}
