"""The same programs under every launcher: in clear, STARTTLS and TLS, with the client's address in the log."""

import contextlib
import os
import pathlib
import re
import shutil
import smtplib
import socket
import subprocess

import harness
from harness import IN_NAMESPACE, TREE, Case, needs_root, run, wait_until
from smtp_box import DOMAIN, SmtpBox


SERVICES = ("pop3", "pop3s", "imap", "imaps", "smtp", "submission", "submissions", "lmtp")


class EachLauncher:
    """check() under each of them."""

    def test_xinetd(self):
        self.check("xinetd")

    def test_systemd_socket_activate(self):
        self.check("systemd-socket-activate")

    def test_systemd_listen_fds(self):
        self.check("systemd LISTEN_FDS")

    def test_tcpserver(self):
        self.check("tcpserver")

    def test_openbsd_inetd(self):
        self.check("openbsd-inetd")

    def test_s6(self):
        self.check("s6")


class Each(EachLauncher, Case):
    def check(self, name):
        server = self.serve(name)
        expected = self.box.maildir.fill()
        for way in ("clear", "STLS", "POP3S"):
            with self.subTest(way), server.connect(tls=way == "POP3S") as pop:
                self.assertTrue(pop.greeting.startswith("+OK "), pop.greeting)
                if way == "STLS":
                    pop.stls()
                pop.login()
                self.assertEqual(len(pop.listing()), len(expected))
                for number, octets in enumerate(expected, 1):
                    self.assertEqual(pop.retrieve(number), octets)
                pop.quit()
                line = self.box.wait_log(rf"pop3-login: Login: user=<demo>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1.*"
                                         + (", TLS" if way != "clear" else ""))
                self.assertIn("session=<", line)
                self.box.wait_log(r"pop3\(demo\)<\d+><\S+>: Disconnected: Logged out .*retr=10/")
                self.box.wait_idle()
                self.box.clear_log()


class EachImap(EachLauncher, Case):
    def check(self, name):
        server = self.serve(name, protocol="imap")
        self.box.maildir.fill()
        expected = [harness.crlf(raw) for _, raw in harness.odd_messages()]
        for way in ("clear", "STARTTLS", "IMAPS"):
            with self.subTest(way), server.connect(tls=way == "IMAPS") as imap:
                self.assertTrue(imap.greeting.startswith("* OK [CAPABILITY IMAP4rev1 "), imap.greeting)
                if way == "STARTTLS":
                    imap.start_tls_command()
                imap.login()
                self.assertIn(b"* %d EXISTS" % len(expected), imap.ok("SELECT INBOX"))
                self.assertTrue(list(imap.bodies().values()) == expected, "the messages differ")
                imap.quit()
                line = self.box.wait_log(rf"imap-login: Login: user=<demo>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1.*"
                                         + (", TLS" if way != "clear" else ""))
                self.assertIn("session=<", line)
                self.box.wait_log(r"imap\(demo\)<\d+><\S+>: Disconnected: Logged out")
                self.box.wait_idle()
                self.box.clear_log()


