"""The servers that need more than nginx says by itself: WebSocket, slow answers, gRPC, datagrams.

    servers.py NAME=ADDRESS...      port 8081: /ws echoes, /slow?S, /busy?S and all else take S seconds
                                    port 50051: gRPC with one answer; UDP port 5353 echoes
"""
import asyncio
import base64
import hashlib
import sys

WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name = name

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, client):
        self.transport.sendto(data + b" from " + self.name, client)


async def serve(name, reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1]
            key = [line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")]
            if key:
                await websocket(name, key[0], reader, writer)
                return
            if b"?" in target:
                await asyncio.sleep(min(float(target.split(b"?")[1]), 20))
            body = b"hello from " + name + b"\n"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Server: %s\r\n\r\n%s" % (len(body), name, body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def websocket(name, key, reader, writer):
    """Says what it hears, and who says it: text frames of up to 125 octets."""
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        heard = await reader.readexactly(second & 0x7F)
        text = bytes(octet ^ mask[i % 4] for i, octet in enumerate(heard))
        if first & 0x0F == 8:  # close
            return
        said = (text + b" from " + name)[:125]
        writer.write(bytes([0x81, len(said)]) + said)
        await writer.drain()


# HTTP/2 frames (RFC 9113 section 6) and HPACK without compression (RFC 7541 section 6.2.2): all that one answer takes.
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEAD = b"\x88\x0f\x10\x10application/grpc"  # :status 200, content-type
TRAILER = b"\0\x0bgrpc-status\x010"
SERVING = b"\0\0\0\0\2\x08\x01"  # a message of two octets of grpc.health.v1: status = SERVING


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def grpc(reader, writer):
    """Says `SERVING` to whatever is asked."""
    try:
        await reader.readexactly(24)  # the preface
        writer.write(frame(SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in (SETTINGS, PING) and not flags & ACK:
                writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == DATA and payload:
                writer.write(frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                writer.write(frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, 0, stream, SERVING))
                writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILER))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    loop = asyncio.get_running_loop()
    for argument in sys.argv[1:]:
        name, address = argument.split("=")
        name = name.encode()
        await asyncio.start_server(lambda r, w, name=name: serve(name, r, w), address, 8081)
        await asyncio.start_server(grpc, address, 50051)
        await loop.create_datagram_endpoint(lambda name=name: Datagrams(name), local_addr=(address, 5353))
    await asyncio.Event().wait()


asyncio.run(main())
