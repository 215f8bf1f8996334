"""COPY and MOVE where no link can be made: into a mailbox on another file system, or of a file that has as many links as it can.

The messages are copied octet by octet: with flags, keywords, INTERNALDATE and all their octets; all of them or none where the other
file system is full or a message cannot be read; and MOVE loses none, whenever the session is killed.
"""

import contextlib
import os
import random
import re
import socket

import harness
from harness import Case, needs_root, run
from killing import WithKiller

SEED = int(os.environ.get("E2E_SEED", "6851"))
POINTS = int(os.environ.get("E2E_POINTS", "40"))
DATE = 1_234_567_890
# One that is longer than any buffer, one without a line end, one with CR LF.
TEXTS = {1: b"Subject: 1\n\n" + b"a line of some length\n" * 9000, 2: b"Subject: 2\n\nno end", 3: b"Subject: 3\r\n\r\nx\r\n", 4: b"Subject: 4\n\n4\n"}


@needs_root
class Copied(WithKiller, Case):
    def setUp(self):
        self.server = self.serve(protocol="imap", change={"cps": "1000 1", "per_source": "UNLIMITED"})
        self.path = self.box.maildir.path
        self.user = (self.box.user.uid, self.box.user.gid)

    @contextlib.contextmanager
    def imap(self):
        with self.server.connect(timeout=30) as imap:
            imap.login()
            yield imap
            imap.quit()

    def mount(self, options="size=8m"):
        """The mailbox Other, on a file system of its own."""
        other = self.path / ".Other"
        run("mount", "-t", "tmpfs", "-o", f"{options},uid={self.user[0]},gid={self.user[1]},mode=700", "tmpfs", other)
        self.addCleanup(run, "umount", "-l", other)
        return other

    def fill(self):
        with self.imap() as imap:
            imap.ok("CREATE Other")
            for number, text in TEXTS.items():
                path = self.path / "cur" / f"{1_000_000_000 + number}.{number}.host:2,{'FS' if number % 2 else ''}"
                path.write_bytes(text)
                path.chmod(0o600)
                os.chown(path, *self.user)
                os.utime(path, (DATE, DATE))
            imap.ok("SELECT INBOX")
            imap.ok("STORE 1:2 +FLAGS.SILENT (word)")

    def look(self, imap, mailbox):
        """Flags, date and all octets of the messages of a mailbox, by what their subjects say."""
        imap.ok(f"EXAMINE {mailbox}")
        found = {}
        for response in imap.ok("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"):
            flags, date, size, octets = re.match(
                rb"\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) INTERNALDATE \"([^\"]*)\" RFC822.SIZE (\d+) BODY\[\] \{\d+\}\r\n(.*)\)$",
                response, re.S).groups()
            self.assertEqual(len(octets), int(size), mailbox)
            number = int(re.match(rb"Subject: (\d)", octets)[1])
            found.setdefault(number, []).append((frozenset(flags.split()) - {rb"\Recent"}, date, octets))
        return found

    def left_over(self):
        return [str(path) for path in self.path.glob("**/tmp/*")]

    def test_to_another_file_system(self):
        self.fill()
        other = self.mount()
        with self.imap() as imap:
            before = self.look(imap, "INBOX")
            self.assertEqual(sorted(before), [1, 2, 3, 4])
            imap.ok("SELECT INBOX")
            self.assertRegex(imap.say("COPY 1:3 Other")[0], r"^OK \[COPYUID \d+ 1:3 1:3\]")
            completion, untagged = imap.say("UID MOVE 2:4 Other")
            self.assertRegex(untagged[0].decode(), r"^\* OK \[COPYUID \d+ 2:4 4:6\]")
            self.assertEqual(untagged[1:], [b"* 4 EXPUNGE", b"* 3 EXPUNGE", b"* 2 EXPUNGE"], completion)
            self.assertEqual(self.look(imap, "INBOX"), {1: before[1]})
            self.assertEqual(self.look(imap, "Other"), {1: before[1], 2: before[2] * 2, 3: before[3] * 2, 4: before[4]})
        self.assertEqual({path.stat().st_nlink for path in other.glob("cur/*")}, {1})
        self.assertEqual(self.left_over(), [])

    def test_all_or_none_where_there_is_no_room(self):
        self.fill()
        self.mount("size=160k")
        with self.imap() as imap:
            before = self.look(imap, "INBOX")
            imap.ok("SELECT INBOX")
            imap.ok("COPY 2:3 Other")
            there = self.look(imap, "Other")
            imap.ok("SELECT INBOX")
            for command in ("COPY 2:4,1 Other", "MOVE 2:4,1 Other", "UID MOVE 1:* Other"):
                imap.no(command, "[OVERQUOTA]")
            self.assertEqual((self.look(imap, "INBOX"), self.look(imap, "Other")), (before, there))
        self.assertEqual(self.left_over(), [])

    def test_all_or_none_where_a_message_cannot_be_read(self):
        self.fill()
        self.mount()
        path = next(self.path.glob("cur/*.3.host:2,*"))
        with self.imap() as imap:
            imap.ok("SELECT INBOX")
            path.chmod(0)
            for command in ("COPY 1:* Other", "MOVE 1:* Other"):
                imap.no(command, "[NOPERM]")
            self.assertEqual(self.look(imap, "Other"), {})
            path.chmod(0o600)
            self.assertEqual(sorted(self.look(imap, "INBOX")), [1, 2, 3, 4])
        self.assertIn(f"{path.name}): Permission denied", self.box.log_path.read_text())
        self.assertEqual(self.left_over(), [])

    def test_too_many_links(self):
        self.fill()
        path, links = next(self.path.glob("cur/*.1.host:2,*")), self.path / "links"
        links.mkdir()
        try:
            for number in range(1 << 17):
                os.link(path, links / str(number))
        except OSError:
            pass
        else:
            self.skipTest("this file system has no limit of links")
        with self.imap() as imap:
            before = self.look(imap, "INBOX")
            imap.ok("SELECT INBOX")
            imap.ok("COPY 1:2 Other")
            imap.ok("COPY 1 INBOX")
            self.assertEqual(self.look(imap, "Other"), {1: before[1], 2: before[2]})
            imap.ok("SELECT INBOX")
            imap.ok("MOVE 1 Other")
            self.assertEqual(self.look(imap, "Other"), {1: before[1] * 2, 2: before[2]})
            self.assertEqual(self.look(imap, "INBOX"), before)
        self.assertEqual(self.left_over(), [])

    def test_kill_while_messages_move_to_another_file_system(self):
        """Between two file systems a message may be in both for a moment, never in none."""
        self.fill()
        other = self.mount()
        self.box.dir.chmod(0o755)
        self.box.conf.chmod(0o644)
        self.box.log_path.chmod(0o666)
        command = [self.box.binary, "-c", self.box.conf, "-o", f"mail_location=maildir:{self.path}", "--preauth"]

        def move(point):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                self.killer.start(command, point, True, stdio=theirs.fileno(), user=self.user)
                theirs.close()
                octets = b""
                ours.settimeout(30)
                with contextlib.suppress(ConnectionError, BrokenPipeError):
                    ours.sendall(b"a SELECT INBOX\r\nb MOVE 1:* Other\r\nc LOGOUT\r\n")
                    while piece := ours.recv(1 << 16):
                        octets += piece
            return b"\r\nb OK " in octets, self.killer.result()

        def back():
            """Everything is in INBOX again, once."""
            with self.imap() as imap:
                imap.ok("SELECT Other")
                imap.say("MOVE 1:* INBOX")
                seen = set()
                imap.ok("SELECT INBOX")
                for response in imap.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"):
                    number = re.search(rb"Subject: (\d)", response)[1]
                    if number in seen:
                        imap.ok(rf"STORE {int(response.split()[1])} +FLAGS.SILENT (\Deleted)")
                    seen.add(number)
                imap.ok("EXPUNGE")

        with self.imap() as imap:
            before = self.look(imap, "INBOX")
        done, (_, _, hung, points) = move(None)
        self.assertTrue(done and not hung)
        back()
        chosen = sorted(random.Random(SEED).sample(points, min(POINTS or len(points), len(points))))
        both = 0
        for place, count, number in chosen:
            done, (_, _, hung, _) = move((place, count))
            what = f"killed at {place} {count} (call {number})"
            self.assertFalse(hung, what)
            with self.imap() as imap:
                here, there = self.look(imap, "INBOX"), self.look(imap, "Other")
            for message, copies in before.items():
                found = here.get(message, []) + there.get(message, [])
                self.assertIn(found, (copies, copies * 2), f"{what}: message {message}")
                both += len(found) > 1
                self.assertFalse(done and message in here, what)
            back()
        print(f"    {len(points)} points, {len(chosen)} tried, {both} messages in both")
        self.assertEqual([path for path in other.glob("cur/*")], [])


if __name__ == "__main__":
    harness.main()
