"""What the end-to-end tests share: throw-away boxes, launchers, clients, Maildirs.

A Box is a directory with everything one server needs: users, mail, certificates, settings, log. Nothing outside of it is
written. Where the tests run as root, run.py has put each file of tests into mount, network and process namespaces of its
own, so that what is mounted, bound or left running there is gone with it.
"""

import atexit
import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import ssl
import sys
import tempfile
import time
import unittest

# What tests take from here comes from beside.
from conversations import Imap, Pop
from ground import (FIRST_UID, HOST, IN_NAMESPACE, IS_ROOT, SOON, TREE, all_processes, arguments_of, free_port, in_terminal, listening_ports,
                    needs_root, parent_of, processes_of, program, run, run_getmail, status_of, stop, syslog, uid_of, wait_until, write)
from launchers import LAUNCHERS
from mail import Maildir, body, crlf, message, odd_messages, plain, wire
# --- Certificates ----------------------------------------------------------------------------------------------------

KEYS = {
    "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ed25519": ["-algorithm", "ED25519"],
}


class Authority:
    """Signs certificates for localhost."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.serial = 0
        self.ca = self.directory / "ca.pem"
        self.key = self.directory / "ca-key.pem"
        run("openssl", "genpkey", *KEYS["ec"], "-out", self.key)
        run("openssl", "req", "-x509", "-new", "-key", self.key, "-subj", "/CN=e2e authority", "-days", "30",
            "-out", self.ca)
        os.chmod(self.ca, 0o644)

    def issue(self, kind="ec", name="cert"):
        """Makes a key and a certificate, and returns both paths."""
        self.serial += 1
        key, cert = self.directory / f"{name}-key.pem", self.directory / f"{name}.pem"
        request, extensions = self.directory / "request", self.directory / "extensions"
        run("openssl", "genpkey", *KEYS[kind], "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)
        extensions.write_text("subjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n"
                              "extendedKeyUsage = serverAuth\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key,
            "-set_serial", str(self.serial + int(time.time())), "-days", "30", "-extfile", extensions, "-out", cert)
        os.chmod(key, 0o600)
        return cert, key

    def context(self, **more):
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in more.items():
            setattr(context, name, value)
        return context


# --- The box ---------------------------------------------------------------------------------------------------------


class User:
    def __init__(self, name, password, uid, gid, home):
        self.name, self.password, self.uid, self.gid, self.home = name, password, uid, gid, pathlib.Path(home)

    def __iter__(self):
        return iter((self.name, self.password))


PROTOCOLS = ("pop3", "imap", "smtp")


class Box:
    """Everything that one server needs, in one directory. protocol is what .binary speaks, and what serve() serves."""

    def __init__(self, settings=None, tls=True, protocol="pop3"):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tinmail-e2e."))
        os.chmod(self.dir, 0o711)
        atexit.register(self.close)
        self.closers = []
        self.launchers = []
        self.users = {}
        self.log_path = self.dir / "log"
        self.log_path.touch(mode=0o600)
        self.protocol = protocol
        self.binaries = {}
        for name in PROTOCOLS:
            self.binaries[name] = self.dir / f"{name}d"
            shutil.copy(os.environ[f"E2E_{name.upper()}D"], self.binaries[name])
            os.chmod(self.binaries[name], 0o755)
        self.binary = self.binaries[protocol]
        self.conf = self.dir / "tinmail.conf"
        (self.dir / "home").mkdir(mode=0o711)
        self.authority = Authority(self.dir / "tls") if tls else None
        self.settings = {"log_path": self.log_path, "base_dir": self.dir / "run", "auth_failure_delay": "0"}
        if tls:
            cert, key = self.authority.issue()
            self.settings |= {"ssl_cert_file": cert, "ssl_key_file": key}
        else:
            self.settings |= {"ssl": "no"}
        (self.dir / "run").mkdir(mode=0o755)
        if IS_ROOT:
            self.settings |= {f"{file}_path": self.dir / file for file in ("passwd", "shadow", "group")}
        else:
            self.settings |= {"passdb": f"passwd-file:{self.dir / 'users'}", "first_valid_uid": os.geteuid()}
        self.settings |= settings or {}
        self.user = self.add_user("demo")
        self.maildir = Maildir(self.user.home / "Maildir", (self.user.uid, self.user.gid))
        self.write_settings()

    def close(self):
        for closer in reversed(self.closers):
            with contextlib.suppress(Exception):
                closer()
        self.closers = []
        for pid in processes_of(self.binary, *self.binaries.values()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Users

    def add_user(self, name, password=None, shadow=None, uid=None):
        """A user with a home directory. shadow: the fields behind the name, when they are special."""
        password = password or f"{name}-{os.urandom(6).hex()}"
        uid = uid if uid is not None else (FIRST_UID + len(self.users) if IS_ROOT else os.geteuid())
        gid = uid if IS_ROOT else os.getegid()
        home = self.dir / "home" / name
        home.mkdir(mode=0o700)
        if IS_ROOT:
            os.chown(home, uid, gid)
        digest = run("openssl", "passwd", "-6", "-stdin", input=password).stdout.strip()
        user = User(name, password, uid, gid, home)
        user.digest = digest
        user.shadow = shadow(digest) if callable(shadow) else shadow or f"{digest}:{int(time.time()) // 86400}:0:99999:7:::"
        self.users[name] = user
        self.write_users()
        return user

    def write_users(self):
        users = self.users.values()
        if not IS_ROOT:
            write(self.dir / "users", [f"{u.name}:{{SHA512-CRYPT}}{u.digest}:{u.uid}:{u.gid}::{u.home}::" for u in users], 0o600)
            return
        write(self.dir / "passwd", ["root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin",
                                    *(f"{u.name}:x:{u.uid}:{u.gid}::{u.home}:/bin/sh" for u in users)], 0o644)
        write(self.dir / "group", ["root:x:0:", "nogroup:x:65534:", *(f"{u.name}:x:{u.gid}:" for u in users)], 0o644)
        write(self.dir / "shadow", ["root:*:19000:0:99999:7:::", *(f"{u.name}:{u.shadow}" for u in users)], 0o600)

    def maildir_of(self, user):
        return Maildir(user.home / "Maildir", (user.uid, user.gid))

    # Settings

    def write_settings(self, **changes):
        self.settings |= changes
        write(self.conf, [f"{name} = {value}" for name, value in self.settings.items()], 0o644)

    def tunnel(self, *more, user=None):
        """What `ssh host imapd --preauth` runs: a command that serves the user's mail on standard input and output."""
        user, prefix = user or self.user, []
        if IS_ROOT:
            prefix = [program("setpriv"), "--reuid", user.uid, "--regid", user.gid, "--clear-groups"]
        log = self.dir / "tunnel.log"
        log.touch()
        os.chmod(log, 0o666)
        return shlex.join(str(word) for word in [
            "env", f"HOME={user.home}", f"USER={user.name}", *prefix, self.binaries["imap"], "--preauth", "-o", f"log_path={log}", *more])

    def arguments(self, tls=False):
        return ["-c", str(self.conf), *(["--tls"] if tls else [])]

    # Log

    def log(self):
        return self.log_path.read_text(errors="strict")

    def clear_log(self):
        os.truncate(self.log_path, 0)

    def wait_log(self, pattern, seconds=SOON):
        """Waits for a line that matches and returns it."""
        def find():
            return next((line for line in self.log().splitlines() if re.search(pattern, line)), None)
        try:
            return wait_until(find, f"log line {pattern!r}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe log:\n{self.log()}") from None

    # Processes

    def servers(self):
        """Pids of the servers of this box. Without root /proc does not show what front and session execute: then those
        that descend from the launcher."""
        if IS_ROOT:
            return processes_of(self.binary, *self.binaries.values())
        return sorted(pid for launcher in self.launchers for pid in launcher.descendants())

    def servers_of(self, user):
        """Those with a user's rights."""
        return [pid for pid in self.servers() if uid_of(pid) == user.uid]

    def wait_idle(self):
        """Waits until no connection is served any more."""
        wait_until(lambda: not self.servers(), "all servers of the box have ended")

    # The commonest launcher

    def serve(self, launcher="xinetd", **more):
        """Starts a launcher that stays until the box is closed."""
        started = LAUNCHERS[launcher](self, **more)
        self.launchers.append(started)
        self.closers.append(started.stop)
        return started


