"""Aliases and ~/.forward that change while mail for what they named waits: the change holds at once."""

import os
import pathlib
import re

import harness
from harness import needs_root, run, wait_until
from smtp_box import DOMAIN, BoxAndSink


@needs_root
class Changes(BoxAndSink):
    def setUp(self):
        super().setUp()
        self.carol, self.dave, self.user = self.box.add_user("carol"), self.box.add_user("dave"), self.box.user
        self.daemon = self.box.add_user("nobodys").name
        os.chmod(self.box.dir, 0o755)
        # Programs run as nobody and as users: where they have been says that they were.
        self.ran = self.box.dir / "ran"
        self.ran.mkdir()
        self.ran.chmod(0o777)
        for name in ("first", "second"):
            (self.box.dir / name).write_text(f"#!/bin/sh\ncat >/dev/null\necho $1 >>{self.ran}/{name}\nexit 75\n")
            (self.box.dir / name).chmod(0o755)

    def aliases(self, text):
        (self.box.dir / "aliases").write_text(text)
        self.box.write_settings(default_privs=self.daemon, alias_maps=f"hash:{self.box.dir / 'aliases'}",
                                minimal_backoff_time="1s", maximal_backoff_time="1s")

    def pipe(self, name, *words):
        return f"\"|{' '.join([str(self.box.dir / name), *words])}\""

    def forward(self, text):
        path = self.user.home / ".forward"
        path.unlink(missing_ok=True)
        if text:
            path.write_text(f"{text}\n")
            os.chown(path, self.user.uid, self.user.gid)

    def runs(self, name):
        path = pathlib.Path(self.ran / name)
        return len(path.read_text().splitlines()) if path.exists() else 0

    def send(self, to):
        self.assertEqual(self.sendmail("-i", f"{to}@{DOMAIN}", input="Subject: x\n\nhello\n").returncode, 0)
        self.again(lambda: self.runs("first") > 0)

    def again(self, until):
        wait_until(lambda: run(self.box.binary, "-c", self.box.conf, "-q") and until(), f"it\n{self.box.log()}", pause=0.3)

    def copies(self, *users):
        return [len(self.box.received(user)) for user in users]

    def test_an_alias_that_named_a_program(self):
        self.aliases(f"stale: dave, {self.pipe('first', 'a', 'b')}\n")
        self.send("stale")
        self.aliases("stale: carol, dave\n")
        before = self.runs("first")
        self.again(lambda: not self.queue())
        self.assertEqual((self.copies(self.carol, self.dave), self.runs("first")), ([1, 1], before))
        log = self.box.log()
        self.assertIn(f"<stale@{DOMAIN}>: nobody names {self.box.dir}/first a b any more", log)
        self.assertRegex(log, rf"to=<stale@{DOMAIN}>, relay=command, .*status=sent \(forwarded as ")

    def test_an_alias_without_the_program_and_none_at_all(self):
        self.aliases(f"stale: dave, {self.pipe('first')}\n")
        self.send("stale")
        self.aliases("stale: dave\n")
        self.again(lambda: not self.queue())
        self.assertEqual(self.copies(self.dave), [1])
        self.aliases(f"stale: {self.pipe('first')}\n")
        before = self.runs("first")
        self.send("stale")
        self.again(lambda: self.runs("first") > before)
        self.aliases("")
        self.again(lambda: re.search(r"status=bounced \(<stale@example.org>: Recipient address rejected: User unknown\)", self.box.log()))

    def test_another_program(self):
        self.aliases(f"stale: {self.pipe('first')}\n")
        self.send("stale")
        self.aliases(f"stale: {self.pipe('second')}\n")
        before = self.runs("first")
        self.again(lambda: self.runs("second") > 1)
        self.assertEqual((self.runs("first"), len(self.queue())), (before, 1))

    def test_a_forward_that_named_a_program(self):
        """The user gets it, as the file says now."""
        self.aliases(f"{self.user.name}: carol, {self.user.name}\n")
        for number, then in enumerate((None, f"\\{self.user.name}", f"{self.user.home}/Maildir/"), 1):
            with self.subTest(then):
                self.forward(self.pipe("first", str(number)))
                before = self.runs("first")
                self.assertEqual(self.sendmail("-i", self.user.name, input="Subject: x\n\nhello\n").returncode, 0)
                self.again(lambda before=before: self.runs("first") > before)
                self.forward(then)
                before = self.runs("first")
                self.again(lambda: not self.queue())
                # Carol has had hers.
                self.assertEqual((self.copies(self.user, self.carol), self.runs("first")), ([number, number], before))
        line = f"Delivered-To: {self.user.name}@{DOMAIN}\n".encode()
        self.assertEqual([raw.count(line) for raw in self.box.received(self.user)], [1, 1, 1])
        self.assertEqual(self.box.log().count("any more"), 3)

    def test_a_forward_that_has_kept_a_copy(self):
        """The user has it, and so has who else is named."""
        self.aliases("")
        keeps = f"\\{self.user.name}, {self.carol.name}"
        self.forward(f"{keeps}, {self.pipe('first', '1')}")
        self.assertEqual(self.sendmail("-i", self.user.name, input="Subject: x\n\nhello\n").returncode, 0)
        self.again(lambda: self.runs("first") > 0)
        self.forward(keeps)
        before = self.runs("first")
        self.again(lambda: not self.queue())
        self.assertEqual((self.copies(self.user, self.carol), self.runs("first")), ([1, 1], before))


if __name__ == "__main__":
    harness.main()
