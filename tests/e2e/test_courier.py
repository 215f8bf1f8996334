"""Maildirs that Courier made: no client downloads anything again, and keywords, flags and subscriptions stay.

The real Courier makes one (tests/run unpacks it; E2E_COURIER says where); its imapd serves
whoever calls it without a login. Another one is put together by hand, with what only some versions write.
"""

import imaplib
import os
import pathlib
import re
import shlex
import shutil
import time

import harness
from harness import HOST, IS_ROOT, Case, message, program, wire

COURIER = pathlib.Path(os.environ.get("E2E_COURIER", "/nonexistent"))
KEYWORDS = ["$Forwarded", "work", "Later"]


def state(client):
    """All that a client remembers: of each mailbox UIDVALIDITY and flags by UID, and the subscriptions."""
    names = [re.match(rb'\((.*?)\) "(.)" "?(.*?)"?$', line).groups() for line in client.list()[1]]
    names = sorted(name.decode() for flags, _, name in names if b"\\Noselect" not in flags)
    mailboxes = {}
    for name in names:
        assert client.select(f'"{name}"')[0] == "OK", name
        validity = int(client.response("UIDVALIDITY")[1][0])
        flags = {}
        for line in client.uid("FETCH", "1:*", "(FLAGS RFC822.SIZE INTERNALDATE)")[1]:
            if line:
                uid, size = (int(re.search(rb"%s (\d+)" % item, line)[1]) for item in (b"UID", b"RFC822.SIZE"))
                words = re.search(rb"FLAGS \((.*?)\)", line)[1].decode().split()
                date = time.mktime(imaplib.Internaldate2tuple(line))
                flags[uid] = (sorted(word for word in words if word != "\\Recent"), size, date)
        mailboxes[name] = (validity, flags)
    # Courier tells of the levels above too.
    lines = [re.match(rb'\((.*?)\) "." "?(.*?)"?$', line).groups() for line in client.lsub()[1] if line]
    return mailboxes, sorted(name.decode() for flags, name in lines if b"\\noselect" not in flags.lower())


