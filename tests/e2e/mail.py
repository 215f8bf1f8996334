"""Messages, what protocols make of them, and Maildirs."""

import ctypes
import hashlib
import os
import pathlib
import re
import tempfile
import time

from ground import IS_ROOT


def wire(raw):
    """The octets that POP3 sends for a message, without dot-stuffing: line ends are CRLF, the last line has one."""
    octets = re.sub(rb"\r?\n", b"\r\n", raw)
    return octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"


def crlf(raw):
    """The octets that IMAP sends for a message: the same, but nothing is added at the end."""
    return re.sub(rb"\r?\n", b"\r\n", raw)


def plain(octets):
    """Octets as clients store them, with all differences of line ends taken away."""
    return re.sub(rb"\r?\n", b"\n", octets).rstrip(b"\n") + b"\n"


def body(octets):
    """What comes behind the header, line ends taken away."""
    return plain(octets).partition(b"\n\n")[2]


def message(subject, content=b"Hello.\n", newline=b"\n", more=()):
    """A message with a header that every client takes as it is."""
    if isinstance(content, str):
        content = content.encode()
    fields = [
        b"Return-Path: <sender@example.org>",
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000",
        b"From: Sender <sender@example.org>",
        b"To: Receiver <receiver@example.org>",
        b"Subject: " + subject.encode(),
        b"Message-ID: <" + hashlib.sha1(subject.encode()).hexdigest().encode() + b"@example.org>",
        *more,
    ]
    return newline.join([*fields, b"", b""]) + content


def odd_messages():
    """What has gone wrong in mail servers before: name of the case and octets as they are in the file."""
    photograph = bytes(range(256)) * 8200
    import base64
    attachment = base64.encodebytes(photograph)
    return [
        ("dots", message("dots", ".\n..\n.leading\n...\nmiddle . dot\n.\n")),
        ("no-final-newline", message("no final newline", b"The last line has no end")),
        ("eight-bit", message("eight bit", "Grüße, 渡辺 €\n".encode() + b"latin: \xe4\xf6\xfc\xff\n")),
        ("empty-body", message("empty body", b"")),
        ("crlf", message("CRLF file", b"first\r\n.\r\nlast\r\n", newline=b"\r\n")),
        ("crlf-mixed", message("mixed line ends", b"lf\ncrlf\r\nlf\n")),
        ("long-line", message("long line", b"x" * 70000 + b"\n" + b"." + b"y" * 9000 + b"\n")),
        ("blank-lines", message("blank lines", b"\n\n\n.\n\n\n")),
        ("attachment", message("3 MB attachment", b"begin\n" + attachment + b"end\n")),
        ("last-dot", message("dot at the end", b"text\n.")),
    ]


def rename_to_nothing(path, target):
    """rename(2) would put one directory in the place of another that is empty, under the feet of whoever is about to use that."""
    libc, here, no_replace = ctypes.CDLL(None, use_errno=True), -100, 1
    if libc.renameat2(here, os.fsencode(path), here, os.fsencode(target), no_replace):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


class Maildir:
    """A Maildir that a test fills and looks into."""

    def __init__(self, path, owner=None):
        self.path = pathlib.Path(path)
        self.owner = owner
        self.count = 0
        for part in ("", "tmp", "new", "cur"):
            self.make(self.path / part)

    def make(self, path):
        """Its owner's from the first moment: he may be making it, too, and could not use one of root's for as long as that takes."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_dir():
            made = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix="being-made."))
            self.own(made)
            try:
                rename_to_nothing(made, path)
            except FileExistsError:
                made.rmdir()

    def own(self, path):
        if IS_ROOT and self.owner:
            os.chown(path, *self.owner, follow_symlinks=False)

    def add(self, raw, flags=None, hints="none", name=None, age=3600):
        """Delivers a message: flags None is new, a text is the flags in cur. Returns the file's base name."""
        self.count += 1
        if name is None:
            name = f"{1700000000 + self.count}.M{self.count}P1.host"
        if "S" in hints:
            name += f",S={len(raw)}"
        if "W" in hints:
            name += f",W={len(re.sub(rb'(?<!' + bytes([13]) + rb')' + bytes([10]), bytes([13, 10]), raw))}"
        path = self.path / ("new/" + name if flags is None else f"cur/{name}:2,{flags}")
        temporary = self.path / "tmp" / name
        temporary.write_bytes(raw)
        os.chmod(temporary, 0o600)
        self.own(temporary)
        when = time.time() - age + self.count
        os.utime(temporary, (when, when))
        temporary.rename(path)
        return name

    def fill(self, messages=None):
        """Delivers messages in all the ways in which they can lie there. Returns what they are on the wire, in order."""
        messages = odd_messages() if messages is None else messages
        for at, (_, raw) in enumerate(messages):
            self.add(raw, flags=[None, "S", ""][at % 3], hints=["none", "SW", "S", "none"][at % 4])
        return [wire(raw) for _, raw in messages]

    def files(self):
        """All message files, as names with their directory."""
        return sorted(f"{part}/{name}" for part in ("new", "cur") for name in os.listdir(self.path / part))

    def bases(self):
        return sorted(name.split("/")[1].split(":")[0] for name in self.files())

    def contents(self):
        """What is stored, by base name."""
        return {name.split("/")[1].split(":")[0]: (self.path / name).read_bytes() for name in self.files()}

    def uidlist(self):
        return (self.path / "dovecot-uidlist").read_text()
