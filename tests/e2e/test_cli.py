"""Options, exit codes, and what a person or the log is told when something is wrong.

Above all: whatever is wrong, nothing but the protocol reaches the client, although descriptor 2 is the client under xinetd.
"""

import contextlib
import os
import pathlib
import pty
import re
import shutil
import socket
import subprocess
import termios

import harness
from harness import IN_NAMESPACE, TREE, Box, Case, message, needs_root, program, run


class Options(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = Box()
        cls.addClassCleanup(cls.shared.close)

    def setUp(self):
        self.box = self.shared

    def pop3d(self, *arguments, **more):
        return run(self.box.binary, *arguments, check=False, **more)

    def test_help_and_version(self):
        done = self.pop3d("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("-c", "-o", "--tls", "--preauth", "-n", "--check", "--help", "--version"):
            self.assertRegex(done.stdout, rf"(?m)^  {option}\b")
        self.assertEqual(self.pop3d("-h").stdout, done.stdout)
        done = self.pop3d("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        version = re.search(r'(?m)^version = "(.*)"', (TREE / "Cargo.toml").read_text())
        self.assertRegex(done.stdout, rf"^tinmail pop3d {re.escape(version[1]) if version else ''}")

    def test_changed_settings(self):
        done = self.pop3d("-c", self.box.conf, "-n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        printed = dict(line.split(" = ", 1) for line in done.stdout.splitlines())
        self.assertEqual(printed["log_path"], str(self.box.log_path))
        self.assertNotIn("login_greeting", printed)
        again = self.box.dir / "again.conf"
        again.write_text(done.stdout)
        self.assertEqual(self.pop3d("-c", again, "-n").stdout, done.stdout)
        self.assertEqual(self.pop3d("-c", again, "-o", "login_greeting=Hello there.", "-n").stdout,
                         self.inserted(done.stdout, "login_greeting = Hello there."))

    def inserted(self, text, line):
        """The same lines with one more, wherever it belongs."""
        got = self.pop3d("-c", self.box.dir / "again.conf", "-o", line.replace(" = ", "="), "-n").stdout
        self.assertEqual(sorted(got.splitlines()), sorted([*text.splitlines(), line]))
        return got

    def test_nothing_is_changed_without_a_file(self):
        if pathlib.Path("/etc/tinmail.conf").exists():
            self.skipTest("there is an /etc/tinmail.conf")
        self.assertEqual(self.pop3d("-n").stdout, "")

    def test_wrong_usage(self):
        for arguments in (["--nonsense"], ["-c"], ["-o"], ["-o", "nonsense"], ["file"], ["-x"], ["--tls=yes"]):
            with self.subTest(arguments):
                done = self.pop3d(*arguments, "-n") if arguments[0] != "-c" else self.pop3d(*arguments)
                self.assertEqual(done.returncode, 100, done)
                self.assertTrue(done.stderr.startswith("pop3d: "), done.stderr)

    def test_wrong_settings_are_named_with_file_line_and_nearest_name(self):
        path = self.box.dir / "wrong.conf"
        rows = [("# a comment\n\nlogin_greting = x\n", r"wrong\.conf:3: .*login_greting.*login_greeting"),
                ("ssl = perhaps\n", r"wrong\.conf:1: .*ssl"),
                ("auth_failure_delay = -1\n", r"wrong\.conf:1: .*auth_failure_delay"),
                ("login_memory_limit = 99999999999999999999G\n", r"wrong\.conf:1: "),
                ("no equals sign\n", r"wrong\.conf:1: "),
                ("passdb = nonsense\n", r"wrong\.conf:1: .*passdb"),
                ("ssl_cert_file = </etc/cert.pem\n", r"wrong\.conf:1: .*\"</etc/cert\.pem\" is not accepted")]
        for text, pattern in rows:
            with self.subTest(text):
                path.write_text(text)
                for arguments in (["-n"], ["--check"]):
                    done = self.pop3d("-c", path, *arguments)
                    self.assertEqual(done.returncode, 100, done)
                    self.assertRegex(done.stderr + done.stdout, pattern)
        path.write_text("ssl = perhaps\nlogin_greting = x\nmyhostname = fine\n" + "food = 1\n" * 12)
        done = self.pop3d("-c", path, "--check")
        lines = done.stderr.splitlines()
        self.assertEqual((done.returncode, len(lines)), (100, 14), done)
        self.assertTrue(all(line.startswith("pop3d: ") for line in lines), lines)
        self.assertIn("wrong.conf:2: ", lines[1])
        lines = self.pop3d("-c", path, "-n").stderr.splitlines()
        self.assertEqual(len(lines), 11)
        self.assertTrue(lines[10].endswith("and 4 more wrong lines, which --check tells"), lines[10])
        done = self.pop3d("-c", self.box.dir / "absent.conf", "-n")
        self.assertEqual(done.returncode, 100)
        self.assertIn("absent.conf", done.stderr)
        done = self.pop3d("-o", "login_greting=x", "-n")
        self.assertEqual(done.returncode, 100)
        self.assertIn("login_greeting", done.stderr)

    def test_check(self):
        done = self.pop3d("-c", self.box.conf, "--check")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for changes, pattern in (
                ({"ssl_cert_file": "/nonexistent.pem"}, r"nonexistent\.pem"),
                ({"login_user": "no-such-user"}, r"no-such-user"),
                ({"passdb": "passwd-file:/nonexistent-users"}, r"nonexistent-users"),
                ({"auth_mechanisms": ""}, r"auth_mechanisms"),
                ({"first_valid_uid": "600", "last_valid_uid": "599"}, r"last_valid_uid"),
                # A file system that nobody, not even root, can write to.
                ({"log_path": "/proc/sys/log"}, r"log_path = /proc/sys/log: /proc/sys: "),
        ):
            with self.subTest(changes):
                overrides = [word for name, value in changes.items() for word in ("-o", f"{name}={value}")]
                done = self.pop3d("-c", self.box.conf, *overrides, "--check")
                self.assertEqual(done.returncode, 100, done)
                self.assertRegex(done.stdout + done.stderr, pattern)
        key = pathlib.Path(self.box.settings["ssl_key_file"])
        key.chmod(0o644)
        done = self.pop3d("-c", self.box.conf, "--check")
        key.chmod(0o600)
        self.assertEqual(done.returncode, 100)
        self.assertIn("chmod", done.stdout)

    def test_check_finds_an_encrypted_and_a_foreign_key(self):
        cert, key = self.box.authority.issue(name="check")
        _, other = self.box.authority.issue(name="other")
        for file in (other,):
            done = self.pop3d("-c", self.box.conf, "-o", f"ssl_cert_file={cert}", "-o", f"ssl_key_file={file}", "--check")
            self.assertEqual(done.returncode, 100, done)
            self.assertIn("belong", done.stdout + done.stderr)
        encrypted = self.box.dir / "tls" / "check-encrypted.pem"
        run("openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", encrypted)
        encrypted.chmod(0o600)
        done = self.pop3d("-c", self.box.conf, "-o", f"ssl_cert_file={cert}", "-o", f"ssl_key_file={encrypted}", "--check")
        self.assertEqual(done.returncode, 100, done)
        self.assertIn("encrypted", done.stdout + done.stderr)


    def test_check_reads_the_certificate(self):
        directory = self.box.dir / "tls"
        key, request, extensions = self.box.authority.key, directory / "self.csr", directory / "self.ext"
        run("openssl", "req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)

        def make(name, days, extension=None):
            path = directory / f"{name}.pem"
            extensions.write_text(f"{extension}\n")
            run("openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", str(days), "-out", path,
                *(["-extfile", extensions] if extension else []))
            return path

        rows = [(make("good", 30, "basicConstraints = CA:FALSE"), 0, r"the configuration is in order$"),
                (make("ca", 30, "basicConstraints = CA:TRUE"), 0, r"warning: \S+ca\.pem: the first certificate is a CA's"),
                (make("short", 5, "basicConstraints = CA:FALSE"), 0, r"warning: \S+short\.pem: expires on 2"),
                (make("v1", 30), 100, r"error: \S+v1\.pem: a certificate of X\.509 version 1")]
        for path, code, pattern in rows:
            with self.subTest(path.name):
                done = self.pop3d("-c", self.box.conf, "-o", f"ssl_cert_file={path}", "-o", f"ssl_key_file={key}", "--check")
                self.assertRegex(done.stdout, rf"(?m)^{pattern}", done)
                self.assertEqual(done.returncode, code, done)


class Documentation(Case):
    """Every option and every setting is in --help and in the manual pages, and nothing else is."""

    @classmethod
    def setUpClass(cls):
        box = Box(tls=False)
        cls.addClassCleanup(box.close)
        cls.help = {name: run(binary, "--help").stdout for name, binary in box.binaries.items()}
        cls.settings_of = {name: dict(re.findall(r"(?m)^  ([A-Za-z0-9_]+) =(?: (.*))?$", text)) for name, text in cls.help.items()}
        cls.settings = {name: value for settings in cls.settings_of.values() for name, value in settings.items()}
        cls.manual = (TREE / "doc/tinmail.conf.5").read_text()
        cls.source = (TREE / "common/src/config/settings.rs").read_text()

    def test_every_setting_is_in_the_help(self):
        for name, settings in self.settings_of.items():
            rows = re.findall(rf"(?m)^ +(?:all|(?:[a-z0-9]+_)?{name}d(?:_[a-z0-9]+)?) ([A-Za-z0-9_]+):", self.source)
            self.assertGreater(len(rows), 40)
            self.assertEqual(sorted(settings), sorted(rows))

    def test_every_setting_is_in_the_manual_page_and_no_other(self):
        headings = [line for line in self.manual.splitlines() if line.startswith(".It Ic ")]
        documented = {name for line in headings for name in re.findall(r"\b([a-z][a-z0-9]*_[A-Za-z0-9_]+|ssl|passdb|myhostname|mydomain|myorigin|mydestination|mynetworks|relayhost)\b",
                                                                       line.split(" Pq ")[0])}
        self.assertEqual(documented, set(self.settings))

    def test_defaults_in_the_manual_page_are_those_of_the_help(self):
        seconds = {"secs": 1, "s": 1, "m": 60, "mins": 60, "min": 60, "h": 3600, "hours": 3600, "hour": 3600, "d": 86400,
                   "day": 86400, "days": 86400}

        def plain(value):
            value = re.sub(r"\\&", "", value.strip().strip('"'))
            time = re.fullmatch(r"(\d+) ?(secs|s|m|mins|min|h|hours|hour|d|day|days)", value)
            return str(int(time[1]) * seconds[time[2]]) if time else value
        for line in self.manual.splitlines():
            entry = re.match(r"\.It Ic (\S+) Pq (?:Li|Pa) (.*)$", line)
            if entry and entry[1] in self.settings:
                with self.subTest(entry[1]):
                    self.assertEqual(plain(entry[2]), plain(self.settings[entry[1]]))

    def test_every_option_is_in_the_manual_page(self):
        for name, text in self.help.items():
            options = re.findall(r"(?m)^  (--?[a-z]+)", text)
            self.assertGreaterEqual(len(options), 8)
            page = (TREE / f"doc/{name}d.8").read_text()
            for option in options:
                macro = "Fl Fl " + option[2:] if option.startswith("--") else "Fl " + option[1:]
                self.assertIn(f".It {macro}", page, option)
                self.assertIn(f".Op {macro}", page, option)

    def test_every_command_is_in_the_manual_page(self):
        grammar = (TREE / "imapd/src/grammar/command.rs").read_text()
        commands = re.findall(r'(?m)^ +((?:b"[A-Z]+" ?\|? ?)+) => ', grammar)
        commands = {name for line in commands for name in re.findall(r'b"([A-Z]+)"', line)}
        page = (TREE / "doc/imapd.8").read_text()
        self.assertGreater(len(commands), 30)
        for command in commands:
            self.assertRegex(page, rf"\b{command}\b")

    def test_every_capability_is_in_the_manual_page(self):
        source = (TREE / "imapd/src/capability.rs").read_text()
        names = " ".join(re.findall(r'(?s)const [A-Z_]+: &str = "(.*?)"', source)).replace("\\\n", " ").split()
        page = (TREE / "doc/imapd.8").read_text()
        self.assertGreater(len(names), 20)
        for name in set(names) - {"IMAP4rev1"}:
            self.assertIn(name, page)

    def test_settings_named_in_texts_exist(self):
        """README, the service files, the units: no name that the program does not know."""
        known = set(self.settings)
        texts = [TREE / "README.md", *(TREE / "xinetd").iterdir(), *(TREE / "systemd").iterdir(), TREE / "s6/README"]
        for path in texts:
            for name in re.findall(r"`((?:auth|login|pop3|ssl|mail|reply|session|haproxy)_[a-z_0-9]+)`", path.read_text()):
                self.assertIn(name, known, path.name)
            for name in re.findall(r"-o ([a-z_0-9]+)=", path.read_text()):
                self.assertIn(name, known, path.name)

    def test_tests_named_in_the_documents_exist(self):
        """`FILE::TEST`, or a file alone."""
        for document in (TREE / "doc").glob("*.md"):
            for name, _, test in re.findall(r"`((?:tests|common|pop3d|imapd)/[\w/.-]+)(::(\w+))?`", document.read_text()):
                with self.subTest(f"{document.name}: {name} {test}"):
                    self.assertTrue((TREE / name).exists())
                    if test:
                        self.assertRegex((TREE / name).read_text(), rf"(?:fn|def) {test}\b")

    def test_links_in_the_documents_lead_somewhere(self):
        for path in [*TREE.glob("*.md"), *TREE.glob("doc/**/*.md"), *TREE.glob("xinetd/*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")


class NothingButProtocol(Case):
    """Started as xinetd starts it: the socket is 0, 1 and 2."""

    def conversation(self, box, octets=b"QUIT\r\n", arguments=(), client_reads=True, **more):
        """Starts the program on a real TCP connection. Returns what came out of it and the exit code."""
        with socket.create_server((harness.HOST, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        with client, server:
            process = subprocess.Popen([str(box.binary), *arguments], stdin=server, stdout=server, stderr=server, **more)
            server.close()
            client.settimeout(harness.SOON)
            got = b""
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(octets)
                while part := client.recv(65536):
                    got += part
            return got, process.wait(harness.SOON)

    def assert_protocol(self, octets):
        for line in octets.split(b"\r\n")[:-1]:
            self.assertRegex(line, rb"^(\+OK|-ERR)( |$)")
        self.assertTrue(octets == b"" or octets.endswith(b"\r\n"), octets)

    def test_a_broken_configuration(self):
        box = self.new_box()
        box.conf.write_text(f"log_path = {box.log_path}\n\nlogin_greting = x\nfood = 1\n")
        for arguments in (["-c", box.conf], ["-c", box.conf, "--tls"]):
            got, code = self.conversation(box, arguments=map(str, arguments))
            self.assertEqual(code, 100)
            if "--tls" not in arguments:
                self.assertRegex(got, rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")
            self.assert_protocol(got)
        if IN_NAMESPACE:
            line = harness.syslog.wait(r"tinmail\.conf:3: .*login_greting.*login_greeting")
            self.assertIn("pop3-login", line)
            harness.syslog.wait(r"pop3-login: .*tinmail\.conf:4: .*food")

    def test_wrong_arguments_in_the_service_file(self):
        box = self.new_box()
        for arguments in (["--nonsense"], ["-c", str(box.dir / "absent")], ["-o", "x"]):
            got, code = self.conversation(box, arguments=arguments)
            self.assertEqual(code, 100)
            self.assertRegex(got, rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")

    def test_standard_output_is_a_file(self):
        box = self.new_box()
        output = box.dir / "output"
        with output.open("w") as out:
            done = subprocess.run([str(box.binary), *box.arguments()], input="QUIT\r\n", stdout=out, stderr=subprocess.PIPE,
                                  text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 100, done)
        self.assertEqual(done.stderr, "pop3d: standard output must be a socket, pipe or terminal, not a file\n")
        self.assertRegex(output.read_bytes(), rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")
        # What is printed for a person may go anywhere.
        with output.open("w") as out:
            subprocess.run([str(box.binary), "--help"], stdout=out, check=True, timeout=60)
        self.assertIn("usage: pop3d", output.read_text())

    def test_under_xinetd_itself(self):
        server = self.serve()
        self.box.conf.write_text("nonsense = 1\n")
        with server.connect(greeting=False) as pop:
            self.assertRegex(pop.rest(), rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")

    def test_a_log_that_cannot_be_written(self):
        """The client is served and hears nothing of it."""
        box = self.new_box()
        for path in ("/nonexistent/log", "/dev/full", "/", "/dev/stderr"):
            with self.subTest(path):
                got, code = self.conversation(box, b"USER x\r\nPASS y\r\nNONSENSE\r\nQUIT\r\n",
                                              [*box.arguments(), "-o", f"log_path={path}"])
                self.assertEqual((got.count(b"+OK"), got.count(b"-ERR"), code), (3, 2, 0), got)
                self.assert_protocol(got)

    def test_no_standard_error_at_all(self):
        box = self.new_box()
        box.maildir.add(message("one"))
        with socket.create_server((harness.HOST, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        with client, server:
            # The shell closes 2, so that the first file opened would get it.
            process = subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", str(box.binary), *box.arguments()], stdin=server,
                                       stdout=server)
            server.close()
            client.settimeout(harness.SOON)
            client.sendall(f"USER demo\r\nPASS {box.user.password}\r\nSTAT\r\nQUIT\r\n".encode())
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(65536):
                    got += part
            self.assertEqual(process.wait(harness.SOON), 0, got)
            self.assert_protocol(got)
            self.assertEqual(got.count(b"+OK"), 5, got)

    def test_no_memory(self):
        """rlimit_as of the launcher is too small for anything."""
        box = self.new_box()
        for kibi in (1000, 3000, 6000, 12000):
            with self.subTest(kibi):
                got, code = self.conversation(Bare(box, "prlimit"), arguments=[f"--as={kibi * 1024}", str(box.binary),
                                                                                *box.arguments()])
                self.assert_protocol(got)
                self.assertNotEqual(code, 101, "a panic")

    def test_a_certificate_that_is_missing_under_tls(self):
        box = self.new_box(settings={"ssl_cert_file": "/nonexistent.pem"})
        got, code = self.conversation(box, b"", box.arguments(tls=True))
        self.assertEqual(code, 111)
        self.assertRegex(got, rb"^(-ERR \[SYS/TEMP\] [^\r\n]*\r\n)?$")
        box.wait_log("cert")

    def test_a_base_directory_that_cannot_be_made(self):
        if not harness.IS_ROOT:
            self.skipTest("needs root")
        box = self.new_box(settings={"base_dir": "/proc/nothing/here"})
        got, code = self.conversation(box, arguments=box.arguments())
        self.assertEqual(code, 111)
        self.assertRegex(got, rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")
        box.wait_log("/proc/nothing")

    def test_a_login_user_that_does_not_exist(self):
        if not harness.IS_ROOT:
            self.skipTest("needs root")
        box = self.new_box(settings={"login_user": "no-such-user"})
        got, code = self.conversation(box, arguments=box.arguments())
        self.assertIn(code, (100, 111))
        self.assertRegex(got, rb"^-ERR \[SYS/TEMP\] [^\r\n]*\r\n$")
        box.wait_log("no-such-user")

    def test_the_hidden_ways_in_are_no_ways_in(self):
        """What the program passes to itself, given by hand."""
        box = self.new_box()
        for arguments in (["--session"], ["--checkpassword-reply"]):
            got, code = self.conversation(box, b"STAT\r\nQUIT\r\n", arguments)
            self.assertNotEqual(code, 0)
            self.assertNotIn(b"+OK", got)
            self.assert_protocol(got)

    def test_a_client_that_has_gone_already(self):
        box = self.new_box()
        with socket.create_server((harness.HOST, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with server:
            done = subprocess.run([str(box.binary), *box.arguments()], stdin=server, stdout=server, stderr=server, timeout=60,
                                  check=False)
        self.assertIn(done.returncode, (0, 111))
        self.assertNotIn("panic", box.log())

    def test_exit_codes_of_connections(self):
        box = self.new_box()
        self.assertEqual(self.conversation(box, b"QUIT\r\n", box.arguments())[1], 0)
        self.assertEqual(self.conversation(box, b"NONSENSE\r\n" * 30, box.arguments())[1], 0)


class Tinmail(Case):
    def setUp(self):
        self.box = self.new_box()
        self.tinmail = self.box.dir / "tinmail"
        shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("tinmail"), self.tinmail)

    def run_it(self, *words, **more):
        return run(self.tinmail, "-c", self.box.conf, *words, check=False, **more)

    def test_check(self):
        """The programs beside it are asked; what two of them say is told once."""
        for name in ("POP3D", "IMAPD", "SMTPD"):
            shutil.copy(os.environ[f"E2E_{name}"], self.box.dir / name.lower())
        queue = ("-o", f"queue_directory={self.box.dir}/queue", "-o", f"mail_owner={self.box.user.name}")
        done = self.run_it(*queue, "check")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertIn("\npop3d, imapd: the configuration is in order\n", "\n" + done.stdout)
        with self.box.conf.open("a") as conf:
            conf.write("login_greting = Hello\n")
        done = self.run_it(*queue, "check")
        self.assertEqual(done.returncode, 100)
        self.assertRegex(done.stdout, r"(?m)^pop3d, imapd, smtpd: .*login_greting")
        (self.box.dir / "imapd").unlink()
        self.assertRegex(self.run_it("check").stdout, r"(?m)^imapd: is not here$")
        self.assertEqual(self.run_it("check", "more").returncode, 100)

    def test_users(self):
        """Made with a password on standard input, changed at a terminal, and logged in with."""
        users, home = self.box.dir / "users", self.box.dir / "virtual"
        home.mkdir()
        os.chown(home, self.box.user.uid, self.box.user.gid)
        self.box.write_settings(passdb=f"passwd-file:{users}", disable_plaintext_auth="no")
        done = self.run_it("user", "add", "-u", str(self.box.user.uid), "-g", str(self.box.user.gid), "-d", home, "Vera", input="first\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(users.stat().st_mode & 0o777, 0o600)
        self.assertNotIn("first", users.read_text())

        def logs_in(password):
            said = self.conversation(f"USER vera\r\nPASS {password}\r\nQUIT\r\n".encode())
            return b"+OK Logged in" in said
        self.assertEqual([logs_in("first"), logs_in("second")], [True, False])
        command = [self.tinmail, "-c", self.box.conf, "user", "password", "vera"]
        for typed, code in ((b"other\nsecond\n", 111), (b"sec\x03", 111), (b"second\nsecond\n", 0)):
            ours, theirs = pty.openpty()
            before = termios.tcgetattr(theirs)
            process = subprocess.Popen([str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs)
            screen = b""
            for line in typed.splitlines(keepends=True):
                prompt = b": "
                while not screen.endswith(prompt):
                    screen += os.read(ours, 1000)
                os.write(ours, line)
                screen += b" "
            self.assertEqual(process.wait(20), code, screen)
            self.assertEqual(termios.tcgetattr(theirs), before)
            os.set_blocking(ours, False)
            with contextlib.suppress(OSError):
                screen += os.read(ours, 1000)
            os.close(ours)
            os.close(theirs)
            for word in (b"other", b"second", b"sec\r", b"sec^C"):
                self.assertNotIn(word, screen)
        self.assertEqual([logs_in("first"), logs_in("second")], [False, True])
        self.assertEqual(self.run_it("user", "list").stdout, "vera\n")
        self.assertEqual(self.run_it("user", "delete", "vera").returncode, 0)
        self.assertFalse(logs_in("second"))
        self.assertEqual(self.run_it("user", "add", "eve", "secret").returncode, 100)

    def test_import_of_userdb(self):
        """Courier's users log in with what they had."""
        users, userdb, user = self.box.dir / "users", self.box.dir / "userdb", self.box.user
        home = self.box.dir / "anna"
        home.mkdir()
        os.chown(home, user.uid, user.gid)
        md5, sha = (run("openssl", "passwd", kind, secret).stdout.strip() for kind, secret in (("-1", "first"), ("-6", "second")))
        userdb.write_text(f"anna\tuid={user.uid}|gid={user.gid}|home={home}|mail={home}/Maildir|systempw={md5}|imappw={sha}|quota=10S\n")
        self.box.write_settings(passdb=f"passwd-file:{users}", disable_plaintext_auth="no")
        done = self.run_it("import", "userdb", userdb)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("anna: quota=10S is for tinmail maildirmake -q\n", done.stdout)
        for secret, want in (("first", True), ("second", False)):
            said = self.conversation(f"USER anna\r\nPASS {secret}\r\nQUIT\r\n".encode())
            self.assertEqual(b"+OK Logged in" in said, want, said)
        self.assertTrue((home / "Maildir/cur").is_dir())
        self.assertEqual(self.run_it("import", "userdb", userdb).returncode, 111)

    def conversation(self, octets):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen([str(self.box.binary), *map(str, self.box.arguments())], stdin=theirs, stdout=theirs,
                                       stderr=subprocess.DEVNULL)
            theirs.close()
            ours.sendall(octets)
            ours.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: ours.recv(1000), b""))
            process.wait(20)
            return said

    @needs_root
    def test_maildirmake(self):
        """Root's work in a user's directory is the user's, and delivered to."""
        user, path = self.box.user, self.box.user.home / "Mail"
        for words in ([], ["-f", "Gr\u00fc\u00dfe"], ["-q", "1000000S"]):
            done = self.run_it("maildirmake", *words, path)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        for name in (path, path / "cur", path / ".Gr&APwA3w-e/new", path / "maildirsize"):
            meta = name.stat()
            self.assertEqual((meta.st_uid, meta.st_gid, meta.st_mode & 0o077), (user.uid, user.gid, 0), name)
        self.assertEqual((path / "maildirsize").read_text().split("\n")[0], "1000000S")
        done = self.run_it("maildirmake", path)
        self.assertEqual((done.returncode, done.stderr), (111, f"tinmail: {path}: there is a Maildir already\n"))
        os.symlink("/etc", user.home / "link")
        self.assertRegex(self.run_it("maildirmake", "-q", "1S", user.home / "link").stderr, "it is a link")


class Bare:
    """A program in the place of the server."""

    def __init__(self, box, name):
        self.box, self.binary = box, program(name)


if __name__ == "__main__":
    harness.main()
