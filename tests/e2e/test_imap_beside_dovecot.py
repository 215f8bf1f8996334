"""Clients of imapd and of Dovecot change one mailbox at the same time, at random.

In the end both servers say the same about it, and so do sessions that have been open all the time: every message that was stored and
not expunged is there once and whole, under the UID that its client was told, with the flags that nobody has taken away. E2E_SEED
repeats the choices.
"""

import imaplib
import os
import random
import re
import threading
import time

import harness
from harness import Case, crlf, message, needs_root
from test_dovecot import Dovecot

SEED = int(os.environ.get("E2E_SEED") or random.randrange(1 << 30))
STEPS = 40 * int(os.environ.get("E2E_ROUNDS") or 1)
FLAGS = (r"\Seen", r"\Answered", r"\Flagged", "word")


class Client(threading.Thread):
    """Stores messages, marks any, removes its own. What it was told of them is in `mine`: UID, text, and what it has done with it."""

    def __init__(self, port, user, number):
        super().__init__()
        self.imap = imaplib.IMAP4(harness.HOST, port, timeout=harness.SOON)
        self.imap.login(user.name, user.password)
        self.ask("select", "INBOX")
        self.pick, self.number, self.mine, self.removed, self.failure = random.Random(SEED + number), number, {}, set(), None

    def ask(self, name, *arguments):
        kind, data = getattr(self.imap, name)(*arguments)
        assert kind == "OK", (name, arguments, data)
        return data

    def run(self):
        try:
            for step in range(STEPS):
                self.step(step)
        # It is for the thread that waits.
        except Exception as error:  # noqa: BLE001
            self.failure = repr(error)

    def step(self, step):
        kind = self.pick.choice(("append", "append", "mark", "mark", "remove", "noop", "fetch"))
        if kind == "append" or not self.mine:
            text = crlf(message(f"{self.number} {step}", b"text\n" * (step % 9)))
            uid = int(re.search(rb"APPENDUID \d+ (\d+)", self.ask("append", "INBOX", None, None, text)[0])[1])
            assert uid not in self.mine and uid not in self.removed, f"UID {uid} twice"
            self.mine[uid] = (text, set())
        elif kind == "mark":
            uid, flag = self.pick.choice(sorted(self.mine)), self.pick.choice(FLAGS)
            self.ask("uid", "STORE", str(uid), "+FLAGS", f"({flag})")
            self.mine[uid][1].add(flag)
        elif kind == "remove":
            uid = self.pick.choice(sorted(self.mine))
            self.ask("uid", "STORE", str(uid), "+FLAGS.SILENT", r"(\Deleted)")
            self.ask("uid", "EXPUNGE", str(uid))
            del self.mine[uid]
            self.removed.add(uid)
        elif kind == "fetch":
            self.ask("uid", "FETCH", "1:*", "(FLAGS)")
        else:
            self.ask("noop")

    def seen(self):
        """UIDs, flags and texts of all messages."""
        self.ask("noop")
        return self.all()

    def all(self):
        found = {}
        for line in self.ask("uid", "FETCH", "1:*", "(UID FLAGS BODY.PEEK[])"):
            if isinstance(line, tuple):
                # Which comes first is the server's business.
                uid, flags = re.search(rb"UID (\d+)", line[0])[1], re.search(rb"FLAGS \(([^)]*)\)", line[0])[1]
                found[int(uid)] = (frozenset(flags.decode().split()) - {r"\Recent"}, line[1])
        return found


@needs_root
class BesideDovecot(Case):
    def on_disk(self):
        path = self.box.maildir.path
        names = {line.split(b":", 1)[1]: line.split(b" ")[0] for line in (path / "dovecot-uidlist").read_bytes().splitlines()[1:]}
        files = {int(names.get(os.fsencode(name.split("/")[1].split(":")[0]), b"0")): name for name in self.box.maildir.files()}
        return (path / "dovecot-keywords").read_text() if (path / "dovecot-keywords").exists() else "", files

    def test_both_at_once(self):
        print(f"E2E_SEED={SEED}")
        server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})
        with Dovecot(self.box) as dovecot:
            ports = [server.port, dovecot.imap_port]
            clients = [Client(ports[number % 2], self.box.user, number) for number in range(6)]
            for client in clients:
                client.start()
            for number in range(10):
                self.box.maildir.add(message(f"delivered {number}"), age=0)
            for client in clients:
                client.join()
            self.assertEqual([client.failure for client in clients], [None] * 6, f"seed {SEED}: {dovecot.complaints()}")
            wanted = {uid: mine for client in clients for uid, mine in client.mine.items()}
            self.assertEqual(len(wanted), sum(len(client.mine) for client in clients), f"seed {SEED}: a UID for two messages")
            removed = set().union(*(client.removed for client in clients))
            # What another program has done in the moment in which imapd has changed the directory, too, is seen when the
            # time stamps are old.
            time.sleep(2.5)
            new = [Client(port, self.box.user, 10 + at) for at, port in enumerate(ports)]
            states = [client.all() for client in new]
            different = {uid: [state.get(uid, (None,))[0] for state in states] for uid in set(states[0]) | set(states[1])
                         if states[0].get(uid) != states[1].get(uid)}
            self.assertEqual(different, {}, f"seed {SEED}: imapd and Dovecot; {self.on_disk()}")
            self.assertEqual(len(states[0]), len(wanted) + 10, f"seed {SEED}")
            self.assertFalse(removed & set(states[0]), f"seed {SEED}: what was removed is back")
            for uid, (text, flags) in wanted.items():
                self.assertEqual(states[0][uid][1], text, f"seed {SEED}: UID {uid}")
                self.assertEqual(states[0][uid][0], flags, f"seed {SEED}: UID {uid}")
            for number, client in enumerate(clients):
                self.assertEqual(client.seen(), states[0], f"seed {SEED}: client {number}, open all the time")
            validity = {client.imap.response("UIDVALIDITY")[1][0] for client in new}
            self.assertEqual(len(validity), 1)
            for client in clients + new:
                client.imap.logout()
            self.assertEqual(dovecot.complaints(), "")
        self.assertNotIn("rror", self.box.log())


if __name__ == "__main__":
    harness.main()
