"""Clients of a cache that is served who do all that no client should. They change nothing below
`first`, where others keep their data."""

import contextlib
import socket
import struct
import time

from cache_files import wait_until
from nbd_client import (CACHE, DISCONNECT, FLUSH, FUA, OPTION, READ, REQUEST, TRIM, WRITE,
                        WRITE_ZEROES, NbdClient)

GONE = (OSError, EOFError)
LENGTHS = [0, 1, 4, 511, 512, 513, 4096, 4097, 65535, 65536, 1 << 20]
ABSURD = [1 << 25, (1 << 25) + 1, (1 << 26) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
HUGE_NUMBERS = [1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 512]
PATIENCE = 0.05  # seconds that an answer is waited for, which may never come
WORDS = ["status", "message", "set", "clean", "mode", "policy", "cleaning", "max-dirty",
         "writeback", "writethrough", "passthrough", "smq", "sift", "cleaner", "on-request",
         "background", "25%", "0", "-1", "4294967296", "18446744073709551616", "1e9", "%",
         "99999999999999999999999%", "migration_threshold", "invalidate_cblocks", "0-5", "5-0",
         "0-4294967295", "sequential_threshold", "default", "x" * 200, "\"", "'", "{}", "--help"]


def when_served(connect):
    """Connects as soon as there is a server with room for a client: it may be just being started
    again."""
    made = []

    def is_connected():
        try:
            made.append(connect())
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            pass
        return made

    wait_until(is_connected)
    return made[0]


def connect_to(path):
    def connect():
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            raise
        return made

    return when_served(connect)


def greet(path):
    client = when_served(lambda: NbdClient(path))
    client.socket.settimeout(10)
    return client


def swallow(connection):
    """All that is answered for a while."""
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass


def dribble(rng, connection, data):
    """Sends the data in pieces, after pauses."""
    while data:
        size = rng.choice((1, 1, 3, 7, 100))
        connection.sendall(data[:size])
        data = data[size:]
        time.sleep(0.002)


class HostileNbdClient:
    """Each act is one connection, or many."""

    def __init__(self, rng, path, first, size):
        self.rng = rng
        self.path = str(path)
        self.first = first
        self.size = size

    def act(self):
        acts = {self.haggle: 8, self.ask_for_what_is_not: 8, self.send_half: 4, self.send_slowly: 2,
                self.come_in_numbers: 1, self.take_nothing: 1}
        chosen = self.rng.choices(list(acts), acts.values())[0]
        with contextlib.suppress(*GONE):  # the server may hang up on it whenever it likes
            chosen()

    def haggle(self):
        """Options that are unknown, too long, cut short or not what they say they are."""
        with connect_to(self.path) as connection:
            connection.recv(18)
            if self.rng.random() < 0.1:
                connection.sendall(self.rng.randbytes(self.rng.choice((1, 4, 100))))
            flags = self.rng.choice((0, 1, 2, 3, 3, 3, 7, 0xFFFFFFFF))
            connection.sendall(struct.pack(">I", flags))
            for _ in range(self.rng.randint(1, 40)):
                connection.sendall(self.option())
            if self.rng.random() < 0.7:
                swallow(connection)

    def option(self):
        magic = b"IHAVEOPT" if self.rng.random() < 0.95 else self.rng.randbytes(8)
        number = self.rng.choice((*range(11), 0x7FFFFFFF, self.rng.getrandbits(32)))
        data = self.rng.randbytes(self.rng.choice((0, 0, 1, 4, 6, 8, 100, 4096, 5000)))
        if number in (6, 7) and self.rng.random() < 0.7:
            name = self.rng.choice((b"", b"x", b"\0", b"n" * 4097))
            length = self.rng.choice((len(name), len(name) + 1, 0xFFFFFFFF))
            infos = self.rng.choice((0, 1, 3, 0xFFFF))
            data = struct.pack(">I", length) + name + struct.pack(">H", infos) + bytes(
                2 * self.rng.randint(0, 5))
        elif number in (9, 10) and self.rng.random() < 0.7:
            data = struct.pack(">II", 0, self.rng.choice((0, 1, 0xFFFFFFFF))) + b"base:allocation"
        length = len(data)
        if self.rng.random() < 0.15:
            length = self.rng.choice((*LENGTHS, *ABSURD))
        return OPTION.pack(magic, number, length) + data

    def request(self):
        """The header of a request that is wrong in some way, and the data that belong to it."""
        kind = self.rng.choice((READ, WRITE, WRITE, TRIM, WRITE_ZEROES, CACHE, FLUSH, DISCONNECT,
                                7, 8, self.rng.getrandbits(16)))
        flags = self.rng.choice((0, 0, 0, FUA, 2, 4, 8, 16, 32, 0xFFFF))
        length = self.rng.choice(LENGTHS if self.rng.random() < 0.8 else ABSURD)
        somewhere = self.rng.randrange(self.first, self.size)
        offset = self.rng.choice((self.first, somewhere, self.size - 1, self.size - 512, self.size,
                                  *HUGE_NUMBERS))
        if kind in (READ, CACHE) and self.rng.random() < 0.5:
            offset = self.rng.randrange(self.size)
        magic = 0x25609513 if self.rng.random() < 0.97 else self.rng.getrandbits(32)
        cookie = self.rng.getrandbits(64)
        header = REQUEST.pack(magic, flags, kind, cookie, offset, length)
        data = b"\xff" * min(length, 1 << 20) if kind == WRITE else b""
        return header, data

    def ask_for_what_is_not(self):
        with greet(self.path) as client:
            for _ in range(self.rng.randint(1, 12)):
                header, data = self.request()
                client.socket.sendall(header + data)
            swallow(client.socket)

    def send_half(self):
        """A request that ends in its midst."""
        with greet(self.path) as client:
            header, data = self.request()
            message = header + data
            client.socket.sendall(message[:self.rng.randrange(len(message))])
            if self.rng.random() < 0.5:
                client.socket.shutdown(socket.SHUT_WR)
                swallow(client.socket)

    def send_slowly(self):
        if self.rng.random() < 0.5:
            with connect_to(self.path) as connection:
                dribble(self.rng, connection, struct.pack(">I", 3) + self.option())
        else:
            with greet(self.path) as client:
                header, data = self.request()
                dribble(self.rng, client.socket, header + data[:200])
                swallow(client.socket)

    def take_nothing(self):
        """It reads and reads, takes none of the answers and vanishes."""
        with greet(self.path) as client:
            client.socket.settimeout(PATIENCE)
            for _ in range(self.rng.randint(1, 30)):
                client.send(READ, 512 * self.rng.randrange(self.size // 1024), 1 << 17)
            time.sleep(self.rng.random() * PATIENCE)

    def come_in_numbers(self):
        made = []
        try:
            for _ in range(self.rng.choice((10, 70))):
                made.append(connect_to(self.path))
            if self.rng.random() < 0.5:
                made[-1].recv(18)
        finally:
            for each in made:
                each.close()


class HostileControlClient:
    """The same, of a control socket. It stops nothing."""

    def __init__(self, rng, path):
        self.rng = rng
        self.path = str(path)

    def act(self):
        acts = {self.babble: 4, self.ask_anything: 8, self.send_half: 4, self.take_nothing: 2,
                self.come_in_numbers: 1}
        chosen = self.rng.choices(list(acts), acts.values())[0]
        with contextlib.suppress(*GONE):
            chosen()

    def line(self):
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(1, 5))).encode() + b"\n"

    def ask_anything(self):
        """What words can say."""
        with connect_to(self.path) as connection:
            for _ in range(self.rng.randint(1, 20)):
                connection.sendall(self.line())
            swallow(connection)

    def babble(self):
        with connect_to(self.path) as connection:
            size = self.rng.choice((1, 100, 4095, 4096, 4097, 1 << 18))
            connection.sendall(self.rng.randbytes(size))
            swallow(connection)

    def send_half(self):
        with connect_to(self.path) as connection:
            line = self.line()
            dribble(self.rng, connection, line[:self.rng.randrange(len(line))][:100])
            if self.rng.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                swallow(connection)

    def take_nothing(self):
        with connect_to(self.path) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(b"status\n" * self.rng.choice((10, 1000)))
            time.sleep(PATIENCE)

    def come_in_numbers(self):
        made = []
        try:
            for _ in range(self.rng.choice((10, 70))):
                made.append(connect_to(self.path))
        finally:
            for each in made:
                each.close()
