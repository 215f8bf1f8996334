"""What has gone wrong in other servers, and limits. Each test is a row of doc/cve.md or of README's table of limits."""

import base64
import contextlib
import os
import re
import ssl
import time

import harness
from harness import Case, Pop, message, needs_root, run, wait_until


class Tls(Case):
    def setUp(self):
        self.server = self.serve()
        self.box.maildir.add(message("one"))

    def test_commands_behind_stls_in_one_packet_are_refused(self):
        """CVE-2011-0411 and its relatives: what was said in clear must not be taken for something said under TLS."""
        for injected in ("USER demo\r\n", "CAPA\r\n", "QUIT\r\n", "x", "\r\n"):
            with self.subTest(injected), self.server.connect() as pop:
                pop.send("STLS\r\n" + injected)
                reply = pop.rest()
                self.assertTrue(reply.startswith(b"-ERR"), reply)
                self.assertEqual(reply.count(b"\r\n"), 1, reply)
        self.box.wait_idle()

    def test_commands_that_come_between_the_answer_and_the_handshake_are_not_taken(self):
        with self.server.connect() as pop:
            pop.ok("STLS")
            pop.send("USER demo\r\n")
            rest = pop.rest()
            self.assertNotIn(b"+OK", rest)
            self.assertNotIn(b"-ERR", rest, "no word in clear after +OK to STLS")
        self.box.wait_idle()

    def test_what_was_said_in_clear_is_forgotten(self):
        with self.server.connect() as pop:
            pop.ok("USER demo")
            pop.ok("UTF8")
            pop.stls()
            pop.err(f"PASS {self.box.user.password}")
            self.assertNotIn("STLS", pop.lines("CAPA"))
            pop.err("STLS")
            pop.login()
            pop.quit()

    def test_a_client_that_speaks_no_tls_on_the_tls_port(self):
        with Pop(address=(harness.HOST, self.server.tls_port), greeting=False) as pop:
            pop.send("USER demo\r\nPASS x\r\n")
            rest = pop.rest()
            self.assertNotIn(b"+OK", rest)
        self.box.wait_idle()
        line = self.box.wait_log("TLS handshaking")
        self.assertNotIn("demo", line)

    def test_a_renewed_certificate_is_served_to_the_next_client(self):
        """There is nothing to reload."""
        def serial():
            with self.server.connect(tls=True) as pop:
                return pop.socket.getpeercert()["serialNumber"]
        first = serial()
        self.assertEqual(serial(), first)
        cert, key = self.box.authority.issue("rsa", name="renewed")
        # In place, as certificate clients do it.
        os.replace(cert, self.box.settings["ssl_cert_file"])
        os.replace(key, self.box.settings["ssl_key_file"])
        self.assertNotEqual(serial(), first)

    def test_kinds_of_keys_and_files(self):
        for kind in ("ec", "rsa", "ed25519"):
            cert, key = self.box.authority.issue(kind, name=kind)
            both = self.box.dir / "tls" / f"{kind}-both.pem"
            both.write_text(key.read_text() + cert.read_text())
            both.chmod(0o600)
            traditional = self.box.dir / "tls" / f"{kind}-traditional.pem"
            if kind != "ed25519":
                run("openssl", "pkey", "-in", key, "-traditional", "-out", traditional)
            else:
                traditional.write_text(key.read_text())
            traditional.chmod(0o600)
            for cert_file, key_file in ((cert, key), (both, both), (cert, traditional)):
                self.box.write_settings(ssl_cert_file=cert_file, ssl_key_file=key_file)
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    with self.subTest(f"{kind} {cert_file.name} {key_file.name} {version}"):
                        context = self.box.authority.context(minimum_version=version, maximum_version=version)
                        with self.server.connect(tls=True, context=context) as pop:
                            pop.login()
                            pop.quit()
                        self.box.wait_idle()

    def broken(self, pattern, **settings):
        """STLS answers with a temporary error, POP3S closes, and the log says what is wrong with which file."""
        self.box.write_settings(**settings)
        self.box.clear_log()
        with self.server.connect() as pop:
            pop.err("STLS", "[SYS/TEMP]")
            # In clear it still works, from this host.
            pop.login()
            pop.quit()
        self.box.wait_log(pattern)
        self.box.clear_log()
        with contextlib.suppress(OSError), self.server.connect(tls=True, greeting=False) as pop:
            self.assertEqual(pop.rest(), b"")
        self.box.wait_log(pattern)
        self.box.wait_idle()

    def test_an_encrypted_key(self):
        cert, key = self.box.authority.issue(name="plain")
        encrypted = self.box.dir / "tls" / "encrypted.pem"
        run("openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", encrypted)
        self.broken(r"encrypted\.pem: .*encrypted", ssl_cert_file=cert, ssl_key_file=encrypted)

    def test_a_key_of_another_certificate(self):
        cert, _ = self.box.authority.issue(name="one")
        _, key = self.box.authority.issue(name="two")
        self.broken(r"two-key\.pem.*belong.*one\.pem", ssl_cert_file=cert, ssl_key_file=key)

    def test_files_that_are_missing_or_rubbish(self):
        cert, key = self.box.authority.issue(name="good")
        rubbish = self.box.dir / "tls" / "rubbish.pem"
        rubbish.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        empty = self.box.dir / "tls" / "empty.pem"
        empty.touch()
        self.broken(r"rubbish\.pem", ssl_cert_file=cert, ssl_key_file=rubbish)
        self.broken(r"empty\.pem.*no private key", ssl_cert_file=cert, ssl_key_file=empty)
        self.broken(r"empty\.pem.*no certificate", ssl_cert_file=empty, ssl_key_file=key)
        self.broken(r"nothing-here\.pem", ssl_cert_file=cert, ssl_key_file=self.box.dir / "nothing-here.pem")

    def test_a_key_that_cannot_be_read(self):
        cert, key = self.box.authority.issue(name="unreadable")
        if harness.IS_ROOT:
            # root reads everything, but not a directory.
            key.unlink()
            key.mkdir()
        else:
            key.chmod(0)
        self.broken(r"unreadable-key\.pem", ssl_cert_file=cert, ssl_key_file=key)

    def test_ssl_no_and_required(self):
        self.box.write_settings(ssl="no")
        with self.server.connect() as pop:
            self.assertNotIn("STLS", pop.lines("CAPA"))
            pop.err("STLS")
        self.box.write_settings(ssl="required", haproxy_trusted_networks="127.0.0.9")
        with Pop(self.server, source="127.0.0.9", greeting=False) as pop:
            pop.send("PROXY TCP4 192.0.2.77 192.0.2.1 4711 110\r\n")
            pop.line()
            pop.err("USER demo")
            pop.stls()
            pop.login()
            pop.quit()

    def test_minimum_version(self):
        self.box.write_settings(ssl_min_protocol="TLSv1.3")
        context = self.box.authority.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        with self.assertRaises((ssl.SSLError, ConnectionResetError, AssertionError)):
            self.server.connect(tls=True, context=context)
        with self.server.connect(tls=True) as pop:
            pop.quit()


