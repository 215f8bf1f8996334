"""Clients as people use them over IMAP: in clear, with STARTTLS, with IMAPS, and through `--preauth` tunnels.

Each reads everything and what it got is compared with the Maildir, octet for octet but for the line ends. Then it does
what people do with it: searches, marks, files, deletes, stores. test_sync.py has those that synchronise.
"""

import contextlib
import imaplib
import mailbox
import os
import re
import time

import harness
import test_clients
from harness import body, message, plain, program, run, wire


class Client(test_clients.Client):
    protocol = "imap"
    ways = ("clear", "STARTTLS", "IMAPS")

    def folder(self, name):
        """The Maildir of a mailbox, made by this or by the client."""
        return harness.Maildir(self.maildir.path / f".{name}", (self.user.uid, self.user.gid))

    def subjects(self, name=None):
        """Subjects and flags of what is stored in a mailbox."""
        maildir = self.folder(name) if name else self.maildir
        found = {}
        for file in maildir.files():
            octets = (maildir.path / file).read_bytes()
            subject = re.search(rb"(?m)^Subject: (.*?)\r?$", octets)[1].decode()
            found[subject] = "".join(letter for letter in file.partition(":2,")[2] if letter.isupper())
        return found

    def tunnel(self):
        return self.box.tunnel("-o", f"mail_location=maildir:{self.maildir.path}", user=self.user)

    def each_way_and_tunnel(self):
        yield from self.each_way()
        self.ways = ("tunnel",)
        self.check_log = lambda: None
        yield from self.each_way()


class Curl(Client):
    def curl(self, path="", *options, **more):
        scheme = "imaps" if self.way == "IMAPS" else "imap"
        tls = {"clear": [], "STARTTLS": ["--ssl-reqd"], "IMAPS": []}[self.way]
        return run(program("curl"), "--silent", "--show-error", "--max-time", "60", "--cacert", self.ca, *tls, *options,
                   "--user", f"{self.user.name}:{self.user.password}", f"{scheme}://localhost:{self.port}/{path}",
                   text=False, **more).stdout

    def test_curl(self):
        for _ in self.each_way():
            self.assertIn(b'"INBOX"', self.curl().replace(b" INBOX", b' "INBOX"'))
            count = len(self.expected)
            uids = self.curl("INBOX?ALL").split()
            self.assertEqual(uids[:2] + uids[2:], [b"*", b"SEARCH", *(b"%d" % n for n in range(1, count + 1))])
            got = [self.curl(f"INBOX/;UID={n}") for n in range(1, count + 1)]
            self.assert_same(got)
            self.assertEqual(self.curl("INBOX/;UID=3;SECTION=TEXT").strip(), wire(self.messages[2][1]).partition(b"\r\n\r\n")[2].strip())
            self.assertEqual(plain(self.curl("INBOX/;UID=3;SECTION=HEADER.FIELDS%20(Subject)")).strip(), b"Subject: eight bit")
            self.assertEqual(self.curl("INBOX?SUBJECT%20blank").split(), [b"*", b"SEARCH", b"8"])
            self.assertEqual(self.curl("INBOX?TEXT%20%22CRLF%20file%22").split(), [b"*", b"SEARCH", b"5"])
            self.curl("", "--request", "CREATE Filed")
            upload = self.work / "upload"
            upload.write_bytes(wire(message("uploaded")))
            self.curl("Filed", "--upload-file", upload)
            self.assertEqual(self.subjects("Filed"), {"uploaded": "S"})
            self.assertEqual(plain(self.curl("Filed/;UID=1")), plain(message("uploaded")))
            self.curl("INBOX", "--request", "UID STORE 2 +FLAGS.SILENT (\\Deleted)")
            self.curl("INBOX", "--request", "EXPUNGE")
            self.assertEqual(len(self.maildir.files()), count - 1)

    def test_curl_with_each_sasl_mechanism(self):
        for _ in self.each_way():
            for mechanism in ("PLAIN", "LOGIN"):
                listing = self.curl("INBOX?ALL", "--login-options", f"AUTH={mechanism}")
                self.assertEqual(len(listing.split()), 12, mechanism)
            self.assertEqual(len(self.curl("INBOX?ALL", "--sasl-ir", "--login-options", "AUTH=PLAIN").split()), 12)


