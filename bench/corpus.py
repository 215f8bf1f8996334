"""corpus.py - the same mail on every machine.

The same arguments always give byte-identical messages, file names and times. Messages have LF line ends, as Postfix and
OpenSMTPD deliver them, and file names carry no size hint (neither of these writes one).

mixed: sizes lognormal, median 8 KB, sigma 1.0, cut at 300 KB; every 100th message is a 1 MB base64 attachment. Bodies:
       60 % text/plain, 25 % multipart/alternative, 15 % multipart/mixed with an attachment.
small: 1-2 KB text/plain, for large maildrops.
One message in five answers an earlier one. 90 % of the messages are in cur (70 % of them :2,S), 10 % in new.
"""
import base64
import os
import pwd
import random
import shutil
import time

EPOCH = 1790000000          # date of the newest message, fixed (2026-09-21)
STEP = 300                  # seconds between two messages
WORDS = ("time year people way day man thing woman life child world school state family student "
         "group country problem hand part place case week company system program question work "
         "government number night point home water room mother area money story fact month lot right "
         "study book eye job word business issue side kind head house service friend father power hour "
         "game line end member law car city community name president team minute idea body information "
         "back parent face others level office door health person art war history party result change "
         "morning reason research girl guy moment air teacher force education server mailbox router "
         "packet kernel memory socket process thread buffer cache index folder message header subject "
         "please thanks regards meeting agenda report invoice attached draft review release schedule "
         "monday tuesday wednesday thursday friday today tomorrow yesterday version update patch").split()
NAMES = ("alice bob carol dave erin frank grace heidi ivan judy kevin laura mallory nina oscar peggy "
         "quentin rupert sybil trent ursula victor wendy xavier yvonne zach").split()
DOMAINS = "example.com example.org example.net mail.example.com lists.example.org".split()
MON = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
DAY = "Mon Tue Wed Thu Fri Sat Sun".split()


_blob = None


def blob():
    global _blob
    if _blob is None:
        raw = random.Random(4711).randbytes(1 << 20)
        _blob = base64.encodebytes(raw).replace(b"\n", b"")
    return _blob


def b64_lines(nbytes, off):
    b = blob()
    off %= len(b) // 2
    out, n = [], 0
    while n < nbytes:
        out.append(b[off:off + 76])
        off = (off + 76) % (len(b) - 76)
        n += 77
    return b"\n".join(out) + b"\n"


_pool = None


def text(r, nbytes):
    """About nbytes of wrapped text: lines taken from a fixed pool."""
    global _pool
    if _pool is None:
        pr = random.Random(99)
        _pool = []
        for _ in range(4096):
            line = ""
            while len(line) < 62:
                line += pr.choice(WORDS) + " "
            _pool.append((line.strip().capitalize() + ("." if pr.random() < .3 else "") + "\n").encode())
    out, n = [], 0
    while n < nbytes:
        i = r.randrange(4096)
        for l in _pool[i:i + 6]:
            out.append(l)
            n += len(l)
        if r.random() < .2:
            out.append(b"\n")
            n += 1
    return b"".join(out)


def rfc2822(t):
    g = time.gmtime(t)
    return "%s, %02d %s %d %02d:%02d:%02d +0000" % (DAY[g.tm_wday], g.tm_mday, MON[g.tm_mon - 1],
                                                   g.tm_year, g.tm_hour, g.tm_min, g.tm_sec)


def msgid(i):
    return "<%08x.%d@%s>" % ((i * 2654435761) & 0xffffffff, i, DOMAINS[i % len(DOMAINS)])


def subject(i):
    r = random.Random(1000003 * (i + 1))
    s = " ".join(r.choice(WORDS) for _ in range(r.randint(2, 7))).capitalize()
    if i % 100 == 37:
        s += " foo " + r.choice(WORDS)
    return s


def root_of(i, depth=0):
    """Chain of ancestors of message i, nearest first (one in five answers an earlier one)."""
    chain = []
    while i > 3 and i % 5 == 3 and len(chain) < 6:
        i = i - 1 - (i * 7919) % min(i - 1, 40)
        chain.append(i)
    return chain


