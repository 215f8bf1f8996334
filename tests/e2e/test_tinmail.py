"""`tinmail`: check, user, import and maildirmake, as an administrator types them. Its queue commands are in test_queue.py."""

import contextlib
import os
import pathlib
import pty
import shutil
import socket
import subprocess
import termios

import harness
from harness import Case, needs_root, run


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


if __name__ == "__main__":
    harness.main()