class Imaplib(Client):
    def connect(self):
        context = self.box.authority.context()
        if self.way == "tunnel":
            client = imaplib.IMAP4_stream(self.tunnel())
            self.addCleanup(self.hang_up, client)
            self.assertEqual(client.state, "AUTH")
            return client
        if self.way == "IMAPS":
            client = imaplib.IMAP4_SSL("localhost", self.port, ssl_context=context, timeout=60)
        else:
            client = imaplib.IMAP4("localhost", self.port, timeout=60)
            if self.way == "STARTTLS":
                client.starttls(context)
        self.addCleanup(self.hang_up, client)
        client.login(*self.user)
        return client

    def hang_up(self, client):
        with contextlib.suppress(OSError):
            client.shutdown()

    def ok(self, answer):
        self.assertEqual(answer[0], "OK", answer)
        return answer[1]

    def test_imaplib_every_command(self):
        for _ in self.each_way_and_tunnel():
            client, count = self.connect(), len(self.expected)
            ok = self.ok
            self.assertEqual(ok(client.select()), [b"%d" % count])
            answer = ok(client.fetch("1:*", "(UID RFC822.SIZE FLAGS BODY.PEEK[])"))
            got = [part[1] for part in answer if isinstance(part, tuple)]
            self.assert_same(got)
            sizes = [int(re.search(rb"RFC822.SIZE (\d+)", part[0])[1]) for part in answer if isinstance(part, tuple)]
            self.assertEqual(sizes, [len(octets) for octets in got])
            partial = ok(client.fetch("9", "(BODY.PEEK[]<100.50>)"))
            self.assertEqual(partial[0][1], self.expected[8][100:150])
            ok(client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE INTERNALDATE)"))
            self.assertEqual(ok(client.search(None, "SUBJECT", '"blank lines"')), [b"8"])
            self.assertEqual(ok(client.uid("SEARCH", "CHARSET", "UTF-8", "BODY", '"渡辺"'.encode())), [b"3"])
            ok(client.create("Work.2026"))
            ok(client.subscribe("Work.2026"))
            ok(client.rename("Work.2026", "Work.Old"))
            self.assertTrue(any(b"Work.Old" in line for line in ok(client.list())))
            self.assertTrue(any(b"Work.2026" in line for line in ok(client.lsub())))
            ok(client.unsubscribe("Work.2026"))
            ok(client.copy("1:3", "Work.Old"))
            ok(client.uid("MOVE", "4:5", "Work.Old"))
            self.assertEqual(len(self.folder("Work.Old").files()), 5)
            self.assertEqual(len(self.maildir.files()), count - 2)
            ok(client.store("1", "+FLAGS", r"(\Deleted \Flagged $Label1)"))
            self.assertEqual(ok(client.expunge())[-1:], [b"1"])
            status = ok(client.status("Work.Old", "(MESSAGES UIDNEXT UNSEEN RECENT UIDVALIDITY)"))
            self.assertIn(b"MESSAGES 5 ", status[0] + b" ")
            when = imaplib.Time2Internaldate(1_600_000_000)
            ok(client.append("Work.Old", r"(\Seen $Forwarded)", when, message("appended")))
            ok(client.select("Work.Old"))
            answer = ok(client.fetch("6", "(FLAGS INTERNALDATE)"))[0]
            self.assertEqual(time.mktime(imaplib.Internaldate2tuple(answer)), 1_600_000_000)
            self.assertIn(b"$Forwarded", answer)
            ok(client.namespace())
            ok(client.noop())
            ok(client.check())
            self.assertEqual(ok(client.sort("SUBJECT", "UTF-8", "ALL"))[0].split()[0], b"6")
            ok(client.unselect())
            ok(client.select("Work.Old", readonly=True))
            ok(client.close())
            ok(client.delete("Work.Old"))
            self.assertFalse((self.maildir.path / ".Work.Old").exists())
            client.logout()


class Fetchmail(Client):
    poll, tls_ways = "IMAP", ("STARTTLS", "IMAPS")
    odd_messages = test_clients.Fetchmail.odd_messages
    fetchmail = test_clients.Fetchmail.fetchmail

    def test_fetchmail_keeps_mail_and_fetches_what_is_unseen(self):
        for _ in self.each_way():
            self.assert_same(self.fetchmail("--keep", "--all"))
            self.maildir.add(message("later"))
            self.assertEqual(len(self.fetchmail("--keep")), len(self.expected) + 1)
            self.assertEqual(len(self.fetchmail("--keep")), len(self.expected) + 1)
            self.assertEqual(set(self.subjects().values()), {"S"})

    def test_fetchmail_deletes(self):
        for _ in self.each_way():
            self.assert_same(self.fetchmail("--nokeep", "--all"))
            self.assertEqual(self.maildir.files(), [])


