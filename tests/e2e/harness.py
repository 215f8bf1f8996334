"""What the end-to-end tests share: throw-away boxes, launchers, clients, Maildirs.

A Box is a directory with everything one server needs: users, mail, certificates, settings, log. Nothing outside of it is
written. Where the tests run as root, run.py has put each file of tests into mount, network and process namespaces of its
own, so that what is mounted, bound or left running there is gone with it.
"""

import atexit
import contextlib
import hashlib
import os
import pathlib
import pty
import random
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TREE = pathlib.Path(__file__).resolve().parent.parent.parent
IS_ROOT = os.geteuid() == 0
IN_NAMESPACE = os.environ.get("E2E_NAMESPACE") == "yes"
HOST = "127.0.0.1"
# Generous, because others compute on the same processors: how long anything may take that should happen at once.
SOON = 60.0
# Users of their own for each file: the kernel counts inotify instances and processes by user, over all namespaces.
FIRST_UID = random.randrange(20_000, 29_900, 100)

os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
os.environ["LC_ALL"] = "C.UTF-8"
for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(variable, None)


def needs_root(what):
    return unittest.skipUnless(IS_ROOT, "needs root")(what)


def program(name):
    """The path of an installed program. One that is missing is a failure, not a reason to leave a test out."""
    path = shutil.which(name) or shutil.which(name, path=os.environ.get("E2E_UNPACKED", ""))
    if not path:
        raise AssertionError(f"{name} is not installed")
    return path


def run(*command, check=True, timeout=120, text=True, **more):
    """Runs a command to its end; its output is in the exception when it fails."""
    more.setdefault("stdin", subprocess.DEVNULL if "input" not in more else None)
    if more["stdin"] is None:
        del more["stdin"]
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=text, timeout=timeout, check=False,
                          **({"errors": "replace"} if text else {}), **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def run_getmail(work, rcfile):
    """Runs getmail, which waits for the child that delivers a message and misses its end if that comes too soon. It gives up
    with exit 4 then; what it has stored is put back and it starts anew. Whether that was so."""
    # It does not deliver as root, nor as a user whom the system does not know.
    user = [program("setpriv"), "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if IS_ROOT else []
    before = work.with_name(work.name + ".before")
    for attempt in range(5):
        shutil.copytree(work, before)
        if IS_ROOT:
            run("chown", "-R", "nobody", work)
        done = run(*user, program("getmail"), f"--getmaildir={work}", f"--rcfile={rcfile}", check=False,
                   env={**os.environ, "HOME": str(work)})
        if done.returncode != 4:
            shutil.rmtree(before)
            break
        shutil.rmtree(work)
        before.rename(work)
    if done.returncode != 0:
        raise AssertionError(f"getmail: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return attempt > 0


def wait_until(condition, what, seconds=SOON, pause=0.02):
    """Waits until condition() is true and returns what it returned."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(pause)


def free_port():
    """A port that is free now. Launchers that cannot be told to choose one themselves get this."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


# --- Processes -------------------------------------------------------------------------------------------------------


def processes_of(executable):
    """Pids of the processes that run this file, zombies excluded."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/exe") == str(executable):
                    found.append(int(entry))
    return sorted(found)


def status_of(pid):
    """The fields of /proc/PID/status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def parent_of(pid):
    return int(status_of(pid)["PPid"])


def stop(process, seconds=20):
    """Ends a process that the test started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()


def in_terminal(command, home, seconds=120):
    """Runs a program that wants a terminal to its end, and returns everything that it wrote to the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="vt100", HOME=str(home), LINES="40", COLUMNS="100")
        os.execv(command[0], [str(word) for word in command])
    screen, until = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    octets = os.read(terminal, 65536)
                except OSError:
                    octets = b""
                if not octets:
                    return screen
                screen += octets
        os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"{command[0]} did not end: {screen[-3000:].decode(errors='replace')}")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


