"""measure.py - a POP3 client that takes the time, and the books of CPU and memory."""
import contextlib
import multiprocessing
import os
import re
import socket
import ssl
import time

import peers

TICK = os.sysconf("SC_CLK_TCK")
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
QUIET = .1                                                  # cores that others may use
STALL = .035                                                # seconds; a delayed ACK is 40 ms
PIPELINE = 50                                               # commands sent at a time
clock = time.perf_counter


class Failed(Exception):
    pass


# --- the servers' processes -------------------------------------------------------------------------------------------

def server_cpu(name):
    """CPU seconds that a server has used, ended processes included."""
    group = peers.groups(name)[0]
    if group.startswith("/sys/fs/cgroup/cpuacct"):
        with open(group + "/cpuacct.usage") as f:
            return int(f.read()) / 1e9
    with open(group + "/cpu.stat") as f:
        return int(re.search(r"usage_usec (\d+)", f.read()).group(1)) / 1e6


def private_kib(name):
    """Private_Clean + Private_Dirty of all processes of a server: (KiB, processes)."""
    total = count = 0
    for p in peers.pids(name):
        try:
            with open("/proc/%d/smaps_rollup" % p) as f:
                text = f.read()
        except OSError:
            continue
        total += sum(int(x) for x in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.M))
        count += 1
    return total, count


def settle(name):
    """Waits until no process has come or gone for a second."""
    last, same = None, 0
    for _ in range(60):
        time.sleep(.25)
        now = len(peers.pids(name))
        same = same + 1 if now == last else 0
        last = now
        if same >= 4:
            return


# --- noise ------------------------------------------------------------------------------------------------------------

def machine_cpu():
    with open("/proc/stat") as f:
        x = [int(x) for x in f.readline().split()[1:9]]
    return (sum(x) - x[3] - x[4]) / TICK


def all_servers_cpu():
    return sum(server_cpu(name) for name in peers.PORTS)


def wait_until_quiet(patience):
    """Waits until everything else on the machine uses less than QUIET cores for two seconds. Says whether it did."""
    until = clock() + patience
    while True:
        with Meter() as m:
            time.sleep(2)
        if m.other < QUIET:
            return True
        if clock() > until:
            return False


class Meter:
    """Wall time, CPU of the server, and CPU of everything that is neither a server nor this client, in cores."""
    def __init__(self, name=None):
        self.name = name

    def __enter__(self):
        self.server = server_cpu(self.name) if self.name else 0
        self.busy, self.own, self.servers = machine_cpu(), sum(os.times()[:4]), all_servers_cpu()
        self.begun = clock()
        return self

    def __exit__(self, *_):
        self.wall = clock() - self.begun
        self.cpu = server_cpu(self.name) - self.server if self.name else 0
        own, servers = sum(os.times()[:4]) - self.own, all_servers_cpu() - self.servers
        # The kernel counts in ticks of 10 ms: over a shorter time this says nothing.
        self.other = max(0, machine_cpu() - self.busy - own - servers) / max(self.wall, .02)


# --- the client -------------------------------------------------------------------------------------------------------

class Target:
    """A server, and how to speak to it: clear, rsa (TLS from the start), ec (the same, other key)."""
    def __init__(self, peer, way):
        self.peer = peer
        self.way = way
        self.port = peers.PORTS[peer][("clear", "rsa", "ec").index(way)]


