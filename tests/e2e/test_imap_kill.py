"""kill -9 of imapd's processes while it appends, copies, moves, stores, expunges, and makes, renames and deletes mailboxes.

Whatever had been acknowledged is there afterwards; what was under way is done, not done, or done for some of the messages,
and each message that was moved is in one place. No UID ever means another message, UIDVALIDITY stays, the index makes no
difference, and Dovecot sees the same. E2E_SEED and E2E_ROUNDS choose other rounds than those of every day.
"""

import contextlib
import os
import random
import re
import time

import harness
from harness import Case, needs_root, parent_of
from test_dovecot import Dovecot

SEED = int(os.environ.get("E2E_SEED", "3501"))
ROUNDS = int(os.environ.get("E2E_ROUNDS", "20"))
# Messages of one command: enough for a kill to come in the middle.
MANY = 120
KINDS = ("append", "append", "copy", "move", "move", "store", "expunge", "close", "create", "rename", "rename", "rename inbox", "delete")


def raw(number):
    return b"Message-ID: <m%d@x>\r\nSubject: message %d\r\n\r\n%s" % (number, number, b"text\r\n" * (1 + number % 7))


class Seen:
    """A mailbox as a client sees it: UIDVALIDITY, and flags and identity of each message by UID."""

    def __init__(self, validity, next_uid, messages):
        self.validity, self.next_uid, self.messages = validity, next_uid, messages

    def __eq__(self, other):
        return (self.validity, self.messages) == (other.validity, other.messages)

    def __repr__(self):
        return f"V{self.validity} {self.messages}"

    def ids(self):
        return sorted(identity for identity, _ in self.messages.values())


def look(imap, mailbox):
    """What is in a mailbox, every message with all of its octets."""
    status = b" ".join(imap.ok(f"EXAMINE {mailbox}"))
    validity, next_uid = (int(re.search(rb"\[%s (\d+)\]" % name, status)[1]) for name in (b"UIDVALIDITY", b"UIDNEXT"))
    messages = {}
    for response in imap.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[])"):
        match = re.match(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) BODY\[\] \{\d+\}\r\n(.*)\)$", response, re.S)
        uid, flags, octets = int(match[1]), set(match[2].split()) - {rb"\Recent"}, match[3]
        number = int(re.search(rb"<m(\d+)@x>", octets)[1])
        assert octets == raw(number), f"message {number} is not whole: {octets!r}"
        messages[uid] = (number, frozenset(flag.decode() for flag in flags))
    return Seen(validity, next_uid, messages)


def state_of(imap):
    """All mailboxes by their names."""
    names = [re.search(rb"(\S+)$", line)[1].decode() for line in imap.ok('LIST "" *') if b"\\Noselect" not in line]
    return {name: look(imap, name) for name in names}


def append(numbers, mailbox):
    """APPEND of several messages in one command (RFC 3502)."""
    texts = (raw(number) for number in numbers)
    return f"APPEND {mailbox}".encode() + b"".join(b" {%d+}\r\n%s" % (len(text), text) for text in texts)