class Getmail(Client):
    def getmail(self, delete=False):
        store = self.work / "store"
        for part in ("cur", "new", "tmp"):
            (store / part).mkdir(parents=True, exist_ok=True)
        kind = "SimpleIMAPSSLRetriever" if self.way == "IMAPS" else "SimpleIMAPRetriever"
        harness.write(self.work / "getmailrc", [
            "[retriever]", f"type = {kind}", "timeout = 60", "server = localhost", f"port = {self.port}", 'mailboxes = ("INBOX",)',
            f"username = {self.user.name}", f"password = {self.user.password}",
            *([f"ca_certs = {self.ca}"] if self.way == "IMAPS" else []),
            "[destination]", "type = Maildir", f"path = {store}/",
            "[options]", f"delete = {str(delete).lower()}", "read_all = false", "delivered_to = false", "received = false",
        ], 0o600)
        harness.run_getmail(self.work, self.work / "getmailrc")
        stored = sorted((store / "new").iterdir(), key=lambda path: test_clients.Mpop.order(self, path))
        return [re.sub(rb"(?m)^X-getmail-retrieved-from-mailbox: INBOX\n", b"", path.read_bytes(), count=1) for path in stored]

    # It knows no STARTTLS.
    ways = ("clear", "", "IMAPS")

    def test_getmail_keeps_mail_and_fetches_nothing_twice(self):
        for _ in self.each_way():
            self.assert_same(self.getmail())
            self.maildir.add(message("later"))
            self.assertEqual(len(self.getmail()), len(self.expected) + 1)
            self.assertEqual(len(self.getmail()), len(self.expected) + 1)

    def test_getmail_deletes(self):
        for _ in self.each_way():
            self.assert_same(self.getmail(delete=True))
            self.assertEqual(self.maildir.files(), [])


class Mutt(Client):
    name = "mutt"
    # What neomutt calls otherwise.
    extra = ""

    def mutt(self, *keys, store=None):
        rc = self.work / "muttrc"
        scheme = "imaps" if self.way == "IMAPS" else "imap"
        url = f"{scheme}://{self.user.name}@localhost:{self.port}/"
        tunnel = f'set tunnel="{self.tunnel()}"' if self.way == "tunnel" else ""
        harness.write(rc, [
            f"set folder={url} spoolfile={url}INBOX record='' mbox='' postponed='' header_cache={self.work}/headers",
            f"set ssl_ca_certificates_file={self.ca} ssl_verify_host=yes ssl_force_tls={'yes' if self.way == 'STARTTLS' else 'no'}",
            f"set ssl_starttls={'no' if self.way == 'clear' else 'yes'} certificate_file={self.work}/accepted",
            f"set imap_user={self.user.name} imap_pass='{self.user.password}' sort=mailbox-order " + self.extra,
            tunnel,
            "set mbox_type=mbox confirmcreate=no confirmappend=no quit=yes delete=yes wait_key=no resolve=no timeout=1",
            "set sleep_time=0 trash='' imap_idle=yes imap_check_subscribed=yes imap_passive=no",
            "set save_empty=no mark_old=no tmpdir=" + str(self.work),
            "push '{}'".format("".join(keys))], 0o600)
        return harness.in_terminal([program(self.name), "-n", "-F", rc, "-f", f"{url}INBOX"], self.work)

    def test_copies_all_messages(self):
        for _ in self.each_way_and_tunnel():
            store = self.work / "copied"
            screen = self.mutt(f"<tag-pattern>~A<enter><tag-prefix><copy-message>{store}<enter><exit>")
            self.assertTrue(store.exists(), screen[-2000:].decode(errors="replace"))
            got = [octets.as_bytes() for octets in mailbox.mbox(store, factory=test_clients.RawMessage)]
            # It adds Status and Content-Length to the header and ends a message with an empty line.
            self.assert_same(got, compare=lambda octets: body(octets).rstrip(b"\n").replace(b"\r", b""))
            self.assertEqual(len(self.maildir.files()), len(self.expected))
            # Again, from its cache of headers.
            store.unlink()
            self.mutt(f"<tag-pattern>~A<enter><tag-prefix><copy-message>{store}<enter><exit>")
            self.assertEqual(len(mailbox.mbox(store)), len(self.expected))

    def test_files_marks_searches_and_deletes(self):
        for _ in self.each_way_and_tunnel():
            self.folder("Filed")
            self.mutt("<tag-pattern>~s dots|~s empty<enter>", "<tag-prefix><save-message>=Filed<enter>",
                      "<untag-pattern>~A<enter>", "<tag-pattern>=b \"first\"<enter><tag-prefix><flag-message>",
                      "<untag-pattern>~A<enter>", "<delete-pattern>~s blank<enter>",
                      "<sync-mailbox><change-folder>=Filed<enter><exit>")
            filed, inbox = self.subjects("Filed"), self.subjects()
            self.assertEqual(sorted(filed), ["dots", "empty body"])
            self.assertEqual(len(inbox), len(self.expected) - 3)
            self.assertNotIn("blank lines", inbox)
            self.assertEqual([subject for subject, flags in inbox.items() if "F" in flags], ["CRLF file"])


