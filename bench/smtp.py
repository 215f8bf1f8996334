"""smtp.py - what is measured of SMTP, with whom, and what is to be reached."""
import glob
import multiprocessing
import os
import shutil
import socket
import statistics
import time

import measure
import peers
import traced
from measure import Connection, Failed, Meter, Target, clock
from report import HIGH, LOW, Row

MESSAGES = 1000
TEXT = ("From: a@example.com\r\nTo: b@example.com\r\nSubject: delivered\r\nMessage-ID: <smtp@bench>\r\n"
        "Date: Mon, 21 Sep 2026 10:00:00 +0000\r\n\r\n" + "Nothing that anybody would want to read.\r\n" * 95).encode()
LARGE = 200                                                 # million octets
MEBIBYTE = 1024                                             # in KiB
P, TCP, FLOOR = "postfix", "tinmail-tcpserver", "floor"
AWAY = peers.STATE + "/away"

ROWS = [
    Row("serial", "4 KB messages into one Maildir, one connection", P, HIGH, 2),
    Row("serial", "the same", FLOOR, HIGH),
    Row("parallel", "one message for each connection, 8 clients, xinetd", P, HIGH, 1),
    Row("parallel", "the same", FLOOR, HIGH),
    Row("parallel_tcpserver", "the same, tcpserver", P, HIGH, 1.15),
    Row("flushes", "fsync and fdatasync for a message delivered here", P, LOW, 2, True),
    Row("files", "the same: files made", P, LOW, 1, True),
    Row("idle_clear", "idle after EHLO, clear", P, LOW, 1 / 15),
    Row("idle_tls", "idle after EHLO, TLS", P, LOW, 1 / 9),
    Row("starttls", "connect to greeting and STARTTLS done, ECDSA", None, LOW, 5),
    Row("queue_run", "queue run of 1,000 messages to smtp-sink", P, HIGH, 1),
    Row("queue_memory", "the same: private memory of the largest process", None, LOW, MEBIBYTE),
    Row("large_in", "message of 200 MB in: private memory of the largest process", None, LOW, MEBIBYTE),
    Row("large_out", "the same, out", None, LOW, MEBIBYTE),
    Row("resident", "processes with nothing to do", None, LOW, 0),
]


def target(peer, way="clear"):
    return Target(peer, "smtp", way)


# --- the client -------------------------------------------------------------------------------------------------------

class Client(Connection):
    def reply(self, code=b"2"):
        while True:
            line = self.line()
            if not line.startswith(code):
                raise Failed("%r" % line[:200])
            if line[3:4] != b"-":
                return line

    def command(self, text, code=b"2"):
        self.s.sendall(text + b"\r\n")
        return self.reply(code)

    def hello(self):
        self.reply(b"220")
        self.command(b"EHLO bench.test")
        return self

    def message(self, to, text=TEXT, sender=b"a@example.com"):
        self.command(b"MAIL FROM:<%s>" % sender)
        self.command(b"RCPT TO:<%s>" % to)
        self.command(b"DATA", b"354")
        self.s.sendall(text)
        return self.command(b".")

    def quit(self):
        self.command(b"QUIT", b"221")
        self.close()


HERE = peers.ONE.encode() + b"@bench.test"
ELSEWHERE = b"somebody@elsewhere.test"


# --- received and delivered -------------------------------------------------------------------------------------------

def one_connection(port, count):
    c = Client(port).hello()
    for _ in range(count):
        c.message(HERE)
    c.quit()


def connections(port, count):
    for _ in range(count):
        one_connection(port, 1)


def put_away(maildir):
    """Not removed: ext4 without a journal passes over inodes that were freed in the last minutes, one by one, for each new file."""
    os.makedirs(AWAY, exist_ok=True)
    if os.path.exists(maildir):
        os.rename(maildir, "%s/%d" % (AWAY, len(os.listdir(AWAY))))


