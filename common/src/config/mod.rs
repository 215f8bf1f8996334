//! Settings: their names, values, defaults, and the file and command line they come from.
//!
//! The input is the administrator's, not hostile, but it decides about security: an unknown name, a value that is
//! not exactly one of the accepted ones or an unreadable file is refused in one line that names the place.
//! Nothing here is kept in tables on the heap: a session that uses the defaults allocates nothing.

pub mod check;
mod file;
mod foreign;
pub mod format;
pub mod keyword;
pub mod mailboxes;
pub mod next_hop;
mod settings;
pub mod value;

pub use settings::Config;

use crate::cli::{CommandLine, Program};
use std::fmt;
use std::path::Path;

/// The file that is read when the command line names none; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/tinmail.conf";

/// Most lines of the configuration that are called wrong at once, in the log.
const WRONG_MAX: usize = 10;

/// And by `--check`: Postfix's own file with everything that Debian writes into it has fewer.
const WRONG_KEPT: usize = 200;

/// Why there is no configuration: a line for each fault, for the log and for a person. The client is told only that the
/// server is out of service for now; the program ends with [`crate::exit::Exit::Usage`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigError {
    lines: Vec<String>,
    /// Faults beyond [`WRONG_KEPT`].
    more: usize,
}

impl ConfigError {
    #[inline(never)]
    fn add(&mut self, line: String) {
        if self.lines.len() < WRONG_KEPT { self.lines.push(line) } else { self.more += 1 }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The configuration, if nothing is wrong with it.
    fn none_or<T>(self, config: T) -> Result<T, ConfigError> {
        if self.lines.is_empty() { Ok(config) } else { Err(self) }
    }

    /// One line for each fault, at most ten, and one about the others.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let more = self.lines.len().saturating_sub(WRONG_MAX) + self.more;
        let more = (more > 0).then(|| format!("and {more} more wrong lines, which --check tells"));
        self.lines.iter().take(WRONG_MAX).cloned().chain(more)
    }

    /// One line for each fault, for a person who asked for all.
    pub fn all_lines(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("and {} more wrong lines", self.more));
        self.lines.iter().cloned().chain(more)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for ConfigError {}

/// One row of the table of settings, as `--help`, `-n` and the manual page show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The name before the `=`.
    pub name: &'static str,
    /// `all`, or the programs that look at it, with `_` between them.
    pub used_by: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

impl Setting {
    /// Every setting there is, in the order of the manual page.
    pub fn all() -> impl Iterator<Item = Setting> {
        settings::ROWS.lines().map(|row| {
            let mut cells = row.splitn(3, '\t');
            let mut cell = || cells.next().unwrap_or("");
            Setting { name: cell(), used_by: cell(), help: cell() }
        })
    }

    /// Whether the program looks at this setting. The others are accepted in the file all the same.
    pub fn concerns(&self, program: &Program) -> bool {
        self.used_by == "all" || self.used_by.split('_').any(|name| name == program.name)
    }

    /// The value that holds without any file.
    pub fn default_text(&self) -> String {
        Config::DEFAULT.print(self.name).unwrap_or_default()
    }

    /// What may stand behind the `=`.
    pub fn accepted(&self) -> &'static str {
        Config::accepted(self.name).unwrap_or("")
    }
}

impl Config {
    /// Reads the file, then the `-o` options of the command line, which win. All that is wrong with them is said at once.
    pub fn load(program: &Program, line: &CommandLine) -> Result<Config, ConfigError> {
        let (config, wrong) = Config::load_what_is_right(program, line);
        wrong.none_or(config)
    }

    /// The same, without what is wrong: to go on with a test, and for nothing else.
    pub(crate) fn load_what_is_right(program: &Program, line: &CommandLine) -> (Config, ConfigError) {
        let (mut config, mut wrong) = (Config::DEFAULT, ConfigError::default());
        let (path, may_be_missing) = match &line.config_file {
            Some(path) => (path.as_path(), false),
            None => (Path::new(DEFAULT_FILE), true),
        };
        file::read(&mut config, program, path, may_be_missing, &mut wrong);
        for pair in &line.overrides {
            if let Err(problem) = file::apply_pair(&mut config, program, pair) {
                wrong.add(format!("-o {problem}"));
            }
        }
        (config, wrong)
    }

