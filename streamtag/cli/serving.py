"""`--serve`: the messages of a command on a WebSocket."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

from streamtag.cli.reporter import Reporter
from streamtag.protocol.messages import Hello

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig
    from streamtag.server.thread import ServerThread


def serve(spec: ServerConfig, hello: Hello, reporter: Reporter, resources: ExitStack) -> ServerThread:
    """Start a server that runs until `resources` are closed. Raises OutputError."""
    from streamtag.server.thread import ServerThread  # late: only who serves needs them

    server = resources.enter_context(ServerThread(spec, hello))
    reporter.told.append(server.publish)
    reporter.note(f"serving on {server.address}")
    if spec.token is None and not this_machine_alone(spec.host):
        reporter.note("whoever reaches this address can subscribe: --token WORD asks for a word")
    return server


def this_machine_alone(host: str) -> bool:
    """Nobody else can reach it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
