"""Thunderbird itself, without a screen, driven over its Marionette port: it reads, marks, files, deletes, searches and is told
of new mail over IMAPS, and fetches over POP3 with STARTTLS. The certificate's authority is trusted, nothing is excepted.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import harness
from harness import Case, message, plain, program, wait_until


class Marionette:
    """As much of its protocol as is needed: a length, a colon and JSON."""

    def __init__(self, port, process, log):
        self.count, self.buffer = 0, b""

        def connect():
            if process.poll() is not None:
                raise AssertionError(f"thunderbird has ended:\n{log.read_text(errors='replace')}")
            with contextlib.suppress(OSError):
                return socket.create_connection((harness.HOST, port), timeout=120)
        self.socket = wait_until(connect, "thunderbird's Marionette", seconds=180, pause=0.2)
        self.receive()
        self.call("WebDriver:NewSession", capabilities={})
        self.call("Marionette:SetContext", value="chrome")
        self.call("WebDriver:SetTimeouts", script=60000)

    def receive(self):
        while not (size := re.match(rb"(\d+):", self.buffer)) or len(self.buffer) < size.end() + int(size[1]):
            octets = self.socket.recv(65536)
            assert octets, "Marionette has hung up"
            self.buffer += octets
        end = size.end() + int(size[1])
        text, self.buffer = self.buffer[size.end():end], self.buffer[end:]
        return json.loads(text)

    def call(self, command, **parameters):
        self.count += 1
        text = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self.receive()
        assert not error, f"{command}: {error}\n{parameters}"
        return result and result.get("value")

    def run(self, script, *arguments):
        """Runs the body of an asynchronous function in the program and returns what it returns."""
        value = self.call("WebDriver:ExecuteAsyncScript", args=arguments, newSandbox=True, script=PRELUDE + """
            let arguments_ = [...arguments], done = arguments_.pop();
            (async function(...given) {""" + script + """})(...arguments_)
                .then(value => done({ value }), error => done({ error: `${error} ${error?.stack}` }));""")
        assert "error" not in value, value["error"]
        return value.get("value")


PRELUDE = r"""
    const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
    const server = type => MailServices.accounts.allServers.find(each => each.type == type);
    const inbox = (type = "imap") => {
        const found = server(type).rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
        return found && type == "imap" ? found.QueryInterface(Ci.nsIMsgImapMailFolder) : found;
    };
    const folder = name => server("imap").rootFolder.getChildNamed(name);
    const header = subject => [...inbox().messages].find(each => each.mime2DecodedSubject == subject);
    const until = async condition => {
        do await new Promise(resolve => setTimeout(resolve, 50)); while (!condition());
    };
    // What calls back when it is over, as a promise.
    const over = start => new Promise((resolve, reject) => {
        const end = status => Components.isSuccessCode(status) ? resolve() : reject(new Error(`status ${status.toString(16)}`));
        start({
            QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener"]),
            OnStartRunningUrl() {}, OnStopRunningUrl(url, status) { end(status); },
            onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {}, onStopCopy(status) { end(status); },
        });
    });