class Judge:
    """What may be there after a command that was killed in the middle."""

    def judge(self, what, kind, command, completion, before, after):
        """Compares what is there with what may be there."""
        done = completion.startswith("OK")
        equal, subset = self.assertEqual, self.assertLessEqual
        same = [name for name in before if name in after]
        if kind not in ("rename", "rename inbox", "delete"):
            subset(set(before), set(after), what)
        for name in same:
            if kind != "rename inbox" or name != "old":
                equal(after[name].validity, before[name].validity, f"{what}: {name}")
                self.assertGreaterEqual(after[name].next_uid, before[name].next_uid, f"{what}: {name}")
        if kind == "append":
            target = command.split()[1].decode()
            fresh = {uid: m for uid, m in after[target].messages.items() if uid not in before[target].messages}
            wanted = [int(n) for n in re.findall(rb"<m(\d+)@x>", command)]
            equal({uid: m for uid, m in after[target].messages.items() if uid not in fresh}, before[target].messages, what)
            # They come one after the other (rename), with their UIDs after the last.
            here = [m[0] for _, m in sorted(fresh.items())]
            equal(here, wanted if done else wanted[:len(here)], f"{what}: the first of them")
        elif kind in ("copy", "move"):
            target = command.split()[-1].decode()
            source = before["INBOX"].messages
            subset(before[target].messages.items(), after[target].messages.items(), what)
            fresh = [m for uid, m in after[target].messages.items() if uid not in before[target].messages]
            if kind == "copy":
                equal(after["INBOX"], before["INBOX"], what)
                subset(set(fresh), set(source.values()), what)
                equal(len(fresh), len(source) if done else len(set(fresh)), what)
            else:
                left = list(after["INBOX"].messages.values())
                equal(sorted(m[0] for m in left + fresh), before["INBOX"].ids(), f"{what}: each once")
                equal(set(left + fresh), set(source.values()), f"{what}: with its flags")
                self.assertFalse(done and left, what)
        elif kind == "store":
            for uid, (identity, flags) in before["INBOX"].messages.items():
                word = command.split(b"(")[1][:-1].decode().split()
                change = {b"+": flags.union, b"-": flags.difference}.get(command.split()[2][:1], lambda new: frozenset(new))
                allowed = [change(word)] if done else [change(word), flags]
                self.assertIn(after["INBOX"].messages[uid][1], allowed, f"{what}: UID {uid}")
                equal(after["INBOX"].messages[uid][0], identity, what)
            equal(set(after["INBOX"].messages), set(before["INBOX"].messages), what)
        elif kind in ("expunge", "close"):
            deleted = {uid for uid, (_, flags) in before["INBOX"].messages.items() if r"\Deleted" in flags}
            gone = set(before["INBOX"].messages) - set(after["INBOX"].messages)
            subset(gone, deleted, what)
            equal(gone, deleted if done else gone, what)
            subset(after["INBOX"].messages.items(), before["INBOX"].messages.items(), what)
        elif kind == "rename":
            old, new = command.decode().split()[1:]
            equal((old in after) + (new in after), 1, f"{what}: {sorted(after)}")
            self.assertIn(after.get(new, after.get(old)), [before[old]], what)
            self.assertFalse(done and old in after, what)
        elif kind == "rename inbox":
            both = {**after.get("old", Seen(0, 0, {})).messages, **after["INBOX"].messages}
            had = sorted(before["INBOX"].ids() + (before["old"].ids() if "old" in before else []))
            here = after["INBOX"].ids() + (after["old"].ids() if "old" in after else [])
            equal(sorted(here), had, f"{what}: each once ({len(both)})")
        elif kind == "delete":
            name = command.split()[1].decode()
            if name in after:
                self.assertFalse(done, what)
                equal(after[name], before[name], what)
        if kind in ("store", "expunge", "close", "create", "delete", "rename"):
            for name in same:
                if name != "INBOX" or kind in ("create", "delete", "rename"):
                    equal(after[name], before[name], f"{what}: {name}")


