"""An NBD client that does as it is told: unaligned, half a request, gone in the middle."""

import socket
import struct

READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, WRITE_ZEROES = range(7)
FUA, NO_HOLE, FAST_ZERO = 1, 2, 16

GREETING = struct.Struct(">8s8sH")
OPTION = struct.Struct(">8sII")
EXPORT = struct.Struct(">QH")
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")


class NbdError(Exception):
    """The server refused a request: `number` is the errno that it gave."""

    def __init__(self, number):
        super().__init__(f"error {number}")
        self.number = number


class NbdClient:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(str(path))
            self.negotiate()
        except (OSError, EOFError):
            self.socket.close()
            raise

    def negotiate(self):
        magic, option, _ = GREETING.unpack(self.receive(GREETING.size))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT")
        self.socket.sendall(struct.pack(">I", 3))  # fixed newstyle, no zeroes
        self.socket.sendall(OPTION.pack(b"IHAVEOPT", 1, 0))
        self.size, self.flags = EXPORT.unpack(self.receive(EXPORT.size))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vanish()

    def vanish(self):
        self.socket.close()

    def receive(self, size):
        data = bytearray()
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError("the server hung up")
            data += more
        return bytes(data)

    def send(self, kind, offset, length, flags=0, data=b"", cookie=0):
        """Sends a request, and waits for nothing."""
        self.socket.sendall(REQUEST.pack(0x25609513, flags, kind, cookie, offset, length) + data)

    def answer(self):
        """The cookie of the request that is answered next, none of which is a read."""
        magic, error, cookie = REPLY.unpack(self.receive(REPLY.size))
        assert magic == 0x67446698
        if error:
            raise NbdError(error)
        return cookie

    def ask(self, kind, offset, length, flags=0, data=b""):
        self.send(kind, offset, length, flags, data)
        self.answer()

    def read(self, offset, length):
        self.ask(READ, offset, length)
        return self.receive(length)

    def write(self, offset, data, flags=0):
        self.ask(WRITE, offset, len(data), flags, data)

    def zero(self, offset, length, flags=0):
        self.ask(WRITE_ZEROES, offset, length, flags)

    def trim(self, offset, length, flags=0):
        self.ask(TRIM, offset, length, flags)

    def prefetch(self, offset, length):
        self.ask(CACHE, offset, length)

    def flush(self):
        self.ask(FLUSH, 0, 0)