class Syslog:
    """Listens on /dev/log of this file's own namespace, as syslogd would. Only there."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/dev/log")
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        self.lines = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.lines.append(self.socket.recv(65536).decode(errors="backslashreplace"))

    def wait(self, pattern, seconds=SOON):
        """Waits for a line that matches and returns it."""
        def find():
            return next((line for line in list(self.lines) if re.search(pattern, line)), None)
        return wait_until(find, f"syslog line {pattern!r} among {self.lines}", seconds)


# Programs write to /dev/log from several tests of a file: each test clears what it wants to read.
syslog = Syslog() if IN_NAMESPACE else None


# --- Mail ------------------------------------------------------------------------------------------------------------


def wire(raw):
    """The octets that POP3 sends for a message, without dot-stuffing: line ends are CRLF, the last line has one."""
    octets = re.sub(rb"\r?\n", b"\r\n", raw)
    return octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"


def crlf(raw):
    """The octets that IMAP sends for a message: the same, but nothing is added at the end."""
    return re.sub(rb"\r?\n", b"\r\n", raw)


def plain(octets):
    """Octets as clients store them, with all differences of line ends taken away."""
    return re.sub(rb"\r?\n", b"\n", octets).rstrip(b"\n") + b"\n"


def body(octets):
    """What comes behind the header, line ends taken away."""
    return plain(octets).partition(b"\n\n")[2]


def message(subject, content=b"Hello.\n", newline=b"\n", more=()):
    """A message with a header that every client takes as it is."""
    if isinstance(content, str):
        content = content.encode()
    fields = [
        b"Return-Path: <sender@example.org>",
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000",
        b"From: Sender <sender@example.org>",
        b"To: Receiver <receiver@example.org>",
        b"Subject: " + subject.encode(),
        b"Message-ID: <" + hashlib.sha1(subject.encode()).hexdigest().encode() + b"@example.org>",
        *more,
    ]
    return newline.join([*fields, b"", b""]) + content


def odd_messages():
    """What has gone wrong in mail servers before: name of the case and octets as they are in the file."""
    photograph = bytes(range(256)) * 8200
    import base64
    attachment = base64.encodebytes(photograph)
    return [
        ("dots", message("dots", ".\n..\n.leading\n...\nmiddle . dot\n.\n")),
        ("no-final-newline", message("no final newline", b"The last line has no end")),
        ("eight-bit", message("eight bit", "Grüße, 渡辺 €\n".encode() + b"latin: \xe4\xf6\xfc\xff\n")),
        ("empty-body", message("empty body", b"")),
        ("crlf", message("CRLF file", b"first\r\n.\r\nlast\r\n", newline=b"\r\n")),
        ("crlf-mixed", message("mixed line ends", b"lf\ncrlf\r\nlf\n")),
        ("long-line", message("long line", b"x" * 70000 + b"\n" + b"." + b"y" * 9000 + b"\n")),
        ("blank-lines", message("blank lines", b"\n\n\n.\n\n\n")),
        ("attachment", message("3 MB attachment", b"begin\n" + attachment + b"end\n")),
        ("last-dot", message("dot at the end", b"text\n.")),
    ]


class Maildir:
    """A Maildir that a test fills and looks into."""

    def __init__(self, path, owner=None):
        self.path = pathlib.Path(path)
        self.owner = owner
        self.count = 0
        for part in ("", "tmp", "new", "cur"):
            self.make(self.path / part)

    def make(self, path):
        """Its owner's from the first moment: he may be making it, too, and could not use one of root's for as long as that takes."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_dir():
            made = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix="being-made."))
            self.own(made)
            try:
                made.rename(path)
            except OSError:
                made.rmdir()
                if not path.is_dir():
                    raise

    def own(self, path):
        if IS_ROOT and self.owner:
            os.chown(path, *self.owner, follow_symlinks=False)

    def add(self, raw, flags=None, hints="none", name=None, age=3600):
        """Delivers a message: flags None is new, a text is the flags in cur. Returns the file's base name."""
        self.count += 1
        if name is None:
            name = f"{1700000000 + self.count}.M{self.count}P1.host"
        if "S" in hints:
            name += f",S={len(raw)}"
        if "W" in hints:
            name += f",W={len(re.sub(rb'(?<!' + bytes([13]) + rb')' + bytes([10]), bytes([13, 10]), raw))}"
        path = self.path / ("new/" + name if flags is None else f"cur/{name}:2,{flags}")
        temporary = self.path / "tmp" / name
        temporary.write_bytes(raw)
        os.chmod(temporary, 0o600)
        self.own(temporary)
        when = time.time() - age + self.count
        os.utime(temporary, (when, when))
        temporary.rename(path)
        return name

    def fill(self, messages=None):
        """Delivers messages in all the ways in which they can lie there. Returns what they are on the wire, in order."""
        messages = odd_messages() if messages is None else messages
        for at, (_, raw) in enumerate(messages):
            self.add(raw, flags=[None, "S", ""][at % 3], hints=["none", "SW", "S", "none"][at % 4])
        return [wire(raw) for _, raw in messages]

    def files(self):
        """All message files, as names with their directory."""
        return sorted(f"{part}/{name}" for part in ("new", "cur") for name in os.listdir(self.path / part))

    def bases(self):
        return sorted(name.split("/")[1].split(":")[0] for name in self.files())

    def contents(self):
        """What is stored, by base name."""
        return {name.split("/")[1].split(":")[0]: (self.path / name).read_bytes() for name in self.files()}

    def uidlist(self):
        return (self.path / "dovecot-uidlist").read_text()


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
        for binary in {self.binary, *self.binaries.values()}:
            for pid in processes_of(binary):
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
            return sorted(pid for binary in {self.binary, *self.binaries.values()} for pid in processes_of(binary))
        return sorted(pid for launcher in self.launchers for pid in launcher.descendants())

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


