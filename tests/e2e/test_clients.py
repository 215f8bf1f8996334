"""Clients as people use them, each in clear, with STLS and with POP3S.

Each fetches everything and what it stored is compared with the Maildir, octet for octet but for the line ends. Then it
comes again: with mail kept on the server nothing may be fetched twice, and what it deletes must be gone.
"""

import mailbox
import os
import poplib
import re
import subprocess

import harness
from harness import HOST, Box, Case, body, plain, program, run, wire


class Client(Case):
    """One server for all clients; each test has a user of its own."""

    protocol = "pop3"
    # In clear, TLS by a command, TLS from the start; empty: left out.
    ways = ("clear", "STLS", "POP3S")

    @classmethod
    def setUpClass(cls):
        cls.shared = Box(settings={"auth_mechanisms": "plain login cram-md5 scram-sha-1 scram-sha-256 apop",
                                   "passdb": cls.passdb()} if cls.passdb() else None,
                         protocol=cls.protocol)
        cls.addClassCleanup(cls.shared.close)
        cls.server = cls.shared.serve()
        cls.ca = cls.shared.authority.ca

    @classmethod
    def passdb(cls):
        return None

    def setUp(self):
        self.box = self.shared
        self.addCleanup(self.keep_log)
        self.dir = self.box.dir / self.id().rsplit(".", 1)[1]
        self.dir.mkdir(mode=0o711)

    def each_way(self):
        """A fresh user with a full maildrop for each way to connect."""
        for way in filter(None, self.ways):
            name = f"u{len(self.box.users)}"
            self.user = self.box.add_user(name)
            self.maildir = self.box.maildir_of(self.user)
            self.messages = self.odd_messages()
            self.expected = self.maildir.fill(self.messages)
            self.way = way
            self.port = self.server.tls_port if way == self.ways[-1] else self.server.port
            self.work = self.dir / way
            self.work.mkdir()
            yield way
            self.box.wait_idle()
            self.check_log()

    def odd_messages(self):
        return harness.odd_messages()

    def check_log(self):
        login = self.box.wait_log(rf"Login: user=<{self.user.name}>")
        self.assertEqual(", TLS" in login, self.way != "clear", login)
        self.assertNotIn(self.user.password, self.box.log())

    def assert_same(self, got, expected=None, compare=plain):
        """The same messages in the same order."""
        expected = self.expected if expected is None else expected
        self.assertEqual(len(got), len(expected), [octets[:300] for octets in got])
        for number, (mine, theirs) in enumerate(zip(got, expected, strict=True), 1):
            if compare(mine) != compare(theirs):
                a, b = compare(mine), compare(theirs)
                at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                self.fail(f"message {number} differs at {at}: {a[at - 60:at + 60]!r} for {b[at - 60:at + 60]!r}; "
                          f"{len(a)} for {len(b)} octets")

    def retrieved(self):
        """How many messages the sessions of this user have sent so far, from the log. fetchmail prefers TOP."""
        self.box.wait_idle()
        figures = re.findall(rf"pop3\({self.user.name}\)<.*top=(\d+)/\d+, retr=(\d+)/", self.box.log())
        return sum(int(top) + int(retr) for top, retr in figures)


class Curl(Client):
    def curl(self, path="", *options):
        scheme = "pop3s" if self.way == "POP3S" else "pop3"
        tls = {"clear": [], "STLS": ["--ssl-reqd"], "POP3S": []}[self.way]
        return run(program("curl"), "--silent", "--show-error", "--max-time", "60", "--cacert", self.ca, *tls, *options,
                   "--user", f"{self.user.name}:{self.user.password}", f"{scheme}://localhost:{self.port}/{path}",
                   text=False).stdout

    def test_curl(self):
        for _ in self.each_way():
            listing = self.curl().decode().split()
            self.assertEqual(len(listing), 2 * len(self.expected), listing)
            got = [self.curl(str(n)) for n in range(1, len(self.expected) + 1)]
            # curl stores the octets as they come.
            self.assertEqual([len(octets) for octets in got], [len(octets) for octets in self.expected])
            self.assert_same(got, compare=lambda octets: octets)
            ids = self.curl("", "--request", "UIDL").decode().split()[1::2]
            self.assertEqual(len(set(ids)), len(self.expected))
            top = self.curl("", "--request", "TOP 1 0")
            self.assertEqual(plain(top).rstrip(), plain(self.expected[0]).split(b"\n\n")[0])
            before = self.maildir.bases()
            self.curl("2", "--request", "DELE", "--list-only")
            self.assertEqual(len(self.maildir.files()), len(before) - 1)
            self.assertNotIn(before[1], self.maildir.bases())

    def test_curl_with_each_sasl_mechanism(self):
        for _ in self.each_way():
            for mechanism in ("PLAIN", "LOGIN"):
                listing = self.curl("", "--login-options", f"AUTH={mechanism}")
                self.assertEqual(len(listing.split()), 20, mechanism)
                self.box.wait_log(rf"Login: user=<{self.user.name}>, method={mechanism}")
            listing = self.curl("", "--sasl-ir", "--login-options", "AUTH=PLAIN")
            self.assertEqual(len(listing.split()), 20)