@needs_root
class ImapKill(Judge, Case):
    def start(self):
        self.server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})
        self.count = 0
        # All UIDs that any client has seen: (mailbox's UIDVALIDITY, UID) and whose they are.
        self.known = {}
        self.killed, self.interrupted, self.kinds, self.done = set(), 0, [], set()

    def roles(self):
        servers, found = self.box.servers(), {}
        for pid in servers:
            with contextlib.suppress(OSError):
                is_session = b"--session" in harness.arguments_of(pid)
                found["session" if is_session else "front" if parent_of(pid) in servers else "guard"] = pid
        return found

    @contextlib.contextmanager
    def imap(self, tls=False):
        with self.server.connect(tls=tls, timeout=60) as imap:
            imap.login()
            yield imap
            imap.quit()

    def new(self, count):
        self.count += count
        return range(self.count - count + 1, self.count + 1)

    def look_again(self, what):
        """What a new session sees; without the index it must be the same."""
        with self.imap() as imap:
            seen = state_of(imap)
        for name, mailbox in seen.items():
            for uid, (number, _) in mailbox.messages.items():
                owner = self.known.setdefault((mailbox.validity, uid), number)
                self.assertEqual(owner, number, f"{what}: UID {uid} of {name} was another message's")
        for path in self.box.maildir.path.rglob("tinmail-*"):
            if path.name in ("tinmail-index", "tinmail-index.log", "tinmail-cache", "tinmail-cache.map"):
                path.unlink()
        with self.imap() as imap:
            self.assertEqual(state_of(imap), seen, f"{what}: the index makes a difference")
        return seen

    def command(self, pick, seen):
        """One command: the mailbox to select, what to send, its kind."""
        # Each of them before one comes again.
        self.kinds = self.kinds or pick.sample(KINDS, len(KINDS))
        kind = self.kinds.pop()
        other = "B" if "B" in seen else "C"
        if kind == "append":
            return None, append(self.new(pick.choice((1, 20, MANY))), pick.choice(("INBOX", other))), kind
        if kind in ("copy", "move"):
            return "INBOX", f"UID {kind.upper()} 1:* {other}".encode(), kind
        if kind == "store":
            return "INBOX", pick.choice((rb"STORE 1:* +FLAGS (\Flagged word%d)" % pick.randrange(4), rb"STORE 1:* -FLAGS.SILENT (\Seen)",
                                         rb"STORE 1:* FLAGS (\Seen)")), kind
        if kind in ("expunge", "close"):
            return "INBOX", kind.upper().encode(), kind
        if kind == "create":
            return None, f"CREATE D.E{len(seen)}".encode(), kind
        if kind == "rename":
            return None, b"RENAME B C" if "B" in seen else b"RENAME C B", kind
        if kind == "rename inbox":
            return None, b"RENAME INBOX old", kind
        return None, f"DELETE {'old' if 'old' in seen else other}".encode(), kind

    def prepare(self, pick):
        """Enough messages to work on, and flags."""
        with self.imap() as imap:
            seen = state_of(imap)
            if "B" not in seen and "C" not in seen:
                imap.ok("CREATE B")
            for name in set(seen) & {"B", "C", "INBOX"}:
                if len(seen[name].messages) > 3 * MANY:
                    imap.ok(f"SELECT {name}")
                    imap.ok(r"STORE 41:* +FLAGS.SILENT (\Deleted)")
                    imap.ok("CLOSE")
            if len(seen["INBOX"].messages) < MANY:
                imap.ok(append(self.new(MANY), "INBOX"))
            imap.ok("SELECT INBOX")
            imap.ok(rf"STORE {pick.randrange(1, 50)}:{pick.randrange(50, 100)} FLAGS.SILENT (\Seen \Deleted)")
        return self.look_again("before")

    def round(self, pick, number):
        before = self.prepare(pick)
        tls = pick.random() < 0.5
        mailbox, command, kind = self.command(pick, before)
        with self.server.connect(tls=tls, timeout=60) as imap:
            imap.login()
            if mailbox:
                imap.ok(f"SELECT {mailbox}")
            roles = self.roles()
            role = pick.choice(["session", *sorted(roles)])
            delay = pick.random() ** 2 * self.seconds.get(kind, 0.01) * 1.2
            what = f"round {number}: {command[:60]!r}, tls {tls}, killed {role} after {delay:.4f} s"
            started = time.monotonic()
            imap.send(b"x " + command + b"\r\n")
            while time.monotonic() - started < delay:
                pass
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(roles[role], 9)
            completion = ""
            with contextlib.suppress(AssertionError, OSError):
                completion, _ = imap.completion(b"x")
                self.seconds[kind] = max(self.seconds.get(kind, 0), min(0.1, time.monotonic() - started))
        self.box.wait_idle()
        self.killed.add(role)
        self.done.add(kind)
        self.interrupted += not completion
        after = self.look_again(what)
        self.judge(what, kind, command, completion, before, after)
        return after

    def test_kill_in_the_middle_of_commands(self):
        self.start()
        self.seconds = {}
        pick = random.Random(SEED)
        for number in range(ROUNDS):
            seen = self.round(pick, f"{number} of seed {SEED}")
            if number % 15 == 14:
                self.compare_with_dovecot(seen)
        self.assertLessEqual({"session", "front"}, self.killed)
        self.assertTrue(self.done == set(KINDS) or ROUNDS < len(KINDS), f"never done: {set(KINDS) - self.done}")
        self.assertGreater(self.interrupted, ROUNDS // 5, "too few commands were interrupted")

    def compare_with_dovecot(self, seen):
        with Dovecot(self.box) as dovecot:
            for name, mailbox in seen.items():
                connection = dovecot.imap()
                connection.select(name, readonly=True)
                self.assertEqual(int(connection.response("UIDVALIDITY")[1][0]), mailbox.validity, name)
                uids = [int(uid) for uid in connection.uid("SEARCH", "ALL")[1][0].split()]
                self.assertEqual(uids, sorted(mailbox.messages), name)
                for uid, line in zip(uids, connection.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1][::2]
                                     if uids else []):
                    self.assertIn(b"<m%d@x>" % mailbox.messages[uid][0], line[1], name)
                connection.logout()


if __name__ == "__main__":
    harness.main()
