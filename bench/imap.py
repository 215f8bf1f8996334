"""imap.py - what is measured of IMAP, with whom, and what is to be reached."""
import os
import pwd
import statistics
import subprocess
import time

import measure
import peers
import traced
from measure import Connection, Failed, Meter, Target
from report import HIGH, LOW, Row

SETTLED = 4                                                 # seconds after which a mailbox counts as unchanged
APPENDED = ("From: a@example.com\r\nTo: b@example.com\r\nSubject: append\r\nMessage-ID: <append@bench>\r\n"
            "Date: Mon, 21 Sep 2026 10:00:00 +0000\r\n\r\n" + "Nothing that anybody would want to read.\r\n" * 90).encode()
SINCE = b"UID SEARCH SINCE 19-Sep-2026"                     # the last days of the corpus
EVERYTHING = b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"

MEBIBYTES = 1024                                            # in KiB
D, EC, KERNEL = "dovecot", "dovecot-ec", "kernel"
ROWS = [
    Row("idle_clear_cold", "IDLE, INBOX of 1,000, clear, index built in this session", D, LOW, 1 / 9),
    Row("idle_clear_warm", "IDLE, INBOX of 1,000, clear, index there already", D, LOW, 1 / 9),
    Row("idle_tls_cold", "IDLE, INBOX of 1,000, TLS, index built in this session", D, LOW, .1),
    Row("idle_tls_warm", "IDLE, INBOX of 1,000, TLS, index there already", D, LOW, .1),
    Row("idle_large", "IDLE, 100,000, private dirty beyond an empty mailbox", D, LOW, 300, True),
    Row("idle_large_clean", "the same, private clean", D),
    Row("greet_clear", "connect to greeting, clear", D, LOW, .35),
    Row("greet_tls", "connect to greeting, TLS, ECDSA", EC, LOW, .4),
    Row("login_clear", "connect to OK of the login, clear", D, LOW, .35),
    Row("login_tls", "connect to OK of the login, TLS, ECDSA", EC, LOW, .4),
    Row("rate_clear", "sessions, 8 clients, clear", D, HIGH, 4),
    Row("rate_tls", "sessions, 8 clients, TLS, ECDSA", EC, HIGH, 3),
    Row("select_cold_10k", "SELECT cold, 10,000", D, LOW, .6),
    Row("select_cold_100k", "SELECT cold, 100,000", D, LOW, .5),
    Row("select_settled_10k", "SELECT, nothing changed for some seconds, 10,000", D, LOW, 1),
    Row("select_settled_100k", "SELECT, nothing changed for some seconds, 100,000", D, LOW, 1),
    Row("select_delivery", "SELECT right after one delivery, 10,000", D, LOW, .3),
    Row("select_flag", "SELECT right after one flag change by another program, 10,000", D, LOW, .3),
    Row("select_flag", "the same, beside reading the directory alone", KERNEL),
    Row("fetch_flags", "FETCH 1:* (FLAGS UID), 100,000", D, LOW, .5),
    Row("envelope_first", "FETCH of envelope, structure, size, date, 100,000, first", D, LOW, .35),
    Row("envelope_second", "the same, second", D, LOW, .2),
    Row("search_subject", "UID SEARCH SUBJECT, 100,000", D, LOW, .5),
    Row("search_since", "UID SEARCH SINCE, 100,000", D, LOW, .2),
    Row("search_text_10k", "UID SEARCH TEXT, 10,000 mixed", D, LOW, .35),
    Row("search_text_100k", "UID SEARCH TEXT, 100,000 small", D, LOW, .35),
    Row("sort_first", "SORT (DATE), 100,000, first", D, LOW, .35),
    Row("sort_second", "the same, second", D, LOW, .5),
    Row("thread_first", "THREAD REFERENCES, 100,000, first", D, LOW, .35),
    Row("thread_second", "the same, second", D, LOW, .5),
    Row("store", "STORE 1:* +FLAGS (\\Seen), 100,000", D, LOW, .6),
    Row("store", "the same, beside its renames alone", KERNEL),
    Row("copy", "COPY of 1,000 out of 100,000", D, LOW, .7),
    Row("expunge", "EXPUNGE of 1,000 out of 100,000", D, LOW, .5),
    Row("append_1k", "APPEND one by one, mailbox of 1,000", D, LOW, .8),
    Row("append_100k", "APPEND one by one, mailbox of 100,000", D, LOW, .05),
    Row("append_flushes", "fsync and fdatasync for one APPEND", D),
    Row("download_clear", "FETCH 1:* BODY.PEEK[], 10,000 mixed, clear", D, LOW, .5),
    Row("download_tls", "FETCH 1:* BODY.PEEK[], 10,000 mixed, TLS, RSA", D, LOW, .5),
    Row("peak", "largest private memory of a session in any row", None, LOW, 4 * MEBIBYTES),
    Row("peak_sort", "the same, SORT and THREAD of 100,000", None, LOW, 16 * MEBIBYTES),
    Row("select_writes", "SELECT of an unchanged mailbox: calls that write files", D, LOW, 0, True),
    Row("flag_renames", "STORE of one flag: renames", D, LOW, 1, True),
    Row("flag_rewrites", "the same: index files made anew", D, LOW, 0, True),
    Row("flag_writes", "the same: calls that write, the rename included", D),
]


