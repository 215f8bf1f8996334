"""mbsync and offlineimap against a model: both sides change at random, and after each round both must be as the model.

What is changed: messages come, go, move and get flags on either side, mailboxes are made, renamed and removed, the server
changes while a synchronisation runs, and client or server are killed in the middle of one. No message may be lost or be
there twice. E2E_SEED and E2E_ROUNDS choose other rounds than those of every day.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time

import harness
from harness import Case, needs_root, program, run
from test_dovecot import Dovecot

SEED = int(os.environ.get("E2E_SEED", "3"))
ROUNDS = int(os.environ.get("E2E_ROUNDS", "0"))
FLAGS = {"S": r"\Seen", "F": r"\Flagged", "R": r"\Answered", "D": r"\Draft"}
# T for both: the model never has it.
LETTERS = {name: letter for letter, name in FLAGS.items()} | {r"\Deleted": "T"}


class Message:
    """What the model knows of a message."""

    def __init__(self, number, flags=""):
        self.id, self.flags = f"m{number}@model.example", set(flags)
        self.text = f"This is message {number}.\n" * (1 + number % 40) + ("x" * 3000 + "\n") * (number % 3 == 0) * 30

    def raw(self):
        return (f"Date: Sat, 21 Nov 2026 10:00:00 +0000\nFrom: a@example.org\nSubject: {self.id}\n"
                f"Message-ID: <{self.id}>\n\n{self.text}").encode()


def identity(raw):
    """Message-ID and text of a message as either side has it."""
    raw = raw.replace(b"\r\n", b"\n")
    head, _, text = raw.partition(b"\n\n")
    return re.search(rb"(?mi)^Message-ID: <(.*)>$", head)[1].decode(), text.decode()


class Rounds(Case):
    """A server, a store of the client, and the model of both."""

    # Whether it can be told of mailboxes that were renamed or removed.
    follows_mailboxes = True
    # Whether nothing comes back or is stored twice when it is interrupted.
    has_journal = True
    daily = 8

    def start(self, way):
        self.way = way
        self.random = random.Random(f"{SEED} {way} {type(self).__name__}")
        self.server = self.serve(protocol="imap")
        self.user = self.box.user
        self.work = self.box.dir / "work"
        self.work.mkdir()
        self.local = self.work / "mail"
        self.local.mkdir()
        self.model = {"INBOX": []}
        self.count = 0
        self.touched = set()
        self.story, self.output = [], ""
        self.configure()

    def note(self, text):
        self.story.append(text)

    # --- The server's side

    @contextlib.contextmanager
    def imap(self):
        with self.server.connect() as imap:
            imap.login()
            yield imap
            imap.quit()

    def uid(self, imap, mailbox, wanted):
        imap.ok(f'SELECT "{mailbox}"')
        found = [line for line in imap.ok(f'UID SEARCH HEADER Message-ID "<{wanted.id}>"') if line.startswith(b"* SEARCH")]
        self.assertEqual(len(found[0].split()), 3, f"{wanted.id} in {mailbox}: {found}")
        return int(found[0].split()[2])

    def server_add(self, imap, mailbox, new):
        if mailbox == "INBOX" and not new.flags and self.random.random() < 0.5:
            self.box.maildir.count = self.count
            self.box.maildir.add(new.raw(), age=0)
        else:
            imap.append(new.raw(), mailbox, " ".join(FLAGS[letter] for letter in new.flags))

    def server_flags(self, imap, mailbox, which, letter, on):
        uid = self.uid(imap, mailbox, which)
        imap.ok(f"UID STORE {uid} {'+' if on else '-'}FLAGS ({FLAGS[letter]})")

    def server_remove(self, imap, mailbox, which):
        uid = self.uid(imap, mailbox, which)
        imap.ok(rf"UID STORE {uid} +FLAGS.SILENT (\Deleted)")
        imap.ok(f"UID EXPUNGE {uid}")

    def server_move(self, imap, mailbox, which, to):
        uid = self.uid(imap, mailbox, which)
        imap.ok(f'UID MOVE {uid} "{to}"')

    def server_create(self, imap, mailbox):
        imap.ok(f'CREATE "{mailbox}"')

    def server_rename(self, imap, mailbox, to):
        imap.ok(f'RENAME "{mailbox}" "{to}"')

    def server_delete(self, imap, mailbox):
        imap.ok(f'DELETE "{mailbox}"')

    def server_state(self):
        state = {}
        with self.imap() as imap:
            for line in imap.ok('LIST "" "*"'):
                name = re.search(rb'"?([^" ]+)"?$', line)[1].decode()
                imap.ok(f'EXAMINE "{name}"')
                state[name] = messages = []
                for response in imap.ok("UID FETCH 1:* (FLAGS BODY.PEEK[])"):
                    flags = re.search(rb"FLAGS \((.*?)\)", response)[1].decode().split()
                    raw = response.partition(b"}\r\n")[2]
                    # What follows the literal is the rest of the list.
                    raw = raw[:int(re.search(rb"BODY\[\] \{(\d+)\}", response)[1])]
                    messages.append((*identity(raw), "".join(sorted(LETTERS[flag] for flag in flags if flag in LETTERS))))
        return state

    # --- The client's side

    def directory(self, mailbox):
        return self.local / mailbox

    def make_directory(self, mailbox):
        for part in ("cur", "new", "tmp"):
            (self.directory(mailbox) / part).mkdir(parents=True, exist_ok=True)

    def local_mailboxes(self):
        return [path.name for path in self.local.iterdir() if (path / "cur").is_dir()]

    def file(self, mailbox, which):
        for part in ("cur", "new"):
            for path in (self.directory(mailbox) / part).iterdir():
                if f"Message-ID: <{which.id}>".encode() in path.read_bytes()[:2000]:
                    return path
        return self.fail(f"{which.id} is not in {mailbox}")

    def local_add(self, mailbox, new, raw=None):
        self.file_number = getattr(self, "file_number", 0) + 1
        name = f"{int(time.time())}.{os.getpid()}_{self.file_number}.local:2,{''.join(sorted(new.flags))}"
        (self.directory(mailbox) / "tmp" / name).write_bytes(raw or new.raw())
        (self.directory(mailbox) / "tmp" / name).rename(self.directory(mailbox) / "cur" / name)

    def local_flags(self, mailbox, which, letter, on):
        path = self.file(mailbox, which)
        base, _, flags = path.name.partition(":2,")
        flags = (set(flags) | {letter}) if on else (set(flags) - {letter})
        path.rename(self.directory(mailbox) / "cur" / f"{base}:2,{''.join(sorted(flags))}")

    def local_remove(self, mailbox, which):
        self.file(mailbox, which).unlink()

    def local_move(self, mailbox, which, to):
        path = self.file(mailbox, which)
        self.local_add(to, which, path.read_bytes())
        path.unlink()

    def local_rename(self, mailbox, to):
        self.make_directory(to)
        for which in self.model[mailbox]:
            self.local_move(mailbox, which, to)
        shutil.rmtree(self.directory(mailbox))

    def local_delete(self, mailbox):
        shutil.rmtree(self.directory(mailbox))

    def local_state(self):
        state = {}
        for mailbox in self.local_mailboxes():
            state[mailbox] = messages = []
            for part in ("cur", "new"):
                for path in (self.directory(mailbox) / part).iterdir():
                    flags = "".join(sorted(set(path.name.partition(":2,")[2]) & set(LETTERS.values())))
                    messages.append((*identity(path.read_bytes()), flags))
        return state

    # --- What happens

    def change(self, imap, server=True):
        """One random change on one side, and in the model. A message is moved or removed only where nothing else happens to
        it in the same round: who wins then is the client's choice."""
        pick = self.random
        side = "server" if server else "local"
        mailbox = pick.choice(sorted(set(self.model) - self.fresh))
        untouched = [which for which in self.model[mailbox] if which.id not in self.touched]
        call = (lambda what, *given: getattr(self, f"server_{what}")(imap, *given)) if server else \
            (lambda what, *given: getattr(self, f"local_{what}")(*given))
        what = pick.choices(("add", "flags", "remove", "move", "create", "rename", "delete"), (6, 6, 3, 3, 1, 2, 1))[0]
        if what == "add" or len(untouched) < 2 and what in ("flags", "remove", "move"):
            self.busy.add(mailbox)
            self.count += 1
            new = Message(self.count, pick.sample("SFRD", pick.choice((0, 0, 1, 2))))
            call("add", mailbox, new)
            self.model[mailbox].append(new)
            self.touched.add(new.id)
            self.excused |= set() if server else {new.id}
            self.note(f"{side} add {new.id} {mailbox} {new.flags}")
        elif what == "flags":
            self.busy.add(mailbox)
            which, letter = pick.choice(untouched), pick.choice("SFRD")
            on = letter not in which.flags
            call("flags", mailbox, which, letter, on)
            (which.flags.add if on else which.flags.discard)(letter)
            self.touched.add(which.id)
            self.note(f"{side} flags {which.id} {mailbox} {'+' if on else '-'}{letter}")
        elif what == "remove":
            self.busy.add(mailbox)
            which = pick.choice(untouched)
            call("remove", mailbox, which)
            self.model[mailbox].remove(which)
            self.excused.add(which.id)
            self.note(f"{side} remove {which.id} {mailbox}")
        elif what == "move":
            which, to = pick.choice(untouched), pick.choice(sorted(set(self.model) - self.fresh))
            if to != mailbox:
                self.busy |= {mailbox, to}
                call("move", mailbox, which, to)
                self.model[mailbox].remove(which)
                self.model[to].append(which)
                self.touched.add(which.id)
                self.excused.add(which.id)
                self.note(f"{side} move {which.id} {mailbox} {to}")
        elif what == "create" and len(self.model) < 6:
            name = f"Box{self.count}x{len(self.story)}"
            if server:
                call("create", name)
            else:
                self.make_directory(name)
            self.model[name] = []
            # Not to be used before the other side has it.
            self.fresh.add(name)
            self.note(f"{side} create {name}")
        elif self.follows_mailboxes and what in ("rename", "delete") and mailbox != "INBOX" \
                and mailbox not in self.busy and not self.changed_mailbox:
            self.changed_mailbox = True
            self.left = ("local" if server else "server", mailbox)
            if what == "delete":
                call("delete", mailbox)
                del self.model[mailbox]
                self.note(f"{side} delete {mailbox}")
            else:
                name = f"Renamed{len(self.story)}"
                call("rename", mailbox, name)
                self.model[name] = self.model.pop(mailbox)
                self.touched |= {which.id for which in self.model[name]}
                self.fresh.add(name)
                self.note(f"{side} rename {mailbox} {name}")

    def before_round(self, number):
        """What a kind of rounds begins with."""

    def round(self, number):
        self.before_round(number)
        self.touched, self.fresh, self.changed_mailbox, self.left, self.excused = set(), set(), False, None, set()
        # Mailboxes in which something has changed: a renaming on one side would lose what the other has not told yet.
        self.busy = set()
        self.note(f"--- round {number}")
        with self.imap() as imap:
            for _ in range(self.random.randrange(3, 12)):
                self.change(imap, server=self.random.random() < 0.5)
        kind = ("none", "client", "server", "meanwhile")[number % 4]
        self.note(f"interruption: {kind}")
        if kind == "meanwhile":
            # Only the server changes: the client may read its own side at any moment. Mailboxes stay as they are.
            self.changed_mailbox = True
            process = self.popen()
            with self.imap() as imap:
                for _ in range(6):
                    self.change_message(imap)
            process.communicate(timeout=60)
        elif kind != "none":
            process = self.popen()
            time.sleep(self.random.uniform(0.01, self.usual))
            if kind == "client":
                process.send_signal(signal.SIGKILL)
            else:
                for pid in self.box.servers():
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=60)
            if kind == "server":
                # A launcher's own connection, or that of the test: all are gone.
                self.box.wait_idle()
        self.settle()
        if kind in ("client", "server") and not self.has_journal:
            self.tidy()
            self.settle()
        self.check()

    def tidy(self):
        """Removes from the server what a client without a journal has sent twice or has not removed, when it was interrupted:
        only messages that came on the client's side, went or moved in this round. Of one that went on the server it deletes its own
        note first, the message afterwards: between the two it is a new one."""
        with self.imap() as imap:
            for mailbox, messages in self.model.items():
                imap.ok(f'SELECT "{mailbox}"')
                for which in self.excused:
                    line = next(line for line in imap.ok(f'UID SEARCH HEADER Message-ID "<{which}>"') if b"SEARCH" in line)
                    for uid in line.split()[2:][sum(message.id == which for message in messages):]:
                        imap.ok(rf"UID STORE {int(uid)} +FLAGS.SILENT (\Deleted)")
                        imap.ok(f"UID EXPUNGE {int(uid)}")
                        self.note(f"tidied away: {which} {mailbox}")

    def change_message(self, imap):
        """A change of what no change in this round has touched, while a synchronisation runs."""
        pick, self.count = self.random, self.count + 1
        mailbox = pick.choice(sorted(set(self.model) - self.fresh))
        untouched = [which for which in self.model[mailbox] if which.id not in self.touched]
        if len(untouched) < 2 or pick.random() < 0.4:
            new = Message(self.count)
            self.server_add(imap, mailbox, new)
            self.model[mailbox].append(new)
            self.touched.add(new.id)
            self.note(f"meanwhile add {new.id} {mailbox}")
            return
        which = pick.choice(untouched)
        if pick.random() < 0.5:
            self.server_remove(imap, mailbox, which)
            self.model[mailbox].remove(which)
            self.note(f"meanwhile remove {which.id} {mailbox}")
        else:
            letter = pick.choice("SFRD")
            on = letter not in which.flags
            self.server_flags(imap, mailbox, which, letter, on)
            (which.flags.add if on else which.flags.discard)(letter)
            self.touched.add(which.id)
            self.note(f"meanwhile flags {which.id} {mailbox} {'+' if on else '-'}{letter}")

    usual = 0.25

    def popen(self):
        command, environment = self.command()
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=environment)

    def settle(self):
        """Synchronises twice. A mailbox that is gone on one side is kept on the other while there are messages in it; between
        the two somebody removes it there."""
        command, environment = self.command()
        for _ in range(2):
            started = time.monotonic()
            done = run(*command, env=environment, check=False)
            self.usual = min(1.0, time.monotonic() - started)
            self.output = f"{done.stdout}{done.stderr}"
            self.assertEqual(done.returncode, 0, self.tell("it failed"))
            if self.left:
                self.clear_away(*self.left)
                self.left = None

    def clear_away(self, side, mailbox):
        if side == "local":
            shutil.rmtree(self.directory(mailbox), ignore_errors=True)
            return
        with self.imap() as imap:
            if imap.ok(f'LIST "" "{mailbox}"'):
                imap.ok(f'DELETE "{mailbox}"')

    def tell(self, text):
        return f"{text}\n{self.output[-3000:]}\nseed {SEED}, {self.way}; what was done:\n" + "\n".join(self.story[-40:])

    def check(self):
        expected = {name: sorted((which.id, which.text, "".join(sorted(which.flags))) for which in messages)
                    for name, messages in self.model.items()}
        for side in ("server", "local"):
            state = {name: sorted(messages) for name, messages in getattr(self, f"{side}_state")().items()}
            self.assertEqual(sorted(state), sorted(expected), self.tell(f"mailboxes of the {side}"))
            for name, messages in expected.items():
                short = [(which, flags) for which, _, flags in state[name]]
                self.assertEqual(short, [(which, flags) for which, _, flags in messages], self.tell(f"{side}, {name}"))
                self.assertEqual(state[name], messages, self.tell(f"{side}, {name}: texts"))

    def go(self, way):
        self.start(way)
        for number in range(ROUNDS or self.daily):
            self.round(number)
        self.nothing_to_do()

    def nothing_to_do(self):
        # Nothing to do: nothing is done.
        before = self.box.maildir.files(), sorted(path.name for path in self.local.glob("*/cur/*"))
        self.settle()
        self.assertEqual((self.box.maildir.files(), sorted(path.name for path in self.local.glob("*/cur/*"))), before)


