"""A site moves from Dovecot to imapd, and back: everything that clients and people look at is the same.

Mailboxes with names in other languages, levels, subscriptions, keywords, special use, deliveries into mailboxes that are made for
them (as Sieve's fileinto does), flags, dates and odd messages are made with Dovecot's own programs. Then both servers are asked in
turn, and what clients do with imapd is there when Dovecot is back.
"""

import imaplib
import pathlib
import re
import subprocess

import harness
from harness import Case, message, needs_root, odd_messages
from test_dovecot import Dovecot

MAILBOXES = ("Sent", "Drafts", "Trash", "Lists", "Lists.a", "Lists.a.b", "Entw&APw-rfe", "&U,BTFw-.&ZeVnLIqe-", "with blank", "Deep.only.below")
SETTINGS = ["namespace inbox {", "  inbox = yes",
            *(f"  mailbox {name} {{\n    special_use = \\{name}\n  }}" for name in ("Sent", "Drafts", "Trash")), "}",
            "protocol lda {", "  postmaster_address = postmaster@example.org", "  lda_mailbox_autocreate = yes", "}"]
SEARCHES = ("ALL", "UNSEEN", "DELETED", "FLAGGED", "KEYWORD $Label1", "UNKEYWORD $Label1", "SUBJECT number", "FROM example", "TEXT text",
            "BODY text", "LARGER 200", "SMALLER 2000", "SINCE 1-Jan-2020", "BEFORE 1-Jan-2030", "SENTSINCE 1-Jan-1990", "HEADER Subject number",
            "OR FLAGGED UNSEEN", "NOT DELETED", "UID 2:4")
FETCHES = ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY", "BODY.PEEK[]",
           "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]", "BODY.PEEK[TEXT]<10.50>")


