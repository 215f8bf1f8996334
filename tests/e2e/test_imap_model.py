"""Several clients do things at random, one after the other, and a simple model says what each of them must see.

After every command everything that can be asked for is compared with the model, by a client that has been there all the time and by a
new one: UIDs, flags, keywords, texts, what a search finds, counts, modification sequences, names of mailboxes. What a client is told on
the way is compared with what it knew: nothing is told twice, no message is recent in two sessions. E2E_SEED repeats a run, E2E_ROUNDS
makes it longer.
"""

import os
import random
import re
import time

import harness
from harness import Case, crlf, message

SEED = int(os.environ.get("E2E_SEED") or random.randrange(1 << 30))
STEPS = 60 * int(os.environ.get("E2E_ROUNDS") or 3)
SYSTEM = (r"\Seen", r"\Answered", r"\Flagged", r"\Deleted", r"\Draft")
WORDS = ("word", "$Forwarded")
COUNTS = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ SIZE"


class Message:
    def __init__(self, uid, subject, octets, flags=()):
        self.uid, self.subject, self.octets, self.flags = uid, subject, octets, frozenset(flags)
        # What the server has said last; that it rises with every change, and only then, is looked at.
        self.modseq, self.is_changed, self.changes = 0, True, 0


class Mailbox:
    """What is in a mailbox, by the model."""

    def __init__(self):
        self.messages, self.next_uid, self.validity, self.highest, self.has_lost = {}, 1, None, 0, False
        # In which session a UID was recent.
        self.recent = {}

    def add(self, subject, octets, flags=()):
        uid, self.next_uid = self.next_uid, self.next_uid + 1
        self.messages[uid] = Message(uid, subject, octets, flags)
        return uid

    def store(self, uids, how, flags):
        for uid in uids:
            one = self.messages.get(uid)
            if one:
                new = {"+": one.flags | flags, "-": one.flags - flags, "": flags}[how]
                if new != one.flags:
                    one.is_changed, one.changes, one.flags = True, one.changes + 1, frozenset(new)

    def deleted(self):
        return {uid for uid, one in self.messages.items() if r"\Deleted" in one.flags}


