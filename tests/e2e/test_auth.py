"""Who may log in: checkpassword, passwd-files, mechanisms, fail2ban on what the program really wrote."""

import base64
import hashlib
import hmac
import poplib
import re
import subprocess
import time

import harness
from harness import Case, message, needs_root, program, run

CHECKPASSWORD = r"""#!/usr/bin/python3
# A checkpassword program: name and password on descriptor 3, then the program to run as the user.
import os, sys
name, password = os.read(3, 512).split(b"\0")[:2]
os.close(3)
with open("{dir}/calls", "a") as calls:
    calls.write(name.decode() + " " + os.environ.get("TCPREMOTEIP", "-") + "\n")
if name == b"broken":
    sys.exit(111)
if (name, password) != (b"carl", b"the right one"):
    sys.exit(1)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({gid})
    os.setuid({uid})
os.environ.update(USER="carl", HOME="{home}", SHELL="/bin/sh")
os.execv(sys.argv[1], sys.argv[1:])
"""


class Checkpassword(Case):
    def setUp(self):
        self.server = self.serve()
        self.user = self.box.add_user("carl", "the right one")
        self.box.maildir_of(self.user).add(message("for carl"))
        self.program = self.box.dir / "checkpassword"
        calls = self.box.dir / "calls"
        calls.touch()
        self.program.write_text(CHECKPASSWORD.format(dir=self.box.dir, uid=self.user.uid, gid=self.user.gid,
                                                     home=self.user.home))
        self.program.chmod(0o755)
        self.box.write_settings(passdb=f"checkpassword:{self.program}")

    def test_the_right_password(self):
        for tls in (False, True):
            with self.server.connect(tls=tls) as pop:
                pop.login("carl", "the right one")
                self.assertIn(b"for carl", pop.retrieve(1))
                pid = next(pid for pid in self.box.servers()
                           if harness.status_of(pid)["Uid"].split()[0] == str(self.user.uid))
                self.assertEqual(harness.status_of(pid)["Gid"].split()[1], str(self.user.gid))
                pop.quit()
        self.assertEqual((self.box.dir / "calls").read_text(), "carl 127.0.0.1\n" * 2)
        self.box.wait_log(r"Login: user=<carl>")

    def test_a_wrong_password_and_an_unknown_user(self):
        with self.server.connect() as pop:
            pop.ok("USER carl")
            wrong = pop.err("PASS wrong", "[AUTH]")
            pop.ok("USER nobody-of-that-name")
            self.assertEqual(pop.err("PASS the right one", "[AUTH]"), wrong)
            pop.login("carl", "the right one")
            pop.quit()

    def test_a_program_out_of_order_is_a_temporary_failure(self):
        with self.server.connect() as pop:
            pop.ok("USER broken")
            pop.err("PASS x", "[SYS/TEMP]")
        self.box.write_settings(passdb="checkpassword:/nonexistent/program")
        with self.server.connect() as pop:
            pop.ok("USER carl")
            pop.err("PASS the right one", "[SYS/TEMP]")
        self.box.wait_log("/nonexistent/program")

    def test_a_name_with_nul_or_too_much_of_it_never_reaches_the_program(self):
        with self.server.connect() as pop:
            pop.say("AUTH PLAIN " + base64.b64encode(b"\0carl\0the right one\0x").decode())
            pop.say("AUTH PLAIN " + base64.b64encode(b"\0carl\0" + b"p" * 600).decode())
        self.box.wait_idle()
        self.assertEqual((self.box.dir / "calls").read_text(), "")


