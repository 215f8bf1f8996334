"""A mailbox in the image of a file system of its own, so that debugfs can change what nobody else can: inodes, times, blocks; and so
that its power can be cut."""

import fcntl
import os
import struct

from harness import run, wait_until

EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


class OnImage:
    """Test cases whose box has its Maildir on such an image. make_image first; where there are no loop devices the test is skipped."""

    def make_image(self, size, *options, on=None):
        """An empty ext4 of so many octets, mounted on the Maildir or another directory; the options are mkfs.ext4's."""
        self.image_on = on or self.box.maildir.path
        if not os.path.exists("/dev/loop-control"):
            self.skipTest("no loop devices here")
        self.image = self.box.dir / "image"
        with open(self.image, "wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", *options, self.image)
        self.image_on.mkdir(exist_ok=True)
        self.mount()

    def mount(self):
        # A damaged one is served as far as it can be read.
        run("mount", "-o", "loop,errors=continue", self.image, self.image_on)
        self.addCleanup(run, "umount", "-l", self.image_on, check=False)

    def unmount(self):
        run("umount", self.image_on)

    def cut_power(self):
        """From now on nothing reaches the image, and all calls fail: what was not flushed is lost, also of the journal."""
        root = os.open(self.image_on, os.O_RDONLY)
        try:
            fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(root)

    def power_up(self):
        """Mounts it again; the journal is replayed. Who had it in use has ended."""
        wait_until(lambda: run("umount", self.image_on, check=False).returncode == 0, "nobody uses the dead file system")
        self.mount()

    def debugfs(self, *commands):
        """Changes the image while it is not mounted."""
        script = self.box.dir / "commands"
        script.write_text("".join(f"{command}\n" for command in commands))
        run("debugfs", "-w", "-f", script, self.image)