class Line(Case):
    def setUp(self):
        self.server = self.serve()
        self.box.maildir.add(message("one"))

    def test_long_lines_are_refused_and_discarded_whole(self):
        for login in (False, True):
            with self.subTest(login), self.server.connect() as pop:
                if login:
                    pop.login()
                pop.err("NOOP " + "x" * 300)
                pop.err("USER " + "x" * 5000)
                # The end of a long line is not a command.
                pop.err("y" * 50000 + " QUIT")
                self.assertIn("UIDL", pop.lines("CAPA"))
                pop.quit()

    def test_a_line_without_end_takes_no_memory(self):
        with self.server.connect() as pop:
            largest = 0
            with contextlib.suppress(OSError):
                for _ in range(64):
                    pop.send(b"z" * (1 << 18))
                    for pid in self.box.servers():
                        with contextlib.suppress(OSError, KeyError):
                            largest = max(largest, int(harness.status_of(pid)["VmRSS"].split()[0]))
            self.assertLess(largest, 20000)
        self.box.wait_idle()

    def test_auth_lines_may_be_longer(self):
        with self.server.connect() as pop:
            pop.err("AUTH PLAIN " + base64.b64encode(b"\0demo\0" + b"p" * 900).decode(), "[AUTH]")
            pop.err("AUTH PLAIN " + "A" * 4000)
            pop.login()
            pop.quit()

    def test_nul_and_control_characters(self):
        with self.server.connect() as pop:
            for line in (b"USER de\0mo", b"USER demo\0", b"NO\0OP", b"USER a\x1b[31m", b"\xff\xfe", b"USER a\rb"):
                self.assertTrue(pop.say(line).startswith("-ERR"), line)
            self.assertTrue(pop.say("AUTH PLAIN " + base64.b64encode(b"\0demo\0pass\0word").decode()).startswith("-ERR"))
            pop.login()
            for line in (b"RETR 1\0", b"LIST \x07"):
                self.assertTrue(pop.say(line).startswith("-ERR"), line)
            pop.quit()

    def test_numbers(self):
        with self.server.connect() as pop:
            pop.login()
            for number in ("0", "2", "-1", "+1", "4294967297", "18446744073709551617", "1x", "0x1", "٣", "1 1", " ", "1e0"):
                with self.subTest(number):
                    self.assertTrue(pop.say(f"RETR {number}").startswith("-ERR"), number)
            for number in ("1 -1", "1 99999999999999999999999", "1 x", "1"):
                self.assertTrue(pop.say(f"TOP {number}").startswith("-ERR"), number)
            pop.quit()

    def test_bad_commands_end_the_connection(self):
        for login in (False, True):
            with self.subTest(login), self.server.connect() as pop:
                if login:
                    pop.login()
                for _ in range(19):
                    pop.err("NONSENSE")
                pop.err("NONSENSE")
                rest = pop.rest()
                self.assertTrue(rest == b"" or rest.startswith(b"-ERR"), rest)
            self.box.wait_idle()

    def test_a_flood_of_commands_is_answered_in_full(self):
        """Far more than any buffer holds, while the client does not read: nothing hangs, nothing is lost."""
        with self.server.connect() as pop:
            pop.login()
            count = 200000
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(OSError):
                    pop.send(b"NOOP\r\n" * count + b"QUIT\r\n")
                os._exit(0)
            time.sleep(0.5)
            rest = pop.rest()
            os.waitpid(pid, 0)
            self.assertEqual(rest.count(b"+OK"), count + 1)

    def test_pipelined_from_the_first_command_to_quit(self):
        with self.server.connect() as pop:
            pop.send(f"USER demo\r\nPASS {self.box.user.password}\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
            rest = pop.rest()
            self.assertEqual(rest.count(b"+OK"), 6)
            self.assertEqual(self.box.maildir.files(), [])


class Log(Case):
    def setUp(self):
        self.server = self.serve(settings={"auth_username_chars": ""})
        self.box.maildir.add(message("one"))

    def test_a_user_name_cannot_write_a_line_or_a_control_character(self):
        evil = b"\0x\n2026-11-21T10:00:00Z pop3-login: Login: user=<root>, rip=127.0.0.1\r\n\x1b[2J\x7f\x85\0wrong"
        with self.server.connect() as pop:
            self.assertTrue(pop.say(b"AUTH PLAIN " + base64.b64encode(evil)).startswith("-ERR"))
            self.assertTrue(pop.say("USER a>, rip=192.0.2.99, lip=<b").startswith(("+OK", "-ERR")))
            pop.say("PASS wrong")
        self.box.wait_idle()
        raw = self.box.log_path.read_bytes()
        self.assertRegex(raw, rb"^[\n -~]*$")
        for line in raw.decode().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ pop3(-login: |\(\w+\)<\d+><\w+>: )")
            self.assertFalse(re.search(r" pop3-login: Login: ", line), line)
            rip = re.findall(r"rip=([0-9.]+)", re.sub(r"user=<.*>, (method|rip)", r"\1", line))
            self.assertLessEqual(set(rip), {"127.0.0.1"}, line)

    def test_passwords_are_in_no_log(self):
        """Right, wrong, in the place of a name, in the place of a command, in base64."""
        secret = "Tr0ub4dor&3"
        encoded = base64.b64encode(f"\0demo\0{secret}".encode()).decode()
        with self.server.connect() as pop:
            pop.ok("USER demo")
            pop.say(f"PASS {secret}")
            pop.say(f"USER {secret}")
            pop.say("PASS x")
            pop.say(f"AUTH PLAIN {encoded}")
        with self.server.connect() as pop:
            pop.say(secret)
            pop.say(f"PASS {secret}")
            pop.say(f"AUTH {secret}")
            pop.say(f"AUTH PLAIN {encoded[:-3]}!!!")
            pop.say(f"APOP demo {secret}")
            pop.login()
            pop.say(f"PASS {secret}")
            pop.quit()
        self.box.wait_idle()
        log = self.box.log() + ("\n".join(harness.syslog.lines) if harness.syslog else "")
        self.assertIn("Login: user=<demo>", log)
        for text in (secret, encoded, encoded[:-3], self.box.user.password):
            self.assertNotIn(text, log)


class Limits(Case):
    def assert_ends_soon(self, say, why=None):
        """However busy the client is, the server ends the connection."""
        started = time.monotonic()
        with contextlib.suppress(OSError, AssertionError):
            while time.monotonic() - started < harness.SOON:
                say()
                time.sleep(0.1)
        self.assertLess(time.monotonic() - started, harness.SOON, why)

    def test_time_to_log_in(self):
        server = self.serve(settings={"login_timeout": "2s"})
        for tls in (False, True):
            with self.subTest(tls), server.connect(tls=tls) as pop:
                started = time.monotonic()
                rest = pop.rest()
                self.assertLess(time.monotonic() - started, harness.SOON)
                self.assertTrue(rest.startswith(b"-ERR"), rest)
        with self.subTest("never a whole command"), server.connect() as pop:
            self.assert_ends_soon(lambda: pop.send("C"), "octets now and then must not prolong the time")
        with self.subTest("no handshake"), Pop(address=(harness.HOST, server.tls_port), greeting=False) as pop:
            pop.rest()
        with self.subTest("commands all the time"), server.connect() as pop:
            self.assert_ends_soon(lambda: pop.lines("CAPA"))
        self.box.wait_idle()
        self.box.wait_log("Inactivity")

    def test_idle_time_deletes_nothing(self):
        server = self.serve(settings={"pop3_idle_timeout": "2s"})
        self.box.maildir.add(message("one"))
        for tls in (False, True):
            with self.subTest(tls), server.connect(tls=tls) as pop:
                pop.login()
                pop.ok("DELE 1")
                started = time.monotonic()
                rest = pop.rest()
                self.assertLess(time.monotonic() - started, harness.SOON)
                self.assertTrue(rest == b"" or rest.startswith(b"-ERR"), rest)
            self.box.wait_idle()
            self.assertEqual(len(self.box.maildir.files()), 1)
        self.box.wait_log(r"Disconnected: Inactivity")

    def test_a_client_that_does_not_read(self):
        server = self.serve(settings={"reply_timeout": "2s"})
        self.box.maildir.add(message("large", b"0123456789\n" * 4000000))
        for tls in (False, True):
            with self.subTest(tls), server.connect(tls=tls) as pop:
                pop.login()
                pop.send("RETR 1\r\n")
                wait_until(lambda: not self.box.servers(), "the server gives up")
            self.box.wait_idle()
        self.assertEqual(len(self.box.maildir.files()), 1)

    def test_a_slow_reader_is_served_as_long_as_it_reads(self):
        server = self.serve(settings={"reply_timeout": "3s"})
        self.box.maildir.add(message("large", b"0123456789\n" * 600000))
        expected = len(harness.wire(message("large", b"0123456789\n" * 600000)))
        with server.connect() as pop:
            pop.login()
            pop.send("RETR 1\r\n")
            got = 0
            for _ in range(8):
                time.sleep(0.7)
                got += len(pop.socket.recv(1 << 20))
            while got < expected + 20:
                octets = pop.socket.recv(1 << 20)
                got += len(octets)
                if not octets or octets.endswith(b"\r\n.\r\n"):
                    break
            self.assertGreaterEqual(got, expected)
            pop.quit()

    def test_whole_session(self):
        server = self.serve(settings={"session_timeout": "2s"})
        self.box.maildir.add(message("one"))
        with server.connect() as pop:
            pop.login()
            pop.ok("DELE 1")
            self.assert_ends_soon(lambda: pop.ok("NOOP"))
        self.box.wait_idle()
        self.assertEqual(len(self.box.maildir.files()), 1)

    def test_refused_logins(self):
        server = self.serve()
        with server.connect() as pop:
            for attempt in range(3):
                pop.ok("USER demo")
                pop.err("PASS wrong")
            self.assertEqual(pop.rest(), b"")
        self.box.wait_log(r"auth failed, 3 attempts")
        self.box.write_settings(auth_max_attempts="1")
        with server.connect() as pop:
            pop.say("AUTH PLAIN AGRlbW8AeA==")
            self.assertEqual(pop.rest(), b"")

    def test_a_refused_login_waits(self):
        server = self.serve(settings={"auth_failure_delay": "1s"})
        for user in ("demo", "no-such-user"):
            with server.connect() as pop:
                pop.ok(f"USER {user}")
                started = time.monotonic()
                pop.err("PASS wrong")
                self.assertGreater(time.monotonic() - started, 0.9)

    def test_memory_for_one_password_hash(self):
        if not harness.IS_ROOT:
            self.skipTest("needs root")
        server = self.serve(settings={"auth_hash_memory_limit": "1M"})
        # yescrypt as Debian makes it takes 16 MB; a wrong hash is refused before that is known.
        greedy = self.box.add_user("greedy", shadow="$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
                                                    ":19000:0:99999:7:::")
        with server.connect() as pop:
            pop.ok("USER greedy")
            pop.err(f"PASS {greedy.password}")
        self.box.wait_log("memory|auth_hash_memory_limit")

    def test_instances_are_the_launchers_limit(self):
        server = self.serve(change={"instances": "3", "per_source": "3"})
        opened = [server.connect() for _ in range(3)]
        with contextlib.suppress(OSError), server.connect(greeting=False) as pop:
            self.assertEqual(pop.rest(), b"")
        for pop in opened:
            pop.quit()


@needs_root
class OverTheNetwork(Case):
    """A client on another address: a network namespace at the end of a cable."""

    def setUp(self):
        if not harness.IN_NAMESPACE:
            self.fail("needs a network namespace")
        self.name = f"e{os.getpid() % 10000}"
        run("ip", "netns", "add", self.name)
        self.addCleanup(run, "ip", "netns", "del", self.name)
        run("ip", "link", "add", "e2e0", "type", "veth", "peer", "name", "e2e1", "netns", self.name)
        self.addCleanup(run, "ip", "link", "del", "e2e0", check=False)
        run("ip", "addr", "add", "192.0.2.1/24", "dev", "e2e0")
        run("ip", "link", "set", "e2e0", "up")
        for command in (["addr", "add", "192.0.2.7/24", "dev", "e2e1"], ["link", "set", "e2e1", "up"],
                        ["link", "set", "lo", "up"]):
            run("ip", "-n", self.name, *command)
        self.server = self.serve(bind="0.0.0.0")
        self.box.maildir.add(message("one"))

    def from_afar(self, script):
        """Says lines from the other address and returns everything that was answered."""
        code = ("import socket,sys\ns=socket.create_connection(('192.0.2.1',int(sys.argv[1])),60)\ns.settimeout(60)\n"
                "s.sendall(sys.stdin.buffer.read())\n"
                "while b:=s.recv(65536): sys.stdout.buffer.write(b)\n")
        return run("ip", "netns", "exec", self.name, "python3", "-c", code, self.server.port, input=script.encode(),
                   timeout=60, text=False).stdout.decode()

    def test_plaintext_passwords_are_refused_from_another_host(self):
        answers = self.from_afar(f"CAPA\r\nUSER demo\r\nPASS {self.box.user.password}\r\nAUTH PLAIN\r\nAUTH LOGIN\r\nQUIT\r\n")
        self.assertNotIn("\r\nUSER\r\n", answers)
        self.assertIn("\r\nSTLS\r\n", answers)
        self.assertNotIn("Logged in", answers)
        self.assertEqual(answers.count("-ERR"), 4, answers)
        self.box.wait_log(r"\(tried to use disallowed plaintext auth\): user=<>, rip=192\.0\.2\.7, lip=192\.0\.2\.1")

    def test_it_works_with_stls_and_in_clear_where_the_administrator_says_so(self):
        url, user = "pop3://192.0.2.1:%d/1" % self.server.port, f"demo:{self.box.user.password}"
        curl = ["ip", "netns", "exec", self.name, harness.program("curl"), "--silent", "--show-error", "--max-time", "30",
                "--user", user]
        done = run(*curl, "--ssl-reqd", "--cacert", self.box.authority.ca, "--resolve", f"localhost:{self.server.port}:192.0.2.1",
                   url.replace("192.0.2.1", "localhost"))
        self.assertIn("Subject: one", done.stdout)
        self.box.wait_log(r"Login: user=<demo>, method=PLAIN, rip=192\.0\.2\.7, lip=192\.0\.2\.1, mpid=\d+, TLS")
        self.assertNotEqual(run(*curl, url, check=False).returncode, 0)
        for settings in ({"login_trusted_networks": "192.0.2.0/24"},
                         {"login_trusted_networks": "", "disable_plaintext_auth": "no"}):
            self.box.write_settings(**settings)
            self.assertIn("Subject: one", run(*curl, url).stdout)

    def test_no_header_is_taken_from_the_network(self):
        answers = self.from_afar("PROXY TCP4 127.0.0.1 127.0.0.1 1 110\r\nUSER demo\r\nQUIT\r\n")
        self.assertEqual(answers.count("-ERR"), 2, answers)


if __name__ == "__main__":
    harness.main()