class Fetchmail(Client):
    poll, tls_ways = "POP3", ("STLS", "POP3S")

    def odd_messages(self):
        # It breaks lines of more than 8 KiB itself, whoever sends them.
        return [(name, raw) for name, raw in harness.odd_messages() if name != "long-line"]

    def fetchmail(self, *options):
        store = self.work / "store"
        store.mkdir(exist_ok=True)
        mda = self.work / "mda"
        mda.write_text(f"#!/bin/sh\nn=$(ls {store} | wc -l)\ncat >{store}/$(printf %04d $n)\n")
        mda.chmod(0o755)
        rc = self.work / "fetchmailrc"
        tls = dict(zip(("clear", *self.tls_ways), ("sslproto ''", f"sslproto 'TLS1.2+' sslcertck sslcertfile {self.ca}",
                                                   f"ssl sslcertck sslcertfile {self.ca}")))[self.way]
        uidl = "uidl" if self.poll == "POP3" else ""
        harness.write(rc, ["set no bouncemail", f"poll localhost proto {self.poll} port {self.port} {uidl}",
                           f" user '{self.user.name}' password '{self.user.password}' is 'me' here {tls}",
                           f" no rewrite no mimedecode stripcr mda '{mda}'"], 0o600)
        done = run(program("fetchmail"), "--nosyslog", "--invisible", "--fetchmailrc", rc, "--idfile", self.work / "ids",
                   "--pidfile", self.work / "pid", *options, check=False, env={**os.environ, "HOME": str(self.work)})
        self.assertIn(done.returncode, (0, 1), done.stdout + done.stderr)
        return [path.read_bytes() for path in sorted(store.iterdir())]

    def test_fetchmail_keeps_mail_and_fetches_nothing_twice(self):
        for _ in self.each_way():
            self.assert_same(self.fetchmail("--keep"))
            self.maildir.add(harness.message("later"))
            self.assertEqual(len(self.fetchmail("--keep")), len(self.expected) + 1)
            self.assertEqual(len(self.fetchmail("--keep")), len(self.expected) + 1)
            self.assertEqual(self.retrieved(), len(self.expected) + 1)
            self.assertEqual(len(self.maildir.files()), len(self.expected) + 1)

    def test_fetchmail_deletes(self):
        for _ in self.each_way():
            self.assert_same(self.fetchmail("--nokeep", "--all"))
            self.assertEqual(self.maildir.files(), [])


class Mpop(Client):
    def mpop(self, *options, auth="user"):
        store = self.work / "store"
        store.mkdir(exist_ok=True)
        for part in ("cur", "new", "tmp"):
            (store / part).mkdir(exist_ok=True)
        tls = {"clear": ["--tls=off"], "STLS": ["--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.ca}"],
               "POP3S": ["--tls=on", "--tls-starttls=off", f"--tls-trust-file={self.ca}"]}[self.way]
        # mpop leaves away what it takes for a secret sent in clear, unless told.
        run(program("mpop"), "--host=localhost", f"--port={self.port}", *tls, f"--auth={auth}", f"--user={self.user.name}",
            f"--passwordeval=echo {self.user.password}", "--received-header=off", f"--uidls-file={self.work / 'uidls'}",
            f"--delivery=maildir,{store}", *options)
        return [path.read_bytes() for path in sorted((store / "new").iterdir(), key=self.order)]

    def order(self, path):
        """By Subject, because mpop's file names do not tell the order of one second."""
        octets = path.read_bytes()
        subject = re.search(rb"(?m)^Subject: (.*?)\r?$", octets)[1]
        subjects = [re.search(rb"(?m)^Subject: (.*?)\r?$", raw)[1] for _, raw in self.messages]
        return subjects.index(subject) if subject in subjects else len(subjects)

    def test_mpop_keeps_mail_and_fetches_nothing_twice(self):
        for _ in self.each_way():
            self.assert_same(self.mpop("--keep=on"))
            self.maildir.add(harness.message("later"))
            self.assertEqual(len(self.mpop("--keep=on")), len(self.expected) + 1)
            self.assertEqual(len(self.mpop("--keep=on")), len(self.expected) + 1)
            self.assertEqual(self.retrieved(), len(self.expected) + 1)

    def test_mpop_deletes(self):
        for _ in self.each_way():
            self.assert_same(self.mpop("--keep=off"))
            self.assertEqual(self.maildir.files(), [])


