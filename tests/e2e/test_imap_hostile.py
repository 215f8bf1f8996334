"""A hostile client of imapd under xinetd, before the login and after it: time, memory and what others notice of it."""

import contextlib
import os
import re
import socket
import threading
import time

import harness
from harness import Case, message, needs_root, run, status_of, wait_until

KIB = 1024


def peak(pid):
    """The most memory a process ever had, in KiB, and the processor time that it has used, in seconds."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(status_of(pid)["VmHWM"].split()[0]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Hostile(Case):
    def start(self, **settings):
        self.server = self.serve(protocol="imap", settings=settings, change={"cps": "1000 1", "per_source": "UNLIMITED"})
        return self.server

    def assert_modest(self, kib, seconds, what=""):
        for pid in self.box.servers():
            with contextlib.suppress(OSError, KeyError):
                memory, processor = peak(pid)
                self.assertLess(memory, kib, f"{what}: KiB")
                self.assertLess(processor, seconds, f"{what}: processor seconds")

    def log_in(self, **more):
        imap = self.server.connect(**more)
        imap.login()
        return imap


class BeforeTheLogin(Hostile):
    def test_literals(self):
        """Sizes nobody has, literals for every argument, literals of literals: refused before they are sent."""
        self.start()
        for tls in (False, True):
            for line in ("a LOGIN {4294967296}", "a LOGIN {99999999999999999999999}", "a LOGIN {5000+}", "a LOGIN {-1}", "a LOGIN {1", "a LOGIN {}",
                         "a LOGIN {1+}x", "a AUTHENTICATE {1000000}", "a ID ({100000}", "{10000}", "a LOGIN {1048577+}"):
                with self.subTest(line, tls=tls), self.server.connect(tls=tls, timeout=60) as imap:
                    imap.send(line + "\r\n")
                    first = imap.response()
                    self.assertFalse(first.startswith(b"+"), first)
                    # However large it is said to be, it ends or goes on with commands.
                    with contextlib.suppress(OSError):
                        imap.send(b"x" * 100_000 + b"\r\nz LOGOUT\r\n")
                        rest = imap.rest()
                        self.assertNotIn(b"OK Logged in", rest)
                    self.assert_modest(16 * KIB, 2, line)
        self.box.wait_idle()

    def test_a_stream_of_literals_that_are_waited_for(self):
        """Each is within the limits; all of them together are not."""
        self.start()
        with self.server.connect(timeout=60) as imap:
            imap.send(b"a LOGIN")
            sent = 0
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    imap.send(b" {4000+}\r\n" + b"x" * 4000)
                    sent += 4000
            self.assert_modest(12 * KIB, 2)
            self.assertNotIn(b"OK Logged", imap.rest())
        self.box.wait_idle()

    def test_a_flood_of_commands(self):
        self.start()
        with self.server.connect(timeout=60) as imap:
            count = 100_000
            sender = threading.Thread(target=lambda: imap.socket.sendall(b"x NOOP\r\n" * count + b"y LOGOUT\r\n"))
            sender.start()
            time.sleep(0.3)
            rest = imap.rest()
            sender.join()
            self.assertEqual(rest.count(b"x OK"), count)
        self.box.wait_idle()

    def test_starttls_and_what_stands_behind_it(self):
        """CVE-2011-0411, and literals and responses of SASL instead of commands."""
        self.start()
        for injected in ("b LOGIN demo x\r\n", "b CAPABILITY\r\n", "b", "\r\n", "{3+}\r\nabc\r\n", "*\r\n"):
            with self.subTest(injected), self.server.connect(timeout=60) as imap:
                imap.send("a STARTTLS\r\n" + injected)
                rest = imap.rest()
                self.assertTrue(rest.startswith(b"a BAD"), rest)
                self.assertEqual(rest.count(b"a BAD"), 1, rest)
                self.assertNotIn(b"b OK", rest)
        # Not in the middle of a SASL exchange, and not twice.
        with self.server.connect(timeout=60) as imap:
            imap.send("a AUTHENTICATE LOGIN\r\n")
            self.assertTrue(imap.response().startswith(b"+"))
            imap.send("a STARTTLS\r\n")
            self.assertRegex(imap.response(), rb"^a (BAD|NO)")
            imap.start_tls_command()
            self.assertTrue(imap.say("STARTTLS")[0].startswith("BAD"))
            imap.login()
            imap.quit()

    def test_octets_that_are_no_commands(self):
        self.start()
        for octets in (b"\0" * 1000, b"a NOOP\0\r\n", b"\xff\xfe\r\n", b"a\r\rNOOP\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
                       b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"(" * 5000 + b"\r\n", b"a LOGIN \"" + b"\\" * 8001 + b"\"\r\n", b"\n" * 5000,
                       b"+ NOOP\r\n", b"* NOOP\r\n", b"a LOGIN \"x\r\ny\" z\r\n", b"A" * 100_000 + b" NOOP\r\n"):
            with self.subTest(octets[:20]), self.server.connect(timeout=60) as imap:
                with contextlib.suppress(OSError):
                    imap.send(octets + b"\r\nz LOGOUT\r\n")
                    rest = imap.rest()
                    self.assertTrue(b"z OK" in rest or b"BYE" in rest or b"BAD" in rest, rest)
                self.assert_modest(12 * KIB, 1)
        self.box.wait_idle()


class AfterTheLogin(Hostile):
    def fill(self, count, size=20):
        for number in range(count):
            self.box.maildir.add(message(f"number {number}", b"text\n" * size), flags="S")

    def session(self):
        return wait_until(lambda: [pid for pid in self.box.servers() if b"--session" in harness.arguments_of(pid)], "a session")[0]

    def test_a_flood_of_commands(self):
        """A hundred thousand in one go, while nothing is read: all are answered, in bounded memory."""
        self.start()
        self.fill(3)
        for tls in (False, True):
            with self.subTest(tls=tls):
                imap = self.log_in(tls=tls, timeout=60)
                imap.ok("SELECT INBOX")
                count = 100_000
                pid = os.fork()
                if pid == 0:
                    with contextlib.suppress(OSError):
                        imap.send(b"x UID FETCH 1 FLAGS\r\n" * count + b"y LOGOUT\r\n")
                    os._exit(0)
                time.sleep(1)
                self.assert_modest(12 * KIB, 30)
                rest = imap.rest() if not tls else None
                if rest is not None:
                    self.assertEqual(rest.count(b"x OK"), count)
                    self.assertEqual(rest.count(b"* 1 FETCH"), count)
                    os.waitpid(pid, 0)
                else:
                    # Over TLS two processes cannot share the connection's state: this one just goes away.
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                imap.close()
                self.box.wait_idle()

    def test_a_reader_that_does_not_read(self):
        """Everything is asked for and nothing is taken: the session waits without memory, and others are not kept out."""
        self.start()
        self.fill(200, 2000)
        slow = self.log_in(timeout=60)
        slow.ok("SELECT INBOX")
        slow.send("x FETCH 1:* (BODY[] ENVELOPE BODYSTRUCTURE)\r\n" * 20)
        time.sleep(0.5)
        self.assert_modest(10 * KIB, 10)
        started = time.monotonic()
        with self.log_in(timeout=60) as imap:
            imap.ok("SELECT INBOX")
            imap.ok(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
            imap.ok("EXPUNGE")
            imap.append(message("new"))
            imap.quit()
        self.assertLess(time.monotonic() - started, 50)
        # What was expunged meanwhile is answered somehow, and the session goes on.
        for _ in range(20):
            completion, _untagged = slow.completion(b"x")
            self.assertRegex(completion, "^(OK|NO)")
        slow.ok("NOOP")
        slow.quit()
        self.box.wait_idle()

    def test_an_append_that_never_ends(self):
        """It keeps neither others out of the mailbox nor anything in tmp when it is given up."""
        self.start()
        slow = [self.log_in(timeout=60) for _ in range(5)]
        for imap in slow:
            imap.send("x APPEND INBOX {20000000}\r\n")
            self.assertTrue(imap.response().startswith(b"+"))
            imap.send(b"Subject: slow\r\n\r\n" + b"x" * 300_000)
        with self.log_in(timeout=60) as imap:
            for _ in range(3):
                imap.append(message("quick"))
            imap.ok("SELECT INBOX")
            self.assertEqual(len(imap.bodies()), 3)
            imap.quit()
        self.assert_modest(8 * KIB, 5)
        for imap in slow:
            imap.close()
        self.box.wait_idle()
        self.assertEqual(list((self.box.maildir.path / "tmp").iterdir()), [])

    def test_too_large_a_message_is_refused_however_it_is_sent(self):
        self.start(message_size_limit="100k")
        with self.log_in(timeout=60) as imap:
            imap.no("APPEND INBOX {100000000}", "[TOOBIG]")
            octets = message("large", b"x" * 200_000)
            imap.no(b"APPEND INBOX {%d+}\r\n%s" % (len(octets), octets), "[TOOBIG]")
            small = message("small")
            imap.no(b"APPEND INBOX {%d+}\r\n%s {%d+}\r\n%s" % (len(small), small, len(octets), octets), "[TOOBIG]")
            imap.ok("NOOP")
            imap.quit()
        self.box.wait_idle()
        self.assertEqual([path for part in ("new", "cur", "tmp") for path in (self.box.maildir.path / part).iterdir()], [])

    def test_commands_made_to_take_long(self):
        """Deep and wide search keys, wildcards without end, sets of everything a thousand times."""
        self.start()
        self.fill(300)
        with self.log_in(timeout=60) as imap:
            imap.ok("SELECT INBOX")
            pid = self.session()
            many = ",".join(["1:*"] * 15_000)
            for command in (f"FETCH {many} UID", f"UID FETCH {many} UID", f"SEARCH {many}", f"UID SEARCH UID {many}",
                            "SEARCH " + "(" * 9000 + "ALL" + ")" * 9000, "SEARCH " + "NOT " * 15_000 + "ALL", "SEARCH " + "OR ALL " * 9000 + "ALL",
                            "SEARCH " + 'TEXT "%s" ' % ("a" * 50) * 1000, "SEARCH " + "BODY x " * 9000, "SORT (" + "SUBJECT " * 7000 + "DATE) UTF-8 ALL",
                            'LIST "" "' + "*%" * 25_000 + '"', 'LSUB "" "' + "%*a" * 15_000 + 'x"', 'LIST "" (' + "* " * 20_000 + ")",
                            'LIST "' + "".join(map(chr, range(48, 91))) * 1400 + '" (' + "*x " * 98 + "*y)",
                            "FETCH 1:* (" + "BODY.PEEK[] " * 5000 + "UID)", "FETCH 1 BODY.PEEK[" + "1." * 20_000 + "1]",
                            "FETCH 1:* BODY.PEEK[HEADER.FIELDS (" + "a " * 20_000 + "b)]", "STORE 1 FLAGS (" + " ".join(f"k{n}" for n in range(9000)) + ")",
                            f"STORE {many} +FLAGS (x)", "ENABLE " + "X " * 30_000, "STATUS INBOX (" + "MESSAGES " * 7000 + ")",
                            "FETCH 1 BODY.PEEK[]<4294967295.4294967295>", "FETCH 4294967295 UID", "FETCH 0 UID", "UID FETCH 4294967296 UID"):
                _, before = peak(pid)
                completion, _ = imap.say(command)
                self.assertRegex(completion, "^(OK|NO|BAD)")
                memory, after = peak(pid)
                self.assertLess(after - before, 3, f"{command[:50]}: processor seconds")
                self.assertLess(memory, 12 * KIB, f"{command[:50]}: KiB")
                imap.ok("NOOP")
            imap.quit()

    def add_endless(self):
        # One alone is sorted already.
        for _ in range(2):
            name = self.box.maildir.add(message("endless"), flags="S")
            os.truncate(self.box.maildir.path / "cur" / f"{name}:2,S", 1 << 40)

    def test_a_client_that_goes_away_while_it_waits(self):
        """A message that would take days to read: the session ends soon after its client, and one that only says no more is waited with."""
        self.start()
        self.add_endless()
        for tls in (False, True):
            for command in ("SEARCH BODY zz", "SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "SEARCH SMALLER 9", "STATUS INBOX (SIZE)",
                            "FETCH 1:* RFC822.SIZE", "FETCH 1:* BODYSTRUCTURE", "FETCH 1 BODY.PEEK[]<1000000000000.9>"):
                with self.subTest(command, tls=tls):
                    imap = self.log_in(tls=tls, timeout=60)
                    if "STATUS" not in command:
                        imap.ok("SELECT INBOX")
                    imap.send(f"x {command}\r\n")
                    time.sleep(0.3)
                    if not tls:
                        imap.socket.shutdown(socket.SHUT_WR)
                        self.assertEqual(imap.response(), b"* OK Still at it.")
                        time.sleep(1.5)
                        self.assertTrue(self.box.servers(), "it is waited with")
                    imap.close()
                    self.box.wait_idle()

    def test_session_timeout_while_it_waits(self):
        self.start(session_timeout="4s")
        self.add_endless()
        with self.log_in(timeout=60) as imap:
            imap.ok("SELECT INBOX")
            imap.send("x SEARCH BODY zz\r\n")
            self.assertIn(b"* BYE", imap.rest())

    def test_messages_made_to_take_long(self):
        """Nesting, parts, headers and encoded words without end: parsed once, in bounded time and memory."""
        self.start()
        nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(20_000))
        texts = [nested, b"Content-Type: message/rfc822\n\n" * 50_000, b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 200_000,
                 b"Subject: " + b"x" * 5_000_000 + b"\n\n", b"Subject: " + b" x\n" * 1_000_000 + b"\n", b"".join(b"X-%d: y\n" % n for n in range(200_000)),
                 b"To: " + b"g:" * 500_000 + b"\n\n", b"To: " + b"(" * 1_000_000 + b"\n\n", b"To: " + b"a@b, " * 200_000 + b"\n\n",
                 b"Subject: " + b"=?utf-8?q?=41?= " * 100_000 + b"\n\n", b"Subject: " + b"[fwd: " * 100_000 + b"x" + b"]" * 100_000 + b"\n\n",
                 b"References: " + b"<a@b> " * 200_000 + b"\n\n", b"Content-Type: text/plain" + b"; p*0*=x" * 100_000 + b"\n\n",
                 b"Content-Type: text/plain; charset=iso-2022-jp\n\n" + b"\x1b$B\x1b(B" * 500_000, b"Date: " + b"(" * 500_000 + b"\n\n"]
        for text in texts:
            self.box.maildir.add(text, flags="")
        with self.log_in(timeout=120) as imap:
            imap.ok("SELECT INBOX")
            pid = self.session()
            for number in range(1, len(texts) + 1):
                _, before = peak(pid)
                for command in ("FETCH %d (ENVELOPE BODYSTRUCTURE BODY)", "FETCH %d (BODY.PEEK[1.1.1] BODY.PEEK[1.MIME] BODY.PEEK[HEADER.FIELDS (DATE)])",
                                "SEARCH %d SUBJECT zz BODY zz TO zz", "SORT (SUBJECT DISPLAYFROM DATE) UTF-8 %d", "THREAD REFERENCES UTF-8 %d"):
                    imap.ok(command % number)
                memory, after = peak(pid)
                self.assertLess(after - before, 3, f"{number}: processor seconds")
                self.assertLess(memory, 16 * KIB, f"{number}: KiB")
            imap.quit()

    def test_idle_and_what_is_no_done(self):
        self.start()
        with self.log_in(timeout=60) as imap:
            imap.ok("SELECT INBOX")
            for ending in (b"x NOOP\r\n", b"\r\n", b"DONE x\r\n", b"\0\r\n", b"DON", b"x" * 3000 + b"\r\n", b"{3+}\r\n"):
                imap.send(b"i IDLE\r\n")
                self.assertTrue(imap.response().startswith(b"+"))
                imap.send(ending)
                if ending == b"DON":
                    time.sleep(0.2)
                    imap.send(b"E\r\n")
                completion, _ = imap.completion(b"i")
                self.assertTrue(completion.startswith("OK" if ending == b"DON" else "BAD"), (ending, completion))
                imap.ok("NOOP")
            # DONE before it is asked for, twice, and IDLE within IDLE.
            imap.send(b"j IDLE\r\nDONE\r\nk IDLE\r\nl IDLE\r\n")
            self.assertTrue(imap.completion(b"j")[0].startswith("OK"))
            self.assertTrue(imap.completion(b"k")[0].startswith("BAD"))
            imap.ok("NOOP")
            imap.quit()

    @needs_root
    def test_idle_where_inotify_is_used_up(self):
        """The user's other processes hold all instances that he may have: then the mailbox is looked at from time to time."""
        import ctypes
        self.start(mailbox_idle_check_interval="1s", imap_idle_notify_interval="3s")
        # Of a uid that no other test has, which may run at the same time.
        user = self.box.add_user("watchless", uid=31001)
        maildir = self.box.maildir_of(user)
        ready, hold = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setgid(user.gid)
            os.setuid(user.uid)
            held = 0
            while ctypes.CDLL(None).inotify_init() >= 0:
                held += 1
            os.write(ready[1], b"%d" % held)
            os.close(hold[1])
            os.read(hold[0], 1)
            os._exit(0)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.close, hold[1])
        self.assertGreater(int(os.read(ready[0], 16)), 0)
        with self.server.connect(timeout=60) as imap:
            imap.login(*user)
            imap.ok("SELECT INBOX")
            imap.send(b"i IDLE\r\n")
            self.assertTrue(imap.response().startswith(b"+"))
            session, watched = self.session(), []
            for name in os.listdir(f"/proc/{session}/fd"):
                # It may be reading a directory just now.
                with contextlib.suppress(FileNotFoundError):
                    watched.append(os.readlink(f"/proc/{session}/fd/{name}"))
            self.assertNotIn("anon_inode:inotify", watched)
            maildir.add(message("new"), age=0)
            self.assertEqual(imap.response(), b"* 1 EXISTS")
            while not (response := imap.response()).startswith(b"* OK Still here"):
                self.assertRegex(response, rb"RECENT|FETCH")
            before = peak(self.session())[1]
            time.sleep(3)
            self.assertLess(peak(self.session())[1] - before, 0.3, "it looks now and then, and not all the time")
            imap.send(b"DONE\r\n")
            self.assertTrue(imap.completion(b"i")[0].startswith("OK"))
            imap.quit()

    def test_into_itself(self):
        """COPY and MOVE of everything onto the mailbox it is in."""
        self.start()
        self.fill(50)
        with self.log_in(timeout=60) as imap:
            imap.ok("SELECT INBOX")
            imap.ok("COPY 1:* INBOX")
            imap.ok("COPY 1:* inbox")
            imap.ok("UID MOVE 1:100 INBOX")
            self.assertEqual(len(imap.bodies()), 200)
            imap.no("RENAME INBOX INBOX")
            imap.quit()

    def test_renames_at_the_same_time(self):
        """Sessions that rename, create and delete the same mailboxes while messages go in: none of these is lost."""
        self.start()
        names, stop, added, errors = ["A", "B", "A.x", "C"], time.monotonic() + 4, [], []

        def work(number):
            import random
            pick = random.Random(number)
            try:
                with self.log_in(timeout=60) as imap:
                    while time.monotonic() < stop or len(added) <= 40 and time.monotonic() < stop + 30:
                        one, other = pick.sample(names, 2)
                        command = pick.choice((f"RENAME {one} {other}", f"CREATE {one}", f"RENAME {one} {other}", f'LIST "" *', f"STATUS {one} (MESSAGES)"))
                        completion, _ = imap.say(command)
                        if not re.match(r"OK|NO \[(NONEXISTENT|ALREADYEXISTS|CANNOT|INUSE|TRYCREATE)\]", completion):
                            errors.append((command, completion))
                        text = message(f"{number} {len(added)}")
                        completion, _ = imap.say(b"APPEND %s {%d+}\r\n%s" % (one.encode(), len(text), text))
                        if completion.startswith("OK"):
                            added.append(text)
                        elif not re.match(r"NO \[(TRYCREATE|NONEXISTENT|INUSE)\]", completion):
                            errors.append((f"APPEND {one}", completion))
                    imap.quit()
            except (AssertionError, OSError) as error:
                errors.append(("the connection", str(error)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        found = 0
        with self.log_in(timeout=60) as imap:
            for line in imap.ok('LIST "" *'):
                if b"\\Noselect" not in line:
                    imap.ok(f"EXAMINE {line.split()[-1].decode()}")
                    bodies = imap.bodies()
                    found += len(bodies)
                    self.assertEqual(len(set(bodies.values())), len(bodies))
            imap.quit()
        # Nobody waits for a lock that was left behind.
        self.assertGreater(len(added), 40)
        self.assertLess(time.monotonic() - stop, 50)
        self.assertEqual(found, len(added))

    @needs_root
    def test_links_that_the_user_made(self):
        """To another user's mail, to devices and to itself: with the user's rights, and no further."""
        self.start()
        other = self.box.add_user("other")
        theirs = self.box.maildir_of(other)
        theirs.add(message("not yours"))
        own = self.box.maildir
        own.add(message("one"))
        for name, target in ((".theirs", theirs.path), (".self", "."), (".root", "/"), (".gone", "/nonexistent")):
            os.symlink(target, own.path / name)
        for part in ("cur", "new", "tmp"):
            (own.path / ".odd" / part).mkdir(parents=True)
        os.symlink(theirs.files()[0], own.path / ".odd/cur/1.a.b:2,")
        os.symlink("/etc/shadow", own.path / ".odd/cur/2.a.b:2,")
        os.symlink("/dev/zero", own.path / ".odd/cur/3.a.b:2,")
        os.mkfifo(own.path / ".odd/cur/4.a.b:2,")
        (own.path / ".odd/cur/5.a.b:2,").mkdir()
        run("chown", "-hR", f"{self.box.user.uid}:{self.box.user.gid}", own.path)
        with self.log_in(timeout=60) as imap:
            for name in ("theirs", "root", "gone"):
                imap.no(f"SELECT {name}")
                imap.no(f"STATUS {name} (MESSAGES)")
                imap.no(b"APPEND %s {3+}\r\na:b" % name.encode())
            imap.ok("SELECT odd")
            completion, untagged = imap.say("FETCH 1:* (BODY.PEEK[] ENVELOPE BODYSTRUCTURE)")
            self.assertTrue(completion.startswith("NO"), completion)
            self.assertNotIn(b"not yours", b" ".join(untagged))
            self.assertNotIn(b"root:", b" ".join(untagged))
            imap.say("COPY 1:* INBOX")
            imap.say("SEARCH TEXT root")
            self.assert_modest(10 * KIB, 5)
            imap.ok("NOOP")
            imap.quit()


if __name__ == "__main__":
    harness.main()