class EachSmtp(EachLauncher, Case):
    def check(self, name):
        """On each port a message straight into a Maildir, and one through the queue, whose runner the launcher must not end."""
        self.box = box = SmtpBox()
        self.addCleanup(box.close)
        self.addCleanup(self.keep_log)
        server, other, context = box.serve(name), box.add_user("other"), box.authority.context()
        for way in ("smtp", "starttls", "submission", "submissions"):
            with self.subTest(way):
                with_tls, login = way != "smtp", way.startswith("submission")
                kind, more = (smtplib.SMTP_SSL, {"context": context}) if way == "submissions" else (smtplib.SMTP, {})
                port = {"submission": server.submission_port, "submissions": server.tls_port}.get(way, server.port)
                with kind("localhost", port, local_hostname="client.example", timeout=60, **more) as client:
                    if way in ("starttls", "submission"):
                        client.starttls(context=context)
                    if login:
                        client.login(*box.user)
                    for subject, names in (("straight", ["demo"]), ("queued", ["demo", "other"])):
                        client.sendmail("a@client.example", [f"{to}@{DOMAIN}" for to in names], f"Subject: {subject}\r\n\r\n.\r\n")
                wait_until(lambda: (len(box.received()), len(box.received(other))) == (2, 1), "the messages")
                subjects = [next(s for s in (b"straight", b"queued") if b"\nSubject: " + s in raw) for raw in box.received()]
                self.assertEqual(sorted(subjects), [b"queued", b"straight"])
                for raw in box.received():
                    self.assertIn(b" from client.example (localhost [127.0.0.1])", raw)
                    self.assertIn(b" with ESMTP" + b"S" * with_tls + b"A" * login + b" id ", raw)
                box.wait_log(r"connect from localhost\[127\.0\.0\.1\]")
                box.wait_idle()
                self.assertEqual(list((box.dir / "queue/queue").iterdir()), [])
                box.clear_log()
                for user in (box.user, other):
                    for file in box.maildir_of(user).files():
                        os.unlink(user.home / "Maildir" / file)


class Load(Case):
    def test_a_telephone_that_watches_fifty_folders(self):
        """K-9 may open so many connections, and Thunderbird opens its five beside it: one delivery wakes them all."""
        server = self.serve(protocol="imap")
        self.box.maildir.add(harness.message("first"))
        opened = []
        for n in range(56):
            opened.append(imap := server.connect(tls=n % 4 == 1))
            self.addCleanup(imap.close)
            imap.login()
            imap.ok("SELECT INBOX")
            imap.send("i IDLE\r\n")
            self.assertTrue(imap.line().startswith("+ "))
        self.box.maildir.add(harness.message("second"))
        for imap in opened:
            self.assertEqual(imap.line(), "* 2 EXISTS")
        for imap in opened:
            imap.send("DONE\r\n")
            self.assertTrue(imap.completion(b"i")[0].startswith("OK"))
            imap.quit()
        self.box.wait_idle()

    def test_many_connections_at_once_under_xinetd(self):
        """Twenty at a time is what the shipped files let one address have."""
        server = self.serve()
        users = [self.box.add_user(f"user{n}") for n in range(10)]
        for user in users:
            self.box.maildir_of(user).add(harness.message(f"for {user.name}"))
        opened = [server.connect(tls=n % 2 == 1) for n in range(10)]
        for pop, user in zip(opened, users, strict=True):
            pop.login(*user)
        for pop, user in zip(opened, users, strict=True):
            self.assertIn(f"for {user.name}".encode(), pop.retrieve(1))
        for pop in opened:
            pop.quit()
        self.box.wait_idle()


    def test_limits_of_the_shipped_files_of_pop3(self):
        """As they are shipped: the address space of a process, and the twenty connections of one address."""
        server = self.serve()
        for tls in (False, True):
            opened = [server.connect(tls=tls) for _ in range(20)]
            guard = min(self.box.servers())
            limits = pathlib.Path(f"/proc/{guard}/limits").read_text()
            if harness.IS_ROOT:
                self.assertRegex(limits, rf"Max address space +{256 << 20} +{256 << 20} ")
            with socket.create_connection((harness.HOST, server.tls_port if tls else server.port), 60) as more:
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(more.recv(1), b"", "the twenty-first")
            for pop in opened:
                pop.quit()
            self.box.wait_idle()