class Getmail(Client):
    again = False

    def getmail(self, delete=False):
        store = self.work / "store"
        for part in ("cur", "new", "tmp"):
            (store / part).mkdir(parents=True, exist_ok=True)
        kind = {"clear": "SimplePOP3Retriever", "STLS": None, "POP3S": "SimplePOP3SSLRetriever"}[self.way]
        harness.write(self.work / "getmailrc", [
            "[retriever]", f"type = {kind}", "timeout = 60", "server = localhost", f"port = {self.port}",
            f"username = {self.user.name}", f"password = {self.user.password}",
            *([f"ca_certs = {self.ca}"] if self.way == "POP3S" else []),
            "[destination]", "type = Maildir", f"path = {store}/",
            "[options]", f"delete = {str(delete).lower()}", "read_all = false", "delivered_to = false", "received = false",
        ], 0o600)
        self.again |= harness.run_getmail(self.work, self.work / "getmailrc")
        return [path.read_bytes() for path in sorted((store / "new").iterdir(), key=lambda p: Mpop.order(self, p))]

    # It knows no STLS.
    ways = ("clear", "", "POP3S")

    def test_getmail_keeps_mail_and_fetches_nothing_twice(self):
        for _ in self.each_way():
            self.again = False
            # It writes a long header line anew, and ours are short.
            self.assert_same(self.getmail())
            self.maildir.add(harness.message("later"))
            self.assertEqual(len(self.getmail()), len(self.expected) + 1)
            self.assertEqual(len(self.getmail()), len(self.expected) + 1)
            if not self.again:
                self.assertEqual(self.retrieved(), len(self.expected) + 1)

    def test_getmail_deletes(self):
        for _ in self.each_way():
            self.assert_same(self.getmail(delete=True))
            self.assertEqual(self.maildir.files(), [])


class Poplib(Client):
    def connect(self):
        context = self.box.authority.context()
        if self.way == "POP3S":
            client = poplib.POP3_SSL("localhost", self.port, timeout=60, context=context)
        else:
            client = poplib.POP3("localhost", self.port, timeout=60)
            if self.way == "STLS":
                self.assertIn("STLS", client.capa())
                client.stls(context)
                self.assertNotIn("STLS", client.capa())
        self.addCleanup(client.close)
        client.user(self.user.name)
        client.pass_(self.user.password)
        return client

    def test_poplib_every_command(self):
        poplib._MAXLINE = 1 << 20
        for _ in self.each_way():
            client = self.connect()
            count, octets = client.stat()
            self.assertEqual((count, octets), (len(self.expected), self.octets(client)))
            got = [b"\r\n".join([*client.retr(n)[1], b""]) for n in range(1, count + 1)]
            self.assert_same(got, compare=lambda octets: octets)
            header = client.top(1, 1)[1]
            self.assertEqual(header[-1:], wire(self.messages[0][1]).split(b"\r\n\r\n")[1].split(b"\r\n")[:1])
            ids = [line.split()[1] for line in client.uidl()[1]]
            self.assertEqual(client.uidl(3).split()[2], ids[2])
            client.dele(1)
            client.rset()
            client.dele(2)
            self.assertEqual(client.stat()[0], count - 1)
            client.noop()
            client.quit()
            self.assertEqual(len(self.maildir.files()), count - 1)
            client = self.connect()
            self.assertEqual([line.split()[1] for line in client.uidl()[1]], ids[:1] + ids[2:])
            client.dele(1)
            client.close()
            self.assertEqual(len(self.maildir.files()), count - 1)

    def octets(self, client):
        return sum(int(line.split()[1]) for line in client.list()[1])

    def test_poplib_utf8_before_login(self):
        for way in self.each_way():
            client = (poplib.POP3_SSL("localhost", self.port, timeout=60, context=self.box.authority.context())
                      if way == "POP3S" else poplib.POP3("localhost", self.port, timeout=60))
            if way == "STLS":
                client.stls(self.box.authority.context())
            client.utf8()
            client.user(self.user.name)
            client.pass_(self.user.password)
            self.assertEqual(client.stat()[0], len(self.expected))
            client.quit()