def write(path, lines, mode):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    os.chmod(path, mode)


# --- Launchers -------------------------------------------------------------------------------------------------------


class Launcher:
    """Serves a protocol of the box on .port and the same over TLS on .tls_port."""

    bind = HOST

    def __init__(self, box, bind=HOST, protocol=None):
        self.box, self.bind, self.protocol = box, bind, protocol or box.protocol
        self.binary = box.binary if self.protocol == box.protocol else box.binaries[self.protocol]
        self.processes = []
        self.output = box.dir / f"{type(self).__name__}-{self.protocol}.log"
        self.output.touch()
        for attempt in range(5):
            self.port, self.tls_port = free_port(), free_port()
            try:
                self.start()
                self.wait_ready()
                return
            except AssertionError:
                self.stop()
                if attempt == 4:
                    raise

    def services(self):
        """The ports to listen on, each with the arguments of what serves it. SMTP has a third one, .submission_port."""
        if self.protocol != "smtp":
            return [(self.port, self.box.arguments()), (self.tls_port, self.box.arguments(tls=True))]
        self.submission_port = free_port()
        return [(self.port, self.box.arguments()), (self.submission_port, [*self.box.arguments(), "--submission"]),
                (self.tls_port, [*self.box.arguments(tls=True), "--submission"])]

    def spawn(self, *command, **more):
        with open(self.output, "ab") as output:
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=output, start_new_session=True, **more)
        self.processes.append(process)
        return process

    def wait_ready(self):
        """Waits until all ports listen, without a connection that would be served."""
        def listening():
            for process in self.processes:
                if process.poll() is not None:
                    raise AssertionError(f"{type(self).__name__} has ended:\n{self.output.read_text(errors='replace')}")
            return {self.port, self.tls_port, getattr(self, "submission_port", self.port)} <= listening_ports()
        wait_until(listening, f"{type(self).__name__} listens\n{self.output.read_text(errors='replace')}")

    def stop(self):
        for process in self.processes:
            stop(process)
        self.processes = []

    def connect(self, tls=False, **more):
        return {"pop3": Pop, "imap": Imap}[self.protocol](self, tls=tls, **more)

    def descendants(self):
        """Pids of what the launcher has started, zombies excluded."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, KeyError):
                    status = status_of(entry)
                    if not status["State"].startswith("Z"):
                        parents[int(entry)] = int(status["PPid"])
        found, new = set(), {process.pid for process in self.processes}
        while new:
            new = {pid for pid, parent in parents.items() if parent in new} - found
            found |= new
        return found


def listening_ports():
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


class Xinetd(Launcher):
    """The real one, with the service files that are shipped: other ports, paths and user, and nothing else changed."""

    def __init__(self, box, change=None, arguments=None, **more):
        self.change, self.arguments = change or {}, arguments or []
        super().__init__(box, **more)

    def service(self, name, port):
        text = (TREE / "xinetd" / name).read_text()
        arguments = re.search(r"^\s*server_args\s*=\s*(.*)$", text, re.M)
        arguments = f"-c {self.box.conf} {' '.join(self.arguments)} {arguments[1] if arguments else ''}"
        text = re.sub(r"(?m)^\s*server_args\s*=.*\n", "", text)
        changes = {"disable": "no", "server": self.binary, "user": os.geteuid(),
                   "log_type": f"FILE {self.output}"} | self.change
        for key, value in changes.items():
            text, count = re.subn(rf"(?m)^(\s*{key}\s*)=.*$", rf"\1= {value}", text)
            if not count:
                text = text.replace("\n}", f"\n\t{key} = {value}\n}}")
        text = text.replace(f"service {name}\n", f"service e2e-{name}\n")
        return text.replace("\n}", f"\n\tserver_args = {arguments}\n\ttype = UNLISTED\n\tport = {port}\n"
                            f"\tbind = {self.bind}\n}}")

    def start(self):
        configuration = self.box.dir / f"xinetd-{self.protocol}.conf"
        services = self.service(self.protocol, self.port)
        if self.protocol == "smtp":
            # Its other two ports have names of their own; that of 587 is .submission_port.
            self.submission_port = free_port()
            services += self.service("submission", self.submission_port) + self.service("submissions", self.tls_port)
        else:
            services += self.service(f"{self.protocol}s", self.tls_port)
        configuration.write_text(services)
        self.spawn(program("xinetd"), "-f", configuration, "-dontfork",
                   "-pidfile", self.box.dir / f"xinetd-{self.protocol}.pid",
                   "-filelog", self.output)


class SystemdSocketActivate(Launcher):
    """systemd's own tool, in the manner of Accept=yes with StandardInput=socket."""

    way = ("--inetd", "-a")

    def start(self):
        for port, arguments in self.services():
            self.spawn(program("systemd-socket-activate"), *self.way, "-l", f"{self.bind}:{port}", self.binary, *arguments)


