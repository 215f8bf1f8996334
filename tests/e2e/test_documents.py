"""What the documents say: every option, setting, command and capability is there, and every test, file and link that they name."""

import re

import harness
from harness import TREE, Box, Case, run


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

    def test_every_option_is_in_the_manual_page(self):
        for name, text in self.help.items():
            options = re.findall(r"(?m)^  (--?[a-z]+)", text)
            self.assertGreaterEqual(len(options), 8)
            page = (TREE / f"doc/{name}d.8").read_text()
            for option in options:
                macro = "Fl Fl " + option[2:] if option.startswith("--") else "Fl " + option[1:]
                self.assertIn(f".It {macro}", page, option)
                self.assertIn(f".Op {macro}", page, option)

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

    def test_links_in_the_documents_lead_somewhere(self):
        for path in [*TREE.glob("*.md"), *TREE.glob("doc/**/*.md"), *TREE.glob("xinetd/*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")


if __name__ == "__main__":
    harness.main()