    /// What another process of the same program handed over: the pairs of [`Config::changed`].
    pub fn from_pairs<'a>(
        program: &Program,
        pairs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Config, ConfigError> {
        let (mut config, mut wrong) = (Config::DEFAULT, ConfigError::default());
        for pair in pairs {
            if let Err(problem) = file::apply_pair(&mut config, program, pair) {
                wrong.add(format!("handed over: {problem}"));
            }
        }
        wrong.none_or(config)
    }

    /// [`Config::changed`] as `name=value`, for the next process.
    pub fn changed_pairs(&self) -> impl Iterator<Item = String> + use<> {
        self.changed().map(|(name, value)| format!("{name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::keyword::Ssl;
    use super::*;

    pub(crate) const PROGRAM: Program =
        Program { name: "pop3d", version: "0", summary: "POP3 server", flags: &[] };

    fn line(overrides: &[&str]) -> CommandLine {
        let overrides = overrides.iter().map(|&pair| pair.to_owned()).collect();
        CommandLine { overrides, ..CommandLine::default() }
    }

    #[test]
    fn rows_are_complete_and_their_names_unique() {
        let rows: Vec<Setting> = Setting::all().collect();
        for (at, row) in rows.iter().enumerate() {
            assert!(!row.name.is_empty() && !row.help.is_empty() && !row.accepted().is_empty(), "{row:?}");
            let users = ["all", "imapd", "pop3d", "smtpd", "imapd_pop3d", "imapd_smtpd"];
            assert!(users.contains(&row.used_by), "{row:?}");
            assert!(row.help.len() <= 90, "{} is explained in too many words", row.name);
            assert!(rows[..at].iter().all(|other| other.name != row.name), "{}", row.name);
        }
        assert_eq!(Config::DEFAULT.changed().count(), 0);
    }

    #[test]
    fn every_default_reads_back() {
        for row in Setting::all() {
            let mut config = Config::DEFAULT;
            assert_eq!(config.set(row.name, &row.default_text()), Some(Ok(())), "{}", row.name);
            assert_eq!(config, Config::DEFAULT, "{}", row.name);
        }
    }

    #[test]
    fn a_missing_default_file_means_the_defaults_and_a_missing_named_one_an_error() {
        if !Path::new(DEFAULT_FILE).exists() {
            assert_eq!(Config::load(&PROGRAM, &line(&[])), Ok(Config::DEFAULT));
        }
        let named = CommandLine { config_file: Some("/nonexistent/conf".into()), ..line(&[]) };
        let error = Config::load(&PROGRAM, &named).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/conf: "), "{error}");
    }

    #[test]
    fn overrides_win_over_the_file_and_name_themselves_in_errors() {
        let path = std::env::temp_dir().join(format!("tinmail-config-{}", std::process::id()));
        std::fs::write(&path, "first_valid_uid = 1000\nssl=no\n").unwrap();
        let from = |overrides: &[&str]| {
            Config::load(&PROGRAM, &CommandLine { config_file: Some(path.clone()), ..line(overrides) })
        };
        let config = from(&["first_valid_uid=7", "ssl = required"]).unwrap();
        assert_eq!((config.first_valid_uid, config.ssl), (7, Ssl::Required));
        let error = |overrides: &[&str]| from(overrides).unwrap_err().to_string();
        assert_eq!(error(&["ssll=no"]), "-o unknown setting \"ssll\", did you mean \"ssl\"?");
        assert_eq!(
            error(&["ssl=maybe"]),
            "-o ssl: \"maybe\" is not accepted, want one of: no, yes, required"
        );
        assert_eq!(error(&["ssl"]), "-o want NAME = VALUE, found \"ssl\"");
        std::fs::write(&path, "ssll = no\n").unwrap();
        let lines: Vec<String> = from(&["ssl"]).unwrap_err().lines().collect();
        assert!(
            lines.len() == 2 && lines[0].contains(":1: unknown") && lines[1].starts_with("-o"),
            "{lines:?}"
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_handed_over_is_what_was_configured() {
        let config = Config::load(
            &PROGRAM,
            &CommandLine {
                config_file: Some("/dev/null".into()),
                ..line(&["passdb=passwd-file:/etc/users, shadow", "login_timeout=90", "login_greeting=a = b"])
            },
        )
        .unwrap();
        let pairs: Vec<String> = config.changed_pairs().collect();
        let want = ["passdb=passwd-file:/etc/users shadow", "login_greeting=a = b", "login_timeout=90 secs"];
        assert_eq!(pairs, want);
        assert_eq!(Config::from_pairs(&PROGRAM, pairs.iter().map(String::as_str)), Ok(config));
    }
}
