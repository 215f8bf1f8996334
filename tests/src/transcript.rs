//! The form of the transcripts: what is in the Maildir, what client and server say, what is in the Maildir afterwards.
//!
//! ```text
//! # comment                      anywhere
//! rfc: 1939 sec 6                where the behaviour is from
//! maildir: two-messages          one of `maildirs`, default empty
//! state: transaction             or authorization (default): whether a login is part of the transcript; in IMAP's words
//!                                authenticated and not-authenticated
//! options: --lmtp               of smtpd, any number of lines
//! settings: NAME=VALUE           as -o; any number of lines; {place}/cert.pem and key.pem exist
//! client: 192.0.2.1              the client's address, default 127.0.0.1
//! secret: {PLAIN}secret          what the passwd-file has for alice
//! users: LINE                    another line of it
//! file: PATH = TEXT              a file in the Maildir, with escapes
//! mailbox: NAME UIDVALIDITY UIDNEXT [KEYWORD...]    a mailbox; INBOX is one, too
//! messages: UID[:UID] new|cur[,FLAGS][@SECONDS] = TEXT    messages in it, with escapes, and of this INTERNALDATE
//! feed: whole                    only in this way, for what depends on it; default whole, lines and octets
//! exit: 111                      default 0
//!
//! C: TEXT                        the client sends the line
//! C| TEXT                        the client sends these octets: \r \n \t \0 \\ \xNN, and \*N{TEXT} for N times TEXT
//! S: TEXT                        the server sends exactly this line (S| the same, with escapes)
//! S~ PATTERN                     a line that matches this regular expression
//! S= +OK                         a line that begins with this word
//! S*                             any lines up to and including a single dot
//! !: TEXT                        the server says this nowhere in the transcript
//! chance: PATTERN                lines of the server that match are passed over: which of several sessions is the first is chance
//! eof                            the client sends nothing more
//! do: rm PATH | mv PATH PATH | write PATH = TEXT | date PATH SECONDS | chmod PATH OCTAL | sleep MS
//! C2: S2: eof2 ...               the same on a second connection, which begins here
//!
//! files: PATH                    the messages in the end, one line each; none; or any, where it does not matter
//! files~ PATTERN                 one more message, whose path matches this regular expression
//! file~ PATH PATTERN             a file of the Maildir matches this regular expression in the end
//! message~ PATTERN              a message in the Maildir matches this regular expression in the end
//! queue: N                      so many messages are in the queue in the end
//! log~ PATTERN                   so does a line of the log
//! log!: TEXT                     the log does not have this
//! ```
//! Before it ends, the server must have closed each connection of its own accord or have been sent `eof`, and must have
//! sent nothing but what stands here. In `C:` and `S:` a word in braces stands for what has to be computed: `{apop SECRET}`,
//! `{cram-md5 USER SECRET}`, `{base64 TEXT}`, `{scram-sha-1 USER SECRET}`, `{scram-sha-256 USER SECRET}` (the first
//! message), `{scram-final}`, `{scram-server-final}`. A number in braces is a literal's. The transcripts in `imap` are
//! imapd's, those in `smtp` smtpd's: fed whole, the client waits all the same where SMTP says so (RFC 2920).

use crate::mailboxes::Mailbox;
use std::path::Path;

/// Which server it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// pop3d's.
    Pop3,
    /// imapd's.
    Imap,
    /// smtpd's.
    Smtp,
}

/// Whether the transcript begins with the login or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The greeting comes first.
    Authorization,
    /// `+OK Logged in.` comes first; with IMAP what follows the completion of the login, or the greeting of `--preauth`.
    Transaction,
}

/// How the client's octets are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Everything at once, as far as nothing has to be computed from replies.
    Whole,
    /// A line, then its replies.
    Lines,
    /// A line in writes of one octet, then its replies.
    Octets,
}

/// One line that the server sends.
#[derive(Debug, Clone)]
pub enum Expected {
    /// Exactly these octets.
    Exact(Vec<u8>),
    /// Exactly this text once its braces are computed.
    Computed(String),
    /// What matches.
    Pattern(String),
    /// What begins with this word.
    Class(String),
    /// Any lines up to a single dot.
    ToDot,
}

/// What happens in the Maildir meanwhile.
#[derive(Debug, Clone)]
pub enum Action {
    /// A file goes.
    Remove(String),
    /// A file gets another name.
    Rename(String, String),
    /// A file is written.
    Write(String, Vec<u8>),
    /// A file's time, which is INTERNALDATE, in seconds since 1970.
    Date(String, u64),
    /// A file's or directory's rights.
    Mode(String, u32),
    /// Time passes.
    Sleep(u64),
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// The client sends octets.
    Send(Vec<u8>),
    /// The client sends a line that has to be computed.
    SendComputed(String),
    /// The server sends a line.
    Expect(Expected),
    /// The client sends nothing more.
    Eof,
    /// Something happens.
    Do(Action),
}

