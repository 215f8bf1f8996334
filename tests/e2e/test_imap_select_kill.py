"""kill -9 at every system call of imapd that SELECTs a mailbox with new messages, and of the first looks at it.

A run without a kill tells which calls there are, of which process; then each of them is the last one. The sessions after it
find every message once and whole, under the UID that anybody has been told, and never is a message recent in two of them: \\Recent may be
lost with the session that had it, not doubled. E2E_POINTS says how many points of each case are tried, 0: all.
"""

import contextlib
import os
import random
import re
import shutil
import time

import harness
from harness import Case, needs_root
from killing import WithKiller

SEED = int(os.environ.get("E2E_SEED", "3501"))
POINTS = int(os.environ.get("E2E_POINTS", "40"))
# From so many messages on they move from new to cur after the answer.
LARGE = 1000
ASK = (b"a SELECT INBOX\r\nb UID SEARCH RECENT\r\nc UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n"
       b"d NOOP\r\ne UID SEARCH RECENT\r\nf LOGOUT\r\n")


class Told:
    """What a session has told its client, as far as it came."""

    def __init__(self, octets):
        self.octets = octets
        number = lambda pattern: [int(found) for found in re.findall(pattern, octets)]
        self.validity = number(rb"(?m)^\* OK \[UIDVALIDITY (\d+)\] .*\r$")
        self.exists = number(rb"(?m)^\* (\d+) EXISTS\r$")
        self.count = max(number(rb"(?m)^\* (\d+) RECENT\r$"), default=0)
        found = re.findall(rb"(?m)^\* SEARCH((?: \d+)*)\r\n(?:\* .*\r\n)*[be] OK ", octets)
        self.recent = {int(uid) for line in found for uid in line.split()}
        self.messages = {int(uid): int(name) for uid, name in
                         re.findall(rb"FETCH \(UID (\d+) BODY\[[^\]]*\] \{\d+\}\r\nSubject: message (\d+)\r\n\r\n\)\r\n", octets)}
        self.complete = b"\r\nf OK " in octets


@needs_root
class SelectKill(WithKiller, Case):
    def setUp(self):
        box = self.new_box(tls=False, protocol="imap")
        self.path, self.user = box.maildir.path, (box.user.uid, box.user.gid)
        os.chmod(box.dir, 0o755)
        box.write_settings()
        os.chmod(box.conf, 0o644)
        box.log_path.chmod(0o666)
        self.command = [box.binary, "-c", box.conf, "-o", f"mail_location=maildir:{self.path}", "--preauth"]
        self.template = box.dir / "template"

    def write(self, directory, numbers, flags):
        for number in numbers:
            path = directory / f"{1_000_000_000 + number}.{number}.host{flags}"
            path.write_bytes(b"Subject: message %d\n\ntext\n" % number)
            os.chown(path, *self.user)

    def make(self, cur, new, index):
        """A mailbox of so many messages in cur, with an index or without, and so many in new that nobody has seen."""
        shutil.rmtree(self.path, ignore_errors=True)
        for name in ("", "cur", "new", "tmp"):
            (self.path / name).mkdir(mode=0o700)
            os.chown(self.path / name, *self.user)
        if cur and not self.template.exists():
            self.template.mkdir()
            self.write(self.template, range(1, cur + 1), ":2,S")
        for path in sorted(self.template.iterdir()) if cur else ():
            os.link(path, self.path / "cur" / path.name)
        if index:
            self.assertTrue(self.session().complete)
        self.write(self.path / "new", range(cur + 1, cur + new + 1), "")
        # Nobody has been here for a while.
        for name in ("cur", "new"):
            os.utime(self.path / name, (time.time() - 100,) * 2)

    def session(self):
        with self.spoken_with() as client:
            return Told(self.converse(client))

    def converse(self, client):
        client.settimeout(30)
        octets = b""
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            client.sendall(ASK)
            while piece := client.recv(1 << 16):
                octets += piece
        return octets

    def killed(self, point, everybody=True):
        with self.killed_at(point, everybody) as client:
            told = Told(self.converse(client))
        return told, self.killer.result()

    def judge(self, what, first, total):
        second, third = self.session(), self.session()
        for told in (second, third):
            self.assertTrue(told.complete, f"{what}: {told.octets[-300:]}")
            self.assertEqual(sorted(told.messages.values()), list(range(1, total + 1)), f"{what}: each once")
            self.assertEqual(told.exists[0], total, what)
        self.assertEqual([number for _, number in sorted(second.messages.items())], list(range(1, total + 1)), f"{what}: in order")
        self.assertEqual(third.messages, second.messages, f"{what}: UIDs stay")
        self.assertLessEqual(first.messages.items(), second.messages.items(), f"{what}: UIDs that were told stay")
        self.assertEqual(len({*first.validity, *second.validity, *third.validity}), 1, f"{what}: UIDVALIDITY")
        self.assertEqual(second.recent & first.recent, set(), f"{what}: recent in two sessions")
        self.assertFalse(first.count and second.count, f"{what}: recent in two sessions: {first.count}, {second.count}")
        self.assertEqual((third.count, third.recent), (0, set()), f"{what}: recent once more")
        files = sorted(name.split(".")[1] for place in ("cur", "new") for name in os.listdir(self.path / place))
        self.assertEqual(files, sorted(map(str, range(1, total + 1))), what)
        self.assertEqual(os.listdir(self.path / "new"), [], what)
        self.assertEqual(os.listdir(self.path / "tmp"), [], what)
        return second

    def over(self, case, cur, new, index):
        self.make(cur, new, index)
        told, (_, _, hung, points) = self.killed(None)
        self.assertTrue(told.complete and not hung, case)
        self.assertEqual((told.count, len(told.recent)), (new, new), case)
        self.judge(case, told, cur + new)
        chosen = points
        if POINTS:
            chosen = sorted(random.Random(SEED).sample(points, min(POINTS, len(points))))
        lost, missed, problems, begun = 0, 0, [], time.monotonic()
        # A child that reads the directories may end alone: then its session goes on without it.
        ways = [(point, everybody) for point in chosen for everybody in ((True, False) if point[0] else (True,))]
        for (place, count, number), everybody in ways:
            self.make(cur, new, index)
            first, (_, reached, hung, _) = self.killed((place, count), everybody)
            what = f"{case}: killed {'all' if everybody else 'one'} at {place} {count} (call {number})"
            missed += not reached
            try:
                self.assertFalse(hung, what)
                self.assertTrue(everybody or first.complete, f"{what}: {first.octets[-300:]}")
                second = self.judge(what, first, cur + new)
                lost += not first.count and not second.count
            except AssertionError as error:
                problems.append(str(error))
        print(f"    {case}: {len(points)} points, {len(ways)} ways tried, {missed} not reached, \\Recent lost at {lost},"
              f" {time.monotonic() - begun:.1f} s")
        self.assertEqual(problems, [])
        # Which of two processes comes first is not the same in every run; but most points are there in each.
        self.assertLess(missed, len(ways) / 2, f"{case}: not reached")

    def test_small_without_an_index(self):
        self.over("small, no index", 3, 5, False)

    def test_small_with_an_index(self):
        self.over("small", 3, 5, True)

    def test_large_without_an_index(self):
        self.over("large, no index", LARGE, 20, False)

    def test_large_with_an_index(self):
        self.over("large", LARGE, 20, True)


if __name__ == "__main__":
    harness.main()
