"""What the documents say: every option, setting, command and capability is there, and every test, file and link that they name."""

import os
import pathlib
import pwd
import re
import string
import tempfile

import harness
from harness import TREE, Box, Case, run
from smtp_out import beside


class Documentation(Case):
    """Every option and every setting is in --help and in the manual pages, and nothing else is."""

    @classmethod
    def setUpClass(cls):
        box = Box(tls=False)
        cls.addClassCleanup(box.close)
        cls.help = {name: run(binary, "--help").stdout for name, binary in box.binaries.items()}
        cls.settings_of = {name: dict(re.findall(r"(?m)^  ([A-Za-z0-9_]+) =(?: (.*))?$", text)) for name, text in cls.help.items()}
        cls.settings = {name: value for settings in cls.settings_of.values() for name, value in settings.items()}
        cls.manual = (TREE / "doc/tinmail.conf.5").read_text()
        cls.source = (TREE / "common/src/config/settings.rs").read_text()

    def test_every_setting_is_in_the_help(self):
        for name, settings in self.settings_of.items():
            rows = re.findall(rf"(?m)^ +(?:all|(?:[a-z0-9]+_)?{name}d(?:_[a-z0-9]+)?) ([A-Za-z0-9_]+):", self.source)
            self.assertGreater(len(rows), 40)
            self.assertEqual(sorted(settings), sorted(rows))

    def test_every_setting_is_in_the_manual_page_and_no_other(self):
        headings = [line for line in self.manual.splitlines() if line.startswith(".It Ic ")]
        documented = {name for line in headings for name in re.findall(r"\b([a-z][a-z0-9]*_[A-Za-z0-9_]+|ssl|passdb|myhostname|mydomain|myorigin|mydestination|mynetworks|relayhost)\b",
                                                                       line.split(" Pq ")[0])}
        self.assertEqual(documented, set(self.settings))

    def test_defaults_in_the_manual_page_are_those_of_the_help(self):
        seconds = {"secs": 1, "s": 1, "m": 60, "mins": 60, "min": 60, "h": 3600, "hours": 3600, "hour": 3600, "d": 86400,
                   "day": 86400, "days": 86400}

        def plain(value):
            value = re.sub(r"\\&", "", value.strip().strip('"'))
            time = re.fullmatch(r"(\d+) ?(secs|s|m|mins|min|h|hours|hour|d|day|days)", value)
            return str(int(time[1]) * seconds[time[2]]) if time else value
        for line in self.manual.splitlines():
            entry = re.match(r"\.It Ic (\S+) Pq (?:Li|Pa) (.*)$", line)
            if entry and entry[1] in self.settings:
                with self.subTest(entry[1]):
                    self.assertEqual(plain(entry[2]), plain(self.settings[entry[1]]))

    def test_every_command_is_in_the_manual_page(self):
        grammar = (TREE / "imapd/src/grammar/command.rs").read_text()
        commands = re.findall(r'(?m)^ +((?:b"[A-Z]+" ?\|? ?)+) => ', grammar)
        commands = {name for line in commands for name in re.findall(r'b"([A-Z]+)"', line)}
        page = (TREE / "doc/imapd.8").read_text()
        self.assertGreater(len(commands), 30)
        for command in commands:
            self.assertRegex(page, rf"\b{command}\b")

    def test_every_capability_is_in_the_manual_page(self):
        source = (TREE / "imapd/src/capability.rs").read_text()
        names = " ".join(re.findall(r'(?s)const [A-Z_]+: &str = "(.*?)"', source)).replace("\\\n", " ").split()
        page = (TREE / "doc/imapd.8").read_text()
        self.assertGreater(len(names), 20)
        for name in set(names) - {"IMAP4rev1"}:
            self.assertIn(name, page)

    def test_the_settings_in_a_help_are_those_that_the_program_reads(self):
        """What only common reads is every program's; who has a setting of its own reads it itself."""
        def sources(name):
            files = [path for path in (TREE / name / "src").rglob("*.rs") if not re.search("tests?\\.rs$|testing|common/src/config/", str(path))]
            return "\n".join(path.read_text().split("#[cfg(test)]\nmod tests {")[0] for path in files)
        common = sources("common")
        own = {name: sources(f"{name}d") for name in self.settings_of}

        def reads(source, setting):
            return re.search(rf"\.{setting}\b(?!\()", source)
        checked = 0
        for setting in self.settings:
            if not reads(common, setting):
                checked += 1
                with self.subTest(setting):
                    self.assertEqual({name for name, settings in self.settings_of.items() if setting in settings},
                                     {name for name, source in own.items() if reads(source, setting)})
        self.assertGreater(checked, 100)

    def test_the_settings_of_a_session_are_not_those_of_smtpd(self):
        """It has none: its guard never becomes one."""
        self.assertIn("verbose_proctitle", self.settings_of["pop3"])
        self.assertNotIn("verbose_proctitle", self.settings_of["smtp"])

    def test_settings_named_in_texts_exist(self):
        """README, the service files, the units: no name that the program does not know."""
        known = set(self.settings)
        texts = [TREE / "README.md", *(TREE / "xinetd").iterdir(), *(TREE / "systemd").iterdir(), TREE / "s6/README"]
        for path in texts:
            for name in re.findall(r"`((?:auth|login|pop3|ssl|mail|reply|session|haproxy)_[a-z_0-9]+)`", path.read_text()):
                self.assertIn(name, known, path.name)
            for name in re.findall(r"-o ([a-z_0-9]+)=", path.read_text()):
                self.assertIn(name, known, path.name)

    def test_tests_named_in_the_documents_exist(self):
        """`FILE::TEST`, or a file alone."""
        for document in (TREE / "doc").glob("*.md"):
            for name, _, test in re.findall(r"`((?:tests|common|pop3d|imapd|smtpd|tinmail)/[\w/.-]+)(::(\w+))?`", document.read_text()):
                with self.subTest(f"{document.name}: {name} {test}"):
                    self.assertTrue((TREE / name).exists())
                    if test:
                        self.assertRegex((TREE / name).read_text(), rf"(?:fn|def) {test}\b")

    def test_every_file_of_these_tests_is_in_their_table(self):
        rows = [line.split("|")[1] for line in (TREE / "tests/README.md").read_text().splitlines() if line.startswith("| `test_")]
        named = [name for row in rows for name in re.findall(r"`([^`]*)`", row)]
        self.assertCountEqual(named, [path.name for path in (TREE / "tests/e2e").glob("test_*.py")])

    def test_links_in_the_documents_lead_somewhere(self):
        for path in [*TREE.glob("*.md"), *TREE.glob("doc/**/*.md"), *TREE.glob("xinetd/*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")


def mdoc_options(lines):
    """The options in lines of a manual page: behind Fl, and behind "|" or "," from there on."""
    found = set()
    for line in lines:
        words, after_option = line.lstrip(".").split(), False
        for before, word, following in zip(["", *words], words, [*words[1:], ""]):
            if before == "Fl" and word == "Fl":
                found.add(f"--{following}")
            elif word != "Fl" and (before == "Fl" and f"--{word}" not in found or after_option and before in ("|", ",")):
                found.add(f"-{word}")
                after_option = True
            elif word in ("Ar", "Nm", "Cm", "Op", "Ns"):
                after_option = False
    return found


class Options(Case):
    """What a command line takes is in the manual page, and nothing else is. Letters are tried, each of them."""

    LETTERS = string.ascii_letters + string.digits

    @classmethod
    def setUpClass(cls):
        box = Box(tls=False)
        cls.addClassCleanup(box.close)
        cls.servers = box.binaries
        cls.sendmail, cls.tinmail = beside("sendmail"), beside("tinmail")
        cls.pages = {path.name: path.read_text() for path in (TREE / "doc").glob("*.[1-8]")}

    def synopsis(self, page):
        """Its lines, one list for each way to call it."""
        text = re.search(r"(?ms)^\.Sh SYNOPSIS\n(.*?)^\.Sh ", self.pages[page])[1]
        return [part.splitlines() for part in re.split(r"(?m)^\.Nm", text)[1:]]

    def said(self, *command):
        return run(*command, check=False).stderr

    def test_servers(self):
        read = re.findall(r'Long\("([a-z]+)"\)', (TREE / "common/src/cli.rs").read_text())
        self.assertGreater(len(read), 3)
        for name, binary in self.servers.items():
            with self.subTest(name):
                page = self.pages[f"{name}d.8"]
                helped = re.findall(r"(?m)^  (--?[a-z]+)(?:.*?, (--?[a-z]+)  )?", run(binary, "--help").stdout.split("\nsettings")[0])
                helped = {option for pair in helped for option in pair if option}
                # The word is the value of those that have one; --version comes before anything is served.
                tried = {f"-{letter}" for letter in self.LETTERS
                         if f"invalid option '-{letter}'" not in self.said(binary, f"-{letter}", "word", "--version")}
                self.assertEqual({option for option in helped if not option.startswith("--")}, tried)
                self.assertLessEqual({f"--{option}" for option in read}, helped)
                options = re.search(r"(?ms)^\.Sh OPTIONS\n(.*?)^\.Sh ", page)[1]
                self.assertEqual(mdoc_options(re.findall(r"(?m)^\.It .*", options)), helped)
                self.assertEqual(mdoc_options(sum(self.synopsis(f"{name}d.8"), [])), helped)

    def test_a_queue_run_tells_about_smtpd_as_well(self):
        smtpd = self.servers["smtp"]
        self.assertIn("\n       smtpd [-c FILE] [-o NAME=VALUE]... -q [ID... | @DOMAIN]\n", run(smtpd, "--help").stdout)
        for option in ("--help", "-h", "--version"):
            told = run(smtpd, option).stdout
            for arguments in (["-q", option], [option, "-q", "abc"], ["-c", "/nonexistent", "-q", "@example.org", option]):
                self.assertEqual(run(smtpd, *arguments).stdout, told, arguments)
        # A value, and what stands behind --, is no option.
        for arguments in (["-o", "--help", "-q"], ["-q", "--", "--help"]):
            done = run(smtpd, *arguments, check=False)
            self.assertEqual((done.returncode, done.stdout), (100, ""), arguments)

    # "-%" is no option, so that nothing is ever done: who says so has taken what stands before it.

    def taken_by_sendmail(self, template, refusal):
        """The characters with which sendmail takes the option."""
        self.assertIn("unknown option -%", self.said(self.sendmail, "-%"))
        return {letter for letter in self.LETTERS if refusal.format(letter) not in self.said(self.sendmail, template.format(letter), "-%", "-%")}

    def sendmail_listed(self):
        """What .It has, and what is said to change nothing: letters, and those of -o."""
        page = self.pages["sendmail.8"]
        nothing = re.search(r"(?m)^\.Fl (.*)\nand\n\.Fl o\nwith\n\.Cm (.*)\nare accepted and change nothing", page)
        return mdoc_options(re.findall(r"(?m)^\.It Fl .*", page)), set(nothing[1].replace(",", "").split()), set(nothing[2].split())

    def test_letters_of_sendmail(self):
        listed, nothing, _ = self.sendmail_listed()
        does = {option[1] for option in listed}
        self.assertFalse(does & nothing)
        self.assertEqual(does | nothing, self.taken_by_sendmail("-{}", "unknown option -{}\n"))
        shown = {option[1:].replace("\\&", "") for option in mdoc_options(sum(self.synopsis("sendmail.8"), []))}
        letters = {letter for word in shown for letter in (word[0] if word[0] in "bq" else word)} - {"-"}
        self.assertEqual(letters, does)

    def test_modes_of_sendmail(self):
        listed, _, _ = self.sendmail_listed()
        modes = {option[2:] for option in listed if option.startswith("-b")}
        self.assertEqual(modes, self.taken_by_sendmail("-b{}", "-b{} is not supported;"))
        refused = {mode for mode in modes if "there is no daemon" in self.said(self.sendmail, f"-b{mode}", "-%")}
        self.assertEqual(refused, {"d", "D"})
        shown = {option[2:] for option in mdoc_options(sum(self.synopsis("sendmail.8"), [])) if option.startswith("-b")}
        self.assertEqual(shown, modes - refused)

    def test_letters_behind_o_of_sendmail(self):
        listed, _, nothing = self.sendmail_listed()
        does = {option[2:] for option in listed if option.startswith("-o")} - {""}
        self.assertEqual(does | nothing, self.taken_by_sendmail("-o{}", "{} is not supported"))

    def test_long_names_of_sendmail(self):
        entries = re.findall(r"(?ms)^\.It Fl O Ar Name=value , Fl o Ar Name=value\n(.*?)^\.(?:It|El)", self.pages["sendmail.8"])
        named = {word for line in re.findall(r"(?m)^\.Cm (.*)", "".join(entries)) for word in re.findall(r"\w+", line)}
        source = (TREE / "smtpd/src/sendmail/options.rs").read_text()
        known = set(re.findall(r'"([A-Z][a-z]+[A-Za-z]+)"', re.search(r"(?s)fn set_option.*?\n    }\n", source)[0]))
        self.assertGreater(len(named), 5)
        self.assertEqual(named, known)
        for letter in "oO":
            for name in named:
                self.assertIn("unknown option -%", self.said(self.sendmail, f"-{letter}", f"{name}=x", "-%"))
            self.assertIn("is not supported", self.said(self.sendmail, f"-{letter}", "QueueDirectory=x", "-%"))

    def test_queue_runs_of_sendmail(self):
        listed, _, _ = self.sendmail_listed()
        forms = {option[2:] for option in listed if option.startswith("-q")} - {""}
        alone = {letter for letter in self.LETTERS if "'-%'" in self.said(self.sendmail, f"-q{letter}", "-%")}
        valued = {letter for letter in self.LETTERS if "no queue ID" in self.said(self.sendmail, f"-q{letter}%", "-%")}
        self.assertEqual((alone, valued), ({"0", "f"}, {"I", "R"}))
        self.assertEqual(forms, alone | valued)
        for form in ("", "f", "0"):
            self.assertIn('"%" is no queue ID and no @DOMAIN', self.said(self.sendmail, f"-q{form}", "abc", "%"))
        self.assertIn([" sendmail", ".Op Fl C Ar file", ".Op Fl o Ar name=value", ".Fl q | qf | q0", ".Op Ar ID ... | Cm @ Ns Ar domain"],
                      self.synopsis("sendmail.8"))

    def test_mailq_and_newaliases(self):
        """They are sendmail by another name; what there is to choose for them stands in their lines."""
        for name in ("mailq", "newaliases"):
            self.assertIn([f" {name}", ".Op Fl C Ar file", ".Op Fl o Ar name=value"], self.synopsis("sendmail.8"))
            with tempfile.TemporaryDirectory() as directory:
                link = pathlib.Path(directory) / name
                link.symlink_to(self.sendmail)
                done = run(link, "-C", "/nonexistent/conf", "-o", "alias_maps=", check=False)
                self.assertEqual(done.returncode, 78)
                self.assertIn("/nonexistent/conf: ", done.stderr)
                self.assertIn("unknown option -%", self.said(link, "-C", "x", "-o", "alias_maps=", "-%"))

    def test_options_of_tinmail(self):
        usage, page = run(self.tinmail, "--help").stdout, self.pages["tinmail.8"]
        read = set(re.findall(r'"(--?[a-z]+)"', (TREE / "tinmail/src/lib.rs").read_text()))
        tried = {f"-{letter}" for letter in self.LETTERS if "unknown option" not in self.said(self.tinmail, f"-{letter}", "/nonexistent/conf")}
        self.assertEqual({option for option in read if not option.startswith("--")}, tried)
        listed = re.findall(r"(?m)^  (--?[a-z]+)(?:.*?, (--?[a-z]+)  )?", usage)
        self.assertEqual({option for pair in listed for option in pair if option}, read)
        self.assertEqual(mdoc_options(re.findall(r"(?m)^\.It Fl .*", page)), read)
        shown = [part for part in self.synopsis("tinmail.8") if not any(line.startswith(".Cm ") for line in part)]
        self.assertEqual(mdoc_options(sum(shown, [])), read - {"-c", "-o"})
        self.assertEqual(run(self.tinmail, "-h").stdout, usage)
        self.assertRegex(run(self.tinmail, "--version").stdout, r"^tinmail \d")

    def test_options_of_commands_of_tinmail(self):
        usage, page = run(self.tinmail, "--help").stdout, self.pages["tinmail.8"]
        for command in ("maildirmake", "user", "import"):
            with self.subTest(command):
                read = set(re.findall(r'"(-[a-z])"', (TREE / f"tinmail/src/{command}.rs").read_text()))
                self.assertTrue(read)
                lines = "\n".join(re.findall(rf"(?m)^  {command} .*", usage))
                self.assertEqual(set(re.findall(r"\[(-[a-z]) ", lines)), read)
                self.assertEqual(mdoc_options(re.findall(rf"(?m)^\.It Cm {command} .*", page)), read)
                [shown] = [part for part in self.synopsis("tinmail.8") if any(line.startswith(f".Cm {command}") for line in part)]
                self.assertEqual(mdoc_options(shown), read | {"-c", "-o"})

    def test_commands_of_tinmail(self):
        """The usage and the page say the same, and so does the program: it takes several IDs where they say so."""
        usage, page = run(self.tinmail, "--help").stdout, self.pages["tinmail.8"]
        in_usage = re.findall(r"(?m)^  queue (\S+) ?(\S*)", usage)
        in_page = re.findall(r"(?m)^\.It Cm queue (\S+) ?(.*)", page)
        plain = [(name, re.sub(r"\b(Ar|Cm|Op|Ns) ?|[\[\] ]", "", words)) for name, words in in_page]
        self.assertEqual([(name, words.lower()) for name, words in plain], [(name, re.sub(r"[\[\]]", "", words).lower()) for name, words in in_usage])
        source = (TREE / "tinmail/src/queue.rs").read_text()
        self.assertEqual({name for name, _ in in_usage}, {"list", *re.findall(r'(?m)^        \["([a-z]+)"', source)})
        first_words = set(re.findall(r"(?m)^  ([a-z]+)\b", usage))
        self.assertEqual(first_words, set(re.findall(r"(?m)^\.It Cm ([a-z]+)", page)))
        self.assertEqual(first_words, set(re.findall(r'Some\(\(&"([a-z]+)", ', (TREE / "tinmail/src/lib.rs").read_text())))
        with tempfile.TemporaryDirectory() as directory:
            owner = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "mail"
            settings = ["-c", "/dev/null", "-o", f"queue_directory={directory}/queue", "-o", f"mail_owner={owner}", "-o", "log_path=/dev/null"]
            for name, words in in_usage:
                if "ID" in words:
                    with self.subTest(name):
                        done = run(self.tinmail, *settings, "queue", name, "4gX1aaaaaa", "4gX1bbbbbb", check=False)
                        self.assertEqual(done.returncode, 111 if "..." in words else 100, done.stderr)

    def test_the_page_of_the_settings_names_every_server(self):
        introduction = self.pages["tinmail.conf.5"].split("\n.Ss ")[0]
        for name in self.servers:
            for option in ("--check", "-n"):
                self.assertRegex(introduction, rf"(?m)^\.Ic {name}d {option}\b")

    def test_pages_refer_to_pages_that_there_are(self):
        """What one of ours describes has no page but that."""
        names = {}
        for page, text in self.pages.items():
            for line in re.findall(r"(?m)^\.Nm (.+)", re.search(r"(?ms)^\.Sh NAME\n(.*?)^\.Sh ", text)[1]):
                for name in re.findall(r"[\w.]+", line):
                    names[name] = page
        self.assertLess({"sendmail", "mailq", "newaliases", "smtpd", "aliases"}, set(names))
        for page, text in self.pages.items():
            for name, section in re.findall(r"\bXr ([\w.]+) (\d)", text):
                if name in names:
                    self.assertIn(f"{name}.{section}", set(self.pages), page)


if __name__ == "__main__":
    harness.main()
