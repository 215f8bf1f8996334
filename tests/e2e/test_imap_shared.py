"""Public mailboxes and those of another user, between users of different uids: who is in the group of a Maildir reads, files and
flags what the others put there, whoever of them comes first; who is not gets what everybody gets, or nothing."""

import os
import pathlib
import stat

import harness
from harness import Case, crlf, message, needs_root, run

GROUP = 21000


@needs_root
class Shared(Case):
    def setUp(self):
        self.new_box(protocol="imap", settings={})
        box = self.box
        self.public = box.dir / "public"
        self.users = box.dir / "users"
        self.users.mkdir(mode=0o755)
        box.write_settings(namespace_public_location=f"maildir:{self.public}", namespace_shared_location=f"maildir:{self.users}/%%u")
        self.ann, self.bob, self.eve = (box.add_user(name) for name in ("ann", "bob", "eve"))
        # Ann and Bob are in the group, Eve is not.
        groups = box.dir / "group"
        groups.write_text(groups.read_text() + f"staff:x:{GROUP}:ann,bob\n")
        self.server = box.serve(change={"cps": "1000 1", "per_source": "UNLIMITED"})

    def make(self, path, mode, owner=0, group=GROUP):
        for part in ("", "cur", "new", "tmp"):
            os.makedirs(path / part, exist_ok=True)
            os.chown(path / part, owner, group)
            os.chmod(path / part, mode)

    def log_in(self, user):
        imap = self.server.connect(timeout=60)
        imap.login(user.name, user.password)
        return imap

    def rights(self, path):
        return {str(found.relative_to(path)): (stat.S_IMODE(found.stat().st_mode), found.stat().st_gid)
                for found in path.rglob("*") if not found.name.endswith(".lock")}

    def append(self, imap, mailbox, subject, flags=""):
        imap.append(message(subject), mailbox, flags)

    def test_a_public_mailbox_of_a_group(self):
        for mode, group_files in ((0o2770, 0o660), (0o2775, 0o664), (0o770, 0o660)):
            with self.subTest(oct(mode)):
                run("rm", "-rf", self.public)
                self.make(self.public, mode)
                with self.log_in(self.ann) as ann, self.log_in(self.bob) as bob:
                    # One makes it, the other is the first to put something there.
                    ann.ok("CREATE Public.team")
                    self.append(bob, "Public.team", "of bob", r"\Seen")
                    self.append(ann, "Public.team", "of ann", "word")
                    self.append(ann, "INBOX", "own")
                    for imap in (ann, bob):
                        imap.ok("SELECT Public.team")
                        self.assertEqual(sorted(imap.bodies()), [1, 2])
                    # Each flags and files the other's.
                    ann.ok(r"STORE 1 +FLAGS (\Flagged other)")
                    self.assertIn(rb"* 1 FETCH (FLAGS (\Flagged \Seen other))", bob.ok("NOOP"))
                    bob.ok(r"STORE 2 +FLAGS (\Deleted)")
                    bob.ok("COPY 1:2 INBOX")
                    ann.ok("COPY 1 Public.team")
                    ann.ok("SELECT INBOX")
                    ann.ok("COPY 1 Public.team")
                    ann.ok("MOVE 1 Public.team")
                    ann.ok("SELECT Public.team")
                    bob.ok("NOOP")
                    bob.ok("EXPUNGE")
                    ann.ok("NOOP")
                    for imap in (ann, bob):
                        self.assertEqual(sorted(imap.bodies()), [1, 3, 4, 5])
                    ann.ok("UID MOVE 3 INBOX")
                    bob.ok("NOOP")
                    self.assertEqual(sorted(bob.bodies()), [1, 4, 5])
                    bob.ok("RENAME Public.team Public.crew")
                    ann.ok("UNSELECT")
                    ann.ok("STATUS Public.crew (MESSAGES)")
                    for imap in (ann, bob):
                        imap.quit()
                self.box.wait_idle()
                for name, (found, group) in self.rights(self.public).items():
                    path = self.public / name
                    if "dovecot-uidvalidity." in name:
                        continue
                    self.assertEqual(found, mode if path.is_dir() else group_files, name)
                    self.assertEqual(group, GROUP, name)
                # Nobody else, or everybody.
                with self.log_in(self.eve) as eve:
                    if mode & 0o007:
                        self.assertTrue(eve.say("SELECT Public.crew")[0].startswith("OK [READ-ONLY]"))
                        self.assertEqual(sorted(eve.bodies()), [1, 4, 5])
                        eve.ok("COPY 1 INBOX")
                        eve.no(r"STORE 1 +FLAGS (\Seen)")
                    else:
                        completion, _ = eve.say("SELECT Public.crew")
                        self.assertRegex(completion, r"^NO \[(NOPERM|NONEXISTENT)\]")
                        self.assertFalse(any(b"Public.crew" in line for line in eve.ok('LIST "" *')))
                    eve.say("UNSELECT")
                    text = crlf(message("of eve"))
                    completion, _ = eve.say(b"APPEND Public.crew {%d+}\r\n%s" % (len(text), text))
                    self.assertRegex(completion, r"^NO \[(NOPERM|TRYCREATE)\]")
                    eve.quit()

    def test_another_user_s_mailboxes(self):
        """Ann's, which she has opened for her group by hand, with all that was in them before."""
        own = self.users / "ann"
        self.make(own, 0o2770, owner=self.ann.uid)
        with self.log_in(self.bob) as bob:
            self.append(bob, "shared.ann.INBOX", "from bob")
            bob.ok("SELECT shared.ann.INBOX")
            bob.ok("STORE 1 +FLAGS (word)")
            bob.ok("CREATE shared.ann.Projects")
            bob.ok("COPY 1 shared.ann.Projects")
            self.assertIn(b'* LIST (\\HasNoChildren) "." shared.ann.Projects', bob.ok('LIST "" shared.*'))
            bob.ok("SUBSCRIBE shared.ann.Projects")
            bob.quit()
        found = self.rights(own)
        wrong = {name: oct(mode) for name, (mode, group) in found.items()
                 if group != GROUP or mode not in (0o660, 0o2770) and "uidvalidity." not in name}
        self.assertEqual(wrong, {})
        # Subscriptions are Bob's.
        self.assertIn("shared\tann\tProjects", (pathlib.Path(self.bob.home) / "Maildir/subscriptions").read_text())
        # A Maildir that only Ann may enter is not there for others.
        self.make(self.users / "eve", 0o700, owner=self.eve.uid)
        with self.log_in(self.bob) as bob:
            completion, _ = bob.say("SELECT shared.eve.INBOX")
            self.assertRegex(completion, r"^NO \[(NOPERM|NONEXISTENT)\]")
            bob.quit()

    def test_a_group_that_the_user_is_not_in(self):
        """Files do not get the user's own group where the directory's cannot be given: its rights are another group's."""
        own = self.box.maildir_of(self.eve).path
        self.make(own, 0o770, owner=self.eve.uid)
        with self.log_in(self.eve) as eve:
            self.append(eve, "INBOX", "own")
            eve.ok("CREATE below")
            eve.quit()
        for name, (mode, group) in self.rights(own).items():
            if name not in ("cur", "new", "tmp") and "uidvalidity." not in name:
                self.assertEqual((oct(mode & 0o077), group), ("0o0", self.eve.gid), name)

    def test_a_home_that_is_open_to_be_looked_into(self):
        """Mode 0755 by a umask is no reason for everybody to read new mail."""
        own = self.box.maildir_of(self.eve).path
        self.make(own, 0o755, owner=self.eve.uid, group=self.eve.gid)
        with self.log_in(self.eve) as eve:
            self.append(eve, "INBOX", "own")
            eve.quit()
        for name, (mode, _) in self.rights(own).items():
            if name not in ("cur", "new", "tmp") and "uidvalidity." not in name:
                self.assertEqual(mode & 0o007, 0, name)

    def test_a_session_that_was_killed_in_its_lock(self):
        """The other user sees that the holder is no more."""
        self.make(self.public, 0o2770)
        lock = self.public / "dovecot-uidlist.lock"
        lock.write_text(f"4194305:{os.uname().nodename}")
        os.chown(lock, self.ann.uid, GROUP)
        os.chmod(lock, 0o660)
        os.utime(lock, (1, 1))
        with self.log_in(self.bob) as bob:
            self.append(bob, "Public.INBOX", "waits a moment")
            bob.quit()


if __name__ == "__main__":
    harness.main()
