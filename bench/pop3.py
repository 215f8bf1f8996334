"""pop3.py - what is measured of POP3, with whom, and what is to be reached."""
import os
import statistics
import time

import measure
import peers
from measure import Connection, Failed, Meter, Target, clock
from report import HIGH, LOW, Row

STALL = .035                                                # seconds; a delayed ACK is 40 ms
PIPELINE = 50                                               # commands sent at a time

ROWS = [
    Row("idle_clear_cold", "idle, logged in, clear, index built in this session", "popa3d", LOW, .3),
    Row("idle_clear_cold", "the same", "dovecot", LOW, 1 / 9),
    Row("idle_clear_warm", "idle, logged in, clear, index there already", "popa3d", LOW, .3),
    Row("idle_clear_warm", "the same", "dovecot", LOW, 1 / 9),
    Row("idle_tls_cold", "idle, logged in, TLS, index built in this session", "dovecot", LOW, .1),
    Row("idle_tls_warm", "idle, logged in, TLS, index there already", "dovecot", LOW, .1),
    Row("preauth_clear", "before login, clear", "popa3d", LOW, .6),
    Row("preauth_tls", "before login, TLS", "dovecot", LOW, 1 / 8),
    Row("greet_clear", "connect to greeting, clear", "hello", LOW, 1.35),
    Row("greet_tls_ec", "connect to greeting, POP3S, ECDSA", "dovecot-ec", LOW, .4),
    Row("session_clear", "whole session, clear", "popa3d", LOW, .75),
    Row("session_tls_ec", "whole session, TLS, ECDSA", "dovecot-ec", LOW, .4),
    Row("session_tls_rsa", "whole session, TLS, RSA", "dovecot", LOW, .4),
    Row("rate_clear", "sessions, 8 clients, clear", "popa3d", HIGH, 1.35),
    Row("rate_tls_ec", "sessions, 8 clients, TLS, ECDSA", "dovecot-ec", HIGH, 3),
    Row("rate_tls_rsa", "sessions, 8 clients, TLS, RSA", "dovecot", HIGH, 3),
    Row("retr_stalls_clear", "10,000 RETR one by one, clear: stalls of 35 ms or more", None, LOW, 0),
    Row("retr_stalls_tls", "10,000 RETR one by one, TLS: stalls of 35 ms or more", None, LOW, 0),
    Row("retr_cpu_clear", "10,000 RETR one by one, clear, server CPU", "dovecot", LOW, .5),
    Row("retr_cpu_tls", "10,000 RETR one by one, TLS, server CPU", "dovecot", LOW, .5),
    Row("retr_pipelined_clear", "10,000 RETR pipelined, clear", "dovecot", HIGH, 2),
    Row("retr_pipelined_tls", "10,000 RETR pipelined, TLS", "dovecot", HIGH, 2),
    Row("first_look", "first STAT + UIDL, 10,000 messages, no size hints", "dovecot", LOW, .5),
    Row("large_time", "login + STAT, 100,000 messages, second time", None, LOW, 50),
    Row("large_memory", "the same, private memory", None, LOW, 1536),
]


def target(peer, way="clear"):
    return Target(peer, "pop3", way)


# --- the client -------------------------------------------------------------------------------------------------------

class Client(Connection):
    def __init__(self, to):
        super().__init__(to)
        self.room = bytearray(262144)

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

    def quit(self):
        self.command(b"QUIT")
        self.close()


# --- what is measured -------------------------------------------------------------------------------------------------

def greeting(to, n):
    return measure.greeting(Client, to, b"QUIT\r\n", n)


def whole_session(to, user):
    c = Client(to).login(user)
    c.command(b"STAT")
    c.quit()


def sessions(to, n):
    """ms for connect, login, STAT, QUIT and its answer, n times."""
    return measure.timed(n, lambda: whole_session(to, peers.ONE))


def idle_memory(to, users, logged_in):
    def enter(user):
        c = Client(to)
        if logged_in:
            c.login(user).command(b"STAT")
        else:
            c.line()
        return c
    return measure.idle_memory(enter, to, users)


def first_look(to):
    """Seconds for STAT and UIDL after the login, in a maildrop that the server has not seen before."""
    c = Client(to).login(peers.ONE)
    with Meter(to.peer) as m:
        c.command(b"STAT")
        c.command(b"UIDL")
        c.multi_line()
    c.quit()
    return m


def download(to):
    """RETR of everything, one by one, then pipelined: dict."""
    c = Client(to).login(peers.ONE)
    count = int(c.command(b"STAT").split()[1])
    sizes, stalls, longest = [], 0, 0
    with Meter(to.peer) as one:
        for i in range(1, count + 1):
            t = clock()
            first = len(c.command(b"RETR %d" % i)) + 1
            sizes.append(first + c.multi_line())
            t = clock() - t
            stalls += t >= STALL
            longest = max(longest, t)
    with Meter(to.peer) as many:
        for first in range(0, count, PIPELINE):
            last = min(count, first + PIPELINE)
            c.s.sendall(b"".join(b"RETR %d\r\n" % (i + 1) for i in range(first, last)))
            c.take(sum(sizes[first:last]))
    c.quit()
    total = sum(sizes) / 1e6
    return dict(one=one, many=many, stalls=stalls, longest_ms=longest * 1000, one_mb_s=total / one.wall,
                many_mb_s=total / many.wall, mb=total, messages=count)


