//! A message's fingerprint as popa3d and Dovecot (`%m`) compute it: MD5 over the values of a few header fields.
//!
//! Counted are, in the order they stand: `Delivered-To` and `X-Delivery-ID` every time, `Date` and `Message-ID`
//! until the first `Received` has been seen, and the first `Received`. Of each field the value without the one
//! blank before it, and of its continuation lines everything, blanks included; line ends never. The message is a stranger's:
//! lines are cut into the hash as they are read, nothing is kept.

use md5::{Digest, Md5};
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// Longer headers end here.
const MAX_HEADER: u64 = 1 << 20;

/// What to do with the value of the field that is being read.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Ignored,
    Hashed,
    FirstReceived,
}

/// The fingerprint as 32 lower-case hex digits.
pub fn header_md5(file: &File) -> io::Result<String> {
    use std::io::Read;
    let mut input = BufReader::with_capacity(4096, file.take(MAX_HEADER));
    let mut md5 = Md5::new();
    let (mut field, mut seen_received) = (Field::Ignored, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            break;
        }
        if matches!(text.first(), Some(b' ' | b'\t')) {
            if field != Field::Ignored {
                md5.update(text);
            }
            continue;
        }
        seen_received |= field == Field::FirstReceived;
        let Some(colon) = memchr::memchr(b':', text) else {
            field = Field::Ignored;
            continue;
        };
        let (name, value) = text.split_at(colon);
        field = classify(name.trim_ascii_end(), seen_received);
        if field != Field::Ignored {
            let value = value.get(1..).unwrap_or_default();
            let blank = usize::from(matches!(value.first(), Some(b' ' | b'\t')));
            md5.update(value.get(blank..).unwrap_or_default());
        }
    }
    let digest = md5.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn classify(name: &[u8], seen_received: bool) -> Field {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(b"Delivered-To") || is(b"X-Delivery-ID") {
        Field::Hashed
    } else if is(b"Received") && !seen_received {
        Field::FirstReceived
    } else if (is(b"Date") || is(b"Message-ID")) && !seen_received {
        Field::Hashed
    } else {
        Field::Ignored
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    fn md5_of(message: &str) -> String {
        let dir = TempDir::new();
        dir.write("m", message);
        header_md5(&File::open(dir.path().join("m")).unwrap()).unwrap()
    }

    fn plain(text: &str) -> String {
        Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn received_hides_the_later_date_and_message_id() {
        let message = "Delivered-To: a\nMessage-ID: <1>\nReceived: from x\n\tby y\nReceived: z\nDate: today\n\
                       message-id: <2>\nX-Delivery-ID: 7\nSubject: s\n\nDate: body\n";
        assert_eq!(md5_of(message), plain("a<1>from x\tby y7"));
        assert_eq!(md5_of(&message.replace('\n', "\r\n")), plain("a<1>from x\tby y7"));
    }

    #[test]
    fn odd_headers() {
        assert_eq!(md5_of(""), plain(""));
        assert_eq!(md5_of("Date:  x \nno colon\n continued\nMessage-ID:\n"), plain(" x "));
    }
}
