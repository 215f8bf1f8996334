"""IMAP on a full disk, at each point at which it can become full.

A small file system is filled until so many pages or inodes are left, and then a client does everything once. Reading,
flagging and deleting work however little is left; what does not work is refused with NO [OVERQUOTA], leaves
nothing behind, and nothing half-written is ever served. Where enough is left nothing is refused.
"""

import contextlib
import os

import harness
from harness import Case, needs_root, run
from test_imap_kill import look, raw

PAGE = 4096
# What is left: so many pages of the file system, or so many inodes.
PAGES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20)
INODES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 14)
# So much is enough for all of it.
PLENTY = 60


@needs_root
class Full(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})

    @contextlib.contextmanager
    def imap(self):
        with self.server.connect(timeout=60) as imap:
            imap.login()
            yield imap
            imap.quit()

    def mount(self, options):
        user, path = self.box.user, self.box.maildir.path
        path.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"{options},uid={user.uid},gid={user.gid},mode=700", "tmpfs", path)
        with self.imap() as imap:
            for mailbox in ("B", "Trash"):
                imap.ok(f"CREATE {mailbox}")
            for number in range(1, 13):
                imap.append(raw(number), "INBOX", r"\Seen" if number % 2 else "")
            imap.append(raw(13), "B", "word")
            imap.ok("SELECT INBOX")

    def fill(self, pages=None, inodes=None):
        """Leaves so much room and no more."""
        self.fillers = self.box.maildir.path / "fillers"
        self.fillers.mkdir()
        state = os.statvfs(self.fillers)
        if pages is not None:
            with open(self.fillers / "large", "wb") as file:
                file.write(b"x" * PAGE * max(0, state.f_bfree - pages))
        else:
            for number in range(state.f_ffree - inodes):
                (self.fillers / str(number)).touch()

    def ask(self, imap, command):
        """Whether it was done; a refusal is one that says why."""
        completion, _ = imap.say(command)
        if not completion.startswith("OK"):
            self.refused.append(command[:60])
            self.assertRegex(completion, r"^NO \[OVERQUOTA\]", f"{self.what}: {command[:60]!r}")
        return completion.startswith("OK")

    def append(self, imap, mailbox, number, flags=""):
        octets = raw(number)
        return self.ask(imap, b"APPEND %s (%s) {%d+}\r\n%s" % (mailbox.encode(), flags.encode(), len(octets), octets))

    def everything(self, imap):
        """All commands that write. Updates the model with what was acknowledged: identities by mailbox, flags by identity."""
        inbox, trash, b = set(range(1, 13)), set(), {13}
        imap.ok("SELECT INBOX")
        self.assertEqual(look(imap, "INBOX").ids(), sorted(inbox), self.what)
        imap.ok("SELECT INBOX")
        imap.ok(r"STORE 1:4 +FLAGS (\Flagged)")
        imap.ok(r"STORE 5 FLAGS.SILENT (\Answered \Seen)")
        keyword = self.ask(imap, r"STORE 6 +FLAGS (another)")
        for number, mailbox, flags in ((20, "INBOX", ""), (21, "INBOX", r"\Seen more"), (22, "B", "")):
            if self.append(imap, mailbox, number, flags):
                (b if mailbox == "B" else inbox).add(number)
        if self.ask(imap, "COPY 7:8 B"):
            b |= {7, 8}
        if self.ask(imap, "UID MOVE 9:10 Trash"):
            trash, inbox = trash | {9, 10}, inbox - {9, 10}
        created = self.ask(imap, "CREATE New.Mailbox")
        subscribed = self.ask(imap, "SUBSCRIBE B")
        renamed = self.ask(imap, "RENAME Trash Bin")
        imap.ok(r"UID STORE 11:12 +FLAGS.SILENT (\Deleted)")
        imap.ok("EXPUNGE")
        inbox -= {11, 12}
        imap.ok("CLOSE")
        return {"INBOX": inbox, "B": b, "Bin" if renamed else "Trash": trash}, keyword, created, subscribed

    def check(self, imap, wanted, keyword, created, subscribed):
        names = {line.split()[-1].decode() for line in imap.ok('LIST "" *')}
        self.assertLessEqual(set(wanted), names, self.what)
        self.assertEqual("New.Mailbox" in names, created, self.what)
        self.assertEqual(b"* LSUB () \".\" B" in imap.ok('LSUB "" *'), subscribed, self.what)
        for name, identities in wanted.items():
            seen = look(imap, name)
            self.assertEqual(seen.ids(), sorted(identities), f"{self.what}: {name}")
            if name == "INBOX":
                flags = dict(seen.messages.values())
                self.assertTrue(all(r"\Flagged" in flags[number] for number in (1, 2, 3, 4)), self.what)
                self.assertEqual(flags[5], {r"\Answered", r"\Seen"}, self.what)
                self.assertEqual("another" in flags[6], keyword, self.what)

    def one(self, mount, **left):
        self.what, self.refused = f"left: {left}", []
        self.mount(mount)
        try:
            self.fill(**left)
            with self.imap() as imap:
                model = self.everything(imap)
                self.check(imap, *model)
            with self.imap() as imap:
                self.check(imap, *model)
            run("rm", "-r", self.fillers)
            with self.imap() as imap:
                self.check(imap, *model)
                self.assertTrue(self.append(imap, "B", 99), self.what)
            left_over = [path for path in self.box.maildir.path.glob("**/tmp/*")]
            self.assertEqual(left_over, [], self.what)
            return self.refused
        finally:
            self.box.wait_idle()
            run("umount", "-l", self.box.maildir.path)

    def test_pages(self):
        for pages in PAGES:
            with self.subTest(pages):
                refused = self.one("size=1m", pages=pages)
                self.assertTrue(refused or pages, "a disk without a page was none")
        self.assertEqual(self.one("size=1m", pages=PLENTY), [])

    def test_inodes(self):
        for inodes in INODES:
            with self.subTest(inodes):
                refused = self.one("size=4m,nr_inodes=200", inodes=inodes)
                self.assertTrue(refused or inodes, "a disk without an inode was none")
        self.assertEqual(self.one("size=4m,nr_inodes=200", inodes=PLENTY), [])


if __name__ == "__main__":
    harness.main()
