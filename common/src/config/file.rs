//! The file's grammar: `name = value`, one per line; and the nearest known name for an unknown one.
//!
//! ```text
//! file    = *( line LF )
//! line    = blanks / blanks "#" *char / name blanks "=" blanks *char blanks
//! ```
//! A value goes to the end of its line: no quotes, no comment behind it, no continuation.

use super::{Config, ConfigError, Setting, foreign};
use crate::cli::Program;
use crate::log::readable;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read.
const FILE_LIMIT: u64 = 64 * 1024;

/// Longest unknown name for which a known one is looked for.
const NAME_LIMIT: usize = 40;

pub(super) fn read(
    config: &mut Config,
    program: &Program,
    path: &Path,
    may_be_missing: bool,
    wrong: &mut ConfigError,
) {
    let octets = match octets_of(path) {
        Ok(octets) => octets,
        Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return wrong.add(format!("{}: {error}", path.display())),
    };
    if octets.len() as u64 > FILE_LIMIT {
        return wrong.add(format!("{}: too large for a configuration file", path.display()));
    }
    let mut in_section = false;
    for (line, number) in octets.split(|&b| b == b'\n').zip(1..) {
        let ends = line.starts_with(b"}");
        // What stands in a section is wrong with it, and is not said line for line.
        if !in_section || !line.starts_with(b" ") && !line.starts_with(b"\t") && !ends {
            in_section = line.trim_ascii().ends_with(b"{");
            if let Err(problem) = apply_line(config, program, line) {
                wrong.add(format!("{}:{number}: {problem}", path.display()));
            }
        }
        in_section &= !ends;
    }
}

