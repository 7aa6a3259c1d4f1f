"""The networks in which the two TCPs are compared, and what theory says of each.

A cell is one path: a round-trip time, a bottleneck with its queue, and either random loss or reordering. The
bottleneck is slow enough for a program to be it in real time; the window that fills it is 26, 165 and 330
segments at 1, 20 and 100 ms.
"""
import dataclasses
import math
import zlib

MSS = 1448  # with timestamps
FRAME = 1514
RATES = {1: 40_000_000, 20: 12_500_000, 100: 5_000_000}  # bytes per second, by RTT in ms
BYTES = {1: 40_000_000, 20: 20_000_000, 100: 20_000_000}  # at 1 ms 20 MB would be over in half a second
REORDERED = 1.0  # per cent of data segments that are overtaken, where any are


@dataclasses.dataclass(frozen=True)
class Cell:
    rtt: int  # ms, without any queue
    queue: float  # of the bandwidth-delay product
    loss: float = 0.0  # per cent of data segments
    reorder: int = 0  # so many later segments overtake one

    @property
    def name(self):
        fault = f"reorder{self.reorder}" if self.reorder else f"loss{self.loss:g}"
        return f"rtt{self.rtt}-{fault}-q{self.queue:g}"

    @property
    def rate(self):
        return RATES[self.rtt]

    @property
    def queue_bytes(self):
        return round(self.rate * self.rtt / 1000 * self.queue)

    def path_options(self):
        options = ["--rate", self.rate, "--delay", self.rtt / 2, "--queue", self.queue_bytes]
        if self.loss:
            options += ["--loss", self.loss]
        if self.reorder:
            # Who is held back goes when the bottleneck could have carried twice as many as are to overtake it:
            # on a path whose window is smaller than that the others never come.
            hold = 2 * self.reorder * FRAME / self.rate * 1000
            options += ["--reorder", REORDERED, "--reorder-by", self.reorder, "--reorder-hold", hold]
        return [str(o) for o in options]

    def seed(self, base, repeat):
        """The same for every mode, another one in each cell and repeat."""
        return zlib.crc32(f"{base} {self.name} {repeat}".encode())

    def theory(self):
        """Bytes of payload per second: the least of the bottleneck and what CUBIC's window allows under random
        loss, which is Reno's where that is larger (RFC 9438, 4.3 and 5.1)."""
        bottleneck = self.rate * MSS / FRAME
        if not self.loss:
            return bottleneck
        p, rtt = self.loss / 100, self.rtt / 1000
        window = max(math.sqrt(1.5 / p), 1.054 * (rtt / p) ** 0.75)
        return min(bottleneck, window * MSS / rtt)

    def expected_seconds(self, size):
        doublings = math.log2(max(2, self.rate * self.rtt / 1000 / (10 * MSS)))
        return size / self.theory() + doublings * self.rtt / 1000


def matrix():
    cells = [Cell(rtt, queue, loss) for rtt in RATES for loss in (0, 0.1, 1, 3) for queue in (1, 0.25)]
    return cells + [Cell(rtt, 1, reorder=n) for rtt in RATES for n in (3, 20)]


def quick():
    return [Cell(1, 1), Cell(20, 1), Cell(20, 0.25), Cell(20, 1, 1), Cell(20, 1, 3), Cell(20, 1, reorder=3),
            Cell(20, 1, reorder=20), Cell(100, 1)]


def share():
    """Two flows over one bottleneck, which is all that they meet."""
    return [Cell(rtt, queue) for rtt in RATES for queue in (1, 0.25)]
