"""What crashed deliveries have left in tmp: removed after 36 hours by whoever opens the mailbox.

What counts is the inode's change time, which nobody can set: the mailboxes are in the image of a file system whose inodes get theirs
from debugfs.
"""

import os
import time

import harness
from disk_image import OnImage
from harness import Case, needs_root

HOUR = 3600


@needs_root
class Leftovers(OnImage, Case):
    def prepare(self, mailbox, read):
        """A file that is too old, one that is not, and a directory that was last read so many hours ago."""
        path, owner = self.box.maildir.path / mailbox, (self.box.user.uid, self.box.user.gid)
        os.chown(self.box.maildir.path, *owner)
        for part in (path, path / "cur", path / "new", path / "tmp"):
            part.mkdir(mode=0o700, exist_ok=True)
            os.chown(part, *owner)
        ages = {path / "tmp" / "1.old.host": 37, path / "tmp" / "2.young.host": 35, path / "tmp": 60}
        inodes = {}
        for file, hours in ages.items():
            if not file.is_dir():
                file.write_bytes(b"Subject: half a mess")
                os.chown(file, *owner)
            inodes[file.stat().st_ino] = int(time.time()) - hours * HOUR
        directory = (path / "tmp").stat().st_ino
        self.unmount()
        self.debugfs(*(f"set_inode_field <{inode}> {field} @{then}" for inode, then in inodes.items() for field in ("ctime", "mtime")),
                     f"set_inode_field <{directory}> atime @{int(time.time()) - read * HOUR}")
        self.mount()
        return path / "tmp"

    def test_pop3(self):
        server = self.serve()
        self.make_image(8 << 20)
        # A backup reads it every night.
        for read in (60, 1):
            with self.subTest(read=read):
                tmp = self.prepare("", read)
                with server.connect() as pop:
                    pop.login()
                    pop.quit()
                self.assertEqual(os.listdir(tmp), ["2.young.host"])

    def test_imap(self):
        server = self.serve(protocol="imap")
        self.make_image(8 << 20)
        for mailbox, name in (("", "INBOX"), (".Sent", "Sent")):
            with self.subTest(name):
                tmp = self.prepare(mailbox, 60)
                with server.connect() as imap:
                    imap.login()
                    imap.ok(f"EXAMINE {name}")
                    self.assertEqual(len(os.listdir(tmp)), 2, "EXAMINE changes nothing")
                    imap.quit()
                # That was a look into the directory: what is there has to be found all the same.
                with server.connect() as imap:
                    imap.login()
                    imap.ok(f"SELECT {name}")
                    imap.quit()
                self.assertEqual(os.listdir(tmp), ["2.young.host"])


if __name__ == "__main__":
    harness.main()
