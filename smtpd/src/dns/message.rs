//! DNS messages (RFC 1035 section 4): a question out, an answer in. What comes in may be forged and malformed; it is read by
//! simple-dns, once it is known to be the answer to our question and to have few records.

use super::Kind;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::net::IpAddr;

/// Octets of an answer that are read. Mail hosts of a domain have room in 512.
pub const ANSWER_MAX: usize = 8 * 1024;
/// Records of an answer, all sections together. Each can name, in two octets, 255 octets of a domain: this is what bounds
/// the memory that an answer takes.
const RECORDS_MAX: u32 = 128;
/// Aliases followed from one name to the next (CNAME).
const ALIASES_MAX: usize = 8;

/// One question and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    name: String,
    kind: Kind,
}

/// A record that answers the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// MX.
    Exchange {
        /// Lower ones first.
        preference: u16,
        /// In lower case; empty for the root, which is nobody (RFC 7505).
        host: String,
    },
}

/// What the server says to the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records of the kind that was asked for. None: the name has none of this kind.
    Records(Vec<Record>),
    /// NXDOMAIN.
    NoSuchName,
    /// There are MX records, and none names a host: their names have octets that no host's name has.
    NoHosts,
    /// The answer does not fit into a datagram (TC).
    Truncated,
    /// Anything else, in words.
    Failed(&'static str),
}

impl Query {
    /// A question about a domain in ASCII. `None`: it is not one that DNS can have.
    pub fn new(id: u16, name: &str, kind: Kind) -> Option<Query> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_domain = !name.is_empty()
            && name.len() <= 253
            && name
                .split('.')
                .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_host_octet));
        is_domain.then_some(Query { id, name, kind })
    }

    /// As it goes to the server. Without EDNS: what does not fit into 512 octets comes over TCP.
    pub fn octets(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.name).ok()?;
        let kind = QTYPE::TYPE(self.kind.record_type());
        packet.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().ok()
    }

    /// Reads what a server sent. `None`: it is no answer to this question, and whoever sent it is not to be listened to.
    pub fn read(&self, octets: &[u8]) -> Option<Answer> {
        let header: &[u8; 12] = octets.first_chunk()?;
        let word =
            |at: usize| header.get(at..at + 2).map_or(0, |w| w.iter().fold(0, |n, &b| n << 8 | u32::from(b)));
        // QR is the first bit of the flags; OPCODE, the next four, is 0 for a standard query.
        if word(0) != u32::from(self.id) || word(2) & 0xf800 != 0x8000 || word(4) != 1 {
            return None;
        }
        let is_truncated = word(2) & 0x0200 != 0;
        if !is_truncated && (octets.len() > ANSWER_MAX || word(6) + word(8) + word(10) > RECORDS_MAX) {
            return Some(Answer::Failed("the answer is too large"));
        }
        if is_truncated {
            // The records are of no interest, and may be cut.
            return self.asks(octets).then_some(Answer::Truncated);
        }
        if !self.asks(octets) {
            return None;
        }
        let Ok(packet) = Packet::parse(octets) else {
            return Some(Answer::Failed("the answer is malformed"));
        };
        match packet.rcode() {
            RCODE::NoError => Some(self.records(&packet)),
            RCODE::NameError => Some(Answer::NoSuchName),
            RCODE::ServerFailure => Some(Answer::Failed("SERVFAIL")),
            RCODE::Refused => Some(Answer::Failed("REFUSED")),
            _ => Some(Answer::Failed("the server does not answer such questions")),
        }
    }

    /// Whether the one question in it is ours.
    fn asks(&self, octets: &[u8]) -> bool {
        // The question begins behind the header, and nothing before it can be pointed to.
        let mut rest = octets.get(12..).unwrap_or_default();
        for label in self.name.split('.') {
            let Some((&length, behind)) = rest.split_first() else { return false };
            let Some((said, behind)) = behind.split_at_checked(label.len()) else { return false };
            if usize::from(length) != label.len() || !said.eq_ignore_ascii_case(label.as_bytes()) {
                return false;
            }
            rest = behind;
        }
        let [high, low] = u16::from(self.kind.record_type()).to_be_bytes();
        rest.starts_with(&[0, high, low, 0, 1])
    }

    fn records(&self, packet: &Packet<'_>) -> Answer {
        let mut name = self.name.clone();
        for _ in 0..=ALIASES_MAX {
            let here = packet.answers.iter().filter(|record| {
                record.class == CLASS::IN && domain(&record.name).is_some_and(|owner| owner == name)
            });
            let (mut alias, mut found, mut is_malformed) = (None, Vec::new(), false);
            for record in here {
                match (&record.rdata, self.kind) {
                    (RData::A(a), Kind::A) => found.push(Record::Address(IpAddr::V4(a.address.into()))),
                    (RData::AAAA(aaaa), Kind::Aaaa) => {
                        found.push(Record::Address(IpAddr::V6(aaaa.address.into())));
                    }
                    (RData::MX(mx), Kind::Mx) => {
                        let preference = mx.preference;
                        let host = domain(&mx.exchange);
                        is_malformed |= host.is_none();
                        found.extend(host.map(|host| Record::Exchange { preference, host }));
                    }
                    // One of no octets.
                    (RData::Empty(TYPE::MX), Kind::Mx) => is_malformed = true,
                    (RData::CNAME(cname), _) => alias = domain(&cname.0),
                    _ => {}
                }
            }
            match alias {
                _ if is_malformed && found.is_empty() => return Answer::NoHosts,
                Some(next) if found.is_empty() => name = next,
                _ => return Answer::Records(found),
            }
        }
        Answer::Failed("too many aliases")
    }
}

impl Kind {
    fn record_type(self) -> TYPE {
        match self {
            Kind::A => TYPE::A,
            Kind::Aaaa => TYPE::AAAA,
            Kind::Mx => TYPE::MX,
        }
    }
}

/// A name as text in lower case, empty for the root. `None`: it has octets that no host's name has.
fn domain(name: &Name<'_>) -> Option<String> {
    let mut text = String::new();
    for label in name.get_labels() {
        let label = label.as_ref();
        if !label.iter().copied().all(is_host_octet) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|&c| char::from(c.to_ascii_lowercase())));
    }
    Some(text)
}

/// RFC 1123 section 2.1, and the underscore.
fn is_host_octet(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