/// One step, on which connection, from which line of the transcript.
#[derive(Debug, Clone)]
pub struct Line {
    /// Of the transcript.
    pub number: usize,
    /// 0 is the first.
    pub connection: usize,
    /// What.
    pub step: Step,
}

/// A whole transcript.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// The file's name.
    pub name: String,
    /// Whose it is.
    pub protocol: Protocol,
    /// Name of the Maildir it begins with.
    pub maildir: String,
    /// Further files.
    pub files: Vec<(String, Vec<u8>)>,
    /// Mailboxes with messages.
    pub mailboxes: Vec<Mailbox>,
    /// Where it begins.
    pub state: State,
    /// Options.
    pub options: Vec<String>,
    /// Settings.
    pub settings: Vec<String>,
    /// The client's address.
    pub client: String,
    /// Alice's password field.
    pub secret: String,
    /// Further lines of the passwd-file.
    pub users: String,
    /// Ways to feed it.
    pub feeds: Vec<Feed>,
    /// The expected exit code.
    pub exit: i32,
    /// The conversation.
    pub lines: Vec<Line>,
    /// What the server must not say.
    pub never: Vec<String>,
    /// Lines that it says or does not.
    pub chance: Vec<String>,
    /// Whether it matters which messages there are in the end.
    pub checks_files: bool,
    /// Those.
    pub listing: Vec<String>,
    /// Patterns of others.
    pub listing_patterns: Vec<String>,
    /// Files and what they must match in the end.
    pub texts: Vec<(String, String)>,
    /// What messages must match.
    pub messages: Vec<String>,
    /// How many messages are in the queue in the end.
    pub queue: Option<usize>,
    /// What lines of the log must match.
    pub log: Vec<String>,
    /// What the log must not have.
    pub log_never: Vec<String>,
}

impl Transcript {
    /// Reads a file.
    ///
    /// Errors: the line that cannot be understood.
    pub fn read(path: &Path) -> Result<Transcript, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut transcript = Transcript::parse(&name, &text)?;
        if path.parent().is_some_and(|directory| directory.ends_with("imap")) {
            transcript.protocol = Protocol::Imap;
        }
        if path.parent().is_some_and(|directory| directory.ends_with("smtp")) {
            transcript.protocol = Protocol::Smtp;
        }
        Ok(transcript)
    }

    /// Reads a text.
    ///
    /// Errors: the line that cannot be understood.
    pub fn parse(name: &str, text: &str) -> Result<Transcript, String> {
        let mut this = Transcript {
            name: name.to_owned(),
            protocol: Protocol::Pop3,
            maildir: "empty".to_owned(),
            files: Vec::new(),
            mailboxes: Vec::new(),
            state: State::Authorization,
            options: Vec::new(),
            settings: Vec::new(),
            client: "127.0.0.1".to_owned(),
            secret: "{PLAIN}secret".to_owned(),
            users: String::new(),
            feeds: Vec::new(),
            exit: 0,
            lines: Vec::new(),
            never: Vec::new(),
            chance: Vec::new(),
            checks_files: true,
            listing: Vec::new(),
            listing_patterns: Vec::new(),
            texts: Vec::new(),
            messages: Vec::new(),
            queue: None,
            log: Vec::new(),
            log_never: Vec::new(),
        };
        let (mut has_rfc, mut has_files) = (false, false);
        for (line, number) in text.lines().zip(1..) {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
            match keyword {
                "rfc:" => has_rfc = true,
                "files:" if rest == "any" => (has_files, this.checks_files) = (true, false),
                "files:" => {
                    has_files = true;
                    this.listing.extend((rest != "none").then(|| rest.to_owned()));
                }
                "files~" => {
                    has_files = true;
                    this.listing_patterns.push(rest.to_owned());
                }
                _ => this.line(number, keyword, rest).ok_or(format!("{name}.txt:{number}: {line}"))?,
            }
        }
        if !has_rfc || !has_files || this.lines.is_empty() {
            return Err(format!("{name}.txt: rfc:, files: and a conversation must be there"));
        }
        if this.feeds.is_empty() {
            this.feeds = vec![Feed::Whole, Feed::Lines, Feed::Octets];
        }
        Ok(this)
    }

    fn line(&mut self, number: usize, keyword: &str, rest: &str) -> Option<()> {
        match keyword {
            "maildir:" => self.maildir = rest.to_owned(),
            "state:" => {
                self.state = match rest {
                    "authorization" | "not-authenticated" => State::Authorization,
                    "transaction" | "authenticated" => State::Transaction,
                    _ => return None,
                }
            }
            "options:" => self.options.push(rest.to_owned()),
            "message~" => self.messages.push(rest.to_owned()),
            "queue:" => self.queue = Some(rest.parse().ok()?),
            "settings:" => self.settings.push(rest.to_owned()),
            "client:" => self.client = rest.to_owned(),
            "secret:" => self.secret = rest.to_owned(),
            "users:" => self.users += &format!("{rest}\n"),
            "file:" => {
                let (path, text) = rest.split_once(" = ")?;
                self.files.push((path.to_owned(), unescape(text)?));
            }
            "mailbox:" => self.mailboxes.push(Mailbox::parse(rest)?),
            "messages:" => self.mailboxes.last_mut()?.add(rest)?,
            "feed:" => self.feeds.push(match rest {
                "whole" => Feed::Whole,
                "lines" => Feed::Lines,
                "octets" => Feed::Octets,
                _ => return None,
            }),
            "exit:" => self.exit = rest.parse().ok()?,
            "!:" => self.never.push(rest.to_owned()),
            "chance:" => self.chance.push(rest.to_owned()),
            "file~" => {
                let (path, pattern) = rest.split_once(' ')?;
                self.texts.push((path.to_owned(), pattern.to_owned()));
            }
            "log~" => self.log.push(rest.to_owned()),
            "log!:" => self.log_never.push(rest.to_owned()),
            _ => {
                let (connection, step) = step(keyword, rest)?;
                self.lines.push(Line { number, connection, step });
            }
        }
        Some(())
    }
}

