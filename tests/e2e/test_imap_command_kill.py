"""kill -9 at the system calls of imapd in each command that changes something: afterwards it is done, not done, or done for some
of the messages.

A run without a kill tells which calls there are; then each of them is the last one. What may be there afterwards is what
test_imap_kill.py says, which kills at random moments, and under TLS. E2E_POINTS says how many points of each command are tried, 0: all;
E2E_SEED which ones, it is another in every run.
"""

import contextlib
import os
import random
import re
import shutil
import socket

import harness
from conversations import Imap
from harness import Case, needs_root, run
from killing import WithKiller
from test_imap_kill import Judge, append, state_of

SEED = int(os.environ.get("E2E_SEED") or random.randrange(1_000_000))
POINTS = int(os.environ.get("E2E_POINTS", "8"))
MESSAGES = 6


class Piped(Imap):
    """An IMAP session on a socket that is there already."""

    def __init__(self, end):
        self.count, self.buffer, self.socket = 0, b"", end
        self.socket.settimeout(30)
        self.greeting = self.line()


@needs_root
class CommandKill(WithKiller, Judge, Case):
    def setUp(self):
        box = self.new_box(tls=False, protocol="imap")
        self.path, self.user = box.maildir.path, (box.user.uid, box.user.gid)
        os.chmod(box.dir, 0o755)
        os.chmod(box.conf, 0o644)
        box.log_path.chmod(0o666)
        self.command = [box.binary, "-c", box.conf, "-o", f"mail_location=maildir:{self.path}", "--preauth"]
        shutil.rmtree(self.path, ignore_errors=True)
        with self.session() as imap:
            imap.ok(append(range(1, MESSAGES + 1), "INBOX"))
            imap.ok("CREATE B")
            imap.ok(append(range(MESSAGES + 1, MESSAGES + 4), "B"))
            imap.ok("SELECT INBOX")
            imap.ok(r"STORE 2:4 FLAGS.SILENT (\Seen \Deleted)")
        # Moved, not copied: so the inodes that its index knows are taken, and no copy of it ever has them.
        self.template = self.path.rename(box.dir / "template")
        self.make()

    @contextlib.contextmanager
    def session(self):
        with self.spoken_with() as client:
            imap = Piped(client)
            yield imap
            imap.quit()

    def make(self):
        shutil.rmtree(self.path, ignore_errors=True)
        run("cp", "-a", self.template, self.path)

    def state(self):
        """What a new session sees; without the index it must be the same."""
        with self.session() as imap:
            seen = state_of(imap)
        for path in self.path.rglob("tinmail-*"):
            if re.fullmatch(r"tinmail-(index|cache)(\.\w+)?", path.name):
                path.unlink()
        with self.session() as imap:
            self.assertEqual(state_of(imap), seen, "the index makes a difference")
        return seen

    def killed(self, command, point=None):
        """The completion of the command, where it came, and what the killer saw from there on."""
        completion = ""
        with self.killed_at(point, True, from_mark=True) as client, contextlib.suppress(AssertionError, OSError):
            imap = Piped(client)
            imap.ok("SELECT INBOX")
            self.killer.mark()
            completion, _ = imap.say(command)
            imap.quit()
        return completion, self.killer.result()

    def over(self, kind, command):
        before = self.state()
        # How many calls it takes to read what the client says is a matter of chance: those of the shortest run are in all.
        points = None
        for _ in range(3):
            self.make()
            completion, (_, _, hung, found) = self.killed(command)
            self.assertTrue(completion.startswith("OK") and not hung, completion)
            points = min(points or found, found, key=len)
        self.assertTrue(points, "the mark was not seen")
        done = self.state()
        self.judge(kind, kind, command, completion, before, done)
        self.assertNotEqual(done, before, "the command changes nothing")
        chosen = random.Random(SEED).sample(points, min(POINTS, len(points))) if POINTS else points
        missed, undone, problems = 0, 0, []
        for place, count, number in sorted(chosen):
            for _ in range(3):
                self.make()
                completion, (_, reached, hung, _) = self.killed(command, (place, count))
                if reached:
                    break
            what = f"{kind}: killed at {place} {count} (call {number}), seed {SEED}"
            missed += not reached
            try:
                self.assertFalse(hung, what)
                after = self.state()
                self.judge(what, kind, command, completion, before, after)
                undone += after == before
            except AssertionError as error:
                problems.append(f"{what}: {error}")
        print(f"    {kind}: {len(points)} points, {len(chosen)} tried, {missed} not reached, not done at {undone}, seed {SEED}")
        self.assertEqual(problems, [])
        self.assertLessEqual(missed, max(1, len(chosen) // 10))

    def test_append(self):
        self.over("append", append(range(101, 104), "B"))

    def test_copy(self):
        self.over("copy", b"UID COPY 1:* B")

    def test_move(self):
        self.over("move", b"UID MOVE 1:* B")

    def test_store(self):
        self.over("store", rb"STORE 1:* +FLAGS (\Flagged word)")

    def test_expunge(self):
        self.over("expunge", b"EXPUNGE")

    def test_close(self):
        self.over("close", b"CLOSE")

    def test_create(self):
        self.over("create", b"CREATE D.E")

    def test_rename(self):
        self.over("rename", b"RENAME B C")

    def test_rename_inbox(self):
        self.over("rename inbox", b"RENAME INBOX old")

    def test_delete(self):
        self.over("delete", b"DELETE B")


if __name__ == "__main__":
    harness.main()
