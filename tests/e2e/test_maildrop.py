"""Maildrops as they should not be, and two at one. Each test is a row of doc/cve.md or of README's table of limits."""

import contextlib
import os

import harness
from harness import Case, message, run


class Maildrop(Case):
    def setUp(self):
        self.server = self.serve()
        self.expected = self.box.maildir.fill()

    def test_a_second_session_is_told_in_use(self):
        with self.server.connect() as one:
            one.login()
            for tls in (False, True):
                with self.server.connect(tls=tls) as other:
                    other.ok("USER demo")
                    other.err(f"PASS {self.box.user.password}", "[IN-USE]")
            one.ok("DELE 1")
            one.quit()
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(int(pop.ok("STAT").split()[1]), len(self.expected) - 1)

    def test_in_use_is_not_a_failed_login(self):
        """It must not ban anybody."""
        with self.server.connect() as one:
            one.login()
            with self.server.connect() as other:
                other.ok("USER demo")
                other.err(f"PASS {self.box.user.password}", "[IN-USE]")
        self.box.wait_idle()
        self.assertNotIn("auth failed", self.box.log())

    def test_the_lock_is_free_before_quit_is_answered(self):
        for _ in range(20):
            with self.server.connect() as pop:
                pop.login()
                pop.ok("QUIT")
                with self.server.connect() as other:
                    other.login()
                    other.quit()

    def test_login_delay(self):
        self.box.write_settings(pop3_login_delay="1h")
        with self.server.connect() as pop:
            self.assertIn("LOGIN-DELAY 3600", pop.lines("CAPA"))
            pop.login()
            pop.quit()
        self.box.wait_idle()
        with self.server.connect() as pop:
            pop.ok("USER demo")
            pop.err(f"PASS {self.box.user.password}", "[LOGIN-DELAY]")

    def test_links_out_of_the_maildir(self):
        """A user who links a file of somebody else's sees what the own rights let see, which is nothing."""
        if not harness.IS_ROOT:
            self.skipTest("needs root")
        os.symlink("/etc/shadow", self.box.maildir.path / "cur" / "1800000000.M1P1.host:2,S")
        os.symlink(self.box.dir / "shadow", self.box.maildir.path / "new" / "1800000001.M1P1.host")
        with self.server.connect() as pop:
            pop.login()
            for number in range(len(self.expected) + 1, len(self.expected) + 3):
                reply = pop.say(f"RETR {number}")
                self.assertTrue(reply.startswith("-ERR"), reply)
            pop.quit()

    def test_a_maildir_that_is_a_link_or_absent(self):
        import shutil
        shutil.move(self.box.maildir.path, self.box.user.home / "Elsewhere")
        os.symlink("Elsewhere", self.box.user.home / "Maildir")
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(pop.retrieve(1), self.expected[0])
            pop.quit()
        self.box.wait_idle()
        os.unlink(self.box.user.home / "Maildir")
        with self.server.connect() as pop:
            pop.ok("USER demo")
            reply = pop.say(f"PASS {self.box.user.password}")
            # A new user without mail: an empty maildrop, or a temporary refusal; never a crash.
            self.assertRegex(reply, r"^(\+OK|-ERR \[SYS/)")
        self.box.wait_idle()

    def test_damaged_lists_lose_no_mail(self):
        """Whatever is in dovecot-uidlist: every message is there, and the session works."""
        for content in (b"", b"\0" * 100, b"3 V1 N\n", b"9 V1 N1\n", b"3 V4294967295 N4294967295 G0\n4294967295 :x\n",
                        b"3 V1 N5\n1 :x\n1 :x\n", b"3 V1 N2\n" + b"x" * 100000,
                        b"3 V1 N2 G" + b"0" * 32 + b"\n99 :../../etc/passwd\n"):
            with self.subTest(content[:30]):
                (self.box.maildir.path / "dovecot-uidlist").write_bytes(content)
                self.box.maildir.own(self.box.maildir.path / "dovecot-uidlist")
                for file in self.box.maildir.path.glob("tinmail-*"):
                    file.write_bytes(os.urandom(500))
                with self.server.connect() as pop:
                    pop.login()
                    listing = pop.listing()
                    self.assertEqual(len(listing), len(self.expected))
                    self.assertEqual(len(set(listing)), len(self.expected))
                    self.assertEqual(pop.retrieve(1), self.expected[0])
                    pop.quit()
                self.box.wait_idle()

    def test_odd_file_names(self):
        for name in ("noflags:2", "nocolon", "1700000000.M1P1.host:2,ZZZ", "1700000000.x,S=99999999999:2,S", "a b c:2,S",
                     "1700000000.y,S=-1,W=abc:2,", "ü:2,S", "x:1,S"):
            path = self.box.maildir.path / "cur" / name
            path.write_bytes(message(name))
            self.box.maildir.own(path)
        (self.box.maildir.path / "cur" / ".hidden").write_bytes(b"x")
        (self.box.maildir.path / "cur" / "directory:2,S").mkdir()
        with self.server.connect() as pop:
            pop.login()
            listing = pop.listing()
            self.assertEqual(len(listing), len(self.expected) + 8)
            for number in range(1, len(listing) + 1):
                self.assertIn(b"Subject: ", pop.retrieve(number))
            pop.quit()

    def test_wrong_size_hints_are_not_believed_beyond_a_lie(self):
        """A message whose name lies about its size is still sent whole."""
        raw = message("liar", b"text\n" * 50)
        self.box.maildir.add(raw, name="1800000000.M1P1.host,S=5,W=7", flags="S")
        with self.server.connect() as pop:
            pop.login()
            self.assertEqual(pop.retrieve(len(self.expected) + 1), harness.wire(raw))
            pop.quit()

    def test_a_full_disk_still_lets_the_user_list_read_and_delete(self):
        if not harness.IN_NAMESPACE:
            self.skipTest("needs root for a file system of its own")
        run("mount", "-t", "tmpfs", "-o", f"size=400k,mode=700,uid={self.box.user.uid},gid={self.box.user.gid}", "e2e",
            self.box.maildir.path)
        self.box.closers.append(lambda: run("umount", "-l", self.box.maildir.path))
        maildir = self.box.maildir_of(self.box.user)
        raw = [message(f"m{n}", b"text\n" * 100) for n in range(5)]
        for octets in raw:
            maildir.add(octets)
        for known in (True, False):
            with self.subTest(f"the list was there: {known}"):
                if known:
                    with self.server.connect() as pop:
                        pop.login()
                        before = pop.listing()
                        pop.quit()
                    self.box.wait_idle()
                else:
                    for name in ("dovecot-uidlist", *(p.name for p in maildir.path.glob("tinmail-*"))):
                        (maildir.path / name).unlink(missing_ok=True)
                filler = maildir.path / "filler"
                with contextlib.suppress(OSError), open(filler, "wb", 0) as file:
                    while True:
                        file.write(b"x" * 512)
                with self.server.connect() as pop:
                    pop.login()
                    listing = pop.listing()
                    if known:
                        self.assertEqual(listing, before)
                    self.assertGreaterEqual(len(listing), 1)
                    self.assertEqual(pop.retrieve(1), harness.wire(raw[0]))
                    pop.ok("DELE 1")
                    pop.quit()
                self.box.wait_idle()
                filler.unlink()
                raw.pop(0)
                self.assertEqual(sorted(maildir.contents().values()), sorted(raw))


if __name__ == "__main__":
    harness.main()
