"""What each sector of a disk may hold: what was acknowledged last, or a change not answered yet."""

import struct
import threading

SECTOR = 512
STAMP = struct.Struct("<QQ")  # the change that wrote the sector, and the sector's number
REPEATED = SECTOR // STAMP.size
ZEROES = 0  # the change by which a sector is all zero


def contents(sectors, change):
    """What a change writes to these sectors."""
    return b"".join(STAMP.pack(change, sector) * REPEATED for sector in sectors)


class AcknowledgedSectors:
    """For any number of clients at a time. Each reserves the sectors that it reads or changes, so
    that nobody else is in the midst of changing them."""

    def __init__(self, nr_sectors):
        self.lock = threading.Lock()
        self.allowed = [(ZEROES,)] * nr_sectors  # changes, the newest last
        self.is_reserved = bytearray(nr_sectors)
        self.discarded = set()  # any older data or zeroes, and not always the same
        self.nr_changes = 0
        self.nr_acknowledged = 0  # changes

    def reserve(self, sectors):
        """Says whether all of these could be: all or none are."""
        with self.lock:
            if any(self.is_reserved[sectors.start:sectors.stop]):
                return False
            self.is_reserved[sectors.start:sectors.stop] = b"\1" * len(sectors)
            return True

    def release(self, sectors):
        with self.lock:
            self.is_reserved[sectors.start:sectors.stop] = bytes(len(sectors))

    def submit(self, sectors):
        """Of a write. The number of the change that is submitted."""
        with self.lock:
            self.nr_changes += 1
            self._add(sectors, self.nr_changes)
            return self.nr_changes

    def submit_zeroes(self, sectors):
        with self.lock:
            self._add(sectors, ZEROES)

    def submit_discard(self, sectors):
        with self.lock:
            self._add(sectors, ZEROES)
            self.discarded.update(sectors)

    def acknowledge(self, sectors, change):
        with self.lock:
            self.nr_acknowledged += 1
            self.allowed[sectors.start:sectors.stop] = [(change,)] * len(sectors)
            self.discarded.difference_update(sectors)

    def fault_of(self, sectors, data):
        """What is wrong with what was read from reserved sectors, or None. All that was read must be
        read again from now on, so that a fault is told once."""
        faults = []
        for number, sector in enumerate(sectors):
            found = data[number * SECTOR:(number + 1) * SECTOR]
            change, _ = STAMP.unpack_from(found)
            allowed = self.allowed[sector]
            if sector in self.discarded:
                allowed = (*allowed, change)
            if found != STAMP.pack(change, sector if change else 0) * REPEATED:
                faults.append(f"sector {sector} holds {found[:32].hex(' ', 8)}..., and may hold changes "
                              f"{allowed}")
                continue
            if change not in allowed:
                faults.append(f"sector {sector} holds change {change}, and may hold {allowed}")
            if sector not in self.discarded:
                self.allowed[sector] = (change,)
        return f"{faults[0]} ({len(faults)} such sectors)" if faults else None

    def forget_clients(self):
        """All are gone, and nothing is reserved any more. What they were not told may be done."""
        self.is_reserved = bytearray(len(self.allowed))

    def _add(self, sectors, change):
        for sector in sectors:
            if change not in self.allowed[sector]:
                self.allowed[sector] += (change,)