class Client:
    def __init__(self, target):
        self.s = socket.create_connection(("127.0.0.1", target.port), 60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.way != "clear":
            self.s = TLS.wrap_socket(self.s)
        self.b = b""
        self.room = bytearray(262144)

    def receive(self):
        d = self.s.recv(262144)
        if not d:
            raise Failed("closed by the server")
        return d

    def line(self):
        while b"\n" not in self.b:
            self.b += self.receive()
        line, self.b = self.b.split(b"\n", 1)
        return line

    def command(self, text):
        self.s.sendall(text + b"\r\n")
        line = self.line()
        if not line.startswith(b"+OK"):
            raise Failed("%r: %r" % (text, line[:200]))
        return line

    def multi_line(self):
        """The rest of a multi-line response; its octets."""
        size, tail = 0, b"\r\n"
        d, self.b = self.b, b""
        while True:
            size += len(d)
            tail = (tail + d[-5:])[-5:]
            if tail == b"\r\n.\r\n":
                return size
            d = self.receive()

    def take(self, size):
        """Exactly so many octets, not looked at: the fastest that a client can be."""
        if self.b:
            raise Failed("more than was asked for")
        while size:
            n = self.s.recv_into(self.room, min(size, len(self.room)))
            if not n:
                raise Failed("closed by the server")
            size -= n

    def login(self, user):
        self.line()
        self.command(b"USER " + user.encode())
        self.command(b"PASS " + peers.PASSWORD.encode())
        return self

    def close(self):
        with contextlib.suppress(OSError):
            self.s.close()

    def quit(self):
        self.command(b"QUIT")
        self.close()


# --- what is measured -------------------------------------------------------------------------------------------------

def timed(n, once):
    """ms that it takes, n times. What it returns, if anything, is done before the next time, untimed."""
    values = []
    for _ in range(n):
        t = clock()
        rest = once()
        values.append((clock() - t) * 1000)
        if rest:
            rest()
        time.sleep(.003)
    return values


def greeting(target, n):
    """ms from connect to the greeting, n times."""
    def once():
        c = Client(target)
        c.line()
        return lambda: see_off(c)

    def see_off(c):
        # The session ends before the next begins.
        with contextlib.suppress(OSError):
            c.s.sendall(b"QUIT\r\n")
            while c.s.recv(4096):
                pass
        c.close()
    return timed(n, once)


def whole_session(target, user):
    c = Client(target).login(user)
    c.command(b"STAT")
    c.quit()


def sessions(target, n):
    """ms for connect, login, STAT, QUIT and its answer, n times."""
    return timed(n, lambda: whole_session(target, peers.ONE))


def _worker(target, user, until, result):
    done = failed = 0
    while clock() < until:
        try:
            whole_session(target, user)
            done += 1
        except (OSError, Failed):
            failed += 1
            time.sleep(.01)
    result.put((done, failed))


def sessions_per_second(target, clients, seconds):
    """Several clients at once, each with a user of its own: (per second, failed)."""
    result = multiprocessing.Queue()
    begun = clock()
    workers = [multiprocessing.Process(target=_worker, args=(target, user, begun + seconds, result))
               for user in peers.MANY[:clients]]
    for w in workers:
        w.start()
    counts = [result.get() for _ in workers]
    for w in workers:
        w.join()
    return sum(x[0] for x in counts) / (clock() - begun), sum(x[1] for x in counts)


def idle_memory(target, users, logged_in, wait=3):
    """KiB private and processes for each of the connections, which all exist at once and have been idle for a while."""
    def enter(user):
        c = Client(target)
        if logged_in:
            c.login(user).command(b"STAT")
        else:
            c.line()
        return c
    # Helpers that a server starts when first needed are not the connections'.
    enter(peers.ONE).close()
    settle(target.peer)
    before, processes = private_kib(target.peer)
    clients = [enter(user) for user in users]
    time.sleep(wait)
    full, more = private_kib(target.peer)
    for c in clients:
        c.close()
    settle(target.peer)
    return (full - before) / len(clients), (more - processes) / len(clients)


def first_look(target):
    """Seconds for STAT and UIDL after the login, in a maildrop that the server has not seen before."""
    c = Client(target).login(peers.ONE)
    with Meter(target.peer) as m:
        c.command(b"STAT")
        c.command(b"UIDL")
        c.multi_line()
    c.quit()
    return m


def download(target):
    """RETR of everything, one by one, then pipelined: dict."""
    c = Client(target).login(peers.ONE)
    count = int(c.command(b"STAT").split()[1])
    sizes, stalls, longest = [], 0, 0
    with Meter(target.peer) as one:
        for i in range(1, count + 1):
            t = clock()
            first = len(c.command(b"RETR %d" % i)) + 1
            sizes.append(first + c.multi_line())
            t = clock() - t
            stalls += t >= STALL
            longest = max(longest, t)
    with Meter(target.peer) as many:
        for first in range(0, count, PIPELINE):
            last = min(count, first + PIPELINE)
            c.s.sendall(b"".join(b"RETR %d\r\n" % (i + 1) for i in range(first, last)))
            c.take(sum(sizes[first:last]))
    c.quit()
    total = sum(sizes) / 1e6
    return dict(one=one, many=many, stalls=stalls, longest_ms=longest * 1000, one_mb_s=total / one.wall,
                many_mb_s=total / many.wall, mb=total, messages=count)


def large_maildrop(target):
    """ms from connect to the answer to STAT, and KiB private then and once idle, in a maildrop seen before."""
    # In company, as on a server: the program's own pages belong to nobody alone.
    company = [Client(target).login(user) for user in peers.MANY[:2]]
    time.sleep(2)
    before, _ = private_kib(target.peer)
    with Meter(target.peer) as m:
        c = Client(target).login(peers.ONE)
        c.command(b"STAT")
    at_once = private_kib(target.peer)[0] - before
    time.sleep(3)
    idle = private_kib(target.peer)[0] - before
    for client in [c] + company:
        client.quit()
    settle(target.peer)
    return dict(ms=m.wall * 1000, at_once=at_once, idle=idle, meter=m)