"""


class Thunderbird(Case):
    def user_js(self):
        user, imap, pop = self.box.user, self.imap_server, self.pop_server
        common = {"userName": user.name, "hostname": "localhost", "authMethod": 3, "check_new_mail": False,
                  "login_at_startup": False, "name": "x"}
        prefs = {
            "marionette.port": self.port, "remote.prefs.recommended": True, "toolkit.telemetry.enabled": False,
            "app.update.enabled": False, "mail.shell.checkDefaultClient": False, "mailnews.start_page.enabled": False,
            "mail.provider.suppress_dialog_on_startup": True, "mail.rights.version": 1, "app.donation.eoy.version.viewed": 999,
            "datareporting.policy.dataSubmissionPolicyBypassNotification": True, "network.dns.disableIPv6": True,
            "mail.accountmanager.accounts": "account1,account2,account3", "mail.accountmanager.defaultaccount": "account1",
            "mail.accountmanager.localfoldersserver": "server2",
            "mail.account.account1.server": "server1", "mail.account.account2.server": "server2",
            "mail.account.account3.server": "server3",
            "mail.account.account1.identities": "id1", "mail.identity.id1.useremail": "demo@example.org",
            "mail.server.server2.type": "none", "mail.server.server2.userName": "nobody",
            "mail.server.server2.hostname": "Local Folders",
            "mail.server.server1.type": "imap", "mail.server.server1.port": imap.tls_port, "mail.server.server1.socketType": 3,
            "mail.server.server1.offline_download": True, "mail.server.server1.autosync_offline_stores": True,
            "mail.server.server3.type": "pop3", "mail.server.server3.port": pop.port, "mail.server.server3.socketType": 2,
            "mail.server.server3.leave_on_server": True,
            **{f"mail.server.server{n}.{name}": value for n in (1, 3) for name, value in common.items()},
        }
        return [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in prefs.items()]

    def start(self):
        self.new_box(protocol="imap")
        self.messages = [("m" + name, message("m" + name, raw.partition(b"\n\n")[2])) for name, raw in harness.odd_messages()
                         if name not in ("crlf", "crlf-mixed")]
        self.box.maildir.fill(self.messages)
        self.imap_server, self.pop_server = self.box.serve(), self.box.serve(protocol="pop3")
        self.port = harness.free_port()
        self.profile = self.box.dir / "profile"
        self.profile.mkdir()
        harness.write(self.profile / "user.js", self.user_js(), 0o600)
        log = self.box.dir / "thunderbird.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [program("thunderbird"), "--headless", "--marionette", "--remote-allow-system-access", "--no-remote",
                 "--profile", str(self.profile)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "HOME": str(self.box.dir), "TMPDIR": str(self.box.dir),
                     "MOZ_HEADLESS": "1", "MOZ_CRASHREPORTER_DISABLE": "1"})
        self.addCleanup(harness.stop, process, 10)
        self.thunderbird = Marionette(self.port, process, log)
        self.thunderbird.run("""
            const [authority, user, password] = given;
            Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(authority, "CT,C,C");
            for (const scheme of ["imap", "mailbox"]) {
                const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
                login.init(`${scheme}://localhost`, null, `${scheme}://localhost`, user, password, "", "");
                await Services.logins.addLoginAsync(login);
            }
        """, re.sub(r"-----.*?-----|\s", "", self.box.authority.ca.read_text()), *self.box.user)

    def stored(self, path):
        """The messages of one of its mbox files, by subject."""
        found = {}
        for raw in re.split(rb"(?m)^From (?:- )?.*\r?\n", path.read_bytes())[1:]:
            octets = plain(raw)
            found[re.search(rb"(?m)^Subject: (.*)$", octets)[1].decode()] = octets.partition(b"\n\n")[2].rstrip(b"\n")
        return found

    def texts(self):
        return {subject: re.sub(rb"(?m)^(>*From )", rb">\1", plain(raw).partition(b"\n\n")[2].rstrip(b"\n"))
                for subject, raw in self.messages}

    def subjects(self, name=None):
        path = self.box.maildir.path / f".{name}" if name else self.box.maildir.path
        found = {}
        for part in ("new", "cur"):
            for file in (path / part).iterdir() if path.exists() else ():
                # The server renames it meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    found[re.search(rb"(?m)^Subject: (.*?)\r?$", file.read_bytes())[1].decode()] = file.name.partition(":2,")[2]
        return found

    def test_reads_marks_files_deletes_searches_and_fetches(self):
        self.start()
        run, count = self.thunderbird.run, len(self.messages)

        # It reads: the list of folders, the headers, and everything into its offline store.
        run("""
            server("imap").password = given[0];
            server("imap").performExpand(null);
            // It looks for folders twice as it starts, and between the two it has none.
            for (let n = 0; n < 20; n++) await until(() => inbox() && folder("Trash") || (n = 0));
            await over(listener => inbox().updateFolderWithListener(null, listener));
            await until(() => inbox().getTotalMessages(false) == given[1]);
        """, self.box.user.password, count)
        store = run("""
            await over(listener => inbox().downloadAllForOffline(listener, null));
            await until(() => [...inbox().messages].every(each => each.flags & Ci.nsMsgMessageFlags.Offline));
            return inbox().filePath.path;
        """)
        store = pathlib.Path(store)
        wait_until(lambda: len(self.stored(store)) >= count, "the offline store")
        self.assertEqual(self.stored(store), self.texts())

        # It files: a folder is made, a message goes there.
        run("""
            server("imap").rootFolder.createSubfolder("Filed", null);
            await until(() => folder("Filed"));
            await over(listener => MailServices.copy.copyMessages(inbox(), [header("mdots")], folder("Filed"), true, listener, null, false));
        """)
        wait_until(lambda: list(self.subjects("Filed")) == ["mdots"] and "mdots" not in self.subjects(), "filed")

        # It marks.
        run("""
            inbox().markMessagesFlagged([header("mempty-body")], true);
            inbox().markMessagesRead([header("mempty-body"), header("meight-bit")], true);
        """)
        wait_until(lambda: set("FS") <= set(self.subjects().get("mempty-body", ""))
                   and "S" in self.subjects().get("meight-bit", ""), "marked")

        # It deletes, which moves to the trash.
        run("await over(listener => inbox().deleteMessages([header('mblank-lines')], null, false, false, listener, false));")
        wait_until(lambda: "mblank-lines" in self.subjects("Trash") and "mblank-lines" not in self.subjects(), "deleted")

        # It stores a message of its own, and removes for good what has been deleted.
        draft = self.box.dir / "draft.eml"
        draft.write_bytes(harness.crlf(message("draft", "Grüße".encode())))
        run("""
            const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
            file.initWithPath(given[0]);
            await over(listener => MailServices.copy.copyFileMessage(file, folder("Filed"), null, false, Ci.nsMsgMessageFlags.Read,
                                                                     "", listener, null));
            await over(listener => inbox().compact(listener, null));
        """, str(draft))
        wait_until(lambda: sorted(self.subjects("Filed")) == ["draft", "mdots"], "stored")
        self.assertEqual(self.subjects("Filed")["draft"], "S")

        # It renames a folder.
        run("""
            folder("Filed").rename("Umbenannt Größe", null);
            await until(() => folder("Umbenannt Größe"));
        """)
        wait_until(lambda: sorted(self.subjects("Umbenannt Gr&APYA3w-e")) == ["draft", "mdots"], "renamed")

        # It searches on the server.
        found = run("""
            const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession), found = [];
            session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, inbox());
            const term = session.createTerm(), value = term.value;
            value.attrib = Ci.nsMsgSearchAttrib.Body;
            value.str = "The last line";
            term.value = value;
            term.attrib = value.attrib;
            term.op = Ci.nsMsgSearchOp.Contains;
            session.appendTerm(term);
            await new Promise(resolve => {
                session.registerListener({ onNewSearch() {}, onSearchHit(hit) { found.push(hit.mime2DecodedSubject); },
                                           onSearchDone: resolve });
                session.search(null);
            });
            return found;
        """)
        self.assertEqual(found, ["mno-final-newline"])
        self.assertRegex(self.box.log(), r"imap-login: Login: user=<demo>.*, TLS")

        # It is told of new mail, without asking.
        self.box.maildir.add(message("news"), age=0)
        run("await until(() => header('news'));")
        self.assertEqual(run("return inbox().getTotalMessages(false);"), count - 1)

        # It fetches over POP3.
        expected = {subject: text for subject, text in self.texts().items() if subject not in ("mdots", "mblank-lines")}
        run("await over(listener => MailServices.pop3.GetNewMail(null, listener, inbox('pop3'), server('pop3')));")
        fetched = self.stored(next(self.profile.glob("Mail/localhost*/Inbox")))
        fetched.pop("news")
        self.assertEqual(sorted(fetched), sorted(expected))
        self.assertEqual(fetched, expected)
        self.assertRegex(self.box.wait_log("pop3-login: Login: user=<demo>"), ", TLS")


if __name__ == "__main__":
    harness.main()
