//! Replies of remote servers (RFC 5321 section 4.2). Hostile input: how long a reply may be is bounded, and nothing of it
//! reaches a log or a bounce but clean text.
//!
//! ```text
//! Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
//! Reply-code = %x32-35 %x30-35 %x30-39
//! ```

use crate::status::{Enhanced, Status};

/// Octets of one line that are looked at, its end included. RFC 5321 section 4.5.3.1.5 has 512; Postfix reads 2,048.
pub const LINE_MAX: usize = 2048;
/// Lines of one reply.
pub const LINES_MAX: usize = 256;
/// Octets of a reply's text that are kept; what is behind them is read and forgotten.
pub const TEXT_MAX: usize = 4096;
/// Octets of it that a [`Status`] has.
const SAID_MAX: usize = 1000;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The texts of its lines, with LF between them; without control characters otherwise.
    pub text: String,
}

/// What is no reply, in words for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A reply of which some lines are known.
#[derive(Debug, Default)]
pub struct Partial {
    code: Option<u16>,
    text: String,
    lines: usize,
}

impl Partial {
    /// Takes the next line, without its end. `Some` when it was the last.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, Malformed> {
        let (code, rest) = parse_code(line).ok_or(Malformed("what it said is no reply"))?;
        // RFC 5321 section 4.2.1: all lines of one reply have the same code.
        if self.code.is_some_and(|before| before != code) {
            return Err(Malformed("the lines of its reply have different codes"));
        }
        self.code = Some(code);
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(Malformed("its reply has too many lines"));
        }
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(Malformed("what it said is no reply")),
        };
        if self.lines > 1 {
            self.keep('\n');
        }
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.keep(if c == '\t' { ' ' } else { clean(c) });
            }
            if !chunk.invalid().is_empty() {
                self.keep('?');
            }
        }
        Ok(last.then(|| Reply { code, text: std::mem::take(&mut self.text) }))
    }

    /// Whether nothing has been said yet.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    fn keep(&mut self, c: char) {
        if self.text.len() + c.len_utf8() <= TEXT_MAX {
            self.text.push(c);
        }
    }
}

impl Reply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 3xx: it waits for more.
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// The enhanced status code at the beginning of the text (RFC 2034 section 4), if it is of the code's class.
    pub fn enhanced(&self) -> Option<Enhanced> {
        let first = self.text.split([' ', '\n']).next().unwrap_or_default();
        let mut numbers = first.split('.').map(|number| {
            let digits = (1..=3).contains(&number.len()) && number.bytes().all(|c| c.is_ascii_digit());
            if digits { number.parse::<u16>().ok() } else { None }
        });
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let class = u8::try_from(class).ok()?;
        let is_whole = numbers.next().is_none() && u16::from(class) == self.code / 100;
        is_whole.then_some(Enhanced(class, subject, detail))
    }

    /// As it was said, in one line: `550 5.1.1 No such user`.
    pub fn said(&self) -> String {
        let mut said = self.code.to_string();
        for line in self.text.split('\n') {
            // Servers repeat the enhanced code in each line.
            let again = self.enhanced().filter(|_| said.len() > 3).map(|enhanced| enhanced.to_string());
            let line = again.and_then(|again| line.strip_prefix(&*again)).unwrap_or(line).trim();
            if !line.is_empty() {
                said.push(' ');
                said.push_str(line);
            }
        }
        let end = (0..=SAID_MAX).rev().find(|&at| said.is_char_boundary(at)).unwrap_or(0);
        said.truncate(end);
        said
    }

    /// As the status of a failure: `host mx.example.org[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO)`. A reply
    /// that makes no sense here (354 to MAIL, 250 to DATA) is a temporary one.
    pub fn failure(&self, host: &str, command: &str) -> Status {
        let (code, class) = match self.code {
            400..600 => (self.code, self.code / 100),
            _ => (451, 4),
        };
        let class = u8::try_from(class).unwrap_or(4);
        let enhanced =
            self.enhanced().filter(|enhanced| enhanced.0 == class).unwrap_or(Enhanced(class, 0, 0));
        Status::new(code, enhanced, format!("host {host} said: {} (in reply to {command})", self.said()))
    }
}