class Client:
    """One connection, what it has open and what it has been told: UIDs (None: not yet asked for) and flags, by number."""

    def __init__(self, case, number):
        self.case, self.number = case, number
        self.imap = case.server.connect(timeout=60)
        self.imap.login()
        case.addCleanup(self.imap.close)
        self.name, self.told, self.writes, self.times = None, [], False, 0
        # How often a message had been changed when it was told.
        self.heard = {}

    def say(self, command, is_asked=False, may_expunge=True):
        """A command, and what it tells. What is asked for may be known already; what is told by the way may not."""
        completion, untagged = self.imap.say(command)
        for line in untagged:
            self.hear(line, is_asked, may_expunge)
        return completion, untagged

    def hear(self, line, is_asked, may_expunge):
        exists, expunge = re.match(rb"\* (\d+) EXISTS$", line), re.match(rb"\* (\d+) EXPUNGE$", line)
        fetch = re.match(rb"\* (\d+) FETCH \((?:UID (\d+) ?)?(?:FLAGS \(([^)]*)\))?", line)
        case = self.case
        if exists:
            case.assertGreater(int(exists[1]), len(self.told), f"{case.what}: {line!r}")
            self.told += [None] * (int(exists[1]) - len(self.told))
        elif expunge:
            case.assertTrue(may_expunge, f"{case.what}: {line!r} now")
            del self.told[int(expunge[1]) - 1]
        elif fetch and fetch[3] is not None:
            at, all_flags = int(fetch[1]) - 1, fetch[3].decode().split()
            flags = frozenset(all_flags) - {r"\Recent"}
            uid = int(fetch[2]) if fetch[2] else self.told[at] and self.told[at][0]
            one = case.model[self.name].messages.get(uid)
            if one:
                if self.told[at] and self.told[at][1] == flags and not is_asked:
                    case.assertGreater(one.changes, self.heard[uid], f"{case.what}: {line!r} is told twice")
                self.heard[uid] = one.changes if one.flags == flags else self.heard.get(uid, 0)
            self.told[at] = (uid, flags)

    def open(self, name, writes=True):
        self.told, self.heard, self.writes, self.times = [], {}, writes, self.times + 1
        completion, untagged = self.imap.say(f"{'SELECT' if writes else 'EXAMINE'} {name}")
        self.case.assertTrue(completion.startswith("OK"), f"{self.case.what}: {completion}")
        self.name = name
        found = b"\n".join(untagged)
        box = self.case.model[name]
        number = lambda pattern: int(re.search(pattern, found)[1])
        self.case.assertEqual(number(rb"\* (\d+) EXISTS"), len(box.messages), self.case.what)
        self.case.assertEqual(number(rb"UIDNEXT (\d+)"), box.next_uid, self.case.what)
        unseen = [at for at, uid in enumerate(box.messages, 1) if r"\Seen" not in box.messages[uid].flags]
        self.case.assertEqual([int(n) for n in re.findall(rb"UNSEEN (\d+)", found)], unseen[:1], self.case.what)
        recent = number(rb"\* (\d+) RECENT")
        self.told = [None] * len(box.messages)
        self.learn()
        if writes:
            self.take(recent)

    def take(self, count=None):
        """What is recent here has been so nowhere else."""
        _, untagged = self.say("UID SEARCH RECENT")
        found = set(search_result(untagged))
        box = self.case.model[self.name]
        if count is not None:
            self.case.assertEqual(len(found & set(box.messages)), count, self.case.what)
        for uid in found:
            whose = box.recent.setdefault(uid, self.session())
            self.case.assertEqual(whose, self.session(), f"{self.case.what}: UID {uid} is recent twice")

    def session(self):
        return self.number, self.times

    def learn(self):
        if self.told:
            self.say("FETCH 1:* (UID FLAGS)", is_asked=True, may_expunge=False)

    def known(self):
        return {one[0]: one[1] for one in self.told if one}


def search_result(untagged):
    return [int(n) for line in untagged if line.startswith(b"* SEARCH") for n in line.split(b"(")[0].split()[2:]]


