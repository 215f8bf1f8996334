"""imap_emptytrash: what has been in the trash for longer than its days is removed when the user logs in, and nothing else.

What counts is the time since a file came into its directory, which nobody can set: the mailboxes are in the image of a file system
whose inodes get theirs from debugfs.
"""

import os
import time

import harness
from disk_image import OnImage
from harness import Case, needs_root

DAY = 86_400


@needs_root
class EmptyTrash(OnImage, Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", settings={"imap_emptytrash": "Trash:7, Sent:30"})
        self.make_image(8 << 20)

    def make(self, mailbox, directory, name, days):
        """A message that has been there for so many days."""
        path = self.box.maildir.path / mailbox
        for part in (path, path / "cur", path / "new", path / "tmp"):
            part.mkdir(mode=0o700, exist_ok=True)
            os.chown(part, self.box.user.uid, self.box.user.gid)
        path = path / directory / name
        path.write_bytes(b"Subject: x\n\nx\n")
        os.chown(path, self.box.user.uid, self.box.user.gid)
        self.ages[path.stat().st_ino] = int(time.time()) - days * DAY

    def test_what_is_old_goes_at_the_login(self):
        self.ages = {}
        os.chown(self.box.maildir.path, self.box.user.uid, self.box.user.gid)
        self.make("", "cur", "1000000001.a.host:2,S", 99)
        self.make(".Trash", "cur", "1000000002.a.host:2,S", 8)
        self.make(".Trash", "new", "1000000003.a.host", 8)
        self.make(".Trash", "cur", "1000000004.stays.host:2,S", 6)
        self.make(".Sent", "cur", "1000000005.stays.host:2,S", 29)
        self.make(".Sent", "cur", "1000000006.a.host:2,", 31)
        self.make(".Trash.old", "cur", "1000000007.stays.host:2,", 99)
        self.unmount()
        self.debugfs(*(f"set_inode_field <{inode}> ctime @{then}" for inode, then in self.ages.items()))
        self.mount()
        with self.server.connect() as imap:
            imap.login()
            imap.ok("SELECT Trash")
            self.assertEqual(len(imap.bodies()), 1)
            imap.ok("SELECT INBOX")
            self.assertEqual(len(imap.bodies()), 1)
            imap.quit()
        left = sorted(path.name.split(":")[0] for path in self.box.maildir.path.glob("**/*.host*"))
        self.assertEqual(left, ["1000000001.a.host", "1000000004.stays.host", "1000000005.stays.host", "1000000007.stays.host"])
        self.assertIn("imap_emptytrash: 3 messages removed", self.box.log_path.read_text())
        # Once a day.
        self.assertTrue((self.box.maildir.path / "tinmail-emptytrash").exists())


if __name__ == "__main__":
    harness.main()