fn step(keyword: &str, rest: &str) -> Option<(usize, Step)> {
    let digit = |c: char| c.is_ascii_digit();
    let plain = keyword.replace(digit, "");
    let connection = keyword.chars().find(|&c| digit(c)).and_then(|c| c.to_digit(10)).unwrap_or(1);
    let step = match plain.as_str() {
        "C:" if rest.contains('{') => Step::SendComputed(rest.to_owned()),
        "C:" => Step::Send(format!("{rest}\r\n").into_bytes()),
        "C|" => Step::Send(unescape(rest)?),
        "S:" if rest.contains('{') => Step::Expect(Expected::Computed(rest.to_owned())),
        "S:" => Step::Expect(Expected::Exact(rest.as_bytes().to_vec())),
        "S|" => Step::Expect(Expected::Exact(unescape(rest)?)),
        "S~" => Step::Expect(Expected::Pattern(rest.to_owned())),
        "S=" => Step::Expect(Expected::Class(rest.to_owned())),
        "S*" => Step::Expect(Expected::ToDot),
        "eof" => Step::Eof,
        "do:" => {
            let (what, rest) = rest.split_once(' ')?;
            Step::Do(match what {
                "rm" => Action::Remove(rest.to_owned()),
                "mv" => {
                    let (from, to) = rest.split_once(' ')?;
                    Action::Rename(from.to_owned(), to.to_owned())
                }
                "write" => {
                    let (path, text) = rest.split_once(" = ")?;
                    Action::Write(path.to_owned(), unescape(text)?)
                }
                "chmod" => {
                    let (path, mode) = rest.split_once(' ')?;
                    Action::Mode(path.to_owned(), u32::from_str_radix(mode, 8).ok()?)
                }
                "date" => {
                    let (path, seconds) = rest.split_once(' ')?;
                    Action::Date(path.to_owned(), seconds.parse().ok()?)
                }
                "sleep" => Action::Sleep(rest.parse().ok()?),
                _ => return None,
            })
        }
        _ => return None,
    };
    Some((usize::try_from(connection).ok()?.checked_sub(1)?, step))
}

/// `None`: an escape that does not exist.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        match chars.next()? {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(escape.get(1..3)?, 16).ok()?);
                chars = escape.get(3..)?.chars();
            }
            '*' => {
                let (count, after) = escape.get(1..)?.split_once('{')?;
                let (what, after) = after.split_once('}')?;
                out.extend(unescape(what)?.repeat(count.parse().ok()?));
                chars = after.chars();
            }
            _ => return None,
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\r\n\0\\\x80z").unwrap(), b"a\r\n\0\\\x80z");
        assert_eq!(unescape(r"a\*3{b\n}c").unwrap(), b"ab\nb\nb\nc");
        assert_eq!(unescape(r"\q"), None);
        assert_eq!(unescape(r"\x8"), None);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = Transcript::parse("x", "rfc: 1939\nC: A\nQ: B\nfiles: none\n").unwrap_err();
        assert_eq!(error, "x.txt:3: Q: B");
        assert!(Transcript::parse("x", "rfc: 1939\nC: A\n").unwrap_err().contains("files:"));
        let read = Transcript::parse("x", "rfc: 1\nC2| a\nS: +OK\neof2\nfiles: new/1\n").unwrap();
        assert_eq!(read.lines.iter().map(|line| line.connection).collect::<Vec<_>>(), [1, 0, 1]);
    }
}