def message(i, profile, seed, total):
    r = random.Random((seed << 32) ^ (i * 1000003 + 17))
    t = EPOCH - (total - i) * STEP
    fr, to = r.choice(NAMES), r.choice(NAMES)
    fd, td = r.choice(DOMAINS), r.choice(DOMAINS)
    chain = root_of(i)
    sub = subject(chain[-1]) if chain else subject(i)
    if chain:
        sub = "Re: " + sub
        if i % 100 == 37:
            sub += " foo"
    h = ["Return-Path: <%s@%s>" % (fr, fd),
         "Delivered-To: bench@bench.test",
         "Received: from mx%d.%s (mx%d.%s [192.0.2.%d])\n\tby bench.test (Postfix) with ESMTPS id %08X\n\tfor <bench@bench.test>; %s"
         % (i % 9, fd, i % 9, fd, i % 250 + 1, r.getrandbits(32), rfc2822(t)),
         "From: \"%s %s\" <%s@%s>" % (fr.capitalize(), r.choice(NAMES).capitalize(), fr, fd),
         "To: %s <%s@%s>" % (to.capitalize(), to, td)]
    if r.random() < .3:
        h.append("Cc: " + ", ".join("%s@%s" % (r.choice(NAMES), r.choice(DOMAINS)) for _ in range(r.randint(1, 4))))
    h += ["Subject: " + sub, "Date: " + rfc2822(t - r.randint(0, 60)), "Message-ID: " + msgid(i)]
    if chain:
        h += ["In-Reply-To: " + msgid(chain[0]), "References: " + "\n\t".join(msgid(c) for c in reversed(chain))]
    h += ["MIME-Version: 1.0", "User-Agent: bench-corpus/1"]
    foo = b"The word foo is in this body.\n" if i % 50 == 11 else b""
    if profile == "small":
        h += ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 7bit"]
        head = ("\n".join(h) + "\n\n").encode()
        want = r.randint(1000, 2000)
        return head + foo + text(r, max(80, want - len(head) - len(foo)))
    size = min(int(r.lognormvariate(9.0109, 1.0)), 300000)        # ln 8192 = 9.0109
    kind = r.random()
    if i % 100 == 99:
        size, kind = 1 << 20, 1.0
    bd = "=_bench_%08x" % r.getrandbits(32)
    if kind < .60:
        h += ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
        head = ("\n".join(h) + "\n\n").encode()
        return head + foo + text(r, max(80, size - len(head)))
    if kind < .85:
        h += ['Content-Type: multipart/alternative; boundary="%s"' % bd]
        head = ("\n".join(h) + "\n\n").encode()
        half = max(80, (size - len(head)) // 2 - 150)
        b = bd.encode()
        return (head + b"--" + b + b"\nContent-Type: text/plain; charset=utf-8\n\n" + foo + text(r, half) +
                b"\n--" + b + b"\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<html><body><p>" +
                text(r, half) + b"</p></body></html>\n\n--" + b + b"--\n")
    h += ['Content-Type: multipart/mixed; boundary="%s"' % bd]
    head = ("\n".join(h) + "\n\n").encode()
    b = bd.encode()
    t1 = text(r, min(1500, max(80, size // 4)))
    return (head + b"--" + b + b"\nContent-Type: text/plain; charset=utf-8\n\n" + foo + t1 +
            b"\n--" + b + b"\nContent-Type: application/pdf; name=\"doc%d.pdf\"\nContent-Disposition: attachment; filename=\"doc%d.pdf\"\nContent-Transfer-Encoding: base64\n\n" % (i, i) +
            b64_lines(max(200, size - len(head) - len(t1) - 300), r.randrange(1 << 19)) +
            b"\n--" + b + b"--\n")


def owner(name):
    p = pwd.getpwnam(name)
    return p.pw_uid, p.pw_gid


def make_maildir(directory, ids):
    for sub in ("", "cur", "new", "tmp"):
        path = os.path.join(directory, sub)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o700)
        os.chown(path, *ids)


def generate(directory, count, profile, seed, user, new_percent):
    """A Maildir of `count` messages that belong to `user`."""
    ids = owner(user)
    make_maildir(directory, ids)
    for i in range(count):
        t = EPOCH - (count - i) * STEP
        name = "%d.V801I%xM%06d.bench" % (t, i + 4096, (i * 7919) % 1000000)
        if i % 100 < new_percent:
            path = os.path.join(directory, "new", name)
        else:
            path = os.path.join(directory, "cur", name + (":2,S" if i % 10 < 7 else ":2,"))
        with open(path, "wb") as f:
            f.write(message(i, profile, seed, count))
            os.fchown(f.fileno(), *ids)
            os.fchmod(f.fileno(), 0o600)
        os.utime(path, (t, t))


def to_mbox(source, target, user):
    """The same messages in one mbox file."""
    found = []
    for sub in ("cur", "new"):
        for name in os.listdir(os.path.join(source, sub)):
            found.append((name.split(":")[0], os.path.join(source, sub, name)))
    with open(target, "wb") as f:
        for name, path in sorted(found):
            f.write(b"From bench@example.com " + time.asctime(time.gmtime(int(name.split(".")[0]))).encode() + b"\n")
            with open(path, "rb") as m:
                text = m.read()
            f.write(text.replace(b"\nFrom ", b"\n>From ") + (b"\n" if text.endswith(b"\n") else b"\n\n"))
    os.chown(target, *owner(user))
    os.chmod(target, 0o600)


def mirror(source, target, user, copy):
    """Throws the target away and builds it anew from the pristine source: hard links, or copies."""
    shutil.rmtree(target, ignore_errors=True)
    ids = owner(user)
    make_maildir(target, ids)
    for sub in ("cur", "new"):
        a, b = os.path.join(source, sub), os.path.join(target, sub)
        for name in sorted(os.listdir(a)):
            if copy:
                shutil.copy2(os.path.join(a, name), os.path.join(b, name))
                os.chown(os.path.join(b, name), *ids)
            else:
                os.link(os.path.join(a, name), os.path.join(b, name))