class ListenFds(SystemdSocketActivate):
    """The same with the connection as descriptor 3 and LISTEN_FDS in the environment."""

    way = ("-a",)


class TcpServer(Launcher):
    def start(self):
        for port, arguments in self.services():
            self.spawn(program("tcpserver"), "-v", "-H", "-R", "-l", "0", "-c", "100", self.bind, str(port),
                       self.binary, *arguments)


class OpenbsdInetd(Launcher):
    """Unpacked beside, because it cannot be installed together with xinetd."""

    def start(self):
        configuration = self.box.dir / "inetd.conf"
        import pwd
        who = pwd.getpwuid(os.geteuid()).pw_name
        lines = [f"{self.bind}:{port} stream tcp nowait.600 {who} {self.binary} {self.binary.name} "
                 + " ".join(arguments) for port, arguments in self.services()]
        write(configuration, lines, 0o644)
        self.spawn(program("inetd"), "-d", "-i", str(configuration))


class S6(Launcher):
    """The shipped run scripts under a real s6-svscan, whose output is the log. Debian has no s6-networking: where there is no
    s6-tcpserver, tcpserver stands in for it."""

    STAND_IN = '#!/bin/sh\n[ "$1 $3" = "-c -C" ] || exit 100\ncount=$2; shift 4\nexec tcpserver -H -R -l 0 -c "$count" "$@"\n'

    def start(self):
        scan = pathlib.Path(tempfile.mkdtemp(prefix="s6-", dir=self.box.dir))
        names = ("smtp", "submission", "submissions") if self.protocol == "smtp" else (self.protocol, f"{self.protocol}s")
        for name, (port, _) in zip(names, self.services(), strict=True):
            text = (TREE / "s6" / name / "run").read_text()
            text, ports = re.subn(r"0\.0\.0\.0 \d+", f"{self.bind} {port}", text)
            text, programs = re.subn(r"/usr/local/sbin/\w+", f"{self.binary} -c {self.box.conf}", text)
            assert (ports, programs) == (1, 1), name
            (scan / name).mkdir()
            write(scan / name / "run", text.splitlines(), 0o755)
        path = os.environ["PATH"]
        if not shutil.which("s6-tcpserver"):
            (scan / ".bin").mkdir()
            write(scan / ".bin" / "s6-tcpserver", self.STAND_IN.splitlines(), 0o755)
            path = f"{scan}/.bin:{path}"
        self.output = self.box.log_path
        self.spawn(program("s6-svscan"), scan, env={**os.environ, "PATH": path})