class Installed(Case):
    """A system with programs and files where an administrator puts them, in this test's own mount namespace."""

    def setUp(self):
        if not IN_NAMESPACE:
            self.fail("needs a mount namespace of its own")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "e2e", "/srv")
        self.addCleanup(run, "umount", "-l", "/srv")
        run("cp", "-a", "/etc", "/srv/etc")
        pathlib.Path("/srv/sbin").mkdir()
        pathlib.Path("/srv/home").mkdir()
        for source, target in (("/srv/etc", "/etc"), ("/srv/sbin", "/usr/local/sbin"), ("/srv/home", "/home")):
            run("mount", "--bind", source, target)
            self.addCleanup(run, "umount", "-l", target)
        pathlib.Path("/run/tinmail").exists() or self.addCleanup(shutil.rmtree, "/run/tinmail", True)
        self.new_box()
        for name, binary in self.box.binaries.items():
            self.box.binaries[name] = pathlib.Path(shutil.copy(binary, f"/usr/local/sbin/{binary.name}"))
        self.box.binary = self.box.binaries["pop3"]
        shutil.rmtree("/etc/xinetd.d", ignore_errors=True)
        pathlib.Path("/etc/xinetd.d").mkdir(exist_ok=True)
        pathlib.Path("/etc/tinmail").mkdir(exist_ok=True)
        for name, setting in (("cert.pem", "ssl_cert_file"), ("key.pem", "ssl_key_file")):
            shutil.copy(self.box.settings[setting], f"/etc/tinmail/{name}")
            os.chmod(f"/etc/tinmail/{name}", 0o600)

    def xinetd(self, ports):
        """A real xinetd with the shipped files of these services, which listens on these ports."""
        for name in ports:
            text = (TREE / "xinetd" / name).read_text()
            pathlib.Path(f"/etc/xinetd.d/{name}").write_text(
                text.replace("disable         = yes", "disable         = no"))
            self.assertIn("disable         = no", pathlib.Path(f"/etc/xinetd.d/{name}").read_text())
        pathlib.Path("/etc/xinetd.conf").write_text("defaults\n{\n}\nincludedir /etc/xinetd.d\n")
        output = open(self.box.dir / "xinetd.log", "wb")
        self.addCleanup(output.close)
        xinetd = subprocess.Popen([harness.program("xinetd"), "-dontfork", "-pidfile", str(self.box.dir / "pid")],
                                  stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.addCleanup(harness.stop, xinetd)
        wait_until(lambda: set(ports.values()) <= harness.listening_ports(), f"xinetd listens on {ports}")


@needs_root
class AsInstalled(Installed):
    """On ports 110, 995, 143 and 993, with users made by useradd."""

    def test_xinetd_d_system_users_and_defaults(self):
        pathlib.Path("/etc/tinmail.conf").write_text(f"log_path = {self.box.log_path}\nauth_failure_delay = 0\n")
        # useradd and chpasswd write /etc/passwd and /etc/shadow, with the hash of this system: yescrypt on Debian.
        run("useradd", "--create-home", "--uid", "23456", "--shell", "/bin/sh", "anna")
        run("chpasswd", input="anna:Real Password 1\n")
        self.assertRegex(pathlib.Path("/etc/shadow").read_text(), r"(?m)^anna:\$y\$")
        maildir = harness.Maildir("/home/anna/Maildir", (23456, 23456))
        expected = maildir.fill()
        self.xinetd({"pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993})

        class Server:
            bind, port, tls_port, box = harness.HOST, 110, 995, self.box
        for tls in (False, True):
            with harness.Pop(Server, tls=tls) as pop:
                pop.ok("USER anna")
                pop.ok("PASS Real Password 1")
                for number, octets in enumerate(expected, 1):
                    self.assertEqual(pop.retrieve(number), octets)
                pop.quit()
        with harness.Pop(Server) as pop:
            pop.ok("USER anna")
            pop.err("PASS Real Password 2", "[AUTH]")

        class ImapServer(Server):
            port, tls_port = 143, 993
        expected = [harness.crlf(raw) for _, raw in harness.odd_messages()]
        for tls in (False, True):
            with harness.Imap(ImapServer, tls=tls) as imap:
                imap.login("anna", "Real Password 1")
                imap.ok("SELECT INBOX")
                self.assertTrue(list(imap.bodies().values()) == expected, "the messages differ")
                imap.quit()
        with harness.Imap(ImapServer) as imap:
            imap.no('LOGIN anna "Real Password 2"', "[AUTHENTICATIONFAILED]")
        run("usermod", "--lock", "anna")
        with harness.Pop(Server) as pop:
            pop.ok("USER anna")
            pop.err("PASS Real Password 1", "[AUTH]")
        run("usermod", "--unlock", "anna")
        run("chage", "--expiredate", "2020-01-01", "anna")
        with harness.Pop(Server) as pop:
            pop.ok("USER anna")
            pop.err("PASS Real Password 1", "[AUTH]")
        for name in maildir.files():
            self.assertEqual(os.stat(maildir.path / name).st_uid, 23456, name)
        self.assertEqual(os.stat("/run/tinmail").st_uid, 0)

    def test_check_finds_the_installation_in_order(self):
        pathlib.Path("/etc/tinmail.conf").unlink(missing_ok=True)
        for name in self.box.binaries.values():
            done = run(name, "--check", check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Files(Case):
    """Syntax of what is shipped for other launchers."""

    def test_systemd_units_are_understood(self):
        # The program that ExecStart names need not be installed here.
        directory = self.new_box().dir / "units"
        directory.mkdir()
        for unit in (TREE / "systemd").iterdir():
            (directory / unit.name).write_text(unit.read_text().replace("/usr/local/sbin", str(self.box.dir)))
        for name in SERVICES:
            for unit in (f"{name}.socket", f"{name}@.service"):
                (directory / unit).exists() or self.fail(unit)
        units = [unit for unit in sorted(directory.iterdir()) if "@" not in unit.name]
        done = run(harness.program("systemd-analyze"), "verify", "--man=no", *units, check=False)
        # What systemd thinks of this machine's cgroups is no fault of the units.
        ours = [line for line in (done.stdout + done.stderr).splitlines()
                if re.search("pop3|imap|smtp|submission|lmtp|tinmail", line) and "legacy cgroups" not in line]
        self.assertEqual(ours, [])

    def test_what_the_files_of_pop3_promise(self):
        """The words that limit and wall in, which a launcher would not miss if they were gone."""
        for name in ("pop3", "pop3s"):
            text = (TREE / "xinetd" / name).read_text()
            entries = dict(re.findall(r"(?m)^\t(\w+)\s*=[ ]*(.*)$", text))
            self.assertEqual((entries["disable"], entries["user"], entries["server"]), ("yes", "root", "/usr/local/sbin/pop3d"))
            self.assertEqual(entries.get("server_args"), "--tls" if name == "pop3s" else None)
            self.assertLess(int(entries["per_source"]), int(entries["instances"]))
            self.assertRegex(entries["cps"], r"^\d+ \d+$")
            self.assertEqual(entries["rlimit_as"], "256M")
            unit = (TREE / "systemd" / f"{name}@.service").read_text().splitlines()
            for line in ("StandardInput=socket", "StandardOutput=socket", "StandardError=journal", "NoNewPrivileges=yes",
                         "ProtectSystem=full", "PrivateDevices=yes", "RestrictAddressFamilies=AF_UNIX", "MemoryDenyWriteExecute=yes",
                         "CapabilityBoundingSet=CAP_SYS_CHROOT CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH CAP_KILL", "LimitAS=256M"):
                self.assertIn(line, unit, name)
            socket_unit = (TREE / "systemd" / f"{name}.socket").read_text().splitlines()
            for line in ("Accept=yes", "MaxConnections=100", "MaxConnectionsPerSource=20"):
                self.assertIn(line, socket_unit, name)
            self.assertRegex((TREE / "s6" / name / "run").read_text(), r"s6-softlimit -a 268435456 (?s:.*)s6-tcpserver -c 100 -C 20 ")

    def test_s6_scripts_are_sound(self):
        for name in (*SERVICES, "queue"):
            run("sh", "-n", TREE / "s6" / name / "run")
            self.assertTrue(os.access(TREE / "s6" / name / "run", os.X_OK))


if __name__ == "__main__":
    harness.main()