class Neomutt(Mutt):
    name = "neomutt"
    extra = "imap_condstore=yes imap_qresync=yes"


class Imapfilter(Client):
    def imapfilter(self, script):
        tls = {"clear": "", "STARTTLS": "", "IMAPS": "ssl = 'auto',"}[self.way]
        config = self.work / "config.lua"
        harness.write(config, [
            "options.certificates = false", "options.timeout = 30", "options.subscribe = true", "options.info = false",
            f"options.starttls = {str(self.way == 'STARTTLS').lower()}",
            f"account = IMAP {{ server = 'localhost', port = {self.port}, username = '{self.user.name}', "
            f"password = '{self.user.password}', {tls} }}", script], 0o600)
        done = run(program("imapfilter"), "-c", config, "-t", self.ca,
                   env={**os.environ, "HOME": str(self.work), "IMAPFILTER_HOME": str(self.work)})
        return done.stdout

    def test_imapfilter(self):
        for _ in self.each_way():
            output = self.imapfilter("""
                inbox = account.INBOX
                account:create_mailbox('Filed')
                account:subscribe_mailbox('Filed')
                inbox:contain_subject('dots'):move_messages(account.Filed)
                inbox:contain_body('first'):mark_flagged()
                inbox:is_larger(1000000):copy_messages(account.Filed)
                inbox:contain_subject('blank'):delete_messages()
                inbox:match_subject('^empty'):add_flags({ '$Empty' })
                exist, unread, recent, uidnext = account.Filed:check_status()
                print('status', exist, unread)
                boxes, folders = account:list_all()
                for _, name in ipairs(boxes) do print('box', name) end
                for _, message in ipairs(inbox:select_all()) do
                    mailbox, uid = table.unpack(message)
                    print('message', uid, #mailbox[uid]:fetch_message(), mailbox[uid]:fetch_field('Subject'))
                end
                account.INBOX:unmark_seen(inbox:has_keyword('$Empty'))
            """)
            self.assertIn("status\t2\t", output)
            self.assertIn("box\tFiled", output)
            inbox = self.subjects()
            self.assertEqual(output.count("message\t"), len(inbox))
            self.assertEqual(sorted(self.subjects("Filed")), ["3 MB attachment", "dots"])
            self.assertEqual(len(inbox), len(self.expected) - 2)
            self.assertEqual([subject for subject, flags in inbox.items() if "F" in flags], ["CRLF file"])
            self.assertNotIn("blank lines", inbox)


class Openssl(Client):
    ways = ("", "STARTTLS", "IMAPS")

    def test_openssl_s_client_pipelines_a_whole_session(self):
        for way in self.each_way():
            commands = [f"a LOGIN {self.user.name} {self.user.password}", "b SELECT INBOX", "c FETCH 1:* BODY.PEEK[]",
                        r"d STORE 1 +FLAGS (\Deleted)", "e EXPUNGE", "f LOGOUT"]
            starttls = ["-starttls", "imap"] if way == "STARTTLS" else []
            done = run(program("openssl"), "s_client", "-quiet", *starttls, "-CAfile", self.ca, "-verify_hostname",
                       "localhost", "-verify_return_error", "-connect", f"{harness.HOST}:{self.port}", text=False,
                       input="".join(f"{command}\r\n" for command in commands).encode())
            for octets in (harness.crlf(raw) for _, raw in self.messages):
                self.assertIn(b" {%d}\r\n%s" % (len(octets), octets), done.stdout)
            self.assertRegex(done.stdout[-200:], rb"\* 1 EXPUNGE\r\n(.*\r\n)*e OK .*\r\n\* BYE .*\r\nf OK .*\r\n$")
            self.assertEqual(len(self.maildir.files()), len(self.expected) - 1)


if __name__ == "__main__":
    harness.main()