LAUNCHERS = {
    "xinetd": Xinetd,
    "systemd-socket-activate": SystemdSocketActivate,
    "systemd LISTEN_FDS": ListenFds,
    "tcpserver": TcpServer,
    "openbsd-inetd": OpenbsdInetd,
    "s6": S6,
}


# --- A client that does what it is told ------------------------------------------------------------------------------


class Pop:
    """A connection on which a test says exactly what it wants to say."""

    def __init__(self, server=None, tls=False, address=None, greeting=True, source=None, timeout=SOON, context=None):
        if address is None:
            address = (server.bind if server.bind != "0.0.0.0" else HOST, server.tls_port if tls else server.port)
        self.server = server
        self.socket = socket.create_connection(address, timeout=timeout, source_address=source and (source, 0))
        self.socket.settimeout(timeout)
        self.plain_socket = self.socket
        self.buffer = b""
        if tls:
            self.start_tls(context)
        self.greeting = self.line() if greeting else None

    def start_tls(self, context=None):
        context = context or self.server.box.authority.context()
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets.encode() if isinstance(octets, str) else octets)

    def receive(self):
        """More octets; nothing is the end."""
        try:
            octets = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
            octets = b""
        self.buffer += octets
        return octets

    def line(self):
        """A reply's line without CRLF; nothing at the end of the connection."""
        while b"\n" not in self.buffer:
            if not self.receive():
                rest, self.buffer = self.buffer, b""
                return rest.decode(errors="replace")
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), f"a line without CR: {line!r}"
        return line[:-1].decode(errors="replace")

    def rest(self):
        """Everything up to the end of the connection."""
        while self.receive():
            pass
        rest, self.buffer = self.buffer, b""
        return rest

    def say(self, command):
        self.send(command + "\r\n" if isinstance(command, str) else command + b"\r\n")
        return self.line()

    def ok(self, command):
        reply = self.say(command)
        assert reply.startswith("+OK"), f"{command[:200]!r}: {reply!r}"
        return reply

    def err(self, command, code=""):
        reply = self.say(command)
        assert reply.startswith(f"-ERR {code}".rstrip()), f"{command[:200]!r}: {reply!r}"
        return reply

    def octets(self):
        """The octets of a reply of several lines, dots unstuffed."""
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            assert self.receive(), f"the connection ended inside a reply: {self.buffer[-200:]!r}"
        if self.buffer.startswith(b".\r\n"):
            self.buffer = self.buffer[3:]
            return b""
        reply, self.buffer = self.buffer.split(b"\r\n.\r\n", 1)
        return re.sub(rb"(?m)^\.", b"", reply + b"\r\n")

    def lines(self, command):
        """The lines of a reply of several lines."""
        self.ok(command)
        return self.octets().decode(errors="replace").splitlines()

    def retrieve(self, number):
        self.ok(f"RETR {number}")
        return self.octets()

    def login(self, user=None, password=None):
        if user is None:
            user, password = self.server.box.user
        self.ok(f"USER {user}")
        return self.ok(f"PASS {password}")

    def stls(self, context=None):
        self.ok("STLS")
        self.start_tls(context)

    def quit(self):
        reply = self.ok("QUIT")
        assert self.rest() == b""
        self.close()
        return reply

    def listing(self):
        """What a client remembers: unique-ids and sizes in their order."""
        sizes = [line.split()[1] for line in self.lines("LIST")]
        ids = [line.split()[1] for line in self.lines("UIDL")]
        return list(zip(ids, sizes, strict=True))