def target(peer, way="clear"):
    """The mailboxes of ONE are for tinmail, those of TWIN for its peers: each has its own while they take turns."""
    to = Target(peer, "imap", way)
    to.user = peers.ONE if peer == "tinmail" else peers.TWIN
    return to


def pair(way="clear", peer=D):
    return [target("tinmail", way), target(peer, way)]


# --- the client -------------------------------------------------------------------------------------------------------

class Client(Connection):
    def __init__(self, to):
        super().__init__(to)
        self.to = to
        self.commands = 0

    def command(self, text, literal=None):
        """One command and all that is said until its completion: the last 64 KiB of that."""
        self.commands += 1
        tag = b"tag%d " % self.commands
        self.s.sendall(tag + text + b"\r\n")
        if literal is not None:
            if not self.line().startswith(b"+"):
                raise Failed("no continuation: %r" % text)
            self.s.sendall(literal + b"\r\n")
        said, d, self.b = bytearray(b"\r\n"), self.b, b""
        while True:
            said += d
            line = said.rfind(b"\n", max(0, len(said) - 1024), -1) + 1
            if said.endswith(b"\n") and said.startswith(tag, line):
                if not said.startswith(b"OK", line + len(tag)):
                    raise Failed("%r: %r" % (text, bytes(said[line:])))
                return bytes(said[-65536:])
            if len(said) > 1 << 20:
                del said[:-65536]
            d = self.receive()

    def login(self, user=None):
        self.line()
        self.command(b"LOGIN %s %s" % ((user or self.to.user).encode(), peers.PASSWORD.encode()))
        return self

    def select(self, user=None):
        self.login(user).command(b"SELECT INBOX")
        return self

    def idle(self):
        self.s.sendall(b"idle IDLE\r\n")
        while not self.line().startswith(b"+"):
            pass
        return self

    def logout(self):
        measure.see_off(self, b"bye LOGOUT\r\n")


# --- connections ------------------------------------------------------------------------------------------------------

def memory(series):
    """Private memory of sessions in IDLE."""
    everybody = [peers.ONE] + peers.MANY
    for way, label in (("clear", "clear"), ("rsa", "tls")):
        for to in pair(way):
            peers.reset(everybody, "s1000", True)
            for index in ("cold", "warm"):
                enter = lambda user, to=to: Client(to).select(user).idle()
                kib, processes = measure.idle_memory(enter, to, peers.MANY)
                series.add("idle_%s_%s" % (label, index), to.peer, kib, "KiB", processes=processes)


def large_memory(series):
    """Private memory of a session in IDLE on 100,000 messages, beyond that of one on an empty mailbox."""
    peers.reset(peers.MANY[:3], "empty")
    for to in pair():
        peers.reset([to.user], "s100000")
        Client(to).select().logout()
        time.sleep(SETTLED)
        Client(to).select().logout()
        # In company, as on a server: the program's own pages belong to nobody alone.
        company = [Client(to).select(user).idle() for user in peers.MANY[:2]]
        sizes = []
        for user in (peers.MANY[2], to.user):
            measure.settle(to.peer)
            before = [measure.private_kib(to.peer, kind)[0] for kind in ("Dirty", "Clean")]
            company.append(Client(to).select(user).idle())
            time.sleep(3)
            sizes.append([measure.private_kib(to.peer, kind)[0] - b for kind, b in zip(("Dirty", "Clean"), before)])
        for c in company:
            c.close()
        measure.settle(to.peer)
        (dirty, clean), (large_dirty, large_clean) = sizes
        series.add("idle_large", to.peer, large_dirty - dirty, "KiB", empty=dirty)
        series.add("idle_large_clean", to.peer, large_clean - clean, "KiB", empty=clean)


def greet(series):
    """Connect to greeting."""
    act = lambda to, n: measure.greeting(Client, to, b"bye LOGOUT\r\n", n)
    series.times("greet_clear", pair(), act, 200)
    series.times("greet_tls", pair("ec", EC), act, 100)


def whole_session(to, user):
    Client(to).login(user).logout()