fn octets_of(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().min(FILE_LIMIT);
    let mut octets = Vec::with_capacity(size as usize + 1);
    file.take(FILE_LIMIT + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

fn apply_line(config: &mut Config, program: &Program, line: &[u8]) -> Result<(), String> {
    let Ok(line) = std::str::from_utf8(line) else { return Err("the line is not UTF-8".to_owned()) };
    let text = line.trim_ascii();
    if text.is_empty() || text.starts_with('#') {
        return Ok(());
    }
    if line.starts_with([' ', '\t']) {
        return Err(
            "a setting begins at the start of its line and ends there: join continued lines".to_owned()
        );
    }
    if text.ends_with('{') || text == "}" {
        return Err("there are no { } sections here: write one NAME = VALUE per line".to_owned());
    }
    apply_pair(config, program, text)
}

/// `name = value`, blanks around the `=` or not.
pub(super) fn apply_pair(config: &mut Config, program: &Program, pair: &str) -> Result<(), String> {
    if pair.contains(|c: char| c.is_control() && c != '\t') {
        return Err(format!("control character in \"{}\"", readable(pair.as_bytes())));
    }
    let Some((name, value)) = pair.split_once('=') else {
        return Err(format!("want NAME = VALUE, found \"{}\"", readable(pair.as_bytes())));
    };
    let (name, value) = (name.trim_ascii(), value.trim_ascii());
    match config.set(name, value) {
        Some(Ok(())) => Ok(()),
        Some(Err(refused)) => Err(format!(
            "{name}: \"{}\" is not accepted, want {}",
            readable(value.as_bytes()),
            refused.accepted
        )),
        None => Err(unknown(program, name)),
    }
}

fn unknown(program: &Program, name: &str) -> String {
    let shown = readable(name.as_bytes());
    let meant = foreign::synonym(name);
    if let (None, Some(advice)) = (meant, foreign::advice(name)) {
        return format!("unknown setting \"{shown}\": {advice}");
    }
    match meant.or_else(|| nearest(name)) {
        Some(known) => format!("unknown setting \"{shown}\", did you mean \"{known}\"?"),
        None => format!("unknown setting \"{shown}\"; {} --help lists all", program.name),
    }
}

/// The known name that was probably meant: the start of only one name, or the one with the fewest typing errors between
/// the two.
fn nearest(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        return None;
    }
    let (errors, known) = Setting::all()
        .map(|row| (typing_errors(name.as_bytes(), row.name.as_bytes()), row.name))
        .min_by_key(|(errors, _)| *errors)?;
    if errors <= 1 + name.len() / 4 {
        return Some(known);
    }
    let mut continued = Setting::all().map(|row| row.name).filter(|known| known.starts_with(name));
    continued.next().filter(|_| continued.next().is_none())
}

/// Characters to insert, delete, replace or swap with their neighbour; capitals and `-` count as `a` and `_` do.
fn typing_errors(one: &[u8], other: &[u8]) -> usize {
    let fold = |b: u8| if b == b'-' { b'_' } else { b.to_ascii_lowercase() };
    // Three rows of the usual matrix: before last, last, current.
    let mut rows = [[0usize; NAME_LIMIT + 1]; 3];
    if other.len() > NAME_LIMIT {
        return usize::MAX;
    }
    for (at, cell) in rows[1].iter_mut().enumerate() {
        *cell = at;
    }
    for (i, &a) in one.iter().enumerate() {
        let [before, last, current] = &mut rows;
        current[0] = i + 1;
        for (j, &b) in other.iter().enumerate() {
            let differs = usize::from(fold(a) != fold(b));
            let mut least = (last[j] + differs).min(last[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && fold(a) == fold(other[j - 1]) && fold(one[i - 1]) == fold(b) {
                least = least.min(before[j - 1] + 1);
            }
            current[j + 1] = least;
        }
        rows.rotate_left(1);
    }
    rows[1][other.len()]
}

#[cfg(test)]
mod tests {
    use super::super::WRONG_MAX;
    use super::super::tests::PROGRAM;
    use super::*;
    use proptest::prelude::*;

    fn read_text(text: &str) -> Result<Config, String> {
        let mut config = Config::DEFAULT;
        for line in text.split('\n') {
            apply_line(&mut config, &PROGRAM, line.as_bytes())?;
        }
        Ok(config)
    }

    #[test]
    fn comments_blanks_and_settings() {
        let config = read_text(
            "# comment\n\n   \t\n  # indented\nssl=no\r\nlogin_greeting\t= a # b = c  \nssl = yes\n",
        )
        .unwrap();
        assert_eq!(config.login_greeting, "a # b = c");
        assert_eq!(config.ssl, super::super::keyword::Ssl::Yes);
        assert_eq!(read_text("myhostname ="), Ok(Config::DEFAULT));
    }

    #[test]
    fn every_wrong_line_says_what_is_wrong() {
        let rows = [
            (" ssl = no", "a setting begins at the start of its line"),
            ("passdb {", "no { } sections"),
            ("}", "no { } sections"),
            ("ssl", "want NAME = VALUE, found \"ssl\""),
            ("= yes", "unknown setting \"\"; pop3d --help"),
            ("ssl = \u{1}", "control character in \"ssl = \\x01\""),
            ("login_timeout = soon", "want a time"),
            ("ssl_cert = </etc/cert.pem", "did you mean \"ssl_cert_file\"?"),
            (
                "ssl_cert_file = </etc/cert.pem",
                "\"</etc/cert.pem\" is not accepted, want a path that begins with /",
            ),
            ("frist_valid_uid = 1", "did you mean \"first_valid_uid\"?"),
            ("login-greeting = x", "did you mean \"login_greeting\"?"),
            ("SSL = yes", "did you mean \"ssl\"?"),
            ("biff = no", "unknown setting \"biff\": leave it out"),
            ("smtpd_tls_cert_file = /x", "did you mean \"ssl_cert_file\"?"),
            ("pop3_uidl = x", "did you mean \"pop3_uidl_format\"?"),
            ("xyzzy = x", "--help lists all"),
            ("mail_location = mbox:~/mail", "want maildir:PATH"),
        ];
        for (line, want) in rows {
            let error = read_text(line).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
        let mut config = Config::DEFAULT;
        assert!(apply_line(&mut config, &PROGRAM, b"ssl = \xff").is_err());
    }

    /// The lines about a file with this text, each without the path in front.
    fn lines_about(name: &str, text: &[u8]) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("tinmail-file-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut wrong = ConfigError::default();
        read(&mut Config::DEFAULT.clone(), &PROGRAM, &path, true, &mut wrong);
        std::fs::remove_file(&path).unwrap();
        wrong.lines().map(|line| line.replace(path.to_str().unwrap(), "")).collect()
    }

    #[test]
    fn errors_name_file_and_line_and_all_are_told() {
        let lines = lines_about("lines", b"food = 1\nssl = no\nlogin_greting = x\n");
        assert_eq!(
            lines,
            [
                ":1: unknown setting \"food\"; pop3d --help lists all",
                ":3: unknown setting \"login_greting\", did you mean \"login_greeting\"?"
            ]
        );
        let lines = lines_about("many", "food = 1\n".repeat(13).as_bytes());
        assert_eq!(lines.len(), WRONG_MAX + 1);
        assert_eq!(lines[WRONG_MAX], "and 3 more wrong lines, which --check tells");
        let lines = lines_about("large", &vec![b'#'; FILE_LIMIT as usize + 1]);
        assert_eq!(lines, [": too large for a configuration file"]);
        let mut wrong = ConfigError::default();
        read(&mut Config::DEFAULT.clone(), &PROGRAM, Path::new("/"), true, &mut wrong);
        assert_eq!(wrong.lines().count(), 1);
    }

    #[test]
    fn a_section_is_one_fault() {
        let text =
            "passdb {\n  driver = pam\n}\nfood = 1\nservice a {\n  b {\n  }\n}\nuserdb {\nsssl = 1\n  x\n}\n";
        let lines = lines_about("section", text.as_bytes());
        let numbers: Vec<&str> = lines.iter().filter_map(|line| line.split(':').nth(1)).collect();
        assert_eq!(numbers, ["1", "4", "5", "9", "10", "11", "12"]);
    }

    #[test]
    fn typing_errors_are_counted() {
        for (one, other, want) in
            [("", "ab", 2), ("ab", "ab", 0), ("ab", "ba", 1), ("abc", "ac", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(typing_errors(one.as_bytes(), other.as_bytes()), want, "{one} {other}");
        }
    }

    #[test]
    fn every_known_name_fits_the_search() {
        assert!(Setting::all().all(|row| row.name.len() <= NAME_LIMIT));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = apply_line(&mut Config::DEFAULT.clone(), &PROGRAM, &line);
        }

        #[test]
        fn an_accepted_value_reads_back(row in 0usize..60, value in "[ -~é]{0,20}") {
            let Some(row) = Setting::all().nth(row) else { return Ok(()) };
            let mut config = Config::DEFAULT;
            if apply_pair(&mut config, &PROGRAM, &format!("{} = {value}", row.name)).is_ok() {
                let pairs: Vec<String> = config.changed_pairs().collect();
                let again = Config::from_pairs(&PROGRAM, pairs.iter().map(String::as_str));
                prop_assert_eq!(again, Ok(config));
            }
        }
    }
}
