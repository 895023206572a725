"""QUIC (RFC 9000) with aioquic.

`quic.py serve ADDRESS CERTIFICATE KEY`: answers each stream with the address and port that it comes from.
`quic.py ask ADDRESS SOURCE`: does what each line of its input says, and answers with a line.
  ask      sends a stream and prints what came back
  move     goes on with the same connection from another port
`quic.py pages SOURCE COUNT ADDRESS...`: fetches /1 to /COUNT from each server by HTTP/3 (RFC 9114), each over one
connection, and prints how many bytes came.
"""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived

PATIENCE_SECS = 5


class Server(QuicConnectionProtocol):
    def datagram_received(self, data, addr):
        self.peer = addr
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.end_stream:
            seen = "%s:%d" % tuple(self.peer[:2])
            self._quic.send_stream_data(event.stream_id, seen.encode(), end_stream=True)
            self.transmit()


class Client(QuicConnectionProtocol):
    async def ask(self):
        reader, writer = await self.create_stream()
        writer.write(b"who am I")
        writer.write_eof()
        return (await asyncio.wait_for(reader.read(), PATIENCE_SECS)).decode()

    async def move(self, source):
        """Another socket under the connection (RFC 9000 section 9)."""
        old = self._transport
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(source, 0))
        self.change_connection_id()
        old.close()
        return "moved"

    def connection_lost(self, exc):
        # Of the old socket; the connection lives on.
        pass


class Pages(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.bytes = H3Connection(self._quic), 0
        self.asked, self.open, self.done = False, set(), asyncio.Event()

    def get(self, host, path):
        stream = self._quic.get_next_available_stream_id()
        self.asked = True
        self.open.add(stream)
        names = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]
        self.http.send_headers(stream, [(a.encode(), b.encode()) for a, b in names], end_stream=True)

    def quic_event_received(self, event):
        for of in self.http.handle_event(event):
            if isinstance(of, DataReceived):
                self.bytes += len(of.data)
            if isinstance(of, (DataReceived, HeadersReceived)) and of.stream_ended:
                self.open.discard(of.stream_id)
        if self.asked and not self.open:
            self.done.set()


def settings(protocol):
    return QuicConfiguration(is_client=True, alpn_protocols=[protocol], verify_mode=ssl.CERT_NONE)


async def opened(address, port, source, protocol, kind):
    connection = QuicConnection(configuration=settings(protocol))
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: kind(connection), local_addr=(source, 0))
    client.connect((address, port))
    await asyncio.wait_for(client.wait_connected(), PATIENCE_SECS)
    return client


async def serve_forever(address, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["who"])
    configuration.load_cert_chain(certificate, key)
    await serve(address, 4433, configuration=configuration, create_protocol=Server)
    print("listening", flush=True)
    await asyncio.Event().wait()


async def converse(address, source):
    client = await opened(address, 4433, source, "who", Client)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = await (client.ask() if line.strip() == "ask" else client.move(source))
        print(answer, flush=True)


async def page(address, source, count):
    client = await opened(address, 443, source, "h3", Pages)
    for number in range(1, count + 1):
        client.get(address, f"/{number}")
    client.transmit()
    await asyncio.wait_for(client.done.wait(), PATIENCE_SECS)
    return client.bytes


async def pages(source, count, *addresses):
    print(sum(await asyncio.gather(*(page(address, source, int(count)) for address in addresses))))


asyncio.run({"serve": serve_forever, "ask": converse, "pages": pages}[sys.argv[1]](*sys.argv[2:]))