class PasswdFile(Case):
    """Virtual users, with passwords from which every mechanism can be served."""

    def setUp(self):
        self.server = self.serve()
        self.home = self.box.user.home
        self.uid, self.gid = self.box.user.uid, self.box.user.gid
        salt, iterations = b"salt-of-16-bytes", 4096
        salted = hashlib.pbkdf2_hmac("sha256", b"secret 1", salt, iterations)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        scram = ",".join([str(iterations), *(base64.b64encode(part).decode() for part in (salt, stored, server_key))])
        home = f"::::{self.home}::"
        self.put([
            f"anna@example.org:{{PLAIN}}secret 1{home}",
            f"bert:{{SCRAM-SHA-256}}{scram}{home}",
            f"cora:{{SHA512-CRYPT}}{run('openssl', 'passwd', '-6', 'secret 1').stdout.strip()}{home}",
            f"cora:{{SHA256-CRYPT}}{run('openssl', 'passwd', '-5', 'app password').stdout.strip()}{home}",
            f"dora:{{MD5-CRYPT}}{run('openssl', 'passwd', '-1', 'secret 1').stdout.strip()}{home}",
            f"emil:{{PLAIN}}secret 1{home}allow_nets=192.0.2.0/24",
            f"fritz:{{PLAIN}}secret 1{home}nologin",
            f"gerd:{{PLAIN}}secret 1{home}userdb_mail=maildir:{self.home}/Maildir",
        ])
        self.box.write_settings(passdb=f"passwd-file:{self.box.dir / 'virtual'}", mail_uid=self.uid, mail_gid=self.gid,
                                mail_location=f"maildir:{self.home}/Maildir",
                                auth_mechanisms="plain login cram-md5 scram-sha-1 scram-sha-256 apop")
        self.box.maildir.add(message("virtual"))

    def put(self, lines):
        harness.write(self.box.dir / "virtual", lines, 0o600)

    def test_schemes(self):
        for user, password in (("anna@example.org", "secret 1"), ("cora", "secret 1"), ("cora", "app password"),
                               ("dora", "secret 1"), ("bert", "secret 1"), ("gerd", "secret 1")):
            with self.subTest(user), self.server.connect() as pop:
                pop.ok(f"USER {user}")
                pop.err("PASS secret 2", "[AUTH]")
                pop.login(user, password)
                self.assertIn(b"virtual", pop.retrieve(1))
                pop.quit()
        self.box.wait_log(r"Login: user=<anna@example\.org>")

    def test_virtual_users_as_in_the_manual_page(self):
        """Its example: no uid, no home, mail by domain and name."""
        self.box.write_settings(mail_location=f"maildir:{self.box.dir}/srv/%d/%n")
        maildir = harness.Maildir(self.box.dir / "srv/example.org/anna", (self.uid, self.gid))
        maildir.add(message("by domain"))
        for directory in (self.box.dir / "srv", self.box.dir / "srv/example.org"):
            directory.chmod(0o755)
        digest = run("openssl", "passwd", "-6", "secret 1").stdout.strip()
        self.put([f"anna@example.org:{{SHA512-CRYPT}}{digest}::::::"])
        with self.server.connect() as pop:
            pop.login("anna@example.org", "secret 1")
            self.assertIn(b"by domain", pop.retrieve(1))
            pop.quit()

    def test_extra_fields_refuse(self):
        for user in ("emil", "fritz"):
            with self.subTest(user), self.server.connect() as pop:
                pop.ok(f"USER {user}")
                pop.err("PASS secret 1", "[AUTH]")

    def test_mechanisms_of_real_clients(self):
        url = f"pop3://localhost:{self.server.port}/"
        for mechanism, user in (("CRAM-MD5", "anna@example.org"), ("LOGIN", "dora"), ("PLAIN", "bert"),
                                ("+APOP", "anna@example.org")):
            with self.subTest(mechanism):
                done = run(program("curl"), "--silent", "--show-error", "--login-options", f"AUTH={mechanism}",
                           "--user", f"{user}:secret 1", url)
                self.assertEqual(done.stdout.split()[0], "1")
        for mechanism, user in (("scram-sha-1", "anna@example.org"), ("scram-sha-256", "bert"), ("cram-md5", "anna@example.org"),
                                ("scram-sha-256", "anna@example.org"), ("apop", "anna@example.org")):
            with self.subTest(f"mpop {mechanism}"):
                store = self.box.dir / f"mpop-{mechanism}-{user}"
                self.mpop(mechanism, user, "secret 1", store)
                self.assertIn(b"virtual", store.read_bytes())
                with self.assertRaises(AssertionError):
                    self.mpop(mechanism, user, "secret 2", store)
                self.box.wait_log(rf"Login: user=<{user}>, method={mechanism.upper()}")

    def mpop(self, mechanism, user, password, store):
        run(program("mpop"), "--host=localhost", f"--port={self.server.port}", "--tls=off", f"--auth={mechanism}",
            f"--user={user}", f"--passwordeval=echo {password}", "--keep=on", f"--uidls-file={store}.uidls",
            f"--delivery=mbox,{store}")

    def test_scram_bound_to_the_channel(self):
        """TLS of OpenSSL, which exports the key material, and SCRAM of libgsasl: in Debian 12 no POP3 client has both."""
        for mechanism, user in (("SCRAM-SHA-256-PLUS", "bert"), ("SCRAM-SHA-256-PLUS", "anna@example.org"),
                                ("SCRAM-SHA-1-PLUS", "anna@example.org")):
            for starttls in (False, True):
                with self.subTest(mechanism, user=user, starttls=starttls):
                    self.box.clear_log()
                    answer = self.bound(mechanism, user, "secret 1", starttls)
                    self.assertTrue(answer.startswith(b"+OK"), answer)
                    self.box.wait_log(rf"Login: user=<{user}>, method={re.escape(mechanism)}, .*, TLS")
                    self.assertIn(b"[AUTH]", self.bound(mechanism, user, "secret 2", starttls))
        # Somebody in between has two sessions, with two keys.
        self.assertIn(b"[AUTH]", self.bound("SCRAM-SHA-256-PLUS", "bert", "secret 1", False, bytes(32)))

    def bound(self, mechanism, user, password, starttls, exported=None):
        """Logs in; what the server said last."""
        way = ["-starttls", "pop3", "-connect", f"localhost:{self.server.port}"] if starttls else \
            ["-connect", f"localhost:{self.server.tls_port}"]
        tls = self.pipes("openssl", "s_client", *way, "-nocommands", "-ign_eof", "-CAfile", str(self.box.authority.ca),
                         "-verify_return_error", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32")
        for line in tls.stdout:
            if b"Keying material:" in line:
                exported = exported or bytes.fromhex(line.split()[-1].decode())
            elif line.startswith(b"---" if starttls and exported else b"+OK tinmail ready."):
                break
        client = self.pipes("gsasl", "--client", "--quiet", "-m", mechanism, "-a", user, "-p", password)
        # It says the mechanism's name, asks for the octets, and behind the question says its first message.
        client.stdin.write(base64.b64encode(exported) + b"\n")
        client.stdin.flush()
        client.stdout.readline()

        def say(line):
            tls.stdin.write(line + b"\r\n")
            tls.stdin.flush()
            return next((answer for answer in tls.stdout if answer[:1] in b"+-" and answer != b"---\n"), b"").rstrip()
        answer = say(b"AUTH " + mechanism.encode() + b" " + client.stdout.readline().split()[-1])
        while answer.startswith(b"+ "):
            client.stdin.write(answer[2:] + b"\n")
            client.stdin.flush()
            answer = say(client.stdout.readline().strip())
        if answer.startswith(b"+OK"):
            say(b"QUIT")
            client.communicate(b"\n", harness.SOON)
            self.assertEqual(client.returncode, 0, "the client does not believe the server")
        return answer

    def pipes(self, name, *arguments):
        process = subprocess.Popen([program(name), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(harness.stop, process)
        return process

    def test_apop_and_cram_md5_of_poplib(self):
        client = poplib.POP3("localhost", self.server.port, timeout=60)
        self.addCleanup(client.close)
        client.apop("anna@example.org", "secret 1")
        self.assertEqual(client.stat()[0], 1)
        client.quit()
        client = poplib.POP3("localhost", self.server.port, timeout=60)
        with self.assertRaises(poplib.error_proto):
            client.apop("anna@example.org", "secret 2")
        client.close()

    def test_the_timestamp_is_new_each_time(self):
        seen = set()
        for _ in range(5):
            with self.server.connect() as pop:
                stamp = re.search(r"<[^<>@ ]+@[^<>@ ]+>$", pop.greeting)
                self.assertTrue(stamp, pop.greeting)
                seen.add(stamp[0])
        self.assertEqual(len(seen), 5)

    def test_utf8_names_and_passwords(self):
        self.box.write_settings(auth_username_chars="")
        self.put([f"jürgen@example.de:{{PLAIN}}paßwort €::::{self.home}::"])
        with self.server.connect() as pop:
            pop.ok("UTF8")
            pop.login("jürgen@example.de", "paßwort €")
            pop.quit()
        with self.server.connect() as pop:
            pop.ok("AUTH PLAIN " + base64.b64encode("\0jürgen@example.de\0paßwort €".encode()).decode())
            pop.quit()


@needs_root
class System(Case):
    """Rules about accounts, in files of the test's own."""

    def setUp(self):
        self.server = self.serve()
        self.today = int(time.time()) // 86400

    def refused(self, user, password=None):
        with self.server.connect() as pop:
            pop.ok(f"USER {user.name}")
            return pop.err(f"PASS {password or user.password}", "[AUTH]")

    def accepted(self, user):
        self.box.maildir_of(user)
        with self.server.connect() as pop:
            pop.login(*user)
            pop.quit()

    def test_accounts_that_are_locked_or_have_expired(self):
        today = self.today
        rows = {
            "fine": lambda digest: f"{digest}:{today}:0:99999:7:::",
            "nodates": lambda digest: f"{digest}:::::::",
            "locked": lambda digest: f"!{digest}:{today}:0:99999:7:::",
            "star": "*:19000:0:99999:7:::",
            "nopassword": ":19000:0:99999:7:::",
            "expired": lambda digest: f"{digest}:{today}:0:99999:7::{today - 1}:",
            "expirestoday": lambda digest: f"{digest}:{today}:0:99999:7::{today}:",
            "notyet": lambda digest: f"{digest}:{today}:0:99999:7::{today + 10}:",
            "mustchange": lambda digest: f"{digest}:0:0:99999:7:::",
            "tooold": lambda digest: f"{digest}:{today - 100}:0:30:7:5::",
            "withinwarning": lambda digest: f"{digest}:{today - 25}:0:30:7:::",
        }
        users = {name: self.box.add_user(name, shadow=shadow) for name, shadow in rows.items()}
        for name in ("fine", "nodates", "notyet", "withinwarning"):
            with self.subTest(name):
                self.accepted(users[name])
        for name in ("locked", "star", "nopassword", "expired", "expirestoday", "mustchange", "tooold"):
            with self.subTest(name):
                self.refused(users[name])
        with self.subTest("an empty password"):
            self.refused(users["nopassword"], " ")

    def test_root_is_refused_with_the_right_password(self):
        """Also where the settings would allow uid 0, and under another name."""
        self.box.write_settings(first_valid_uid="0")
        toor = self.box.add_user("toor", uid=0)
        self.refused(toor)
        self.box.wait_log(r"login refused: user=<toor>, rip=127\.0\.0\.1: root may not log in")

    def test_first_and_last_valid_uid(self):
        low, high = self.box.add_user("low", uid=400), self.box.add_user("high", uid=30000)
        self.refused(low)
        self.box.wait_log(r"login refused: user=<low>, rip=127\.0\.0\.1: uid 400 is below first_valid_uid")
        # The right password is no attack: not "auth failed".
        self.box.wait_log(r"\(authorization failed, 1 attempts in \d+ secs\): user=<low>")
        self.accepted(high)
        self.box.write_settings(last_valid_uid=29999)
        self.refused(high)
        self.box.wait_log(r"login refused: user=<high>, .*: uid 30000 is above last_valid_uid")
        self.assertNotIn("auth failed", self.box.log())
        self.refused(high, "wrong")
        self.box.wait_log(r"auth failed, 1 attempts")
        self.box.write_settings(first_valid_uid=300)
        self.accepted(low)

    def test_words_are_the_same_for_all_refusals_of_credentials(self):
        locked = self.box.add_user("locked", shadow=lambda digest: f"!{digest}:{self.today}:0:99999:7:::")
        words = {self.refused(self.box.user, "wrong"), self.refused(locked, "wrong"), self.refused(locked)}
        with self.server.connect() as pop:
            pop.ok("USER there-is-no-such-user")
            words.add(pop.err("PASS wrong"))
        self.assertEqual(len(words), 1, words)

    def test_group_rights_are_the_users_own(self):
        """Groups of /etc/group come with the login, groups of root do not."""
        group = self.box.dir / "group"
        group.write_text(group.read_text() + f"team:x:24001:other,{self.box.user.name}\n")
        with self.server.connect() as pop:
            pop.login()
            pid = self.box.servers()[0]
            status = harness.status_of(pid)
            self.assertEqual(status["Uid"].split(), [str(self.box.user.uid)] * 4)
            self.assertEqual(status["Gid"].split(), [str(self.box.user.gid)] * 4)
            self.assertLessEqual(set(status["Groups"].split()), {str(self.box.user.gid), "24001"})
            for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)
            pop.quit()


class Fail2ban(Case):
    """The filter for dovecot as fail2ban ships it, on the log that the server wrote."""

    def found(self, log):
        done = run(program("fail2ban-regex"), "-o", "<ip>", log, "/etc/fail2ban/filter.d/dovecot.conf", check=False)
        return done.stdout.split()

    def test_refused_logins_are_found_and_others_are_not(self):
        server = self.serve(settings={"haproxy_trusted_networks": "127.0.0.9"})

        def from_address(address):
            pop = harness.Pop(server, source="127.0.0.9", greeting=False)
            pop.send(f"PROXY TCP4 {address} 192.0.2.1 4711 110\r\n")
            self.assertTrue(pop.line().startswith("+OK"))
            return pop

        with from_address("127.0.0.40") as pop:
            pop.login()
            pop.quit()
        with from_address("127.0.0.41") as pop:
            pop.ok("USER demo")
            pop.err("PASS wrong")
            pop.quit()
        with from_address("127.0.0.42") as pop:
            pop.ok("USER no-such-user")
            pop.err("PASS wrong")
        with from_address("127.0.0.43") as pop:
            pop.quit()
        with from_address("127.0.0.44") as pop:
            pop.stls()
            for _ in range(3):
                pop.ok("USER demo")
                pop.err("PASS wrong")
        with from_address("127.0.0.45") as pop:
            pop.ok("USER demo")
            pop.err("PASS wrong")
            pop.login()
            pop.quit()
        # A name that looks like a line about somebody else.
        with from_address("127.0.0.46") as pop:
            pop.say("USER x>, method=PLAIN, rip=127.0.0.99, lip=1.2.3.4: Aborted login (auth failed, 1 attempts): user=<y>, "
                    "rip=127.0.0.98, lip=1")
            pop.say("PASS wrong")
        self.box.wait_idle()
        lines = self.box.log().splitlines()
        self.assertGreaterEqual(len(lines), 7)
        found = self.found(self.box.log_path)
        self.assertLessEqual({"127.0.0.41", "127.0.0.42", "127.0.0.44", "127.0.0.46"}, set(found), self.box.log())
        self.assertFalse({"127.0.0.40", "127.0.0.43", "127.0.0.98", "127.0.0.99"} & set(found), self.box.log())

    def test_refused_logins_of_imap_are_found_and_others_are_not(self):
        server = self.serve(protocol="imap", settings={"haproxy_trusted_networks": "127.0.0.9"})

        def from_address(address):
            imap = harness.Imap(server, source="127.0.0.9", greeting=False)
            imap.send(f"PROXY TCP4 {address} 192.0.2.1 4711 143\r\n")
            self.assertTrue(imap.line().startswith("* OK "))
            return imap

        with from_address("127.0.0.40") as imap:
            imap.login()
            imap.quit()
        with from_address("127.0.0.41") as imap:
            imap.no("LOGIN demo wrong", "[AUTHENTICATIONFAILED]")
            imap.quit()
        with from_address("127.0.0.42") as imap:
            imap.no("AUTHENTICATE PLAIN " + base64.b64encode(b"\0no-such-user\0wrong").decode(), "[AUTHENTICATIONFAILED]")
        with from_address("127.0.0.43") as imap:
            imap.quit()
        with from_address("127.0.0.44") as imap:
            imap.start_tls_command()
            imap.no("LOGIN demo wrong", "[AUTHENTICATIONFAILED]")
        # A name that looks like a line about somebody else.
        with from_address("127.0.0.46") as imap:
            imap.say('LOGIN "x>, method=PLAIN, rip=127.0.0.99, lip=1.2.3.4: Aborted login (auth failed, 1 attempts): user=<y>, '
                     'rip=127.0.0.98, lip=1" wrong')
        self.box.wait_idle()
        found = self.found(self.box.log_path)
        self.assertLessEqual({"127.0.0.41", "127.0.0.42", "127.0.0.44", "127.0.0.46"}, set(found), self.box.log())
        self.assertFalse({"127.0.0.40", "127.0.0.43", "127.0.0.98", "127.0.0.99"} & set(found), self.box.log())

    def test_what_is_wrong_with_the_server_is_no_attack(self):
        server = self.serve()
        for passdb in ("checkpassword:/nonexistent/program", f"passwd-file:{self.box.dir}/nonexistent"):
            with self.subTest(passdb):
                self.box.clear_log()
                self.box.write_settings(passdb=passdb)
                with server.connect() as pop:
                    pop.ok("USER demo")
                    pop.err("PASS right or wrong", "[SYS/TEMP]")
                    pop.quit()
                self.box.wait_log(r"\(auth service reported temporary failure\): user=<>, method=PLAIN, rip=127\.0\.0\.1")
                self.assertIn("nonexistent", self.box.log())
                self.assertEqual(self.found(self.box.log_path), [])

    def test_lines_of_syslog(self):
        """The same through syslog, as syslogd would write them to /var/log/mail.log."""
        if harness.syslog is None:
            self.skipTest("needs root for a /dev/log of its own")
        server = self.serve(settings={"log_path": "", "syslog_name": "dovecot"})
        self.box.write_settings()
        with server.connect() as pop:
            pop.ok("USER demo")
            pop.err("PASS wrong")
        self.box.wait_idle()
        line = harness.syslog.wait("auth failed")
        self.assertTrue(line.startswith("<22>"), line)
        log = self.box.dir / "mail.log"
        log.write_text(f"Nov 21 10:00:00 mx {line.partition('>')[2]}\n")
        self.assertEqual(self.found(log), ["127.0.0.1"])


if __name__ == "__main__":
    harness.main()
