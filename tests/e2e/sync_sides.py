"""What test_sync.py changes and compares: messages, and the two sides that have them, a server and a client's Maildirs."""

import contextlib
import os
import re
import shutil
import time

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


class Sides:
    """What can be done on either side, and what is there. A test case with a server, its box, .local, .model, .count and .random."""

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