# --- The base of all tests -------------------------------------------------------------------------------------------


class Case(unittest.TestCase):
    """Shows the log of the box when a test fails."""

    maxDiff = 4000
    box = None

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        outcome = super().run(result)
        return outcome if before == len(result.failures) + len(result.errors) else self.annotate(result, outcome)

    def annotate(self, result, outcome):
        for collected in (result.failures, result.errors):
            if collected and collected[-1][0] is self:
                test, trace = collected[-1]
                collected[-1] = (test, trace + self.final_log)
        return outcome

    final_log = ""

    def keep_log(self):
        if self.box and self.box.log_path.exists():
            tail = self.box.log_path.read_text(errors="replace").splitlines()[-12:]
            self.final_log = "".join(f"    log: {line}\n" for line in tail)
        if syslog:
            self.final_log += "".join(f"    syslog: {line}\n" for line in syslog.lines[-5:])
            syslog.lines.clear()

    def new_box(self, **more):
        """A box for this test alone."""
        self.box = Box(**more)
        self.addCleanup(self.box.close)
        self.addCleanup(self.keep_log)
        return self.box

    def serve(self, launcher="xinetd", *, settings=None, tls=True, protocol="pop3", **more):
        """A box and a launcher for this test alone."""
        return self.new_box(settings=settings, tls=tls, protocol=protocol).serve(launcher, **more)


def main():
    """For a single file by hand: the same as run.py FILE."""
    os.execv(sys.executable, [sys.executable, str(pathlib.Path(__file__).with_name("run.py")), sys.argv[0]])