class Imap(Pop):
    """The same for IMAP: a reply is the untagged responses with their literals, and the tagged completion."""

    def __init__(self, *arguments, **more):
        self.count = 0
        super().__init__(*arguments, **more)

    def response(self):
        """One response without its CRLF, literals included; nothing at the end of the connection."""
        response = b""
        while True:
            while b"\n" not in self.buffer:
                if not self.receive():
                    return response
            line, self.buffer = self.buffer.split(b"\n", 1)
            assert line.endswith(b"\r"), f"a line without CR: {line!r}"
            response += line[:-1]
            literal = re.search(rb"\{(\d+)\}$", response)
            if not literal:
                return response
            wanted = int(literal[1])
            while len(self.buffer) < wanted:
                assert self.receive(), f"the connection ended inside a literal: {response[-200:]!r}"
            response += b"\r\n" + self.buffer[:wanted]
            self.buffer = self.buffer[wanted:]

    def say(self, command):
        """The tagged completion without its tag, and the untagged responses before it."""
        self.count += 1
        tag = b"a%d" % self.count
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.completion(tag)

    def completion(self, tag):
        untagged = []
        while True:
            response = self.response()
            assert response, f"the connection ended: {untagged[-3:]!r}"
            if response.startswith(tag + b" "):
                return response[len(tag) + 1:].decode(errors="replace"), untagged
            untagged.append(response)

    def ok(self, command):
        """The untagged responses of a command that is obeyed."""
        completion, untagged = self.say(command)
        assert completion.startswith("OK"), f"{command[:200]!r}: {completion!r}"
        return untagged

    def no(self, command, code=""):
        completion, _ = self.say(command)
        assert completion.startswith(f"NO {code}".rstrip()), f"{command[:200]!r}: {completion!r}"
        return completion

    def login(self, user=None, password=None):
        if user is None:
            user, password = self.server.box.user
        return self.ok(f'LOGIN {user} "{password}"')

    def start_tls_command(self, context=None):
        self.ok("STARTTLS")
        self.start_tls(context)

    def append(self, raw, mailbox="INBOX", flags=""):
        octets = crlf(raw)
        return self.ok(b"APPEND %s (%s) {%d+}\r\n%s" % (mailbox.encode(), flags.encode(), len(octets), octets))

    def bodies(self, what="1:*"):
        """The messages of the mailbox that is open, whole, by UID."""
        found = {}
        for response in self.ok(f"UID FETCH {what} (UID BODY.PEEK[])"):
            match = re.match(rb"\* \d+ FETCH \(UID (\d+) BODY\[\] (?:\{\d+\}\r\n(.*)|\"(.*)\")\)$", response, re.S)
            if match:
                found[int(match[1])] = match[2] if match[2] is not None else match[3]
        return found

    def quit(self):
        self.ok("LOGOUT")
        assert self.rest() == b""
        self.close()


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
