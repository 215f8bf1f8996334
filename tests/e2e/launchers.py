"""What listens on the ports of a box and starts its servers: xinetd, systemd, tcpserver, inetd, s6."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from conversations import Imap, Pop
from ground import HOST, TREE, free_port, listening_ports, program, status_of, stop, wait_until, write


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
