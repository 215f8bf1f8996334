"""A disk that is going bad: messages whose inodes or blocks cannot be read, in the image of a file system that debugfs has damaged.

What can be read is served, whatever the command; what cannot is told with a code that clients know, and the log names the file and the
system's reason.
"""

import re

import harness
from disk_image import OnImage
from harness import Case, needs_root, run

# On ext4, "structure needs cleaning", or an input/output error.
REASON = r"(?:Structure needs cleaning|Input/output error)"
LONG = b"a line of a long message\n" * 20_000


@needs_root
class BadDisk(OnImage, Case):
    def setUp(self):
        self.server = self.serve(protocol="imap")
        # Without extents the long message has indirect blocks, which are looked at only when they are read.
        self.make_image(16 << 20, "-O", "^extents,^64bit,^flex_bg,^metadata_csum")
        path = self.box.maildir.path
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir()
        self.inodes = {}
        for number in range(1, 7):
            file = path / "cur" / f"100000000{number}.m{number}.host:2,"
            file.write_bytes(b"Subject: %d\n\n" % number + (LONG if number == 5 else b"text\n"))
            self.inodes[number] = file.stat().st_ino
        run("chown", "-R", f"{self.box.user.uid}:{self.box.user.gid}", path)
        self.unmount()

    def damage(self):
        """The second message's inode points beyond the disk, and so does the list of the fifth one's later blocks."""
        listed = run("debugfs", "-R", f"blocks <{self.inodes[5]}>", self.image).stdout.split()
        indirect = int(listed[12])
        self.debugfs(f"set_inode_field <{self.inodes[2]}> block[0] 99999999")
        with open(self.image, "r+b") as image:
            size = int(re.search(r"Block size: +(\d+)", run("dumpe2fs", "-h", self.image).stdout)[1])
            image.seek(indirect * size)
            image.write(b"\xf0" * size)
        self.mount()

    def test_the_rest_is_served(self):
        with self.subTest("before"):
            self.mount()
            with self.server.connect() as imap:
                imap.login()
                imap.ok("SELECT INBOX")
                self.assertEqual(len(imap.bodies()), 6)
                imap.ok("CREATE Other")
                imap.quit()
            self.box.wait_idle()
            for name in ("tinmail-index", "tinmail-index.log", "tinmail-cache", "tinmail-cache.map"):
                (self.box.maildir.path / name).unlink(missing_ok=True)
            self.unmount()
        self.damage()
        with self.server.connect() as imap:
            imap.login()
            imap.ok("SELECT INBOX")
            completion, untagged = imap.say("FETCH 1:4 BODY[TEXT]")
            self.assertRegex(completion, r"^NO \[UNAVAILABLE\]")
            self.assertEqual([int(line.split()[1]) for line in untagged], [1, 3, 4])
            self.assertEqual(imap.ok("FETCH 1:4 FLAGS"), [b"* %d FETCH (FLAGS (%s))" % (n, b"" if n == 2 else rb"\Seen") for n in range(1, 5)])
            self.assertEqual(imap.ok("SEARCH BODY text"), [b"* SEARCH 1 3 4 6"])
            completion, untagged = imap.say("SORT (SUBJECT) UTF-8 1:4")
            self.assertEqual((completion[:2], len(untagged[0].split())), ("OK", 6))
            imap.no("COPY 1:3 Other", "[UNAVAILABLE]")
            imap.ok("COPY 3:4 Other")
            imap.ok("STATUS Other (MESSAGES)")
            completion, untagged = imap.say("FETCH 5 BODY.PEEK[HEADER]")
            imap.quit()
        log = self.box.log_path.read_text()
        self.assertRegex(log, rf"open\(\S+/cur/1000000002\.m2\.host:2,S?\): {REASON}")

    def test_a_literal_is_never_short(self):
        """Where the end of a message cannot be read once its size has been said, the connection ends."""
        self.mount()
        with self.server.connect() as imap:
            imap.login()
            imap.ok("SELECT INBOX")
            imap.ok("FETCH 5 (RFC822.SIZE ENVELOPE)")
            imap.quit()
        self.box.wait_idle()
        self.unmount()
        self.damage()
        with self.server.connect() as imap:
            imap.login()
            imap.ok("SELECT INBOX")
            with self.assertRaisesRegex(AssertionError, "the connection ended"):
                imap.say("FETCH 4:6 BODY.PEEK[]")
        self.box.wait_idle()
        log = self.box.log_path.read_text()
        self.assertRegex(log, rf"read\(\S+/cur/1000000005\.m5\.host:2,S?\): {REASON}")
        self.assertIn("A message could not be read to its end", log)


if __name__ == "__main__":
    harness.main()
