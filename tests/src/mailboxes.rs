//! Mailboxes that a transcript describes: so many messages with these UIDs, flags and texts.

use crate::place::Place;
use crate::transcript::unescape;

/// A mailbox to begin with.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// `INBOX`, or what the others' directories are called behind the dot.
    pub name: String,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The UID of the next message.
    pub next_uid: u32,
    /// In the order of their letters.
    pub keywords: Vec<String>,
    messages: Vec<Messages>,
}

/// Messages that are alike.
#[derive(Debug, Clone)]
struct Messages {
    first: u32,
    last: u32,
    /// `new`, or `cur` with the letters of the flags.
    flags: Option<String>,
    /// INTERNALDATE.
    date: u64,
    text: Vec<u8>,
}

impl Mailbox {
    /// `NAME UIDVALIDITY UIDNEXT [KEYWORD...]`
    pub fn parse(text: &str) -> Option<Mailbox> {
        let mut words = text.split(' ');
        Some(Mailbox {
            name: words.next()?.to_owned(),
            uid_validity: words.next()?.parse().ok()?,
            next_uid: words.next()?.parse().ok()?,
            keywords: words.map(str::to_owned).collect(),
            messages: Vec::new(),
        })
    }

    /// `UID[:UID] new|cur[,FLAGS][@SECONDS] = TEXT`
    pub fn add(&mut self, text: &str) -> Option<()> {
        let (head, text) = text.split_once(" = ")?;
        let (uids, place) = head.split_once(' ')?;
        let (first, last) = uids.split_once(':').unwrap_or((uids, uids));
        let (place, date) = match place.split_once('@') {
            Some((place, date)) => (place, date.parse().ok()?),
            None => (place, 1_000_000_000),
        };
        let flags = match place.split_once(',').unwrap_or((place, "")) {
            ("new", "") => None,
            ("cur", flags) => Some(flags.to_owned()),
            _ => return None,
        };
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        self.messages.push(Messages { first, last, flags, date, text: unescape(text)? });
        Some(())
    }

    /// Makes it.
    pub fn fill(&self, place: &Place) {
        let directory = match &*self.name {
            "INBOX" => String::new(),
            name => format!(".{name}/"),
        };
        if !directory.is_empty() {
            for part in ["", "new", "cur", "tmp"] {
                place.make_directory(&format!("Maildir/{directory}{part}"));
            }
        }
        let (validity, next) = (self.uid_validity, self.next_uid);
        let mut list = format!("3 V{validity} N{next} G0123456789abcdef0123456789abcdef\n");
        for messages in &self.messages {
            for uid in messages.first..=messages.last {
                let base = format!("{:010}.{uid}.host", 1_000_000_000 + u64::from(uid));
                let name = match &messages.flags {
                    None => format!("{directory}new/{base}"),
                    Some(flags) => format!("{directory}cur/{base}:2,{flags}"),
                };
                place.deliver(&name, &messages.text);
                if messages.date != 1_000_000_000 {
                    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(messages.date);
                    let file = std::fs::File::options().write(true).open(place.maildir().join(&name));
                    file.and_then(|file| file.set_modified(time)).expect("utime");
                }
                list += &format!("{uid} :{base}\n");
            }
        }
        // Of now: modification sequences begin with 1.
        place.write(&format!("Maildir/{directory}dovecot-uidlist"), list.as_bytes());
        if !self.keywords.is_empty() {
            let lines = self.keywords.iter().zip(0..).map(|(name, at)| format!("{at} {name}\n"));
            place.deliver(&format!("{directory}dovecot-keywords"), lines.collect::<String>().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Mailbox::parse("INBOX 1").is_none());
        let mut mailbox = Mailbox::parse("INBOX 7 12 $A $B").unwrap();
        assert_eq!((mailbox.uid_validity, mailbox.next_uid, mailbox.keywords.len()), (7, 12, 2));
        assert!(mailbox.add(r"3:7 cur,SFa = A: b\n\nc\n").is_some());
        assert!(mailbox.add("3 new = A").is_some());
        for wrong in ["3 new", "3 old = A", "x new = A", "3 new,S = A"] {
            assert!(mailbox.add(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn it_is_made() {
        let place = Place::new();
        let mut mailbox = Mailbox::parse("INBOX 7 12 $A").unwrap();
        mailbox.add("9:10 cur,a = A: b").unwrap();
        mailbox.add("11 new = A: b").unwrap();
        mailbox.fill(&place);
        let wanted = ["cur/1000000009.9.host:2,a", "cur/1000000010.10.host:2,a", "new/1000000011.11.host"];
        assert_eq!(place.listing(), wanted);
        let list = std::fs::read_to_string(place.maildir().join("dovecot-uidlist")).unwrap();
        assert!(list.starts_with("3 V7 N12 G") && list.ends_with("11 :1000000011.11.host\n"), "{list}");
    }
}
