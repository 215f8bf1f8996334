"""mbsync and offlineimap against a model: both sides change at random, and after each round both must be as the model.

What is changed: messages come, go, move and get flags on either side, mailboxes are made, renamed and removed, the server
changes while a synchronisation runs, and client or server are killed in the middle of one. No message may be lost or be
there twice. In each round one mailbox is renamed or removed, on one side. E2E_SEED and E2E_ROUNDS choose other rounds than
those of every day.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import harness
from harness import IS_ROOT, Case, needs_root, program, run, wait_until
from sync_sides import Message, Sides
from test_dovecot import Dovecot

SEED = int(os.environ.get("E2E_SEED", "3"))
ROUNDS = int(os.environ.get("E2E_ROUNDS", "0"))
INTERRUPTIONS = ("none", "client", "server", "meanwhile")
MAILBOX_CHANGES = (("server", "rename"), ("local", "rename"), ("server", "delete"), ("local", "delete"))
WAYS = ("clear", "STARTTLS", "IMAPS", "tunnel")


class Rounds(Sides, Case):
    """A server, a store of the client, and the model of both."""

    # Whether it can be told on one side of mailboxes that are gone. If not, somebody removes them on the other before it looks.
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
        self.story, self.output = [], ""
        self.begin()
        self.configure()
        self.furnish()

    def begin(self):
        """A round of changes: messages with which something has happened; mailboxes that one side has not got yet; who has to hear
        of a mailbox that is gone; messages that a client without a journal may repeat."""
        self.touched, self.fresh, self.left, self.excused = set(), set(), None, set()

    def note(self, text):
        self.story.append(text)

    def furnish(self):
        """Mailboxes with messages on both sides."""
        with self.imap() as imap:
            for number in range(4):
                server = number % 2 == 0
                name = self.create(imap, server)
                for _ in range(3):
                    self.add(imap, server, name)
        self.settle()

    # --- What happens

    def caller(self, imap, server):
        """What calls server_x or local_x."""
        return (lambda what, *given: getattr(self, f"server_{what}")(imap, *given)) if server else \
            (lambda what, *given: getattr(self, f"local_{what}")(*given))

    def create(self, imap, server):
        name = f"Box{self.count}x{len(self.story)}"
        if server:
            self.server_create(imap, name)
        else:
            self.make_directory(name)
        self.model[name] = []
        # Not to be used before the other side has it.
        self.fresh.add(name)
        self.note(f"{'server' if server else 'local'} create {name}")
        return name

    def add(self, imap, server, mailbox):
        self.count += 1
        new = Message(self.count, self.random.sample("SFRD", self.random.choice((0, 0, 1, 2))))
        self.caller(imap, server)("add", mailbox, new)
        self.model[mailbox].append(new)
        self.touched.add(new.id)
        self.excused |= set() if server else {new.id}
        self.note(f"{'server' if server else 'local'} add {new.id} {mailbox} {new.flags}")

    def change_mailbox(self, imap, side, what):
        """Renames or removes a mailbox on one side, one with messages if there is one."""
        others = sorted(set(self.model) - {"INBOX"})
        mailbox = self.random.choice([name for name in others if self.model[name]] or others)
        call = self.caller(imap, side == "server")
        if what == "delete":
            call("delete", mailbox)
            del self.model[mailbox]
            self.note(f"{side} delete {mailbox}")
        else:
            name = f"Renamed{len(self.story)}"
            call("rename", mailbox, name)
            self.model[name] = self.model.pop(mailbox)
            self.touched |= {which.id for which in self.model[name]}
            self.excused |= {which.id for which in self.model[name]}
            self.fresh.add(name)
            self.note(f"{side} rename {mailbox} {name}")
        self.left = ("local" if side == "server" else "server", mailbox)
        if not self.follows_mailboxes:
            self.clear_away(*self.left)
            self.left = None

    def change(self, imap, server=True):
        """One random change on one side, and in the model. A message is moved or removed only where nothing else happens to
        it in the same round: who wins then is the client's choice."""
        pick = self.random
        side, call = "server" if server else "local", self.caller(imap, server)
        mailbox = pick.choice(sorted(set(self.model) - self.fresh))
        untouched = [which for which in self.model[mailbox] if which.id not in self.touched]
        what = pick.choices(("add", "flags", "remove", "move", "create"), (6, 6, 3, 3, 1))[0]
        if what == "add" or len(untouched) < 2 and what in ("flags", "remove", "move"):
            self.add(imap, server, mailbox)
        elif what == "flags":
            which, letter = pick.choice(untouched), pick.choice("SFRD")
            on = letter not in which.flags
            call("flags", mailbox, which, letter, on)
            (which.flags.add if on else which.flags.discard)(letter)
            self.touched.add(which.id)
            self.note(f"{side} flags {which.id} {mailbox} {'+' if on else '-'}{letter}")
        elif what == "remove":
            which = pick.choice(untouched)
            call("remove", mailbox, which)
            self.model[mailbox].remove(which)
            self.excused.add(which.id)
            self.note(f"{side} remove {which.id} {mailbox}")
        elif what == "move":
            which, to = pick.choice(untouched), pick.choice(sorted(set(self.model) - self.fresh))
            if to != mailbox:
                call("move", mailbox, which, to)
                self.model[mailbox].remove(which)
                self.model[to].append(which)
                self.touched.add(which.id)
                self.excused.add(which.id)
                self.note(f"{side} move {which.id} {mailbox} {to}")
        elif len(self.model) < 7:
            self.create(imap, server)

    def before_round(self, number):
        """What a kind of rounds begins with."""

    def round(self, number):
        self.before_round(number)
        self.begin()
        self.note(f"--- round {number}")
        with self.imap() as imap:
            # In every four rounds each of them, with another interruption in the next four, and in another way.
            shift = number + number // 4 + WAYS.index(self.way)
            self.change_mailbox(imap, *MAILBOX_CHANGES[shift % 4])
            if len(self.model) < 5:
                self.create(imap, self.random.random() < 0.5)
            for _ in range(self.random.randrange(3, 12)):
                self.change(imap, server=self.random.random() < 0.5)
        kind = INTERRUPTIONS[number % 4]
        if kind == "meanwhile":
            self.change_meanwhile()
        elif kind != "none":
            self.interrupt(kind)
        self.note(f"interruption: {kind}")
        self.settle()
        if kind in ("client", "server") and not self.has_journal:
            self.tidy()
            self.settle()
        self.check()

    def change_meanwhile(self):
        """Only the server changes: the client may read its own side at any moment. Mailboxes stay as they are."""
        with self.imap() as imap:
            process, beside = self.popen(), 0
            for _ in range(6):
                self.change_message(imap)
                beside += process.poll() is None
        process.communicate(timeout=60)
        self.assertGreater(beside, 0, self.tell("the client had ended before anything was changed"))

    def is_served(self):
        return bool(self.box.servers())

    def interrupt(self, kind):
        """Kills the client or the servers in the middle of a synchronisation. When they had ended before, there is more to do, and
        less time for it."""
        if kind == "server" and self.way == "tunnel" and not IS_ROOT:
            # Who is not root does not see what is run by others than a launcher.
            return
        wait = self.random.uniform(0, self.usual)
        for _ in range(6):
            self.box.wait_idle()
            process = self.popen()
            wait_until(lambda: self.is_served() or process.poll() is not None, "a connection", pause=0.001)
            time.sleep(wait)
            killed = process.poll() is None
            if kind == "client":
                process.kill()
            else:
                # A launcher's own connections, or that of the tunnel: all are gone.
                killed = 0
                for pid in self.box.servers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
            process.communicate(timeout=60)
            self.box.wait_idle()
            if killed:
                return
            self.note(f"{kind}: not after {wait:.3f} s")
            wait /= 3
            with self.imap() as imap:
                for _ in range(3):
                    self.change_message(imap)
        self.fail(self.tell(f"nobody was there to be killed: {kind}"))

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
        self.rounds()
        self.nothing_to_do()

    def rounds(self):
        for number in range(max(ROUNDS or self.daily, len(MAILBOX_CHANGES))):
            self.round(number)
        happened = {" ".join(line.split()[:2]) for line in self.story}
        expected = {" ".join(change) for change in MAILBOX_CHANGES} | {f"interruption: {kind}" for kind in INTERRUPTIONS}
        self.assertEqual(expected - happened, set(), "what has never happened")

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

    def is_served(self):
        return self.dovecot_serves or super().is_served()

    def before_round(self, number):
        self.dovecot_serves = number % 2 == 1
        port = self.dovecot.imap_port if self.dovecot_serves else self.server.port
        rc = self.work / "mbsyncrc"
        rc.write_text(re.sub(r"(?m)^Port .*$", f"Port {port}", rc.read_text()))
        self.note("Dovecot serves" if self.dovecot_serves else "imapd serves")

    def test_in_turn_with_dovecot(self):
        self.start("clear")
        with Dovecot(self.box) as self.dovecot:
            self.rounds()
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

    def interrupt(self, kind):
        """Killed while it makes its notes of a new mailbox, it finds them without a table and gives up for good."""
        super().interrupt(kind)
        for path in (self.work / "metadata").glob("Account-*/LocalStatus-sqlite/*"):
            # Beside them are locks.
            with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(path)) as notes:
                if notes.execute("SELECT name FROM sqlite_master WHERE name = 'status'").fetchall():
                    continue
                path.unlink()
                self.note(f"no notes of {path.name}")

    def test_starttls(self):
        self.go("STARTTLS")

    def test_imaps(self):
        self.go("IMAPS")

    def test_tunnel(self):
        self.go("tunnel")


if __name__ == "__main__":
    harness.main()
