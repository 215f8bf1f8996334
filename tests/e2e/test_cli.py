"""Options, exit codes, and what a person or the log is told when something is wrong.

Above all: whatever is wrong, nothing but the protocol reaches the client, although descriptor 2 is the client under xinetd.
"""

import contextlib
import pathlib
import re
import socket
import subprocess

import harness
from harness import IN_NAMESPACE, TREE, Box, Case, message, program, run


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


class Bare:
    """A program in the place of the server."""

    def __init__(self, box, name):
        self.box, self.binary = box, program(name)


if __name__ == "__main__":
    harness.main()