class Real(Case):
    def setUp(self):
        self.assertTrue((COURIER / "usr/bin/imapd").exists(), "Courier is not unpacked: tests/run does it")
        self.server = self.serve(protocol="imap", settings={"namespace_prefix": "INBOX."})
        self.user = self.box.user

    def courier(self):
        # A copy: where it was unpacked, below root's home directory say, nobody else may execute it.
        copy = self.box.dir / "courier"
        shutil.copytree(COURIER, copy, symlinks=True, dirs_exist_ok=True)
        libraries = ":".join(str(copy / path) for path in (
            "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "usr/lib/courier-authlib"))
        environment = {
            "LD_LIBRARY_PATH": libraries, "AUTHENTICATED": self.user.name, "HOME": self.user.home, "IMAPLOGINTAG": "*",
            "PROTOCOL": "IMAP", "TCPREMOTEIP": HOST, "TCPREMOTEPORT": "9", "IMAP_KEYWORDS": "1", "IMAP_USELOCKS": "1",
            "IMAP_ACL": "1", "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE ACL ACL2=UNION",
        }
        words = ["env", "-i", f"--chdir={self.user.home}", *(f"{name}={value}" for name, value in environment.items()),
                 copy / "usr/bin/imapd", self.box.maildir.path]
        if IS_ROOT:
            words = [program("setpriv"), "--reuid", self.user.uid, "--regid", self.user.gid, "--clear-groups", *words]
        # Its complaints about a missing gamin go to standard error.
        client = imaplib.IMAP4_stream(shlex.join(map(str, words)) + " 2>/dev/null")
        client.state = "AUTH"
        self.addCleanup(client.shutdown)
        return client

    def tinmail(self):
        client = imaplib.IMAP4(HOST, self.server.port)
        client.login(self.user.name, self.user.password)
        self.addCleanup(client.logout)
        return client

    def test_nothing_is_downloaded_again(self):
        courier = self.courier()
        for name in ("INBOX.Sent", "INBOX.Lists.Rust", "INBOX.Entw&APw-rfe", "INBOX.&ZeVnLIqe-", "INBOX.Empty"):
            self.assertEqual(courier.create(name)[0], "OK", name)
        for name in ("INBOX.Sent", "INBOX.Lists.Rust", "INBOX.Entw&APw-rfe"):
            self.assertEqual(courier.subscribe(name)[0], "OK", name)
        flags = [r"(\Seen)", "()", r"(\Answered work)", r"(\Draft Later)", r"(\Flagged $Forwarded work)", r"(\Seen)"]
        for at, name in enumerate(["INBOX"] * 6 + ["INBOX.Lists.Rust"] * 4 + ["INBOX.Entw&APw-rfe"]):
            date = imaplib.Time2Internaldate(1600000000 + 86400 * at)
            done = courier.append(name, flags[at % 6], date, wire(message(f"number {at}")))
            self.assertEqual(done[0], "OK", done)
        courier.select("INBOX")
        courier.store("2", "+FLAGS", r"(\Deleted)")
        courier.expunge()
        courier.store("1:2", "+FLAGS", "(Later)")
        courier.store("4", "-FLAGS", "(work)")
        courier.copy("1:3", "INBOX.Sent")
        before = state(courier)
        self.assertEqual(list(before[0]["INBOX"][1]), [1, 3, 4, 5, 6])
        words = {word for _, mailbox in before[0].values() for entry in mailbox.values() for word in entry[0]}
        self.assertTrue(words.issuperset(KEYWORDS), words)
        courier.logout()
        # Directories are in UTF-8 with Courier 5, and there are all of its files.
        maildir = self.box.maildir.path
        self.assertTrue((maildir / "courierimapkeywords/:list").exists() and (maildir / "courierimapuiddb").exists())
        first = self.tinmail()
        self.assertEqual(state(first), before)
        first.create("INBOX.New")
        first.append("INBOX", "(Later)", None, wire(message("later")))
        after = state(self.tinmail())
        self.assertEqual(after[0].pop("INBOX.New")[1], {})
        self.assertEqual(after[0]["INBOX"][1].pop(7)[0], ["Later"])
        self.assertEqual(after, before)


class ByHand(Case):
    def test_what_only_some_versions_write(self):
        server = self.serve(protocol="imap", settings={"namespace_prefix": "INBOX."})
        maildir = self.box.maildir
        names = [maildir.add(message(f"m{n}"), flags=letters) for n, letters in enumerate(["S", "", "RS", "F"])]
        sub = harness.Maildir(maildir.path / ".Entwürfe", maildir.owner)
        drafts = [sub.add(message("draft"), flags="D")]

        def put(box, name, text):
            path = box.path / name
            if not path.parent.exists():
                path.parent.mkdir()
                box.own(path.parent)
            path.write_text(text)
            box.own(path)

        put(maildir, "courierimapuiddb", "1 723456789 31\n" + "".join(
            f"{uid} {name}\n" for uid, name in zip([11, 12, 20, 30], names, strict=True)))
        put(sub, "courierimapuiddb", f"1 723456790 3\n2 {drafts[0]}\n")
        put(maildir, "courierimapsubscribed", "INBOX.Entwürfe\nINBOX.gone\n#shared.x.y\n")
        put(maildir, "courierpop3dsizelist", "/3 31 723456789\n" + "".join(
            f"{name} 100 {uid}:723456789:0\n" for uid, name in zip([11, 12, 20, 30], names, strict=True)))
        put(maildir, "courierimapkeywords/:list", f"work\nLater\n\n{names[0]}:0\n{names[2]}:1 0\n{names[3]}:0\n")
        put(maildir, f"courierimapkeywords/{names[3]}", "Later\n")
        put(maildir, f"courierimapkeywords/.5000000.{names[1]}", "work\n")
        put(sub, "courierimapkeywords/:list", f"$MDNSent\n\n{drafts[0]}:0\n")
        put(maildir, "courierimapacl", "owner aceilrstwx\nadministrators aceilrstwx\n")
        (sub.path / "maildirfolder").touch()
        user = self.box.user
        # A POP3 session before gives UIDs and takes no keyword away.
        for protocol in ("pop3", "imap"):
            if protocol == "pop3":
                with self.box.serve(protocol="pop3").connect() as pop:
                    pop.login()
                    pop.listing()
                    pop.quit()
                continue
            client = imaplib.IMAP4(HOST, server.port)
            client.login(user.name, user.password)
            mailboxes, subscribed = state(client)
            client.logout()
            self.assertEqual(subscribed, ["INBOX.Entw&APw-rfe", "INBOX.gone"])
            flags = {name: (validity, {uid: entry[0] for uid, entry in found.items()})
                     for name, (validity, found) in mailboxes.items()}
            self.assertEqual(flags, {
                "INBOX": (723456789, {11: ["\\Seen", "work"], 12: ["work"], 20: ["Later", "\\Answered", "\\Seen", "work"],
                                      30: ["Later", "\\Flagged"]}),
                "INBOX.Entw&APw-rfe": (723456790, {2: ["$MDNSent", "\\Draft"]})})


if __name__ == "__main__":
    harness.main()