def session(series):
    """Connect to the answer to LOGIN, empty mailbox; then sessions of 8 clients at once."""
    peers.reset([peers.ONE, peers.TWIN] + peers.MANY, "empty")
    act = lambda to, n: measure.timed(n, lambda: Client(to).login().logout)
    series.times("login_clear", pair(), act, 100)
    series.times("login_tls", pair("ec", EC), act, 100)
    series.rates("rate_clear", pair(), whole_session)
    series.rates("rate_tls", pair("ec", EC), whole_session)


# --- one command at a time --------------------------------------------------------------------------------------------

def once(to, *commands, selected=True, literal=None, book=None):
    """A session of its own for these commands; SELECT is not measured. Returns the meter, or what `book` makes."""
    c = Client(to)
    c.select() if selected else c.login()
    with book or Meter(to.peer) as m:
        for command in commands:
            c.command(command, literal)
    c.logout()
    return m


def select(to, n, before=None):
    """ms for SELECT, n times, each after what `before` does to the mailbox."""
    values = []
    for _ in range(n):
        c = Client(to).login()
        if before:
            before(to)
        t = measure.clock()
        c.command(b"SELECT INBOX")
        values.append((measure.clock() - t) * 1000)
        c.logout()
    return values


def prepare(name):
    """For a target, what gives it a fresh mailbox, its files in the page cache."""
    def fresh(to):
        peers.reset([to.user], name)
        peers.warm(to.user)
        os.sync()
    return fresh


def cold(to, book=None):
    return once(to, b"SELECT INBOX", selected=False, book=book)


def flag(to):
    """Another program sets or removes a flag of one message."""
    directory = peers.maildir(to.user) + "/cur/"
    name = to.flagged = getattr(to, "flagged", None) or min(os.listdir(directory))
    base, flags = name.split(":2,")
    to.flagged = base + ":2," + (flags.replace("F", "") if "F" in flags else "F" + flags)
    os.rename(directory + name, directory + to.flagged)


def kernel(what, user):
    """ms that the kernel takes for a part of a command, asked by a program that does nothing else."""
    account = pwd.getpwnam(user)
    command = ["setpriv", "--reuid", user, "--regid", str(account.pw_gid), "--clear-groups",
               peers.STATE + "/bin/directory", what, peers.maildir(user) + "/cur"]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def kernel_reads(to, n):
    """ms for a directory, n times, each after another flag."""
    values = []
    for _ in range(n):
        flag(to)
        values.append(kernel("read", to.user))
    return values


