//! The command line of a queue run.

use super::dispatch::Selection;
use crate::queue::Id;
use common::cli::{CommandLine, Program};
use std::ffi::{OsStr, OsString};

/// For the settings: a run has all of smtpd's.
pub(super) const PROGRAM: Program =
    Program { name: "smtpd", version: env!("CARGO_PKG_VERSION"), summary: "queue run", flags: &[] };

/// The settings come from whoever has started the run ([`common::process::service::start_detached`]).
pub const HANDED_OVER: &str = "--handed-over";

const USAGE: &str = "usage: smtpd [-c FILE] [-o NAME=VALUE]... -q [ID... | @DOMAIN]";

/// What a run was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the settings are.
    pub line: CommandLine,
    /// They are handed over instead.
    pub handed_over: bool,
    /// What is tried.
    pub selection: Selection,
}

/// Whether these arguments, without the program's name, are a queue run's.
pub fn is_asked_for<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> bool {
    let mut arguments = arguments.filter_map(OsStr::to_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-c" | "-o" => drop(arguments.next()),
            "--" => return false,
            _ if argument.starts_with("-q") => return true,
            _ => {}
        }
    }
    false
}

impl Options {
    /// Reads them. `Err`: a line for a person.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
        use lexopt::prelude::{Long, Short, Value};
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut line = CommandLine::default();
        let (mut ids, mut domain, mut handed_over) = (Vec::new(), None, false);
        let wrong = |what: String| format!("{what}; {USAGE}");
        while let Some(argument) = parser.next().map_err(|error| wrong(error.to_string()))? {
            match argument {
                Short('c') => {
                    line.config_file = Some(parser.value().map_err(|error| wrong(error.to_string()))?.into());
                }
                Short('o') => {
                    let value = parser.value().and_then(|value| value.into_string().map_err(Into::into));
                    line.overrides.push(value.map_err(|error| wrong(error.to_string()))?);
                }
                Short('q') => {
                    if let Some(interval) = parser.optional_value() {
                        return Err(wrong(format!(
                            "-q{}: nothing here stays resident: a timer runs \"smtpd -q\" (tinmail-queue.timer, cron, s6)",
                            interval.to_string_lossy()
                        )));
                    }
                }
                Long(name) if HANDED_OVER.strip_prefix("--") == Some(name) => handed_over = true,
                Value(value) => {
                    let text = value.to_string_lossy().into_owned();
                    match (text.strip_prefix('@'), Id::parse(&text)) {
                        (Some(name), _) if crate::address::is_domain(name) => domain = Some(name.to_owned()),
                        (None, Some(id)) => ids.push(id),
                        _ => return Err(wrong(format!("{text:?} is no queue ID and no @DOMAIN"))),
                    }
                }
                other => return Err(wrong(other.unexpected().to_string())),
            }
        }
        let selection = match (domain, ids.is_empty()) {
            (None, true) => Selection::Due,
            (None, false) => Selection::Ids(ids),
            (Some(domain), true) => Selection::Domain(domain),
            (Some(_), false) => return Err(wrong("either IDs or one @DOMAIN".to_owned())),
        };
        Ok(Options { line, handed_over, selection })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn selections() {
        let id = |text| Id::parse(text).unwrap();
        for (arguments, selection) in [
            (&["-q"][..], Selection::Due),
            (&["-c", "/dev/null", "-o", "a=b", "-q"], Selection::Due),
            (&["-q", "abc", "d-f1"], Selection::Ids(vec![id("abc"), id("d-f1")])),
            (&["-q", "@example.org"], Selection::Domain("example.org".into())),
            (&["-q", HANDED_OVER, "abc"], Selection::Ids(vec![id("abc")])),
        ] {
            let options = parse(arguments).unwrap();
            assert_eq!(options.selection, selection);
            assert_eq!(options.handed_over, arguments.contains(&HANDED_OVER));
            assert!(is_asked_for(arguments.iter().map(OsStr::new)));
        }
        let line = parse(&["-c", "/x", "-o", "a=b", "-q"]).unwrap().line;
        assert_eq!((line.config_file, line.overrides), (Some("/x".into()), vec!["a=b".to_owned()]));
        for arguments in [&[][..], &["--lmtp"], &["-o", "-q"], &["-c", "-qx"], &["--", "-q"]] {
            assert!(!is_asked_for(arguments.iter().map(OsStr::new)), "{arguments:?}");
        }
    }

    #[test]
    fn an_interval_is_a_timers() {
        let error = parse(&["-q15m"]).unwrap_err();
        assert!(error.contains("-q15m") && error.contains("tinmail-queue.timer"), "{error}");
        for arguments in [&["-q", "a/b"][..], &["-q", "@a b"], &["-q", "a", "@b"], &["-q", "--tls"]] {
            assert!(parse(arguments).unwrap_err().contains("usage: smtpd"), "{arguments:?}");
        }
    }
}