class Mbsync(Rounds):
    def configure(self):
        harness.program("mbsync")
        ca = self.box.authority.ca
        tls = {"clear": "SSLType None", "STARTTLS": f"SSLType STARTTLS\nCertificateFile {ca}",
               "IMAPS": f"SSLType IMAPS\nCertificateFile {ca}", "tunnel": f'Tunnel "{self.box.tunnel()}"'}[self.way]
        port = self.server.tls_port if self.way == "IMAPS" else self.server.port
        (self.work / "state").mkdir()
        text = (f"IMAPAccount a\nHost localhost\nPort {port}\nUser {self.user.name}\nPass \"{self.user.password}\"\n{tls}\n\n"
                f"IMAPStore far\nAccount a\n\n"
                f"MaildirStore near\nPath {self.local}/\nInbox {self.local}/INBOX\nSubFolders Verbatim\n\n"
                f"Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\n"
                f"SyncState {self.work}/state/\nCopyArrivalDate yes\n")
        (self.work / "mbsyncrc").write_text(text)
        (self.work / "mbsyncrc").chmod(0o600)
        self.make_directory("INBOX")

    def command(self):
        return [program("mbsync"), "-c", self.work / "mbsyncrc", "-V", "c"], {**os.environ, "HOME": str(self.work)}

    def test_in_clear(self):
        self.go("clear")

    def test_starttls(self):
        self.go("STARTTLS")

    def test_imaps(self):
        self.go("IMAPS")

    def test_tunnel(self):
        self.go("tunnel")