class Client:
    """imaplib on either server."""

    def __init__(self, port, user):
        self.imap = imaplib.IMAP4(harness.HOST, port, timeout=harness.SOON)
        self.imap.login(user.name, user.password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.imap.logout()

    def ask(self, name, *arguments):
        kind, data = getattr(self.imap, name)(*arguments)
        assert kind == "OK", (name, arguments, data)
        return data

    def names(self, command="list"):
        """Names, whether they are selectable, and what they are for."""
        found = {}
        for line in self.ask(command):
            if line:
                match = re.match(rb'\(([^)]*)\) "(.)" "?(.*?)"?$', line)
                flags = {flag.decode().lower() for flag in match[1].split()} - {r"\hasnochildren", r"\haschildren", r"\nonexistent",
                                                                                r"\unmarked", r"\marked"}
                found[match[3].decode()] = (match[2].decode(), frozenset(flags))
        return found

    def special(self):
        kind, data = self.imap._simple_command("LIST", "(SPECIAL-USE)", '""', "*")
        assert kind == "OK", data
        _, data = self.imap._untagged_response(kind, data, "LIST")
        return {re.search(rb'"?([^" ]+)"?$', line)[1]: re.search(rb"\\(Sent|Drafts|Trash)", line)[1] for line in data if line}

    def mailbox(self, name):
        """All of it."""
        self.ask("select", f'"{name}"', True)
        state = {code: self.imap.response(code)[1][0] for code in ("UIDVALIDITY", "UIDNEXT", "EXISTS")}
        if state["EXISTS"] != b"0":
            for item in FETCHES:
                state[item] = self.fetch(item)
        for search in SEARCHES:
            state[search] = self.ask("uid", "SEARCH", search)[0].split()
        return state

    def fetch(self, item):
        found = {}
        for line in self.ask("uid", "FETCH", "1:*", f"({item})"):
            head, value = line if isinstance(line, tuple) else (line, None)
            if head == b")" or b"UID" not in head:
                continue
            uid = int(re.search(rb"UID (\d+)", head)[1])
            if value is None:
                value = re.sub(rb"^\d+ \(|UID \d+ ?|\\Recent ?|\)$", b"", head).strip()
                # Types are the same in either case.
                value = value.lower() if item.startswith("BODY") else value
                if item == "FLAGS":
                    value = frozenset(value[7:].rstrip(b")").split())
            found[uid] = value
        return found

    def everything(self):
        names = self.names()
        selectable = [name for name, (_, flags) in names.items() if r"\noselect" not in flags]
        return {"names": names, "subscribed": set(self.names("lsub")), "special": self.special(),
                "mailboxes": {name: self.mailbox(name) for name in sorted(selectable)}}


@needs_root
class Migration(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap")
        self.user = self.box.user

    def deliver(self, dovecot, mailbox, raw):
        """As an MTA does it, into a mailbox that is made for it."""
        lda = pathlib.Path("/usr/lib/dovecot/dovecot-lda")
        subprocess.run([lda, "-c", dovecot.configuration, "-d", self.user.name, "-m", mailbox], input=raw, check=True, timeout=60)

    def make(self, dovecot):
        with Client(dovecot.imap_port, self.user) as client:
            for name in MAILBOXES:
                client.ask("create", f'"{name}"')
            for name in ("Sent", "Lists.a", "Entw&APw-rfe", "with blank"):
                client.ask("subscribe", f'"{name}"')
            # Subscribed, and no more there.
            client.ask("create", "Gone")
            client.ask("subscribe", "Gone")
            client.ask("delete", "Gone")
            for number in range(6):
                flags = ("", r"\Seen", r"\Seen \Answered", r"\Flagged $Label1", r"\Deleted $Forwarded", r"\Draft NonJunk $Label1")[number]
                date = f'"{number + 1:02}-Mar-20{10 + number} 10:20:30 +0{number}00"'
                for mailbox in ("INBOX", "Lists.a", '"with blank"'):
                    client.ask("append", mailbox, f"({flags})", date, message(f"number {number}", b"text\n" * number))
            for _, raw in odd_messages():
                if b"\0" not in raw and raw:
                    client.ask("append", "Sent", r"(\Seen)", None, raw)
        for mailbox in ("Sieve.made", "INBOX", "INBOX"):
            self.deliver(dovecot, mailbox, message("delivered"))

    def ours(self):
        with Client(self.server.port, self.user) as client:
            seen = client.everything()
        self.box.wait_idle()
        return seen

    def theirs(self, change=None):
        with Dovecot(self.box, SETTINGS) as dovecot:
            if change:
                change(dovecot)
            with Client(dovecot.imap_port, self.user) as client:
                return client.everything()

    def compare(self, theirs, ours):
        self.assertEqual(ours["names"], theirs["names"])
        self.assertEqual(ours["subscribed"], theirs["subscribed"])
        self.assertEqual(ours["special"], theirs["special"])
        self.assertEqual(set(ours["mailboxes"]), set(theirs["mailboxes"]))
        for name, state in theirs["mailboxes"].items():
            for what, value in state.items():
                self.assertEqual(ours["mailboxes"][name].get(what), value, f"{name}: {what}")

    def test_there_and_back(self):
        before = self.theirs(self.make)
        self.compare(before, self.ours())
        with Client(self.server.port, self.user) as client:
            client.ask("select", "INBOX")
            client.ask("uid", "STORE", "1:2", "+FLAGS", r"(\Flagged Later)")
            client.ask("uid", "STORE", "4", "-FLAGS", "($Label1)")
            client.ask("uid", "COPY", "3", "Lists.a.b")
            client.ask("uid", "MOVE", "5", "Trash")
            client.ask("append", "Drafts", r"(\Draft)", '"01-Feb-2015 01:02:03 +0000"', message("with us"))
            client.ask("create", "Made&AOk-.here")
            client.ask("subscribe", "Made&AOk-.here")
            client.ask("rename", "Lists", "Mailing")
            client.ask("delete", '"with blank"')
            client.ask("unsubscribe", "Sent")
        ours = self.ours()
        theirs = self.theirs()
        self.compare(theirs, ours)
        self.assertEqual(self.ours(), ours)
        self.assertNotIn("rror", self.box.log())


if __name__ == "__main__":
    harness.main()
