"""Clients: they ask the DNS, go where they are sent, and count what came back. Each prints one line of JSON.

    clients.py ask NAME [--subnet 10.8.1.0] [--from ADDRESS]    the addresses
    clients.py shares NAME --subnets 10.8 --many 2000           how many client networks get which address
    clients.py load NAME --requests N --until FILE              requests until there are N and FILE exists
    clients.py crowd NAME --subnets 10.8 --many 60 --hold 3     so many at a time, each holds a connection; until ended
    clients.py burst URL --requests 300                         one connection, as fast as it goes: statuses
    clients.py websocket ADDRESS [--until FILE]                 says a word, again after FILE exists
    clients.py udp ADDRESS --requests 40                        datagrams to port 5353: who replied
"""
import argparse
import base64
import collections
import json
import os
import random
import socket
import struct
import sys
import threading
import time
import urllib.parse

NODES = ["10.53.0.1", "10.53.0.2"]
SEOUL, FRANKFURT = "10.1.82.1", "10.1.49.1"


def query(name, subnet=None):
    """A question for A, with EDNS Client Subnet /24 (RFC 7871) if one is given."""
    head = struct.pack(">HHHHHH", random.randrange(65536), 0, 1, 0, 0, 1 if subnet else 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack(">HH", 1, 1)
    if not subnet:
        return head + question
    option = struct.pack(">HHHBB", 8, 7, 1, 24, 0) + socket.inet_aton(subnet)[:3]
    return head + question + b"\0" + struct.pack(">HHIH", 41, 1232, 0, len(option)) + option


def answer(message, length):
    """Addresses and TTL; `length`: of the question's name."""
    count, at, addresses, ttl = struct.unpack(">H", message[6:8])[0], 12 + length + 6, [], 0
    for _ in range(count):
        kind, _, ttl, size = struct.unpack(">HHIH", message[at + 2 : at + 12])
        if kind == 1:
            addresses.append(socket.inet_ntoa(message[at + 12 : at + 12 + size]))
        at += 12 + size
    return addresses, ttl


def ask(name, source=None, subnet=None, nodes=None):
    """Asks one node, and the other where that is silent."""
    nodes = nodes or random.sample(NODES, 2)
    for node in nodes * 2:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(1)
            stream.bind((source or "", 0))
            stream.sendto(query(name, subnet), (node, 53))
            try:
                return answer(stream.recv(4096), len(name))
            except OSError:
                continue
    raise OSError("no node answers")


class Visitor(threading.Thread):
    """One client: keeps to the TTL, keeps its connection for some requests, tries again once if it is told to."""

    def __init__(self, options, number, todo):
        super().__init__(daemon=True)
        self.options, self.todo = options, todo
        self.source = SEOUL if number % 2 else FRANKFURT
        self.stream, self.left, self.until, self.address = None, 0, 0, None
        self.failed, self.failed_once, self.errors = 0, 0, collections.Counter()
        self.servers, self.done, self.slowest = collections.Counter(), 0, 0

    def run(self):
        while self.todo.more():
            self.done += 1
            began = time.monotonic()
            for attempt in range(2):
                try:
                    self.servers[self.request()] += 1
                    break
                except (OSError, KeyError, ValueError) as error:
                    self.drop()
                    if attempt == 0:
                        self.failed_once += 1
                        self.errors[str(error)] += 1
                    else:
                        self.failed += 1
                        self.errors["again: " + str(error)] += 1
                    if not self.options.retry:
                        self.failed += 1
                        break
                    time.sleep(self.options.pause)
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.drop()

    def drop(self):
        if self.stream:
            self.stream.close()
        self.stream = None

    def connect(self):
        if time.monotonic() >= self.until:
            addresses, ttl = ask(self.options.name, self.source)
            self.address, self.until = addresses[0], time.monotonic() + ttl
        self.stream = socket.create_connection((self.address, 80), 5, (self.source, 0))
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = self.options.per_connection

    def request(self):
        """The name of the server that replied."""
        if not self.stream:
            self.connect()
        self.stream.sendall(f"GET / HTTP/1.1\r\nHost: {self.options.name}\r\n\r\n".encode())
        reply = b""
        while b"\r\n\r\n" not in reply:
            reply += self.heard()
        head, body = reply.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += self.heard()
        status = head[9:12]
        if status != b"200":
            raise OSError(f"status {status.decode()}")
        self.left -= 1
        if self.left == 0 or fields.get(b"connection") == b"close":
            self.drop()
        return fields.get(b"x-server", b"?").decode()

    def heard(self):
        octets = self.stream.recv(65536)
        if not octets:
            raise OSError("closed without a reply")
        return octets


class ToDo:
    """So many requests, and more until a file exists."""

    def __init__(self, many, until):
        self.left, self.until, self.lock, self.over = many, until, threading.Lock(), until is None
        self.began, self.done = time.monotonic(), 0

    def more(self):
        with self.lock:
            self.done += 1
            if self.done % 64 == 0:
                self.over = self.over or os.path.exists(self.until)
                if time.monotonic() - self.began > 240:
                    print("the load does not end", file=sys.stderr)
                    os._exit(1)
            self.left -= 1
            return self.left >= 0 or not self.over


def load(options):
    todo = ToDo(options.requests, options.until)
    visitors = [Visitor(options, number, todo) for number in range(options.clients)]
    began = time.monotonic()
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    seconds = time.monotonic() - began
    regions, errors = collections.Counter(), collections.Counter()
    for visitor in visitors:
        errors.update(visitor.errors)
        for server, many in visitor.servers.items():
            regions[server.rsplit("-", 1)[0]] += many
    done = sum(visitor.done for visitor in visitors)
    return {
        "requests": done,
        "failed": sum(visitor.failed for visitor in visitors),
        "failed_at_first": sum(visitor.failed_once for visitor in visitors),
        "by_region": regions,
        "errors": errors,
        "per_second": round(done / seconds),
        "slowest_ms": round(max(visitor.slowest for visitor in visitors) * 1000),
    }


def shares(options):
    counted = collections.Counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.settimeout(2)
        stream.connect((options.node, 53))
        for number in range(options.many):
            subnet = f"{options.subnets}.{number % 256}.0" if options.many <= 256 else f"10.{8 + number // 256}.{number % 256}.0"
            stream.send(query(options.name, subnet))
            addresses, _ = answer(stream.recv(4096), len(options.name))
            counted.update(addresses[:1])
    return {"of": options.many, "shares": counted}


def crowd(options):
    """Connections that are held, and as many queries as go with them. Never ends by itself."""

    def one(number):
        while True:
            subnet = f"{options.subnets}.{random.randrange(256)}.0"
            try:
                addresses, _ = ask(options.name, None, subnet, [NODES[number % 2]])
                with socket.create_connection((addresses[0], 8090), 2) as stream:
                    for _ in range(4):
                        stream.sendall(b"GET / HTTP/1.1\r\nHost: crowd\r\n\r\n")
                        stream.settimeout(2)
                        stream.recv(4096)
                        time.sleep(options.hold / 4)
            except (OSError, IndexError):
                time.sleep(0.2)

    for number in range(options.many):
        threading.Thread(target=one, args=[number], daemon=True).start()
        time.sleep(0.02)
    while True:
        time.sleep(3600)


def burst(options):
    url = urllib.parse.urlsplit(options.name)
    statuses, fields, began = collections.Counter(), {}, time.monotonic()
    with socket.create_connection((url.hostname, url.port or 80), 5) as stream:
        file = stream.makefile("rb")
        for _ in range(options.requests):
            stream.sendall(f"GET {url.path} HTTP/1.1\r\nHost: www.gslb.example\r\n\r\n".encode())
            status, length = file.readline().split()[1].decode(), 0
            while line := file.readline().strip().lower():
                name, _, value = line.partition(b": ")
                length = int(value) if name == b"content-length" else length
                if name == b"retry-after":
                    fields["retry_after"] = value.decode()
            file.read(length)
            statuses[status] += 1
    return {"statuses": statuses, "seconds": round(time.monotonic() - began, 3), **fields}


def websocket(options):
    heard = []
    with socket.create_connection((options.name, 80), 5) as stream:
        key = base64.b64encode(os.urandom(16)).decode()
        head = "GET /ws HTTP/1.1\r\nHost: www.gslb.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        stream.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        file = stream.makefile("rb")
        status = file.readline().split()[1].decode()
        while file.readline().strip():
            pass

        def say(word):
            mask = os.urandom(4)
            masked = bytes(octet ^ mask[i % 4] for i, octet in enumerate(word.encode()))
            stream.sendall(bytes([0x81, 0x80 | len(word)]) + mask + masked)
            heard.append(file.read(file.read(2)[1]).decode())

        say("hello")
        began = time.monotonic()
        if options.until:
            while not os.path.exists(options.until) and time.monotonic() - began < 60:
                time.sleep(0.05)
            say("still here")
        stream.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
    return {"status": status, "heard": heard, "held_s": round(time.monotonic() - began, 1)}


def udp(options):
    counted = collections.Counter()
    for number in range(options.requests):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(2)
            stream.sendto(b"datagram %d" % number, (options.name, 5353))
            try:
                counted[stream.recv(200).decode().rsplit(" ", 1)[1]] += 1
            except OSError:
                counted["lost"] += 1
    return counted


def ask_once(options):
    addresses, ttl = ask(options.name, options.source, options.subnet, [options.node])
    return {"addresses": addresses, "ttl": ttl}


def main():
    kinds = {"ask": ask_once, "shares": shares, "load": load, "crowd": crowd, "burst": burst, "websocket": websocket, "udp": udp}
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("name")
    parser.add_argument("--node", default=NODES[0])
    parser.add_argument("--from", dest="source")
    parser.add_argument("--subnet")
    parser.add_argument("--subnets", default="10.8")
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--hold", type=float, default=3)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--per-connection", type=int, default=25)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--until")
    options = parser.parse_args()
    print(json.dumps(kinds[options.kind](options)))


main()
