"""Response codes of imapd that no transcript can bring about, with two connections: one is refused, and the other goes on."""

import os
import threading
import time

from harness import Case, message, needs_root


class Codes(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap")
        self.box.maildir.add(message("one"), flags="S")

    def log_in(self, **more):
        imap = self.server.connect(**more)
        imap.login()
        return imap

    def test_inuse(self):
        """Another program holds the lock of the uidlist for longer than anybody waits."""
        lock = self.box.maildir.path / "dovecot-uidlist.lock"
        done = threading.Event()

        def hold():
            while not done.is_set():
                os.utime(lock)
                time.sleep(1)

        with self.log_in(timeout=120) as waits, self.log_in() as other:
            for imap in (waits, other):
                imap.ok("SELECT INBOX")
            lock.write_text("another.host:1")
            self.box.maildir.own(lock)
            holder = threading.Thread(target=hold)
            holder.start()
            try:
                waits.send("x APPEND INBOX {6+}\r\nA: b\r\n\r\n")
                other.ok("FETCH 1 (FLAGS BODY.PEEK[])")
                self.assertRegex(waits.completion(b"x")[0], r"^NO \[INUSE\] ")
            finally:
                done.set()
                holder.join()
            lock.unlink()
            # Nothing of it is there, and nothing is in the way.
            self.assertEqual(list((self.box.maildir.path / "tmp").iterdir()), [])
            waits.append(b"A: b\n\n")
            self.assertIn(b"* 2 EXISTS", other.ok("NOOP"))

    @needs_root
    def test_expired(self):
        """A session goes on when the password expires; the next login is told why it is refused, if the password is right."""
        user, today = self.box.user, int(time.time()) // 86400
        with self.log_in() as first, self.server.connect() as second:
            user.shadow = f"{user.digest}:{today - 100}:0:30:7:5::"
            self.box.write_users()
            second.no(f'LOGIN {user.name} "wrong"', "[AUTHENTICATIONFAILED]")
            second.no(f'LOGIN {user.name} "{user.password}"', "[EXPIRED]")
            first.ok("SELECT INBOX")
            user.shadow = f"{user.digest}:{today}:0:99999:7::{today}:"
            self.box.write_users()
            # Now the account. A third attempt that fails is the last of a connection, whatever it is refused for.
            with self.server.connect() as third:
                third.no(f'LOGIN {user.name} "{user.password}"', "[EXPIRED]")
            user.shadow = f"{user.digest}:{today}:0:99999:7:::"
            self.box.write_users()
            second.login()
            first.ok("NOOP")