class Model(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})
        self.model = {"INBOX": Mailbox()}
        self.subscribed = set()
        self.count, self.what = 0, ""

    # --- What clients do. Each says what it did, and changes the model.

    def text(self):
        self.count += 1
        subject = f"number {self.count}"
        return subject, crlf(message(subject, b"text %d\n" % self.count * (self.count % 5)))

    def some_flags(self):
        return frozenset(self.pick.sample(SYSTEM + WORDS, self.pick.randint(0, 3)))

    def some(self, client):
        """Numbers of what the client knows: as a set, and the UIDs."""
        first = self.pick.randint(1, len(client.told))
        last = min(len(client.told), first + self.pick.randint(0, 3))
        by_uid = self.pick.random() < 0.5
        uids = [one[0] for one in client.told[first - 1:last]]
        return by_uid, ",".join(map(str, uids)) if by_uid else f"{first}:{last}", uids

    def do_append(self, client):
        name, flags = self.pick.choice(sorted(self.model)), self.some_flags()
        subject, octets = self.text()
        command = b"APPEND %s (%s) {%d+}\r\n%s" % (name.encode(), " ".join(sorted(flags)).encode(), len(octets), octets)
        self.what += f"APPEND {name} {sorted(flags)}"
        completion, _ = client.say(command)
        uid = self.model[name].add(subject, octets, flags)
        self.assertRegex(completion, rf"^OK \[APPENDUID \d+ {uid}\]", self.what)

    def do_deliver(self, _):
        subject, octets = self.text()
        self.what += "a delivery"
        # In the same tick of the clock as a change of `new` by imapd it would be seen only when the time stamp is old.
        time.sleep(0.02)
        self.box.maildir.add(octets.replace(b"\r\n", b"\n"), age=0)
        self.model["INBOX"].add(subject, octets)

    def do_store(self, client):
        by_uid, numbers, uids = self.some(client)
        how, flags, silent = self.pick.choice(("+", "-", "")), self.some_flags(), self.pick.choice(("", ".SILENT"))
        command = f"{'UID ' * by_uid}STORE {numbers} {how}FLAGS{silent} ({' '.join(sorted(flags))})"
        self.what += command
        if how != "" and not flags:
            return
        box = self.model[client.name]
        completion, untagged = client.say(command, is_asked=True, may_expunge=by_uid)
        if not client.writes:
            self.assertTrue(completion.startswith("NO "), f"{self.what}: {completion}")
            return
        there = [uid for uid in uids if uid in box.messages]
        # RFC 2180 sections 4.2.2 and 4.2.3: it hears that some are gone, if it asks for the new flags.
        wanted = "NO [EXPUNGEISSUED]" if len(there) < len(uids) and not by_uid and not silent else "OK "
        self.assertTrue(completion.startswith(wanted), f"{self.what}: {completion}")
        box.store(uids, how, flags)
        if silent:
            # It knows what it has asked for.
            for at, one in enumerate(client.told):
                if one and one[0] in there:
                    client.told[at] = (one[0], box.messages[one[0]].flags)
                    client.heard[one[0]] = box.messages[one[0]].changes
        else:
            told = client.known()
            for uid in there:
                self.assertEqual(told[uid], box.messages[uid].flags, f"{self.what}: {untagged}")

    def gone(self, name, uids):
        for uid in uids:
            self.model[name].has_lost |= self.model[name].messages.pop(uid, None) is not None

    def known_and_deleted(self, client):
        """What EXPUNGE removes: of what the client does not know yet, nothing."""
        return self.model[client.name].deleted() & {one[0] for one in client.told if one}

    def do_expunge(self, client):
        box = self.model[client.name]
        command, going = "EXPUNGE", self.known_and_deleted(client)
        if self.pick.random() < 0.4:
            _, numbers, uids = self.some(client)
            command, going = f"UID EXPUNGE {','.join(map(str, uids))}", going & set(uids)
        self.what += command
        completion, _ = client.say(command)
        if client.writes:
            self.assertTrue(completion.startswith("OK "), f"{self.what}: {completion}")
            self.gone(client.name, going)
        else:
            self.assertTrue(completion.startswith("NO "), f"{self.what}: {completion}")

    def do_copy(self, client):
        by_uid, numbers, uids = self.some(client)
        is_move, to = self.pick.random() < 0.5, self.pick.choice(sorted(self.model))
        command = f"{'UID ' * by_uid}{'MOVE' if is_move else 'COPY'} {numbers} {to}"
        self.what += command
        box, target = self.model[client.name], self.model[to]
        there = [uid for uid in uids if uid in box.messages]
        completion, untagged = client.say(command)
        if is_move and not client.writes:
            self.assertTrue(completion.startswith("NO "), f"{self.what}: {completion}")
            return
        if len(there) < len(uids) and not by_uid:
            # RFC 2180 section 4.4.1: what is gone stops the rest.
            self.assertTrue(completion.startswith("NO [EXPUNGEISSUED]"), f"{self.what}: {completion}")
            return
        self.assertTrue(completion.startswith("OK "), f"{self.what}: {completion}")
        code = re.search(r"\[COPYUID \d+ (\S+) (\S+)\]", completion + b"".join(untagged).decode(errors="replace"))
        new = [target.add(box.messages[uid].subject, box.messages[uid].octets, box.messages[uid].flags) for uid in there]
        self.assertEqual((numbers_of(code[1]), numbers_of(code[2])) if code else ([], []), (there, new), f"{self.what}: {completion}")
        if is_move:
            self.gone(client.name, there)

    def do_search(self, client):
        flag, word, low = self.pick.choice(SYSTEM), self.pick.choice(WORDS), self.pick.randint(1, 20)
        box, text = self.model[client.name], f"number {self.pick.randint(1, max(1, self.count))}"
        rows = {flag[1:].upper(): lambda one: flag in one.flags, "UN" + flag[1:].upper(): lambda one: flag not in one.flags,
                f"KEYWORD {word}": lambda one: word in one.flags,
                f"UID {low}:*": lambda one: one.uid >= low or one.uid == max(box.messages),
                f"NOT (OR {flag[1:].upper()} KEYWORD {word})": lambda one: not {flag, word} & one.flags,
                f'SUBJECT "{text}"': lambda one: text in one.subject, f"LARGER {low * 20}": lambda one: len(one.octets) > low * 20}
        key = self.pick.choice(sorted(rows))
        self.what += f"UID SEARCH {key}"
        client.say("NOOP")
        _, untagged = client.say(f"UID SEARCH {key}")
        self.assertEqual(search_result(untagged), [uid for uid, one in box.messages.items() if rows[key](one)], self.what)

    def do_open(self, client):
        name, writes = self.pick.choice(sorted(self.model)), self.pick.random() < 0.8
        how = self.pick.choice(("CLOSE", "UNSELECT", None))
        self.what += f"{how}, opens {name}{'' if writes else ' to look'}"
        going = self.known_and_deleted(client)
        if how:
            self.assertTrue(client.imap.say(how)[0].startswith("OK "), self.what)
            if how == "CLOSE" and client.writes:
                self.gone(client.name, going)
        client.open(name, writes)

    def done(self, client, command):
        completion, _ = client.say(command)
        self.assertTrue(completion.startswith("OK "), f"{self.what}: {completion}")

    def do_mailboxes(self, client):
        others = sorted(set(self.model) - {"INBOX"} - {one.name for one in self.clients})
        self.count += 1
        new = f"M{self.count}"
        if others and self.pick.random() < 0.5:
            name = self.pick.choice(others)
            if self.pick.random() < 0.5:
                self.what += f"RENAME {name} {new}"
                self.done(client, f"RENAME {name} {new}")
                self.model[new] = self.model.pop(name)
            else:
                self.what += f"DELETE {name}"
                self.done(client, f"DELETE {name}")
                del self.model[name]
        elif len(self.model) < 4:
            self.what += f"CREATE {new}"
            self.done(client, f"CREATE {new}")
            self.done(client, f"SUBSCRIBE {new}")
            self.model[new] = Mailbox()
            self.subscribed.add(new)

    def do_noop(self, client):
        self.what += "NOOP"

    # --- What all can see.

    def names(self, command):
        return {line.split()[-1].decode() for line in self.watcher.imap.ok(f'{command} "" *')}

    def check(self, client):
        """After NOOP the client knows what the model knows."""
        client.say("NOOP")
        box = self.model[client.name]
        self.assertEqual(len(client.told), len(box.messages), self.what)
        for one, flags in zip(client.told, (one.flags for one in box.messages.values())):
            self.assertTrue(one is None or one[1] == flags, f"{self.what}: told {one}, and it is {flags}")
        client.learn()
        if client.writes:
            client.take()
        self.assertEqual([one[0] for one in client.told], list(box.messages), self.what)
        self.assertEqual([one[1] for one in client.told], [one.flags for one in box.messages.values()], self.what)

    def look(self, name):
        """Everything of a mailbox, by a client that opens it anew without changing anything."""
        box, watcher = self.model[name], self.watcher
        watcher.open(name, writes=False)
        status = b" ".join(watcher.imap.ok(f"STATUS {name} ({COUNTS})"))
        number = lambda item: int(re.search(rb"%s (\d+)" % item, status)[1])
        unseen = sum(r"\Seen" not in one.flags for one in box.messages.values())
        self.assertEqual([number(item) for item in (b"MESSAGES", b"UIDNEXT", b"UNSEEN", b"SIZE")],
                         [len(box.messages), box.next_uid, unseen, sum(len(one.octets) for one in box.messages.values())], self.what)
        box.validity = box.validity or number(b"UIDVALIDITY")
        self.assertEqual(number(b"UIDVALIDITY"), box.validity, self.what)
        highest = number(b"HIGHESTMODSEQ")
        has_changed = box.has_lost or any(one.is_changed for one in box.messages.values())
        (self.assertGreater if has_changed else self.assertEqual)(highest, box.highest if box.highest else highest - has_changed, self.what)
        found = {}
        if box.messages:
            for line in watcher.imap.ok("UID FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[])"):
                match = re.match(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\) BODY\[\] \{\d+\}\r\n(.*)\)$", line, re.S)
                found[int(match[1])] = (frozenset(match[2].decode().split()) - {r"\Recent"}, int(match[3]), match[4])
        self.assertEqual(list(found), list(box.messages), self.what)
        changed = set()
        for uid, one in box.messages.items():
            flags, modseq, octets = found[uid]
            self.assertEqual((flags, octets), (one.flags, one.octets), f"{self.what}: UID {uid}")
            if one.is_changed:
                self.assertGreater(modseq, one.modseq, f"{self.what}: UID {uid} has changed")
                changed.add(uid)
            else:
                self.assertEqual(modseq, one.modseq, f"{self.what}: UID {uid} has not changed")
            one.modseq, one.is_changed = modseq, False
            self.assertLessEqual(modseq, highest, self.what)
        if box.highest and box.messages:
            told = watcher.imap.ok(f"UID FETCH 1:* (UID) (CHANGEDSINCE {box.highest})")
            self.assertEqual({int(re.search(rb"UID (\d+)", line)[1]) for line in told}, changed, f"{self.what}: since {box.highest}")
        box.highest, box.has_lost = highest, False
        watcher.imap.ok("UNSELECT")

    def step(self, step, things, needs_messages):
        client, thing = self.pick.choice(self.clients), self.pick.choice(things)
        self.what = f"seed {SEED}, step {step}, client {client.number} in {client.name}: "
        while any(one is None or one[0] is None for one in client.told):
            client.learn()
        if thing in needs_messages and not client.told:
            return
        thing(client)
        if self.pick.random() < 0.5:
            for name in self.model:
                self.look(name)
        if self.pick.random() < 0.3:
            self.check(client)
        self.assertEqual(self.names("LIST"), set(self.model), self.what)
        self.assertEqual(self.names("LSUB"), self.subscribed, self.what)

    def test_many_clients_against_a_model(self):
        print(f"E2E_SEED={SEED}")
        self.pick = random.Random(SEED)
        for _ in range(5):
            self.what = "in the beginning: "
            self.do_deliver(None)
        self.watcher = Client(self, 0)
        self.clients = [Client(self, number) for number in range(1, 6)]
        for client in self.clients:
            client.open("INBOX")
        things = [self.do_append, self.do_deliver, self.do_store, self.do_store, self.do_store, self.do_expunge, self.do_copy, self.do_copy,
                  self.do_search, self.do_open, self.do_mailboxes, self.do_noop]
        needs_messages = (self.do_store, self.do_expunge, self.do_copy, self.do_search)
        story = []
        try:
            for step in range(STEPS):
                self.step(step, things, needs_messages)
                story.append(self.what)
        except AssertionError:
            print("\n".join(story[-40:]))
            raise
        self.what = f"seed {SEED}, in the end"
        for client in self.clients:
            self.check(client)
        for name in self.model:
            self.look(name)
        self.assertNotIn("rror", self.box.log())


def numbers_of(text):
    """A set of UIDs as a list."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


if __name__ == "__main__":
    harness.main()