def large_maildrop(to):
    """ms from connect to the answer to STAT, and KiB private then and once idle, in a maildrop seen before."""
    # In company, as on a server: the program's own pages belong to nobody alone.
    company = [Client(to).login(user) for user in peers.MANY[:2]]
    time.sleep(2)
    before, _ = measure.private_kib(to.peer)
    with Meter(to.peer) as m:
        c = Client(to).login(peers.ONE)
        c.command(b"STAT")
    at_once = measure.private_kib(to.peer)[0] - before
    time.sleep(3)
    idle = measure.private_kib(to.peer)[0] - before
    for client in [c] + company:
        client.quit()
    measure.settle(to.peer)
    return dict(ms=m.wall * 1000, at_once=at_once, idle=idle, meter=m)


# --- steps ------------------------------------------------------------------------------------------------------------

def fresh(name, users=(peers.ONE,), copy=False):
    peers.reset(users, name, copy)
    peers.reset_mbox(users, name)


def memory(series):
    """Private memory of idle connections."""
    everybody = peers.MANY
    for row, way, names in (("preauth_clear", "clear", ("tinmail", "popa3d", "dovecot", "hello")),
                            ("preauth_tls", "rsa", ("tinmail", "dovecot"))):
        for name in names:
            kib, processes = idle_memory(target(name, way), everybody, False)
            series.add(row, name, kib, "KiB", processes=processes)
    for way, names in (("clear", ("tinmail", "popa3d", "dovecot")), ("rsa", ("tinmail", "dovecot"))):
        for name in names:
            fresh("s1000", [peers.ONE] + everybody, copy=True)
            for index in ("cold", "warm"):
                row = "idle_%s_%s" % ("clear" if way == "clear" else "tls", index)
                kib, processes = idle_memory(target(name, way), everybody, True)
                series.add(row, name, kib, "KiB", processes=processes)


def greet(series):
    """Connect to greeting."""
    series.times("greet_clear", [target("tinmail"), target("hello")], greeting, 200)
    series.times("greet_tls_ec", [target("tinmail", "ec"), target("dovecot-ec", "ec")], greeting, 100)


def session(series):
    """Connect, login, STAT, QUIT in an empty maildrop; serially, then 8 clients at once."""
    pairs = (("clear", "clear", "popa3d"), ("tls_ec", "ec", "dovecot-ec"), ("tls_rsa", "rsa", "dovecot"))
    fresh("empty", [peers.ONE] + peers.MANY)
    for label, way, peer in pairs:
        series.times("session_" + label, [target("tinmail", way), target(peer, way)], sessions, 100)
    for label, way, peer in pairs:
        series.rates("rate_" + label, [target("tinmail", way), target(peer, way)], whole_session)


def first(series):
    """First STAT and UIDL in 10,000 messages without size hints."""
    def prepare(_):
        peers.reset([peers.ONE], "c10000")
        peers.warm(peers.ONE)
        os.sync()
    series.compare("first_look", [target("tinmail"), target("dovecot")], first_look, prepare=prepare)


def retrieve(series):
    """RETR of 10,000 messages, one by one and pipelined. A first pass is not counted: it writes the access times."""
    for way, label in (("clear", "clear"), ("rsa", "tls")):
        got = {}
        for name in ("tinmail", "dovecot"):
            peers.reset([peers.ONE], "c10000")
            os.sync()
            download(target(name, way))
            for _ in range(1 if series.quick else 2):
                result, _ = series.quietly(name, lambda to=target(name, way): download(to))
                got.setdefault(name, []).append(result)
        for name, v in got.items():
            one, many = [x["one"] for x in v], [x["many"] for x in v]
            series.add("retr_cpu_" + label, name, statistics.median(m.cpu for m in one), "s CPU", n=len(v),
                       mb_s=statistics.median(x["one_mb_s"] for x in v), other_cpu=max(m.other for m in one))
            series.add("retr_stalls_" + label, name, max(x["stalls"] for x in v), "stalls", n=len(v),
                       longest_ms=max(x["longest_ms"] for x in v))
            series.add("retr_pipelined_" + label, name, statistics.median(x["many_mb_s"] for x in v), "MB/s",
                       n=len(v), cpu_s=statistics.median(m.cpu for m in many), other_cpu=max(m.other for m in many))


def large(series):
    """Login and STAT in 100,000 messages that the server has seen before."""
    peers.reset(peers.MANY[:2], "empty")
    for name in ("tinmail", "dovecot"):
        peers.reset([peers.ONE], "s100000")
        os.sync()
        large_maildrop(target(name))
        # Files younger than a few seconds are looked at again by servers that trust directory times.
        time.sleep(4)
        large_maildrop(target(name))
        v = [series.quietly(name, lambda name=name: large_maildrop(target(name)))[0] for _ in range(5)]
        other = max(x["meter"].other for x in v)
        ms = [x["ms"] for x in v]
        series.add("large_time", name, statistics.median(ms), "ms", n=len(v), min=min(ms), max=max(ms), other_cpu=other)
        series.add("large_memory", name, max(x["at_once"] for x in v), "KiB", n=len(v),
                   idle=max(x["idle"] for x in v))


STEPS = {"memory": memory, "greeting": greet, "session": session, "first_look": first, "download": retrieve,
         "large": large}