@needs_root
class InTurn(Mbsync):
    """Dovecot serves mbsync in every other round, while everything else goes on with imapd: nothing may be fetched again."""

    daily = 6
    test_in_clear = test_starttls = test_imaps = test_tunnel = None

    def before_round(self, number):
        port = self.dovecot.imap_port if number % 2 else self.server.port
        rc = self.work / "mbsyncrc"
        rc.write_text(re.sub(r"(?m)^Port .*$", f"Port {port}", rc.read_text()))
        self.note("Dovecot serves" if number % 2 else "imapd serves")

    def test_in_turn_with_dovecot(self):
        self.start("clear")
        with Dovecot(self.box) as self.dovecot:
            for number in range(ROUNDS or self.daily):
                self.round(number)
            for number in range(2):
                self.before_round(number)
                self.nothing_to_do()


class Offlineimap(Rounds):
    # A mailbox that is gone on one side is made there again. It forgets what it has to remove before it removes it, and
    # knows what it has stored only afterwards.
    follows_mailboxes = False
    has_journal = False
    daily = 4

    def configure(self):
        ca = self.box.authority.ca
        tls = {"clear": "ssl = no\nstarttls = no", "STARTTLS": f"ssl = no\nstarttls = yes\nsslcacertfile = {ca}",
               "IMAPS": f"ssl = yes\nsslcacertfile = {ca}", "tunnel": f"preauthtunnel = {self.box.tunnel()}"}[self.way]
        port = self.server.tls_port if self.way == "IMAPS" else self.server.port
        where = "" if self.way == "tunnel" else f"remotehost = localhost\nremoteport = {port}\n"
        (self.work / "offlineimaprc").write_text(
            f"[general]\naccounts = a\nui = quiet\nmetadata = {self.work}/metadata\nsocktimeout = 60\n\n"
            "[Account a]\nlocalrepository = local\nremoterepository = remote\n\n"
            f"[Repository local]\ntype = Maildir\nlocalfolders = {self.local}\nsync_deletes = yes\n\n"
            f"[Repository remote]\ntype = IMAP\n{where}remoteuser = {self.user.name}\nremotepass = {self.user.password}\n{tls}\n"
            "maxconnections = 2\nexpunge = yes\nsync_deletes = yes\n")
        (self.work / "offlineimaprc").chmod(0o600)
        self.make_directory("INBOX")

    def command(self):
        return [program("offlineimap"), "-c", self.work / "offlineimaprc", "-o"], {**os.environ, "HOME": str(self.work)}

    def test_starttls(self):
        self.go("STARTTLS")

    def test_imaps(self):
        self.go("IMAPS")

    def test_tunnel(self):
        self.go("tunnel")


if __name__ == "__main__":
    harness.main()
