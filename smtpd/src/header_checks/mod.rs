//! `header_checks`: what an administrator wants done with messages that have certain header fields.
//!
//! ```text
//! /Subject: *make money fast*/      REJECT We have enough
//! /X-Mailer: BadMailer ?.*/         WARN
//! ```
//! The tables look like Postfix's, but what stands between the slashes is a pattern with `*` and `?` for the whole field, not a
//! regular expression: an engine for those is larger than everything else that looks at a message. What looks like one is
//! refused, so that no rule is read in another way than it was meant.
//!
//! [`sink`] applies a table where messages come in, in the writer's process, which has no rights but those of the recipient.
//! The table is the administrator's, the header a stranger's.

mod pattern;
mod sink;

pub use sink::{Checked, checked};

use crate::logical::LogicalLines;
use crate::restrictions::enhanced_of;
use crate::status::{Enhanced, Status};
use crate::values::{expand, words};
use common::config::Config;
use pattern::Pattern;
use std::io;
use std::path::{Path, PathBuf};

/// Most entries of all tables: each field is compared with each of them.
const ENTRIES_MAX: usize = 1000;

/// What is done with a field, or with the message that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `REJECT text`: the message is refused.
    Reject(Status),
    /// `DISCARD text`: the client hears that all is well, and nobody gets it.
    Discard(String),
    /// `IGNORE`: the field is left out.
    Ignore,
    /// `PREPEND field`: this one is put before it.
    Prepend(String),
    /// `WARN text`, `INFO text`: a line in the log.
    Warn(String),
    /// `DUNNO`: nothing, and later entries do not count.
    Dunno,
}

/// The entries, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeaderChecks {
    entries: Vec<(Pattern, Action)>,
}

impl HeaderChecks {
    /// The files of the setting. Errors: it names something else.
    pub fn files(config: &Config) -> io::Result<Vec<PathBuf>> {
        let list = expand(config, &config.header_checks)?;
        words(&list).map(|word| file_of(word).map_err(io::Error::other)).collect()
    }

    /// Reads the tables. Errors name file and line.
    pub fn load(config: &Config) -> io::Result<HeaderChecks> {
        let mut entries = Vec::new();
        for path in HeaderChecks::files(config)? {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            let mut lines = LogicalLines::open(&path).map_err(named)?;
            while let Some((number, line)) = lines.next().map_err(named)? {
                let entry = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned()).and_then(entry);
                let entry =
                    entry.map_err(|why| io::Error::other(format!("{}:{number}: {why}", path.display())))?;
                if entries.len() == ENTRIES_MAX {
                    return Err(named(io::Error::other(format!("more than {ENTRIES_MAX} entries"))));
                }
                entries.push(entry);
            }
        }
        Ok(HeaderChecks { entries })
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first entry that fits a field: its name, the colon and the value, unfolded.
    fn find(&self, field: &[u8]) -> Option<&Action> {
        self.entries.iter().find(|(pattern, _)| pattern.fits(field)).map(|(_, action)| action)
    }
}

/// Where the table of a word of the setting is.
fn file_of(word: &str) -> Result<PathBuf, String> {
    let wrong = |why: &str| Err(format!("header_checks: {word}: {why}"));
    match word.split_once(':') {
        Some(("glob", path)) if path.starts_with('/') => Ok(Path::new(path).to_owned()),
        Some(("glob", _)) => wrong("the path must begin with /"),
        Some(("regexp" | "pcre", _)) => {
            wrong("there are no regular expressions here: write patterns with * and ?, and glob:/FILE")
        }
        _ => wrong("want glob:/FILE"),
    }
}

/// Reads `/pattern/ ACTION text`.
fn entry(line: &str) -> Result<(Pattern, Action), String> {
    let wanted = "want /PATTERN/ ACTION";
    let rest = line.trim().strip_prefix('/').ok_or(wanted)?;
    let mut escaped = false;
    let end = rest.find(|c: char| {
        let ends = c == '/' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let (pattern, rest) = rest.split_at(end.ok_or(wanted)?);
    let rest = rest.get(1..).unwrap_or_default();
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(
            "there are no flags behind the pattern: it is compared without the case of letters".to_owned()
        );
    }
    Ok((Pattern::parse(pattern)?, action(rest.trim())?))
}

fn action(text: &str) -> Result<Action, String> {
    let (word, text) = text.split_once([' ', '\t']).map_or((text, ""), |(word, text)| (word, text.trim()));
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err("a control character".to_owned());
    }
    Ok(match word.to_ascii_uppercase().as_str() {
        "REJECT" => {
            let (enhanced, text) = enhanced_of(text).unwrap_or((Enhanced(5, 7, 1), text));
            let enhanced = if enhanced.0 == 5 { enhanced } else { Enhanced(5, 7, 1) };
            let text = if text.is_empty() { "Message content rejected" } else { text };
            Action::Reject(Status::new(550, enhanced, text))
        }
        "DISCARD" => Action::Discard(text.to_owned()),
        "IGNORE" => Action::Ignore,
        "PREPEND" if is_field(text) => Action::Prepend(text.to_owned()),
        "PREPEND" => return Err("PREPEND: want a header field behind it, as in \"X-Seen: yes\"".to_owned()),
        "WARN" | "INFO" => Action::Warn(text.to_owned()),
        "DUNNO" => Action::Dunno,
        "HOLD" => {
            return Err("HOLD: what goes straight into a mailbox has no queue to be held in".to_owned());
        }
        _ => {
            return Err(format!(
                "{word}: no such action: REJECT, DISCARD, IGNORE, PREPEND, WARN, INFO and DUNNO are"
            ));
        }
    })
}

