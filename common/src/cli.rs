//! The command line, the same for every program. It comes from the launcher's configuration: not hostile.
//!
//! The print macros are denied in this workspace because a server's descriptors belong to the client; what is for a
//! person at a terminal goes to a writer that the caller names.

use crate::config::{Config, Setting};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

/// What distinguishes a program's command line.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// `pop3d`.
    pub name: &'static str,
    /// Its version, for `--version`.
    pub version: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Options beyond the shared ones, at most 32.
    pub flags: &'static [Flag],
}

/// An option without an argument that only some programs have.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name without the dashes.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// A command line that a program has beside the one that is read here, for `--help`. It takes `-c` and `-o` as well.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// What makes it this one: `-q`.
    pub option: &'static str,
    /// What may follow.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// What the program was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Serve the connection on descriptors 0 and 1.
    #[default]
    Serve,
    /// `-n`: print the settings that differ from their defaults.
    ShowChanged,
    /// `--check`: test the configuration.
    Check,
    /// `--help` or `-h`.
    Help,
    /// `--version`.
    Version,
}

/// The command line, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// What to do; everything but [`Mode::Serve`] is for a person at a terminal.
    pub mode: Mode,
    /// `-c`: the configuration file, which must exist then.
    pub config_file: Option<PathBuf>,
    /// `-o`: settings that win over the file, in their order.
    pub overrides: Vec<String>,
    /// `--tls`: TLS from the first octet.
    pub tls: bool,
    /// `--preauth`: serve the calling user without login.
    pub preauth: bool,
    pub(crate) flags: u32,
}

/// The command line is wrong: one line, with the right usage behind it. The program ends with
/// [`crate::exit::Exit::Usage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The shared options as `--help` shows them.
const OPTIONS: [(&str, &str); 8] = [
    ("-c FILE", "read this file instead of /etc/tinmail.conf"),
    ("-o NAME=VALUE", "a setting that wins over the file's; may be given more than once"),
    ("--tls", "TLS from the first octet"),
    ("--preauth", "serve the calling user's mail without login"),
    ("-n", "print the settings that differ from their defaults"),
    ("--check", "test the configuration and what it names"),
    ("--help, -h", "this text"),
    ("--version", "name and version"),
];

