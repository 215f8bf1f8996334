"""Many connections to one mailbox, as Thunderbird and Apple Mail have them: three in IDLE, others at work. Each hears of every
change once, in an order that makes sense, and in the end all of them know the same.

E2E_SEED repeats a run.
"""

import contextlib
import os
import random
import re
import select
import threading
import time

import harness
from harness import Case, crlf, message, wait_until

SEED = int(os.environ.get("E2E_SEED") or random.randrange(1 << 30))
FLAGS = (r"\Seen", r"\Answered", r"\Flagged", r"\Deleted", "word")
NOT_STORED = {r"\Recent"}


class Known:
    """What a client knows of the mailbox: a UID, once it has asked, and flags for each number. Says what makes no sense."""

    def __init__(self, imap):
        self.imap, self.messages, self.heard = imap, [], []
        for line in imap.ok("SELECT INBOX"):
            self.hear(line)
        self.heard.clear()
        self.learn(imap.ok("FETCH 1:* (UID FLAGS)") if self.messages else [])

    def hear(self, line):
        """Takes an untagged response into account."""
        exists, expunge = re.match(rb"\* (\d+) EXISTS$", line), re.match(rb"\* (\d+) EXPUNGE$", line)
        fetch = re.match(rb"\* (\d+) FETCH \((.*)\)$", line)
        if exists:
            count = int(exists[1])
            assert count >= len(self.messages), f"EXISTS {count}, but there were {len(self.messages)}"
            assert count > len(self.messages) or not self.heard, f"EXISTS {count} says nothing new"
            self.messages += [None] * (count - len(self.messages))
        elif expunge:
            del self.messages[int(expunge[1]) - 1]
        elif fetch:
            self.learn([line])
        if exists or expunge or fetch:
            self.heard.append(line)

    def learn(self, lines):
        for line in lines:
            found = re.match(rb"\* (\d+) FETCH \((?:UID (\d+) )?FLAGS \(([^)]*)\)", line)
            if found:
                at = int(found[1]) - 1
                assert at < len(self.messages), f"{line!r}, but there are {len(self.messages)}"
                uid = int(found[2]) if found[2] else self.messages[at] and self.messages[at][0]
                self.messages[at] = (uid, frozenset(found[3].decode().split()) - NOT_STORED)
            else:
                self.hear(line)

    def say(self, command):
        """A command; what else it tells. A refusal is for the caller."""
        completion, untagged = self.imap.say(command)
        for line in untagged:
            self.hear(line)
        return completion

    def whole(self):
        """UIDs and flags, with what it did not know asked for."""
        if self.messages:
            self.learn(self.imap.ok("FETCH 1:* (UID FLAGS)"))
        return self.messages


