"""A WebSocket (RFC 6455) with the package websockets, which pings only when it is told.

`websocket.py serve ADDRESS` and `websocket.py connect ADDRESS SOURCE` do what each line of their input says, and
answer with a line.
  ping     sends a ping and waits for its pong
  push     sends a message to the other side
  hear     waits for a message and prints it, or `nothing`
"""

import queue
import socket
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

PORT, PATIENCE_SECS = 8080, 5


def follow(connection):
    """Answers the lines of the input over a connection."""
    for line in sys.stdin:
        if line.strip() == "ping":
            answer = "pong" if connection.ping().wait(PATIENCE_SECS) else "nothing"
        elif line.strip() == "push":
            connection.send("news")
            answer = "sent"
        else:
            try:
                answer = connection.recv(timeout=PATIENCE_SECS)
            except TimeoutError:
                answer = "nothing"
        print(answer, flush=True)


def listen(address):
    connections = queue.Queue()

    def handle(connection):
        connections.put(connection)
        threading.Event().wait()

    with serve(handle, address, PORT, ping_interval=None, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("listening", flush=True)
        follow(connections.get())


def call(address, source):
    at = socket.create_connection((address, PORT), PATIENCE_SECS, (source, 0))
    at.settimeout(None)
    with connect(f"ws://{address}:{PORT}", sock=at, ping_interval=None, compression=None) as connection:
        print("connected", flush=True)
        follow(connection)


try:
    {"serve": listen, "connect": call}[sys.argv[1]](*sys.argv[2:])
except ConnectionClosed as error:
    print("closed", error, flush=True)