impl CommandLine {
    /// Parses the arguments behind the program's name.
    pub fn parse(
        program: &Program,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<CommandLine, UsageError> {
        let mut line = CommandLine::default();
        line.read(program, lexopt::Parser::from_args(arguments))
            .map_err(|error| UsageError(format!("{error}; usage: {}", usage(program))))?;
        Ok(line)
    }

    fn read(&mut self, program: &Program, mut parser: lexopt::Parser) -> Result<(), lexopt::Error> {
        use lexopt::prelude::{Long, Short};
        while let Some(argument) = parser.next()? {
            match argument {
                Short('c') => self.config_file = Some(parser.value()?.into()),
                Short('o') => self.overrides.push(parser.value()?.into_string()?),
                Short('h') | Long("help") => self.mode = Mode::Help,
                Short('n') => self.mode = Mode::ShowChanged,
                Long("tls") => self.tls = true,
                Long("preauth") => self.preauth = true,
                Long("check") => self.mode = Mode::Check,
                Long("version") => self.mode = Mode::Version,
                Long(name) => match program.flags.iter().position(|flag| flag.name == name) {
                    Some(at) => self.flags |= 1 << at,
                    None => return Err(argument.unexpected()),
                },
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(())
    }

    /// Whether one of the program's own flags was given.
    pub fn has(&self, program: &Program, name: &str) -> bool {
        program.has(self.flags, name)
    }
}

impl Program {
    /// Whether the flag is among those that a [`CommandLine`] found.
    pub(crate) fn has(&self, flags: u32, name: &str) -> bool {
        self.flags.iter().position(|flag| flag.name == name).is_some_and(|at| flags & (1 << at) != 0)
    }
}

fn usage(program: &Program) -> String {
    let own: String = program.flags.iter().map(|flag| format!(" [--{}]", flag.name)).collect();
    format!(
        "{} [-c FILE] [-o NAME=VALUE]... [--tls] [--preauth]{own} [-n] [--check] [--help] [--version]",
        program.name
    )
}

/// `--help`: options, then the settings that this program looks at, with their defaults.
pub fn print_help(program: &Program, beside: Option<&Beside>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}\n\nusage: {}", program.name, program.summary, usage(program))?;
    if let Some(Beside { option, arguments, .. }) = beside {
        writeln!(out, "       {} [-c FILE] [-o NAME=VALUE]... {option} {arguments}", program.name)?;
    }
    writeln!(out)?;
    for (option, help) in OPTIONS {
        writeln!(out, "  {option:<14}  {help}")?;
    }
    for flag in program.flags {
        writeln!(out, "  {:<14}  {}", format!("--{}", flag.name), flag.help)?;
    }
    if let Some(Beside { option, help, .. }) = beside {
        writeln!(out, "  {option:<14}  {help}")?;
    }
    writeln!(out, "\nsettings, for {} and -o:\n", crate::config::DEFAULT_FILE)?;
    for row in Setting::all().filter(|row| row.concerns(program)) {
        writeln!(out, "  {}\n      {}", assignment(row.name, &row.default_text()), row.help)?;
    }
    writeln!(out, "\nexit status: 0 done, 100 usage or configuration, 111 temporary failure")
}

/// `--version`.
pub fn print_version(program: &Program, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "tinmail {} {}", program.name, program.version)
}

/// `-n`: lines that may be put into a configuration file as they are.
pub fn print_changed(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    config.changed().try_for_each(|(name, value)| writeln!(out, "{}", assignment(name, &value)))
}

fn assignment(name: &str, value: &str) -> String {
    format!("{name} = {value}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "testd",
        version: "1.2.3",
        summary: "a server for tests",
        flags: &[Flag { name: "lmtp", help: "RFC 2033" }, Flag { name: "fast", help: "no waiting" }],
    };

    fn parse(arguments: &[&str]) -> Result<CommandLine, String> {
        let arguments = arguments.iter().map(OsString::from);
        CommandLine::parse(&PROGRAM, arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_taken_in_any_order() {
        let line = parse(&["--tls", "-o", "a=b", "-c", "/x", "--fast", "-oc=d=e", "--preauth"]).unwrap();
        assert_eq!(line.overrides, ["a=b", "c=d=e"]);
        assert_eq!(line.config_file.as_deref(), Some("/x".as_ref()));
        assert!(line.tls && line.preauth && line.mode == Mode::Serve);
        assert!(line.has(&PROGRAM, "fast") && !line.has(&PROGRAM, "lmtp") && !line.has(&PROGRAM, "none"));
        for (option, mode) in [
            ("-n", Mode::ShowChanged),
            ("--check", Mode::Check),
            ("--help", Mode::Help),
            ("-h", Mode::Help),
            ("--version", Mode::Version),
        ] {
            assert_eq!(parse(&[option]).unwrap().mode, mode);
        }
    }

    #[test]
    fn wrong_command_lines_are_answered_with_the_usage() {
        let rows: [&[&str]; 7] =
            [&["--food"], &["-x"], &["file"], &["-c"], &["-o"], &["--tls=yes"], &["--", "file"]];
        for arguments in rows {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains("; usage: testd [-c FILE]"), "{arguments:?}: {error}");
            assert!(error.contains("[--lmtp] [--fast]") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn help_shows_every_option_and_every_setting_of_the_program() {
        let mut out = Vec::new();
        let beside = Beside { option: "-r", arguments: "[NAME]", help: "run something" };
        print_help(&PROGRAM, Some(&beside), &mut out).unwrap();
        let help = String::from_utf8(out).unwrap();
        assert!(help.contains("\n       testd [-c FILE] [-o NAME=VALUE]... -r [NAME]\n\n"));
        assert!(help.contains("\n  -r              run something\n"));
        for (option, _) in OPTIONS {
            assert!(help.contains(&format!("\n  {option}")), "{option}");
        }
        for row in Setting::all() {
            assert_eq!(help.contains(&format!("\n  {} =", row.name)), row.concerns(&PROGRAM), "{}", row.name);
        }
        assert!(help.contains("\n  --lmtp          RFC 2033\n"));
        assert!(help.contains("\n  mail_location = maildir:~/Maildir\n"));
        assert!(help.lines().all(|line| line.len() <= 120 && line.trim_end() == line));
    }

    #[test]
    fn changed_settings_are_printed_as_lines_of_a_file() {
        let config = Config::from_pairs(&PROGRAM, ["ssl=no", "log_path=/var/log/mail", "passdb="]).unwrap();
        let mut out = Vec::new();
        print_changed(&config, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "passdb =\nssl = no\nlog_path = /var/log/mail\n");
    }
}
