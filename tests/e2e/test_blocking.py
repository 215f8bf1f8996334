"""A user who stops the processes that deliver to him, or whose home directory does not answer: nobody else waits for that, no
client waits long, and no process is left behind."""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import smtplib
import struct
import subprocess
import threading
import time

import harness
from harness import HOST, IN_NAMESPACE, Case, all_processes, needs_root, run, uid_of, wait_until
from smtp_box import DOMAIN, SmtpBox


LARGE = (b"0123456789" * 7 + b"\n") * 200_000


class HungFileSystem:
    """A file system that takes requests and never answers them: what waits for one cannot even be killed."""

    INIT = 26

    def __init__(self, path):
        self.path = path
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hung", os.fsencode(path), b"fuse", 6, options.encode()) != 0:
            os.close(self.device)
            raise OSError(ctypes.get_errno(), "mount")
        request = os.read(self.device, 65536)
        _, kind, number = struct.unpack_from("=IIQ", request)
        assert kind == self.INIT, kind
        reply = struct.pack("=IIIIHHII36x", 7, 31, 65536, 0, 16, 12, 65536, 1)
        os.write(self.device, struct.pack("=IiQ", 16 + len(reply), 0, number) + reply)
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        with contextlib.suppress(OSError):
            while os.read(self.device, 65536):
                pass

    def close(self):
        # Whoever waits is told that it is gone.
        for abort in pathlib.Path("/sys/fs/fuse/connections").glob("*/abort"):
            with contextlib.suppress(OSError):
                abort.write_text("1")
        run("umount", "-l", self.path)
        os.close(self.device)


def of_user(user):
    """The processes that have a user's uid."""
    return [pid for pid in all_processes() if uid_of(pid) == user.uid]


class Blocking(Case):
    def setUp(self):
        self.box = SmtpBox(settings={"ipc_timeout": "8s"}, tls=False)
        self.addCleanup(self.box.close)
        self.addCleanup(self.keep_log)
        os.chmod(self.box.dir, 0o755)
        self.box.log_path.chmod(0o666)
        self.slow, self.other, self.third = self.box.user, self.box.add_user("other"), self.box.add_user("third")

    def hang(self):
        if not IN_NAMESPACE:
            self.skipTest("needs a mount namespace of its own")
        if not os.path.exists("/dev/fuse"):
            self.skipTest("this kernel has no FUSE")
        run("mount", "-t", "fusectl", "fusectl", "/sys/fs/fuse/connections", check=False)
        hung = HungFileSystem(self.slow.home)
        self.addCleanup(hung.close)
        return hung

    def received(self, user):
        return len(self.box.maildir_of(user).contents())

    def stopper(self):
        """The user stops whatever runs under his uid, as soon as it does."""
        stopped, over = set(), threading.Event()

        def work():
            while not over.is_set():
                for pid in set(self.box.servers_of(self.slow)) - stopped:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.add(pid)
        thread = threading.Thread(target=work)
        thread.start()

        def end():
            over.set()
            thread.join()
        self.addCleanup(end)
        return stopped


@needs_root
class Queue(Blocking):
    def setUp(self):
        super().setUp()
        shutil.copy(pathlib.Path(os.environ["E2E_SMTPD"]).with_name("sendmail"), self.box.dir / "sendmail")
        os.chmod(self.box.conf, 0o644)
        self.box.write_settings(myorigin=DOMAIN, minimal_backoff_time="1h", maximal_backoff_time="1h")
        run(self.box.binary, "-c", self.box.conf, "-q")

    def submit(self, *users, text=b"hello\n"):
        run(self.box.dir / "sendmail", "-C", self.box.conf, "-i", *(f"{user}@{DOMAIN}" for user in users), text=False,
            input=b"Subject: x\n\n" + text, user=self.other.uid, group=self.other.gid, extra_groups=[], cwd="/")

    def check(self, *names, text=b"hello\n"):
        """The others have theirs while the slow one's delivery still hangs; another run gets the next message to them."""
        for number in (1, 2):
            self.submit(*names, text=text)
            process = subprocess.Popen([self.box.binary, "-c", self.box.conf, "-q"], stdin=subprocess.DEVNULL)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            wait_until(lambda number=number: [self.received(user) for user in (self.other, self.third)] == [number] * 2,
                       "the others have their mail", 30)
            self.assertIsNone(process.poll())
        # No more than two deliveries to one user, each with the program that it may have started.
        self.assertLessEqual(len(of_user(self.slow)), 4)

    def test_stopped(self):
        # It takes some time to write, so that there is somebody to stop.
        self.stopper()
        self.check(self.slow.name, self.other.name, self.third.name, text=LARGE)

    def test_a_program_that_hangs(self):
        forward = self.slow.home / ".forward"
        forward.write_text('"|/bin/sh -c \'kill -STOP $PPID; exec sleep 600\'"\n')
        os.chown(forward, self.slow.uid, self.slow.gid)
        program = self.third.home / ".forward"
        program.write_text(f'"|/usr/bin/tee {self.third.home}/out", \\{self.third.name}\n')
        os.chown(program, self.third.uid, self.third.gid)
        self.check(self.slow.name, self.other.name, self.third.name)
        wait_until((self.third.home / "out").exists, "the other program has run", 10)

    def test_one_of_two_programs_hangs(self):
        """They belong to one alias, and are tried last; the second does not wait for the first."""
        aliases, out = self.box.dir / "aliases", self.third.home / "out"
        aliases.write_text(f"both: \"|/bin/sh -c 'kill -STOP $PPID; exec sleep 600'\", \"|/usr/bin/tee {out}\"\n")
        aliases.chmod(0o644)
        self.box.write_settings(alias_maps=f"hash:{aliases}", default_privs=self.third.name)
        self.submit("both")
        process = subprocess.Popen([self.box.binary, "-c", self.box.conf, "-q"], stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: out.exists() and out.read_bytes().endswith(b"hello\n"), "the second program", 30)
        self.assertIsNone(process.poll())

    def test_a_home_directory_that_does_not_answer(self):
        self.hang()
        self.check(self.slow.name, self.other.name, self.third.name)

    def test_a_fifo(self):
        os.mkfifo(self.slow.home / ".forward")
        os.chown(self.slow.home / ".forward", self.slow.uid, self.slow.gid)
        self.submit(self.slow.name, self.other.name)
        run(self.box.binary, "-c", self.box.conf, "-q", timeout=30)
        self.assertEqual(self.received(self.other), 1)
        self.assertEqual(self.received(self.slow), 1)


