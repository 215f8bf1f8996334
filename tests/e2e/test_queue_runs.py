"""Runs of the queue in places that are narrow, and runs that do not come to their end."""

import contextlib
import os
import signal
import subprocess

import harness
from harness import FIRST_UID, HOST, parent_of, processes_of, run, wait_until
from smtp_box import Sink
from test_queue import QueueCase

MANY = 60


class Runs(QueueCase):
    def runners(self):
        """Of runs, the processes that give work to others: children of a process of the same program, with children."""
        parents = {}
        for pid in processes_of(self.box.binary):
            with contextlib.suppress(OSError):
                parents[pid] = parent_of(pid)
        return [pid for pid, parent in parents.items() if parent in parents and pid in parents.values()]

    def narrow(self, limit, *command):
        """Mail of many users for many destinations, taken in and sent by a run that has 64 descriptors, as systemd's units give a
        connection."""
        sink, drop = Sink("0.0.0.0"), self.box.dir / "queue" / "drop"
        self.addCleanup(sink.close)
        hops = (f"d{number}.example=smtp:[127.0.0.{number + 2}]:{sink.port}" for number in range(MANY))
        self.configure(transport_maps=f"inline:{{{', '.join(hops)}}}")
        self.queue_run()
        for number in range(MANY):
            self.sendmail("-i", f"u@d{number}.example")
        for number, path in enumerate(drop.iterdir(), FIRST_UID + 30):
            os.chown(path, number, number)
        run(*command, "sh", "-c", f'ulimit {limit} 64; exec "$0" "$@"', self.box.binary, "-c", self.box.conf, "-q")
        self.assertEqual(sorted(sink.got), [("x", to) for to in sorted(f"u@d{number}.example" for number in range(MANY))])
        self.assertEqual((self.names("queue"), self.names("drop")), ([], []))

    def test_a_limit_that_may_be_lifted(self):
        self.narrow("-S -n")

    def test_a_limit_that_stands(self):
        """Root may not lift it: what does not fit waits for what is under way."""
        self.narrow("-n", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")

    def test_more_settings_than_a_pipe_takes(self):
        """They are handed to the run that root's sendmail starts, and to its processes."""
        self.configure(mynetworks="127.0.0.0/8" + ", 192.0.2.1" * 5600)
        self.queue_run()
        for address in ("u@far.example", f"{self.user.name}@example.org"):
            run(self.box.dir / "sendmail", "-C", self.box.conf, address, input="Subject: x\n\nhello\n")
        wait_until(lambda: self.names("queue") == self.names("drop") == [], "an empty queue")
        self.assertEqual(sum(self.sink.got.values()), 1)
        self.assertEqual(len(self.box.received(self.user)), 1)

    def test_no_destination_has_more_connections_than_it_may(self):
        """Whether messages are for it alone, or for others too."""
        one, two = Sink(), Sink()
        for sink in (one, two):
            self.addCleanup(sink.close)
            sink.pause = 0.2
        self.configure(default_destination_concurrency_limit="1", transport_maps="inline:{" + ", ".join(
            f"{name}.example=smtp:[{HOST}]:{sink.port}" for name, sink in (("one", one), ("two", two))) + "}")
        self.queue_run()
        for number in range(4):
            self.sendmail("-i", "a@one.example", "b@two.example", text=f"Subject: both {number}\n\nx\n".encode())
            self.sendmail("-i", "c@one.example", text=f"Subject: one {number}\n\nx\n".encode())
        runs = [self.queue_run(wait=False) for _ in range(3)]
        self.assertEqual([process.wait() for process in runs], [0] * 3)
        wait_until(lambda: self.queue_run() and self.names("queue") == [], "an empty queue")
        self.assertEqual((one.most, two.most), (1, 1))
        self.assertEqual((sum(one.got.values()), sum(two.got.values()), set((one.got + two.got).values())), (8, 4, {1}))

    def killed(self, choose, says):
        """The process of a run that choose() names is killed while it sends."""
        silent, hop = self.silent()
        self.configure(transport_maps=f"inline:{{far.example={hop}}}")
        self.queue_run()
        self.sendmail("-i", "u@far.example")
        command = [str(self.box.binary), "-c", str(self.box.conf), "-q"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            peer, _ = silent.accept()
            os.kill(choose(), signal.SIGKILL)
            # Should it be tried again: not here.
            silent.close()
            peer.close()
            self.assertEqual(process.communicate(timeout=60)[1], f"smtpd -q: {says}\n")
            self.assertEqual(process.returncode, 111)
        self.box.wait_log(f"queue run: {says}")

    def test_a_runner_that_was_killed_is_a_failure(self):
        self.killed(lambda: self.runners()[0], "the runner was killed")

    def test_a_worker_that_was_killed_is_a_failure(self):
        def worker():
            [runner] = self.runners()
            [child] = [pid for pid in processes_of(self.box.binary) if parent_of(pid) == runner]
            return child
        self.killed(worker, "1 of its workers ended before their time")
        # The message waits for the next one.
        self.assertEqual(len(self.names("queue")), 1)

    def test_a_run_of_the_queue_s_owner(self):
        """What was dropped is root's to take in."""
        self.queue_run()
        self.sendmail("-i", "u@far.example")
        owner = self.box.users["queue-owner"]
        run(self.box.binary, "-c", self.box.conf, "-q", user=owner.uid, group=owner.gid, extra_groups=[], cwd="/")
        self.assertEqual(len(self.names("drop")), 1)
        self.assertNotIn("Permission denied", self.box.log())
        self.queue_run()
        self.assertEqual(sum(self.sink.got.values()), 1)


if __name__ == "__main__":
    harness.main()