class Idler(Known):
    """One that waits."""

    def idle(self):
        self.imap.send("idle IDLE\r\n")
        assert self.imap.response().startswith(b"+")
        self.heard.clear()

    def wait(self, count, seconds=harness.SOON):
        """The responses that come, so many and, for a moment, no more."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            enough = len(self.heard) >= count
            if b"\n" not in self.imap.buffer and not select.select([self.imap.socket], [], [], 0.4 if enough else 0.1)[0]:
                if enough:
                    break
                continue
            line = self.imap.response()
            # That somebody is there is no news, and how many are recent is not counted here.
            if not re.match(rb"\* (OK |\d+ RECENT|FLAGS)", line):
                self.hear(line)
        heard, self.heard = self.heard, []
        return heard

    def done(self):
        self.imap.send("DONE\r\n")
        for line in self.imap.completion(b"idle")[1]:
            self.hear(line)


class ManySessions(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})

    def known(self, kind=Known):
        imap = self.server.connect(timeout=60)
        imap.login()
        self.addCleanup(imap.close)
        return kind(imap)

    def test_three_in_idle_hear_of_each_change_once(self):
        for number in range(1, 6):
            self.box.maildir.add(message(f"number {number}"), flags="S")
        worker = self.known()
        worker.say("CREATE Other")
        idlers = [self.known(Idler) for _ in range(3)]
        for idler in idlers:
            idler.idle()
        text = crlf(message("appended"))
        append = b"APPEND INBOX (\\Seen) {%d+}\r\n%s" % (len(text), text)
        rows = (
            (r"STORE 2 +FLAGS (\Flagged)", [rb"\* 2 FETCH \(FLAGS \(\\Flagged \\Seen\)\)"]),
            (r"STORE 2 +FLAGS (\Flagged)", []),
            (r"STORE 1:3 +FLAGS.SILENT (\Answered)", [rb"\* 1 FETCH .*", rb"\* 2 FETCH .*", rb"\* 3 FETCH .*"]),
            (append, [rb"\* 6 EXISTS"]),
            (r"STORE 1,3 +FLAGS.SILENT (\Deleted)", [rb"\* 1 FETCH .*", rb"\* 3 FETCH .*"]),
            ("EXPUNGE", [rb"\* 3 EXPUNGE", rb"\* 1 EXPUNGE"]),
            ("MOVE 1 Other", [rb"\* 1 EXPUNGE"]),
            ("COPY 1:2 INBOX", [rb"\* 5 EXISTS"]),
            ("MOVE 1 INBOX", None),
            ("NOOP", []),
        )
        for command, wanted in rows:
            self.assertTrue(worker.say(command).startswith("OK"), command)
            for idler in idlers:
                heard = idler.wait(2 if wanted is None else len(wanted))
                if wanted is None:
                    # In which order it comes and goes is left to the server.
                    self.assertEqual(sorted(line.split()[2] for line in heard), [b"EXISTS", b"EXPUNGE"], command)
                    continue
                self.assertEqual(len(heard), len(wanted), (command, heard))
                for line, pattern in zip(heard, wanted):
                    self.assertRegex(line, rb"^" + pattern + rb"$")
        # A delivery, and a program that changes flags by renaming.
        self.box.maildir.add(message("delivered"))
        for idler in idlers:
            self.assertEqual(idler.wait(1), [b"* 6 EXISTS"])
        time.sleep(2.1)
        path = next(path for path in self.box.maildir.path.glob("cur/*") if path.name.endswith(":2,S"))
        path.rename(f"{path}T")
        for idler in idlers:
            heard = idler.wait(1)
            self.assertEqual(len(heard), 1, heard)
            self.assertRegex(heard[0], rb"^\* \d FETCH \(FLAGS \(\\Deleted \\Seen")
        for idler in idlers:
            idler.done()
        states = [one.whole() for one in (*idlers, self.known())]
        for state in states[1:]:
            self.assertEqual(state, states[0])

    def test_all_know_the_same_in_the_end(self):
        """Five at work at random, three in IDLE, deliveries between."""
        print(f"E2E_SEED={SEED}")
        for number in range(20):
            self.box.maildir.add(message(f"number {number}"), flags="")
        self.known().say("CREATE Other")
        idlers, workers, errors = [self.known(Idler) for _ in range(3)], [self.known() for _ in range(5)], []
        for idler in idlers:
            idler.idle()
        stop = threading.Event()

        def work(number, worker):
            pick = random.Random(SEED + number)
            try:
                for step in range(60):
                    count = len(worker.messages)
                    first = pick.randint(1, max(1, count))
                    some = f"{first}:{min(count, first + pick.randint(0, 3))}"
                    text = crlf(message(f"{number} {step}"))
                    commands = [b"APPEND INBOX (%s) {%d+}\r\n%s" % (pick.choice(FLAGS).encode(), len(text), text), "NOOP"]
                    if count:
                        flags = " ".join(pick.sample(FLAGS, pick.randint(0, 3)))
                        commands += [f"STORE {some} {how}FLAGS{silent} ({flags})" for how in ("+", "-", "") for silent in ("", ".SILENT")]
                        commands += ["EXPUNGE", f"COPY {some} INBOX", f"MOVE {some} Other", f"FETCH {some} (FLAGS)", f"FETCH {some} BODY[TEXT]"]
                    command = pick.choice(commands)
                    completion = worker.say(command)
                    # RFC 2180: messages that are gone may be told so.
                    if not re.match(r"OK|NO \[(EXPUNGEISSUED|NONEXISTENT)\]", completion):
                        errors.append((command, completion))
            except (AssertionError, OSError) as error:
                errors.append((number, repr(error)))

        def wait(idler):
            try:
                while not stop.is_set():
                    idler.wait(1, seconds=0.5)
            except (AssertionError, OSError) as error:
                errors.append(("an idler", repr(error)))

        at_work = [threading.Thread(target=work, args=pair) for pair in enumerate(workers)]
        waiting = [threading.Thread(target=wait, args=(idler,)) for idler in idlers]
        for thread in at_work + waiting:
            thread.start()
        for number in range(10):
            self.box.maildir.add(message(f"delivered {number}"))
            time.sleep(0.1)
        for thread in at_work:
            thread.join()
        last = self.known().whole()

        def knows_it(idler):
            told = [known and known[1] for known in list(idler.messages)]
            return len(told) == len(last) and all(flags in (None, new) for flags, (_, new) in zip(told, last))
        # If they never do, that is said below, with what is wrong.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: errors or all(map(knows_it, idlers)), "those in IDLE know it all")
        stop.set()
        for thread in waiting:
            thread.join()
        self.assertEqual(errors, [])
        for idler in idlers:
            idler.done()
        for worker in workers:
            self.assertTrue(worker.say("NOOP").startswith("OK"))
        fresh = self.known().whole()
        # First what each knew by being told.
        for one in (*idlers, *workers):
            told = [known and known[1] for known in one.messages]
            self.assertEqual(len(told), len(fresh))
            # What a worker has changed silently it has not been told.
            if one in idlers:
                wrong = [(at + 1, flags, new) for at, (flags, (_, new)) in enumerate(zip(told, fresh)) if flags not in (None, new)]
                self.assertEqual(wrong, [], "told and not so")
            self.assertEqual(one.whole(), fresh)


if __name__ == "__main__":
    harness.main()