def delivered(to, act, clients, count):
    """The meter of so many messages, until all of them are in the Maildir."""
    put_away(peers.maildir(peers.ONE))
    peers.reset([peers.ONE], "empty")
    new = peers.maildir(peers.ONE) + "/new"
    workers = [multiprocessing.Process(target=act, args=(to, count // clients)) for _ in range(clients)]
    with Meter(to.peer) as m:
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        until = clock() + 60
        while len(os.listdir(new)) < count // clients * clients:
            if clock() > until:
                raise Failed("%s: %d messages of %d" % (to.peer, len(os.listdir(new)), count))
            time.sleep(.002)
    m.count = count // clients * clients
    return m


def rate(series, row, targets, act, clients):
    got = {}
    for _ in range(1 if series.quick else 5):
        for to in targets:
            m, _ = series.quietly(to.peer, lambda to=to: delivered(to, act, clients, MESSAGES // series.scale))
            got.setdefault(to.peer, []).append(m)
    for name, v in got.items():
        # The row is tinmail's, whichever the launcher.
        series.add(row, name.replace(TCP, "tinmail"), statistics.median(m.count / m.wall for m in v), "1/s", n=len(v),
                   cpu_ms=statistics.median(m.cpu / m.count for m in v) * 1000, other_cpu=max(m.other for m in v))


def deliver(series):
    """Messages into one Maildir, fsynced before 250."""
    under_xinetd = [target("tinmail"), target(P), target(FLOOR)]
    shutil.rmtree(AWAY, ignore_errors=True)
    for to in under_xinetd:
        delivered(to, one_connection, 1, 50)
    rate(series, "serial", under_xinetd, one_connection, 1)
    rate(series, "parallel", under_xinetd, connections, 8)
    rate(series, "parallel_tcpserver", [target(TCP), target(P)], connections, 8)
    shutil.rmtree(AWAY)


def calls(series):
    """What is written for one message."""
    for to in (target("tinmail"), target(P)):
        peers.reset([peers.ONE], "empty")
        queue = peers.STATE + ("/tinmail" if to.peer == "tinmail" else "/postfix")
        with traced.Calls(to.peer, peers.STATE + "/") as seen:
            one_connection(to, 1)
            time.sleep(1)
        mail = [peers.maildir(peers.ONE), queue]
        ours = lambda x: any(place in x[1] for place in mail)
        made = [x for x in seen.writes if x[0] in traced.OPENING and ours(x)]
        series.add("flushes", to.peer, len([x for x in seen.flushes if ours(x)]), "calls")
        series.add("files", to.peer, len(made), "files")


# --- connections ------------------------------------------------------------------------------------------------------

def memory(series):
    """Private memory of connections that have said EHLO."""
    for way, label in (("clear", "clear"), ("rsa", "tls")):
        for name in ("tinmail", P):
            to = target(name, way)
            kib, processes = measure.idle_memory(lambda _: Client(to).hello(), to, peers.MANY)
            series.add("idle_" + label, name, kib, "KiB", processes=processes)


def starttls(series):
    """Connect, greeting, EHLO, STARTTLS, handshake."""
    def once(to):
        c = Client(to).hello()
        c.command(b"STARTTLS", b"220")
        c.s = measure.TLS.wrap_socket(c.s)
        return lambda: measure.see_off(c, b"QUIT\r\n")
    series.times("starttls", [target("tinmail")], lambda to, n: measure.timed(n, lambda: once(to)), 100)


# --- the queue --------------------------------------------------------------------------------------------------------

def sink():
    """A server that takes everything and keeps nothing."""
    peers.launch("sink", ["/usr/sbin/smtp-sink", "-u", "nobody", "127.0.0.1:%d" % peers.SINK, "1000"])
    peers.running.append("sink")
    until = clock() + 10
    while not listens(peers.SINK):
        if clock() > until:
            raise Failed("smtp-sink does not listen: log/sink.out")
        time.sleep(.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def end_sink():
    peers.stop("sink")
    peers.running.remove("sink")


def queued(name):
    places = {"tinmail": ["queue"], P: ["incoming", "active", "deferred"]}[name]
    return [f for place in places for f in glob.glob("%s/%s/spool/%s/**" % (peers.STATE, name, place), recursive=True)
            if os.path.isfile(f) and not f.endswith(".log")]


def fill(name, count):
    """So many messages for another host, which is not there yet."""
    c = Client(target(name)).hello()
    for _ in range(count):
        c.message(ELSEWHERE)
    c.quit()
    until = clock() + 60
    while len(queued(name)) != count:
        if clock() > until:
            raise Failed("%s: %d messages are queued" % (name, len(queued(name))))
        time.sleep(.2)
    measure.settle(name)


def run_queue(name, count):
    """From the order to try again until the queue is empty."""
    order = {"tinmail": [peers.STATE + "/bin/tinmail", "queue", "-c", peers.STATE + "/tinmail/rsa.conf", "flush"],
             P: ["/usr/sbin/postqueue", "-c", peers.STATE + "/postfix/etc", "-f"]}[name]
    with Meter(name) as m:
        peers.launch(name, order, listener=False)
        until = clock() + 120
        while queued(name):
            if clock() > until:
                raise Failed("%s: %d messages are left" % (name, len(queued(name))))
            time.sleep(.005)
    m.count = count
    return m


def queue(series):
    """1,000 messages that wait for a host, once it is there."""
    got, count = {}, MESSAGES // series.scale
    for _ in range(1 if series.quick else 3):
        for name in ("tinmail", P):
            def prepare(name=name):
                fill(name, count)
                sink()

            def act(name=name):
                try:
                    return run_queue(name, count)
                finally:
                    end_sink()

            m, _ = series.quietly(name, act, prepare)
            got.setdefault(name, []).append(m)
    for name, v in got.items():
        series.add("queue_run", name, statistics.median(m.count / m.wall for m in v), "1/s", n=len(v),
                   cpu_ms=statistics.median(m.cpu / m.count for m in v) * 1000, other_cpu=max(m.other for m in v))
    fill("tinmail", count)
    sink()
    with traced.Peak("tinmail", largest=True) as peak:
        run_queue("tinmail", count)
    end_sink()
    series.add("queue_memory", "tinmail", peak.kib, "KiB")


def large(series):
    """A message of 200 MB, in and out again."""
    text = TEXT + (b"x" * 76 + b"\r\n") * (LARGE * 10 ** 6 // 78)
    with traced.Peak("tinmail", largest=True) as peak:
        c = Client(target("tinmail")).hello()
        c.message(ELSEWHERE, text)
        c.quit()
    series.add("large_in", "tinmail", peak.kib, "KiB")
    measure.settle("tinmail")
    sink()
    with traced.Peak("tinmail", largest=True) as peak:
        run_queue("tinmail", 1)
    end_sink()
    series.add("large_out", "tinmail", peak.kib, "KiB")


def resident(series):
    """What is left when nobody is there: the listener is xinetd."""
    measure.settle("tinmail")
    series.add("resident", "tinmail", len(peers.pids("tinmail")) - 1, "processes")


STEPS = {"memory": memory, "starttls": starttls, "deliver": deliver, "calls": calls, "queue": queue, "large": large,
         "resident": resident}
