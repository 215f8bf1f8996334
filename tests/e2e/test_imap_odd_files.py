"""What should be a file of the mailbox and is none, or none that can be read: a FIFO, a directory, a link to itself, one to
/dev/zero, a file without rights, one of a gigabyte. No session waits for it or grows with it, messages can be read wherever
that is possible at all, and what cannot be done is refused with a word that says why."""

import os
import shutil
import time

import harness
from harness import Case, Maildir, crlf, message, status_of

GIB = 1 << 30


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(GIB)


def without_rights(path):
    path.touch()
    os.chmod(path, 0)


# What is put in a file's place, and whether what was there goes.
KINDS = {
    "FIFO": (os.mkfifo, True),
    "directory": (os.mkdir, True),
    "link to itself": (lambda path: os.symlink(path.name, path), True),
    "link to /dev/zero": (lambda path: os.symlink("/dev/zero", path), True),
    "no rights": (without_rights, False),
    "a gigabyte": (sparse, True),
}

OURS = ("tinmail-index", "tinmail-index.log", "tinmail-index.lock", "tinmail-index.tmp", "tinmail-index.log.tmp", "tinmail-cache",
        "tinmail-cache.map", "tinmail-special-use", "tinmail-emptytrash")
DOVECOTS = ("dovecot-uidlist", "dovecot-uidlist.tmp", "dovecot-keywords", "dovecot-keywords.tmp", "dovecot-uidvalidity", "subscriptions",
            "maildirsize")
COURIERS = ("courierimapuiddb", "courierpop3dsizelist", "courierimapsubscribed", "courierimapkeywords")

COMMANDS = ("SELECT INBOX", "UID FETCH 1:* (UID FLAGS BODY.PEEK[] ENVELOPE)", r"STORE 1 +FLAGS (\Flagged)", "STORE 2 +FLAGS (other)", "APPEND",
            "COPY 1 Sub", "COPY 1 INBOX", 'LIST "" *', 'LSUB "" *', "SUBSCRIBE Sub", "UNSUBSCRIBE Sub", "STATUS Sub (MESSAGES UIDNEXT)", "CREATE Other",
            "RENAME Sub Sub2", "EXPUNGE", "UNSELECT", "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY)", "EXAMINE INBOX", "LOGOUT")


def refusals(name, kind, known):
    """The commands that are not obeyed, and with which code. All others are."""
    code = "NOPERM" if kind == "no rights" else "CORRUPTION"
    refused = ()
    if name == "dovecot-uidlist" and kind in ("directory", "no rights"):
        # UIDs can be given to nobody, and are known from the index only. All else is replaced by a file.
        refused = ("APPEND", "COPY 1 INBOX")
        if not known:
            refused += tuple(command for command in COMMANDS if "INBOX" in command) + (COMMANDS[1], COMMANDS[2], COMMANDS[3], "COPY 1 Sub", "EXPUNGE", "UNSELECT")
    elif name == "dovecot-keywords":
        # Nobody knows which letters are taken.
        refused = ("STORE 2 +FLAGS (other)",)
    elif name == "subscriptions":
        refused = ('LSUB "" *', "SUBSCRIBE Sub", "UNSUBSCRIBE Sub")
    return {command: code for command in refused}


class OddFiles(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", settings={"mailbox_size_limit": "100M", "imap_emptytrash": "7"},
                                 change={"cps": "1000 1", "per_source": "UNLIMITED"})

    def log_in(self):
        imap = self.server.connect(timeout=60)
        imap.login()
        return imap

    def fresh(self, known):
        """Two messages and a second mailbox; known: a session has been here."""
        shutil.rmtree(self.box.maildir.path)
        self.box.maildir = Maildir(self.box.user.home / "Maildir", (self.box.user.uid, self.box.user.gid))
        for number in (1, 2):
            self.box.maildir.add(message(f"number {number}"), flags="S")
        with self.log_in() as imap:
            imap.ok("CREATE Sub (USE (\\Sent))")
            if known:
                imap.ok("SELECT INBOX")
                imap.ok("STORE 2 +FLAGS (word)")
                imap.ok("FETCH 1:* ENVELOPE")
                imap.ok("SUBSCRIBE INBOX")
                self.uids = sorted(imap.bodies())
            imap.quit()

    def put(self, name, kind):
        make, replaces = KINDS[kind]
        path = self.box.maildir.path / name
        if replaces and path.exists():
            path.unlink()
        make(path)
        if harness.IS_ROOT:
            os.chown(path, self.box.user.uid, self.box.user.gid, follow_symlinks=False)

    def take_away(self, name, kind):
        path = self.box.maildir.path / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif kind == "no rights" and path.exists():
            os.chmod(path, 0o600)
        elif path.is_symlink() or not path.is_file() or path.stat().st_size == GIB:
            path.unlink(missing_ok=True)

    def one(self, name, kind, known):
        self.fresh(known)
        self.put(name, kind)
        answers = {}
        text = crlf(message("appended"))
        with self.log_in() as imap:
            for command in COMMANDS:
                begun = time.monotonic()
                completion, untagged = imap.say(b"APPEND INBOX (\\Seen) {%d+}\r\n%s" % (len(text), text) if command == "APPEND" else command)
                self.assertLess(time.monotonic() - begun, 30, command)
                if not completion.startswith("OK"):
                    answers[command] = completion
                if "FETCH" in command and completion.startswith("OK"):
                    self.assertEqual(len(untagged), 2)
            for pid in self.box.servers():
                self.assertLess(int(status_of(pid)["VmHWM"].split()[0]), 12 << 10, "KiB")
        wanted = refusals(name, kind, known)
        self.assertEqual(set(answers), set(wanted), answers)
        for command, completion in answers.items():
            # What needs a mailbox that could not be opened is out of place.
            if not (completion == "BAD Select a mailbox first." and "SELECT INBOX" in wanted):
                self.assertRegex(completion, rf"^NO \[{wanted[command]}\]", command)
        self.box.wait_idle()
        # With the thing gone all is as it was.
        self.take_away(name, kind)
        with self.log_in() as imap:
            imap.ok("SELECT INBOX")
            uids = sorted(imap.bodies())
            self.assertGreaterEqual(len(uids), 2)
            if known:
                self.assertEqual(uids[:2], self.uids)
            imap.append(message("afterwards"), flags="new")
            imap.ok('LSUB "" *')
            imap.quit()
        self.box.wait_idle()

    def every_kind(self, names, known):
        for name in names:
            for kind in KINDS:
                with self.subTest(name, kind=kind, known=known):
                    self.one(name, kind, known)

    def test_dovecot_s(self):
        self.every_kind(DOVECOTS, known=True)

    def test_dovecot_s_where_nobody_has_been(self):
        self.every_kind(DOVECOTS, known=False)

    def test_our_own(self):
        self.every_kind(OURS, known=True)

    def test_our_own_where_nobody_has_been(self):
        self.every_kind(OURS, known=False)

    def test_courier_s(self):
        self.every_kind(COURIERS, known=False)


if __name__ == "__main__":
    harness.main()
