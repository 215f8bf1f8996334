"""--preauth: the calling user's own mail over a pipe, as behind ssh; never as root, never on a network socket."""

import re
import socket
import subprocess

import harness
from harness import IS_ROOT, Case, needs_root, program


class Preauth(Case):
    protocol, refusal = "pop3", rb"-ERR [SYS/TEMP]"

    def setUp(self):
        self.new_box(protocol=self.protocol)
        self.expected = self.box.maildir.fill()
        log = self.box.dir / "preauth.log"
        log.touch()
        if IS_ROOT:
            import os
            os.chown(log, self.box.user.uid, self.box.user.gid)
        self.log = log

    def command(self, *arguments, as_user=True):
        user = self.box.user
        prefix = []
        if IS_ROOT and as_user:
            prefix = [program("setpriv"), "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
        environment = {"HOME": str(user.home), "USER": user.name, "PATH": "/usr/bin:/bin"}
        return [*prefix, str(self.box.binary), "--preauth", "-o", f"log_path={self.log}", *arguments], environment

    def converse(self, octets, *arguments, as_user=True, **more):
        command, environment = self.command(*arguments, as_user=as_user)
        return subprocess.run(command, input=octets, capture_output=True, env=environment, timeout=60, check=False, **more)

    def test_the_own_maildir_over_pipes(self):
        done = self.converse(b"STAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        replies = done.stdout.split(b"\r\n")
        self.assertTrue(replies[0].startswith(b"+OK"))
        self.assertIn(re.sub(rb"(?m)^\.", b"..", self.expected[0]), done.stdout)
        self.assertEqual(len(self.box.maildir.files()), len(self.expected) - 1)

    def test_another_maildir(self):
        other = harness.Maildir(self.box.user.home / "Other", (self.box.user.uid, self.box.user.gid))
        other.add(harness.message("the other one"))
        done = self.converse(b"STAT\r\nRETR 1\r\nQUIT\r\n", "-o", f"mail_location=maildir:{other.path}")
        self.assertIn(b"Subject: the other one\r\n", done.stdout)

    def test_the_end_of_input_deletes_nothing(self):
        done = self.converse(b"DELE 1\r\nDELE 2\r\n")
        self.assertEqual(done.stdout.count(b"+OK"), 3)
        self.assertEqual(len(self.box.maildir.files()), len(self.expected))

    def test_every_message_through_a_tunnel(self):
        """As a mail program that runs `ssh host pop3d --preauth`: one command, then its answer."""
        command, environment = self.command()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.addCleanup(harness.stop, process)

        class Tunnel(harness.Pop):
            def __init__(self):
                self.buffer, self.server = b"", None

            def send(self, octets):
                process.stdin.write(octets.encode())
                process.stdin.flush()

            def receive(self):
                octets = process.stdout.read1(65536)
                self.buffer += octets
                return octets

        tunnel = Tunnel()
        self.assertTrue(tunnel.line().startswith("+OK"))
        for number, octets in enumerate(self.expected, 1):
            self.assertEqual(tunnel.retrieve(number), octets)
        tunnel.ok("QUIT")
        self.assertEqual(process.wait(60), 0)

    def test_the_maildrop_is_locked_as_always(self):
        server = self.box.serve()
        with server.connect() as pop:
            pop.login()
            done = self.converse(b"STAT\r\nQUIT\r\n")
            self.assertIn(b"-ERR [IN-USE]", done.stdout)

    @needs_root
    def test_refused_for_root(self):
        done = self.converse(b"STAT\r\nQUIT\r\n", as_user=False)
        self.assertEqual(done.returncode, 100)
        self.assertRegex(done.stdout, rb"^" + re.escape(self.refusal) + rb" [^\r\n]*\r\n$")
        self.assertIn("root", self.log.read_text())

    def test_refused_on_a_network_socket(self):
        command, environment = self.command()
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with self.subTest(address), socket.create_server((address, 0), family=family) as listener:
                client = socket.create_connection(listener.getsockname()[:2])
                server, _ = listener.accept()
                with client, server:
                    done = subprocess.run(command, stdin=server, stdout=server, stderr=server, env=environment, timeout=60,
                                          check=False)
                    server.close()
                    client.settimeout(60)
                    self.assertEqual(done.returncode, 100)
                    answer = client.recv(65536)
                    self.assertTrue(answer.startswith(self.refusal), answer)
        self.assertIn("network", self.log.read_text())

    def over_a_socket_pair(self, commands):
        """What the server says to these commands."""
        command, environment = self.command()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
            theirs.close()
            ours.settimeout(60)
            ours.sendall(commands)
            got = b""
            while part := ours.recv(65536):
                got += part
            self.assertEqual(process.wait(60), 0)
        return got

    def test_a_socket_pair_is_no_network(self):
        got = self.over_a_socket_pair(b"STAT\r\nQUIT\r\n")
        self.assertEqual(got.count(b"+OK"), 3, got)


class PreauthImap(Preauth):
    """The same with imapd: what clients do through it is in test_imap_clients.py and test_sync.py."""

    protocol, refusal = "imap", b"* BYE [UNAVAILABLE]"
    test_every_message_through_a_tunnel = test_the_maildrop_is_locked_as_always = None

    def test_the_own_maildir_over_pipes(self):
        done = self.converse(b"a SELECT INBOX\r\nb STORE 1 +FLAGS.SILENT (\\Deleted)\r\nc EXPUNGE\r\nd LOGOUT\r\n")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertTrue(done.stdout.startswith(b"* PREAUTH [CAPABILITY IMAP4rev1 "), done.stdout)
        self.assertIn(b"\r\n* %d EXISTS\r\n" % len(self.expected), done.stdout)
        self.assertEqual(len(self.box.maildir.files()), len(self.expected) - 1)

    def test_another_maildir(self):
        other = harness.Maildir(self.box.user.home / "Other", (self.box.user.uid, self.box.user.gid))
        other.add(harness.message("the other one"))
        done = self.converse(b"a SELECT INBOX\r\nb FETCH 1 BODY[]\r\nc LOGOUT\r\n", "-o", f"mail_location=maildir:{other.path}")
        self.assertIn(b"Subject: the other one\r\n", done.stdout)

    def test_the_end_of_input_deletes_nothing(self):
        done = self.converse(b"a SELECT INBOX\r\nb STORE 1:* +FLAGS (\\Deleted)\r\n")
        self.assertIn(b"b OK", done.stdout)
        self.assertEqual(len(self.box.maildir.files()), len(self.expected))

    def test_a_socket_pair_is_no_network(self):
        self.assertIn(b"b OK", self.over_a_socket_pair(b"a SELECT INBOX\r\nb LOGOUT\r\n"))


if __name__ == "__main__":
    harness.main()