def ten_thousand(series):
    """SELECT, SEARCH TEXT and download of 10,000 mixed messages."""
    targets = pair()
    series.compare("select_cold_10k", targets, cold, prepare("c10000"), "ms", rounds=5)
    time.sleep(SETTLED)
    for to in targets:
        select(to, 2)
    series.times("select_settled_10k", targets, select, 80)
    series.times("select_delivery", targets, lambda to, n: select(to, n, lambda to: peers.deliver(to.user)), 40)
    series.times("select_flag", targets, lambda to, n: select(to, n, flag), 40)
    values = kernel_reads(targets[0], 40 // series.scale)
    series.add("select_flag", KERNEL, statistics.median(values), "ms", min=min(values), max=max(values), n=len(values))
    nothing = lambda _: None
    # The first pass writes the files' access times.
    for to in targets:
        once(to, b"UID SEARCH TEXT foo")
    series.compare("search_text_10k", targets, lambda to: once(to, b"UID SEARCH TEXT foo"), nothing)
    for label, way in (("clear", "clear"), ("tls", "rsa")):
        for to in pair(way):
            once(to, b"FETCH 1:* BODY.PEEK[]")
        series.compare("download_" + label, pair(way), lambda to: once(to, b"FETCH 1:* BODY.PEEK[]"), nothing)


# What is done to 100,000 messages, in this order, as clients do: row, how often, command.
COURSE = [
    ("fetch_flags", 3, b"FETCH 1:* (FLAGS UID)"),
    ("envelope_first", 1, EVERYTHING),
    ("envelope_second", 1, EVERYTHING),
    ("search_subject", 2, b"UID SEARCH SUBJECT foo"),
    ("search_since", 2, SINCE),
    ("search_text_100k", 1, b"UID SEARCH TEXT foo"),
    ("sort_first", 1, b"UID SORT (DATE) UTF-8 ALL"),
    ("sort_second", 1, b"UID SORT (DATE) UTF-8 ALL"),
    ("thread_first", 1, b"UID THREAD REFERENCES UTF-8 ALL"),
    ("thread_second", 1, b"UID THREAD REFERENCES UTF-8 ALL"),
    ("store", 1, b"STORE 1:* +FLAGS (\\Seen)"),
    ("copy", 1, b"COPY 1:1000 bench-copy"),
]
# Those that read every message, from the page cache: some machines take pages from it within seconds.
READING = ("envelope_first", "search_text_100k")


def course(to, book):
    """[(row, what the book says)] of a fresh mailbox of 100,000 messages; `book` makes what measures."""
    found = [("select_cold_100k", cold(to, book()))]
    once(to, b"CREATE bench-copy", selected=False)
    for row, times, command in COURSE:
        if row in READING:
            peers.warm(to.user)
        found += [(row, once(to, command, book=book())) for _ in range(times)]
    c = Client(to).select()
    c.command(b"STORE 1:1000 +FLAGS.SILENT (\\Deleted)")
    with book() as m:
        c.command(b"EXPUNGE")
    c.logout()
    return found + [("expunge", m)]


def hundred_thousand(series):
    """Everything with 100,000 messages, the servers taking turns with the whole course."""
    got, renames, targets = {}, [], pair()
    for _ in range(1 if series.quick else 3):
        for to in targets:
            prepare("s100000")(to)
            series.wait()
            for row, m in course(to, lambda to=to: Meter(to.peer)):
                got.setdefault(row, {}).setdefault(to.peer, []).append(m)
        series.wait()
        ours = target("tinmail")
        prepare("s100000")(ours)
        # What is in new is moved, and every name has been looked up.
        once(ours, b"NOOP")
        peers.warm(ours.user)
        renames.append(kernel("rename", ours.user) / 1000)
    for row, by_peer in got.items():
        for peer, meters in by_peer.items():
            series.add_meters(row, peer, meters)
    series.add("store", KERNEL, statistics.median(renames), "s", n=len(renames))
    time.sleep(SETTLED)
    for to in targets:
        select(to, 2)
    series.times("select_settled_100k", targets, select, 80)
    append(series, "append_100k", 80)


def appends(to, n):
    """ms for APPEND, n times in one session that has not selected the mailbox."""
    c = Client(to).login()
    values = measure.timed(n, lambda: c.command(b"APPEND INBOX {%d}" % len(APPENDED), APPENDED) and None)
    c.logout()
    return values


def append(series, row, n):
    series.times(row, pair(), appends, n)


def calls_of(to, client, *command, with_logout=False):
    """The system calls of one command, and if wanted of the end of the session."""
    with traced.Calls(to.peer, peers.maildir(to.user)) as calls:
        client.command(*command)
        if with_logout:
            client.logout()
    if not with_logout:
        client.logout()
    return calls


def small(series):
    """APPEND to 1,000 messages, and what is written for it, for SELECT and for a flag."""
    for to in pair():
        prepare("s1000")(to)
        select(to, 1)
    append(series, "append_1k", 200)
    for to in pair():
        time.sleep(SETTLED)
        select(to, 2)
        calls = calls_of(to, Client(to).login(), b"SELECT INBOX")
        series.add("select_writes", to.peer, len(calls.writes), "calls")
        c = Client(to)
        c.select()
        calls = calls_of(to, c, b"STORE 10 +FLAGS (\\Flagged)", with_logout=True)
        series.add("flag_renames", to.peer, len(calls.renames), "renames")
        series.add("flag_rewrites", to.peer, len(calls.index_files), "files")
        series.add("flag_writes", to.peer, len(calls.writes), "calls")
        calls = calls_of(to, Client(to).login(), b"APPEND INBOX {%d}" % len(APPENDED), APPENDED)
        series.add("append_flushes", to.peer, len(calls.flushes), "calls")


def peak(series):
    """Private_Dirty of one session while it does all of the above, at its largest."""
    to = target("tinmail")
    book = lambda: traced.Peak(to.peer)
    measure.settle(to.peer)                                 # no other session is there
    prepare("s100000")(to)
    found = course(to, book)
    found += [("append_100k", once(to, *[b"APPEND INBOX {%d}" % len(APPENDED)] * 20, literal=APPENDED, book=book()))]
    prepare("c10000")(to)
    found += [("select_cold_10k", cold(to, book())), ("search_text_10k", once(to, b"UID SEARCH TEXT foo", book=book()))]
    found += [("download_clear", once(to, b"FETCH 1:* BODY.PEEK[]", book=book()))]
    found += [("download_tls", once(target("tinmail", "rsa"), b"FETCH 1:* BODY.PEEK[]", book=book()))]
    sorting = lambda row: row.startswith(("sort", "thread"))
    for row, kept in (("peak", [x for x in found if not sorting(x[0])]), ("peak_sort", [x for x in found if sorting(x[0])])):
        where, most = max(kept, key=lambda x: x[1].kib)
        series.add(row, "tinmail", most.kib, "KiB", where=where, all={name: p.kib for name, p in kept})


STEPS = {"memory": memory, "large_memory": large_memory, "greeting": greet, "session": session, "10k": ten_thousand,
         "100k": hundred_thousand, "1k": small, "peak": peak}