/// RFC 5322 section 2.2.
fn is_field(text: &str) -> bool {
    let name = text.split_once(':').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use proptest::prelude::*;

    fn load(table: &str) -> Result<HeaderChecks, String> {
        let scratch = Scratch::new();
        let path = scratch.file("checks", table);
        let value = format!("glob:{}", path.display());
        let config = Config { header_checks: value.into(), ..Config::DEFAULT };
        HeaderChecks::load(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let checks = load(
            "# comment\n/Subject: *cheap*/ REJECT Go\n away\n/subject: */\tWARN 1\n/To: a\\/b/ IGNORE\n\
             /X-*: ?/ PREPEND X-Found: yes\n/Y:*/ DUNNO\n/?:*/ DISCARD\n/Z: */ REJECT 5.2.3\n/W: */ reject 4.1.1 x\n",
        )
        .unwrap();
        let reject = |enhanced, text: &str| Action::Reject(Status::new(550, enhanced, text));
        for (field, want) in [
            ("Subject: very CHEAP things", Some(reject(Enhanced(5, 7, 1), "Go away"))),
            ("SUBJECT: dear", Some(Action::Warn("1".to_owned()))),
            ("To: a/b", Some(Action::Ignore)),
            ("X-Any: 1", Some(Action::Prepend("X-Found: yes".to_owned()))),
            ("X-Any: 12", None),
            ("Y: 1", Some(Action::Dunno)),
            ("Z: 1", Some(Action::Discard(String::new()))),
        ] {
            assert_eq!(checks.find(field.as_bytes()), want.as_ref(), "{field}");
        }
        let statuses: Vec<&Action> = checks.entries.iter().map(|(_, action)| action).skip(6).collect();
        assert_eq!(*statuses[0], reject(Enhanced(5, 2, 3), "Message content rejected"));
        assert_eq!(*statuses[1], reject(Enhanced(5, 7, 1), "x"));
        assert!(load("").unwrap().is_empty());
    }

    #[test]
    fn what_is_refused_says_why_and_where() {
        for (line, why) in [
            ("Subject: x REJECT", "want /PATTERN/ ACTION"),
            ("/Subject: x REJECT", "want /PATTERN/ ACTION"),
            ("/Subject: x/", "no such action"),
            ("/Subject: x/ HOLD", "no queue to be held in"),
            ("/Subject: x/ FILTER smtp:x", "FILTER: no such action"),
            ("/Subject: x/i REJECT", "no flags"),
            ("/Subject: x/ PREPEND", "want a header field"),
            ("/Subject: x/ PREPEND no field", "want a header field"),
            ("/Subject: x/ WARN \u{1}", "control character"),
            ("/^Subject: x/ REJECT", "regular expression"),
            ("/Subject/ REJECT", "colon"),
        ] {
            let error = load(&format!("\n{line}\n")).unwrap_err();
            assert!(error.contains(why) && error.contains("checks:2: "), "{line}: {error}");
        }
        assert!(load(&"/A: b/ WARN\n".repeat(ENTRIES_MAX + 1)).unwrap_err().contains("more than 1000"));
        for (value, why) in [
            ("regexp:/etc/postfix/header_checks", "no regular expressions"),
            ("pcre:/etc/postfix/header_checks", "no regular expressions"),
            ("hash:/x", "want glob:/FILE"),
            ("/x", "want glob:/FILE"),
            ("glob:x", "begin with /"),
            ("glob:/nonexistent/x", "/nonexistent/x: "),
        ] {
            let config = Config { header_checks: value.into(), ..Config::DEFAULT };
            let error = HeaderChecks::load(&config).unwrap_err().to_string();
            assert!(error.contains(why), "{value}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[/a:*?\\\\ ]{0,20}(REJECT|WARN|PREPEND)?[ -~]{0,20}") {
            let _ = entry(&line);
        }
    }
}
