"""A mailbox of 100,000 messages costs a session hardly more memory than an empty one, whatever is done with it."""

import os
import pathlib
import re
import threading
import time

import harness
from harness import Case, needs_root

MESSAGES = 100_000
# KiB beyond a session on an empty mailbox, after SELECT, and in silence after everything; at any time in a session that does one
# thing after the other; of one that sorts.
BEYOND, BEYOND_AFTER, MOST, MOST_OF_ALL = 300, 512, 5120, 8192


def dirty(pid):
    """KiB that the process alone has and the kernel cannot drop."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(kib) for kib in re.findall(r"Private_Dirty:\s+(\d+) kB", text))


@needs_root
class Large(Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", tls=False)
        path, owner = self.box.maildir.path, self.box.maildir.owner
        for at in range(MESSAGES):
            references = b"References: <%d@x>\n" % (at - 1) if at % 7 else b""
            octets = b"Subject: x%d\nMessage-ID: <%d@x>\n%s\ntext\n" % (at % 1000, at, references)
            name = path / "cur" / f"{1600000000 + at}.M{at}P1.host,S={len(octets)}:2,"
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, octets)
            os.close(descriptor)
            os.chown(name, *owner)

    def client(self, mailbox):
        before = set(self.box.servers())
        imap = self.server.connect(timeout=300)
        imap.login()
        imap.ok(f"SELECT {mailbox}")
        self.addCleanup(imap.close)
        pid, = set(self.box.servers()) - before
        return imap, pid

    def peak(self, pid, imap, command):
        """The most that the session has had in a command."""
        most, over = [0], threading.Event()

        def watch():
            while not over.is_set():
                most[0] = max(most[0], dirty(pid))
                over.wait(0.005)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            imap.ok(command)
        finally:
            over.set()
            watcher.join()
        return max(most[0], dirty(pid))

    def test_a_hundred_thousand_messages(self):
        first, pid = self.client("INBOX")
        figures = {"SELECT": dirty(pid)}
        first.ok("CREATE Empty")
        first.ok("CREATE Copy")
        _, empty = self.client("Empty")
        large, warm = self.client("INBOX")
        beyond = dirty(warm) - dirty(empty)
        for command in ("FETCH 1:* (FLAGS UID)", r"STORE 1:* +FLAGS.SILENT (\Seen word)", "UID SEARCH SEEN", "COPY 1:* Copy",
                        "FETCH 1:* (ENVELOPE BODYSTRUCTURE)", "SORT (SUBJECT REVERSE DATE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
                        r"STORE 1:* +FLAGS.SILENT (\Deleted)", "EXPUNGE"):
            figures[command] = self.peak(warm, large, command)
        # The one that has been told of all that.
        figures["NOOP"] = self.peak(pid, first, "NOOP")
        for imap in (large, first):
            imap.ok("NOOP")
        time.sleep(1.5)
        after = [dirty(one) - dirty(empty) for one in (warm, pid)]
        print(f"    KiB: beyond an empty one {beyond}, in the end {after}, {figures}")
        self.assertLessEqual(beyond, BEYOND)
        self.assertLessEqual(max(after), BEYOND_AFTER)
        for command, most in figures.items():
            self.assertLessEqual(most, MOST_OF_ALL if command.startswith(("SORT", "THREAD")) else MOST, command)
        self.assertEqual([line for line in large.ok("STATUS Copy (MESSAGES)")], [b"* STATUS Copy (MESSAGES %d)" % MESSAGES])
        self.assertEqual(self.box.maildir.files(), [])


if __name__ == "__main__":
    harness.main()