fn parse_code(line: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let mut code = 0;
    for digit in digits {
        code = code * 10 + u16::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?);
    }
    (200..600).contains(&code).then_some((code, rest))
}

/// What could move a cursor, forge a line or change its direction becomes a question mark.
fn clean(c: char) -> char {
    let invisible = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    if c.is_control() || invisible { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&[u8]]) -> Result<Option<Reply>, Malformed> {
        let mut partial = Partial::default();
        for line in lines {
            if let Some(reply) = partial.line(line)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    #[test]
    fn replies_of_all_forms() {
        for (lines, code, text) in [
            (&[b"250 Ok" as &[u8]][..], 250, "Ok"),
            (&[b"250"], 250, ""),
            (&[b"250-a", b"250-", b"250 b"], 250, "a\n\nb"),
            (&[b"550-5.1.1 No\tsuch\x1b[31m", b"550 user\xff\xff\0"], 550, "5.1.1 No such?[31m\nuser???"),
            (
                "250 gr\u{fc}\u{202e}n".as_bytes().split(|_| false).collect::<Vec<_>>().as_slice(),
                250,
                "gr\u{fc}?n",
            ),
        ] {
            assert_eq!(read(lines), Ok(Some(Reply { code, text: text.to_owned() })));
        }
        assert_eq!(read(&[b"250-a", b"250-b"]), Ok(None));
    }

    #[test]
    fn what_is_none() {
        for lines in [
            &[b"" as &[u8]][..],
            &[b"25"],
            &[b"+OK"],
            &[b"150 a"],
            &[b"600 a"],
            &[b"2500 a"],
            &[b"250a"],
            &[b" 250 a"],
            &[b"250-a", b"251 b"],
            &[b"250-a", b"b"],
            &[b"-20 a"],
        ] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_reply_without_end_has_one() {
        let mut partial = Partial::default();
        let line = [b"250-".as_slice(), &[b'x'; 1000]].concat();
        for _ in 0..LINES_MAX {
            assert_eq!(partial.line(&line), Ok(None));
        }
        assert_eq!(partial.text.len(), TEXT_MAX);
        assert!(partial.line(&line).is_err());
    }

    #[test]
    fn enhanced_codes_are_taken_where_they_fit() {
        for (code, text, want) in [
            (550, "5.1.1 No", Some(Enhanced(5, 1, 1))),
            (550, "5.1.1", Some(Enhanced(5, 1, 1))),
            (250, "2.1.5 Ok", Some(Enhanced(2, 1, 5))),
            (550, "4.1.1 No", None),
            (550, "5.1 No", None),
            (550, "5.1.1.1 No", None),
            (550, "5.1.1111 No", None),
            (550, "5.+1.1 No", None),
            (550, "No", None),
            (550, "261.1.1", None),
        ] {
            assert_eq!(Reply { code, text: text.to_owned() }.enhanced(), want, "{text}");
        }
    }

    #[test]
    fn statuses_say_who_said_what_to_what() {
        let reply = Reply { code: 550, text: "5.1.1 No such\n5.1.1 user".to_owned() };
        let status = reply.failure("mx[192.0.2.1]", "RCPT TO");
        let text = "host mx[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO)";
        assert_eq!(status, Status::new(550, Enhanced(5, 1, 1), text));
        let odd = Reply { code: 354, text: "Go".to_owned() }.failure("mx", "MAIL FROM");
        assert_eq!((odd.code, odd.enhanced), (451, Enhanced(4, 0, 0)));
        assert_eq!(Reply { code: 250, text: "2.0.0 Ok".to_owned() }.failure("mx", "DATA").code, 451);
        let long = Reply { code: 250, text: "\u{e4}".repeat(2000) };
        assert!(long.said().len() <= SAID_MAX);
    }

    proptest! {
        #[test]
        fn nothing_panics(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5)) {
            let mut partial = Partial::default();
            for line in &lines {
                if let Ok(Some(reply)) = partial.line(line) {
                    let status = reply.failure("h", "c");
                    prop_assert!(!status.text.chars().any(char::is_control));
                }
            }
        }
    }
}
