"""A mailbox in the image of a file system of its own, so that debugfs can change what nobody else can: inodes, times, blocks."""

import os

from harness import run


class OnImage:
    """Test cases whose box has its Maildir on such an image. make_image first; where there are no loop devices the test is skipped."""

    def make_image(self, size, *options):
        """An empty ext4 of so many octets, mounted; the options are mkfs.ext4's."""
        if not os.path.exists("/dev/loop-control"):
            self.skipTest("no loop devices here")
        self.image = self.box.dir / "image"
        with open(self.image, "wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", *options, self.image)
        self.box.maildir.path.mkdir(exist_ok=True)
        self.mount()

    def mount(self):
        # A damaged one is served as far as it can be read.
        run("mount", "-o", "loop,errors=continue", self.image, self.box.maildir.path)
        self.addCleanup(run, "umount", "-l", self.box.maildir.path, check=False)

    def unmount(self):
        run("umount", self.box.maildir.path)

    def debugfs(self, *commands):
        """Changes the image while it is not mounted."""
        script = self.box.dir / "commands"
        script.write_text("".join(f"{command}\n" for command in commands))
        run("debugfs", "-w", "-f", script, self.image)
