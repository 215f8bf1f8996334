"""What all parts of the end-to-end tests stand on: waiting, running programs, looking at processes, the log of the system."""

import contextlib
import os
import pathlib
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
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
    then; what it has stored is put back and it starts anew. Whether that was so."""
    # It does not deliver as root, nor as a user whom the system does not know.
    user = [program("setpriv"), "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if IS_ROOT else []
    before = work.with_name(work.name + ".before")
    for attempt in range(5):
        shutil.copytree(work, before)
        if IS_ROOT:
            run("chown", "-R", "nobody", work)
        done = run(*user, program("getmail"), f"--getmaildir={work}", f"--rcfile={rcfile}", check=False,
                   env={**os.environ, "HOME": str(work)})
        if done.returncode != 4 and "waiting child pid" not in done.stdout + done.stderr:
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


_given_ports = set()


def free_port():
    """A port that is free now, and that nobody here has been given before: one who was may not listen yet. Launchers that cannot be
    told to choose one themselves get this."""
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def write(path, lines, mode):
    """Writes a file that is mounted elsewhere, so that no other can take its place. It is never empty: a server that looks
    meanwhile finds the old lines, and what was added or not."""
    octets = "".join(f"{line}\n" for line in lines).encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, mode)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(octets)
        file.truncate(len(octets))
    os.chmod(path, mode)


# --- Processes -------------------------------------------------------------------------------------------------------


def processes_of(*executables):
    """Pids of the processes that run one of these files, zombies excluded."""
    found, wanted = [], {str(executable) for executable in executables}
    for pid in all_processes():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe") in wanted:
                found.append(pid)
    return sorted(found)


def status_of(pid):
    """The fields of /proc/PID/status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def parent_of(pid):
    return int(status_of(pid)["PPid"])


def uid_of(pid):
    """Whose process it is; None: it has ended, whoever has looked it up before."""
    with contextlib.suppress(OSError, KeyError):
        status = status_of(pid)
        return None if status["State"].startswith("Z") else int(status["Uid"].split()[0])
    return None


def arguments_of(pid):
    """A process's arguments, each with a NUL behind it; nothing if it has ended."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def all_processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def listening_ports():
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


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