@needs_root
class Connection(Blocking):
    def check_gone(self):
        """The connection's processes end, and none of the user's is left."""
        wait_until(lambda: not self.box.servers() and not of_user(self.slow), "all processes have ended", 20)

    def after_354(self, client):
        client.ehlo()
        client.mail("a@client.example")
        client.rcpt(f"{self.slow.name}@{DOMAIN}")
        self.assertEqual(client.docmd("DATA")[0], 354)
        for pid in of_user(self.slow):
            os.kill(pid, signal.SIGSTOP)

    def test_stopped_while_the_message_comes(self):
        """A small message waits in the socket, a large one does not fit: the client hears the same of both."""
        server = self.box.serve()
        for size in (1, 200_000):
            with self.subTest(size=size), smtplib.SMTP(HOST, server.port, timeout=60) as client:
                self.after_354(client)
                begun = time.monotonic()
                client.sock.sendall(b"Subject: x\r\n\r\n" + b"0123456789\r\n" * size + b".\r\n")
                self.assertEqual(client.getreply()[0], 451)
                self.assertLess(time.monotonic() - begun, 30)
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    client.quit()
            self.check_gone()
            self.assertEqual(self.received(self.slow), 0)

    def test_stopped_and_the_client_goes_away(self):
        server = self.box.serve()
        client = smtplib.SMTP(HOST, server.port, timeout=60)
        self.after_354(client)
        client.sock.sendall(b"Subject: x\r\n\r\n")
        client.close()
        self.check_gone()

    def test_a_home_directory_that_does_not_answer(self):
        server = self.box.serve()
        hung = self.hang()
        with smtplib.SMTP(HOST, server.port, timeout=20) as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt(f"{self.slow.name}@{DOMAIN}")
            self.assertEqual(client.docmd("DATA")[0], 451)
            client.sendmail("a@client.example", [f"{self.other.name}@{DOMAIN}"], "Subject: x\r\n\r\nx\r\n")
        # The connection's own processes do not wait for what cannot be killed. It dies when its file system does.
        wait_until(lambda: len(self.box.servers()) <= 1, "the connection's processes have ended", 20)
        for abort in pathlib.Path("/sys/fs/fuse/connections").glob("*/abort"):
            abort.write_text("1")
        self.assertTrue(hung)
        self.check_gone()

    def test_lmtp(self):
        # The others' copies have to be on the disk within this time.
        self.box.write_settings(ipc_timeout="20s")
        server = self.box.serve(arguments=["--lmtp"])
        stopped = self.stopper()
        users = [self.slow, self.other, self.slow, self.third]
        with smtplib.LMTP(HOST, server.port, timeout=60) as client:
            client.ehlo()
            client.mail("a@client.example")
            for user in users:
                self.assertEqual(client.rcpt(f"{user.name}@{DOMAIN}")[0], 250)
            self.assertEqual(client.docmd("DATA")[0], 354)
            begun = time.monotonic()
            client.sock.sendall(b"Subject: x\r\n\r\n" + LARGE.replace(b"\n", b"\r\n") + b".\r\n")
            wait_until(lambda: stopped, "the writer is stopped", 20)
            wait_until(lambda: self.received(self.other) == self.received(self.third) == 1, "the others have theirs", 10)
            self.assertEqual([client.getreply()[0] for _ in users], [451, 250, 451, 250])
            self.assertLess(time.monotonic() - begun, 40)
        self.check_gone()


if __name__ == "__main__":
    harness.main()