class Openssl(Client):
    ways = ("", "STLS", "POP3S")

    def session(self, *commands):
        """A whole conversation over s_client, one command behind the other as fast as replies come."""
        arguments = ["-starttls", "pop3"] if self.way == "STLS" else []
        process = subprocess.Popen([program("openssl"), "s_client", "-quiet", *arguments, "-CAfile", str(self.ca),
                                    "-verify_hostname", "localhost", "-verify_return_error",
                                    "-connect", f"{HOST}:{self.port}"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(harness.stop, process)
        text = "".join(f"{command}\r\n" for command in commands).encode()
        return process.communicate(text, timeout=60)[0]

    def test_openssl_s_client_pipelines_a_whole_session(self):
        for way in self.each_way():
            count = len(self.expected)
            output = self.session(f"USER {self.user.name}", f"PASS {self.user.password}",
                                  *(f"RETR {n}" for n in range(1, count + 1)), "DELE 1", "QUIT")
            # With -starttls the greeting is eaten by s_client.
            for octets in self.expected:
                stuffed = re.sub(rb"(?m)^\.", b"..", octets)
                self.assertIn(b"\r\n" + stuffed + b".\r\n", output, way)
            self.assertTrue(output.endswith(b"deleted.\r\n"), output[-100:])
            self.assertEqual(len(self.maildir.files()), count - 1)

    def test_openssl_sees_both_versions_of_tls_and_no_older(self):
        for way in self.each_way():
            starttls = ["-starttls", "pop3"] if way == "STLS" else []
            for version, works in (("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-tls1", False)):
                done = run(program("openssl"), "s_client", version, "-brief", *starttls, "-cipher", "ALL:@SECLEVEL=0",
                           "-connect", f"{HOST}:{self.port}", input="QUIT\r\n", check=False)
                self.assertEqual("CONNECTION ESTABLISHED" in done.stdout + done.stderr, works,
                                 f"{version}: {done.stdout}{done.stderr}")
            self.session(f"USER {self.user.name}", f"PASS {self.user.password}", "QUIT")


class Mutt(Client):
    def mutt(self, keys, store):
        rc = self.work / "muttrc"
        scheme = "pops" if self.way == "POP3S" else "pop"
        harness.write(rc, [
            f"set folder={self.work} spoolfile={self.work}/none record='' mbox='' header_cache='' message_cachedir=''",
            f"set ssl_ca_certificates_file={self.ca} ssl_verify_host=yes ssl_force_tls={'yes' if self.way == 'STLS' else 'no'}",
            f"set ssl_starttls={'no' if self.way == 'clear' else 'yes'} certificate_file={self.work}/accepted",
            f"set pop_user={self.user.name} pop_pass='{self.user.password}' pop_delete=no pop_reconnect=no sort=mailbox-order",
            "set mbox_type=mbox confirmcreate=no confirmappend=no quit=yes delete=yes wait_key=no resolve=no timeout=1",
            "set sleep_time=0",
            "set save_empty=no mark_old=no tmpdir=" + str(self.work),
            f"push '{keys.format(store=store)}'"], 0o600)
        return harness.in_terminal([program("mutt"), "-n", "-F", rc, "-f",
                                    f"{scheme}://{self.user.name}@localhost:{self.port}"], self.work)

    def test_mutt_copies_all_messages(self):
        for _ in self.each_way():
            store = self.work / "copied"
            screen = self.mutt("<tag-pattern>~A<enter><tag-prefix><copy-message>{store}<enter><exit>", store)
            self.assertTrue(store.exists(), screen[-2000:].decode(errors="replace"))
            got = [message.as_bytes(unixfrom=False) for message in mailbox.mbox(store, factory=RawMessage)]
            # It adds Status and Content-Length to the header and ends a message with an empty line.
            self.assert_same(got, compare=lambda octets: body(octets).rstrip(b"\n").replace(b"\r", b""))
            self.assertEqual(len(self.maildir.files()), len(self.expected))

    def test_mutt_deletes(self):
        for _ in self.each_way():
            self.mutt("<delete-pattern>~A<enter><sync-mailbox><exit>", None)
            self.box.wait_idle()
            self.assertEqual(self.maildir.files(), [])


class RawMessage:
    """The octets between two From lines, without any parser."""

    def __init__(self, file):
        self.octets = file.read()

    def as_bytes(self, unixfrom=False):
        return self.octets


if __name__ == "__main__":
    harness.main()
