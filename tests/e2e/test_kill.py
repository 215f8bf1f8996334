"""kill -9 of each of the three processes at random points: no message is lost, none is deleted without QUIT.

The points are random but the same in every run: the seed is in the test's name and in every message of failure.
"""

import contextlib
import os
import random
import time

import harness
from harness import Case, message, needs_root, parent_of, wait_until

ROUNDS = 50


@needs_root
class Kill(Case):
    def setUp(self):
        # More than cps of the shipped files lets in where every connection is a short one.
        self.server = self.serve(change={"cps": "1000 1", "per_source": "UNLIMITED"})
        self.maildir = self.box.maildir
        self.hung = []

    def refill(self):
        while len(self.maildir.files()) < 6:
            self.maildir.add(message(f"message {self.maildir.count}", b"line\n" * 2000))
        return self.maildir.contents()

    def roles(self):
        """The connection's processes by what they do now."""
        servers = self.box.servers()
        found = {}
        for pid in servers:
            with contextlib.suppress(OSError):
                if b"--session" in harness.arguments_of(pid):
                    found["session"] = pid
                elif parent_of(pid) in servers:
                    found["front"] = pid
                else:
                    found["guard"] = pid
        return found

    def handed_over(self):
        """Whether a session goes on without the front. A child that is still about to become one is waited for."""
        return "session" in wait_until(lambda: (roles := self.roles()).keys() & {"session"} or not roles and {"none"},
                                       "a session, or the connection's end")

    def unlocked_at_once(self):
        """Logs in as a client would that lost its connection and tries again."""
        until = time.monotonic() + harness.SOON
        while True:
            with self.server.connect() as pop:
                pop.ok(f"USER {self.box.user.name}")
                reply = pop.say(f"PASS {self.box.user.password}")
                if reply.startswith("+OK"):
                    count = int(pop.ok("STAT").split()[1])
                    ids = [line.split()[1] for line in pop.lines("UIDL")]
                    pop.quit()
                    return count, ids
                self.assertIn("[IN-USE]", reply)
                self.assertLess(time.monotonic(), until, "the maildrop stays locked")
            time.sleep(0.05)

    def sees_the_end(self, pop, what=""):
        """The client's connection ends: it does not hang."""
        pop.socket.settimeout(60)
        try:
            pop.rest()
        except TimeoutError:
            self.hung.append(what)
        except OSError:
            pass
        pop.close()

    def round(self, chance, number):
        before = self.refill()
        _, ids = self.unlocked_at_once()
        # Its session may not have ended when its client knows that it will: it is not the one to be killed.
        self.box.wait_idle()
        tls = chance.random() < 0.5
        stage = chance.choice(["greeting", "user", "in PASS", "transaction", "transaction", "in RETR", "marked", "marked"])
        what = f"round {number}: {stage}, tls {tls}"
        pop = self.server.connect(tls=tls)
        if stage == "user":
            pop.ok(f"USER {self.box.user.name}")
        elif stage == "in PASS":
            pop.send(f"USER {self.box.user.name}\r\nPASS {self.box.user.password}\r\nDELE 1\r\nDELE 2\r\n")
            time.sleep(chance.random() * 0.02)
        elif stage != "greeting":
            pop.login()
            if stage == "in RETR":
                pop.send("RETR 1\r\nRETR 2\r\nRETR 3\r\nDELE 1\r\nRETR 4\r\n")
                time.sleep(chance.random() * 0.005)
            if stage == "marked":
                pop.ok("DELE 1")
                pop.ok("DELE 3")
        role, pid = chance.choice(sorted(wait_until(self.roles, "a process to kill").items()))
        what += f", killed the {role}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        if role == "front" and not tls and self.handed_over():
            # In clear the front had handed over already: the session goes on, and ends with the client.
            pop.close()
        else:
            self.sees_the_end(pop, what)
        count, after = self.unlocked_at_once()
        self.assertEqual(self.maildir.contents(), before, what)
        self.assertEqual((count, after), (len(before), ids), what)
        self.box.wait_idle()
        return role

    def test_kill_at_random_points_seed_1939(self):
        chance = random.Random(1939)
        killed = [self.round(chance, number) for number in range(ROUNDS)]
        self.assertEqual(set(killed), {"guard", "front", "session"})
        self.assertEqual(self.hung, [], "the client's connection stayed open")

    def test_kill_in_the_middle_of_quit_seed_2449(self):
        """What was marked may be gone or be there, whole; what was not marked must be there."""
        chance = random.Random(2449)
        for number in range(20):
            before = self.refill()
            tls = chance.random() < 0.5
            with self.server.connect(tls=tls) as pop:
                pop.login()
                listed = [line.split()[0] for line in pop.lines("LIST")]
                self.assertEqual(len(listed), len(before))
                pop.ok("DELE 1")
                pop.ok("DELE 2")
                roles = self.roles()
                role = chance.choice(sorted(roles))
                pop.send("QUIT\r\n")
                time.sleep(chance.random() * 0.004)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(roles[role], 9)
                self.sees_the_end(pop)
            self.unlocked_at_once()
            after = self.maildir.contents()
            names = sorted(before)
            gone = set(before) - set(after)
            self.assertLessEqual(gone, set(names[:2]), f"round {number}, {role}")
            self.assertEqual({name: before[name] for name in after}, after, f"round {number}, {role}")
            self.box.wait_idle()

    def test_the_connection_breaks_while_messages_are_marked(self):
        before = self.refill()
        for tls in (False, True):
            with self.server.connect(tls=tls) as pop:
                pop.login()
                for at in range(1, 7):
                    pop.ok(f"DELE {at}")
                pop.plain_socket.close() if not tls else pop.socket.close()
            self.unlocked_at_once()
            self.assertEqual(self.maildir.contents(), before)

    def test_lists_are_whole_after_a_kill_while_they_are_written(self):
        """The first open of a large Maildir writes dovecot-uidlist and the index; unique-ids given out stay."""
        chance = random.Random(2595)
        for at in range(3000):
            self.maildir.add(b"Subject: x\n\nx\n", flags="S", name=f"{1600000000 + at}.M{at}P2.host")
        known = []
        for number in range(12):
            pop = self.server.connect()
            pop.send(f"USER {self.box.user.name}\r\nPASS {self.box.user.password}\r\nUIDL\r\n")
            time.sleep(chance.random() * 0.06)
            for pid in self.box.servers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.sees_the_end(pop)
            self.box.wait_idle()
            lock = self.maildir.path / "dovecot-uidlist.lock"
            if lock.exists():
                # Only a lock that names its process can be taken over before it is old.
                self.assertRegex(lock.read_bytes(), rb"^\d+:.", f"round {number}: a lock was left that names no process")
            self.maildir.add(b"Subject: y\n\ny\n", flags="S", name=f"{1650000000 + number}.M{number}P3.host")
            if number % 3 == 2:
                _, ids = self.unlocked_at_once()
                self.assertEqual(len(ids), 3000 + number + 1)
                self.assertEqual(len(set(ids)), len(ids))
                self.assertEqual(ids[:len(known)], known, f"round {number}")
                known = ids
                self.box.wait_idle()


if __name__ == "__main__":
    harness.main()
