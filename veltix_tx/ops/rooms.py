"""Nodes, rooms and members as an operator sees them: what all servers of a backplane know together."""

from __future__ import annotations

from heapq import nsmallest

import msgspec

from veltix_tx.app.presence import members_of
from veltix_tx.app.rooms import topic_of
from veltix_tx.ops.answers import MembersAnswer, NodesAnswer, RoomsAnswer
from veltix_tx.server import Server

__all__ = ["members", "nodes", "rooms"]


async def nodes(server: Server, limit: int) -> NodesAnswer:
    """Return the nodes that share a server's backplane, and how it is with that.

    Raises:
        BackplaneUnavailable: it is down.
    """
    backplane = server.backplane
    found = await backplane.nodes()
    return {
        "backplane": backplane.state.value,
        "this": backplane.node_id,
        "counters": {name: count for name, count in sorted(backplane.counters.items()) if count},
        "total": len(found),
        "nodes": [msgspec.to_builtins(each) for each in found[:limit]],
    }


async def rooms(server: Server, pattern: str, limit: int) -> RoomsAnswer:
    """Return the rooms that have members on any node, those with the most first.

    Raises:
        BackplaneUnavailable: the backplane is down.
        SettingsError: the pattern is too long.
    """
    found = await server.rooms(pattern)
    largest = nsmallest(limit, found.items(), key=lambda room: (-room[1], room[0]))
    return {"total": len(found), "rooms": [{"name": name, "members": count} for name, count in largest]}


async def members(server: Server, room: str, limit: int) -> MembersAnswer:
    """Return the members of a room, on any node, those that are there longest first.

    Raises:
        BackplaneUnavailable: the backplane is down.
    """
    found = members_of(await server.backplane.members(topic_of(room)))
    longest = nsmallest(limit, found, key=lambda member: (member.since, member.id))
    return {"total": len(found), "members": [msgspec.to_builtins(each) for each in longest]}
