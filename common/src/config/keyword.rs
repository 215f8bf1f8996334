//! Values that are words of a closed set: one of them, or a list.

use super::value::{Value, words};
use std::marker::PhantomData;

/// A closed set of words.
pub trait Keyword: Copy + PartialEq + 'static {
    /// All of them with their words.
    const ALL: &'static [(Self, &'static str)];
    /// The words, for error lines.
    const WORDS: &'static str;

    /// Its place in [`Keyword::ALL`].
    fn index(self) -> u32;
}

/// The keyword with this word, in any case.
fn keyword<K: Keyword>(word: &str) -> Option<K> {
    K::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(word)).map(|(keyword, _)| *keyword)
}

/// Any number of keywords, without order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<K>(u32, PhantomData<K>);

impl<K: Keyword> Set<K> {
    /// Whether the keyword is one of them.
    pub fn contains(self, keyword: K) -> bool {
        self.0 & (1 << keyword.index()) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The keywords that are in it, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = K> {
        K::ALL.iter().map(|(keyword, _)| *keyword).filter(move |keyword| self.contains(*keyword))
    }
}

impl<K: Keyword> Value for Set<K> {
    const ACCEPTED: &'static str = K::WORDS;

    fn read(text: &str) -> Option<Set<K>> {
        words(text).try_fold(Set(0, PhantomData), |set, word| {
            Some(Set(set.0 | 1 << keyword::<K>(word)?.index(), PhantomData))
        })
    }

    fn print(&self) -> String {
        let words = K::ALL.iter().filter(|(keyword, _)| self.contains(*keyword)).map(|(_, word)| *word);
        words.collect::<Vec<_>>().join(" ")
    }
}

macro_rules! keywords {
    ($(#[$doc:meta])* $name:ident, $lead:literal: $first:ident = $first_word:literal $first_help:literal
        $(, $variant:ident = $word:literal $help:literal)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            #[doc = $first_help] $first,
            $(#[doc = $help] $variant,)*
        }

        impl Keyword for $name {
            const ALL: &'static [(Self, &'static str)] =
                &[($name::$first, $first_word) $(, ($name::$variant, $word))*];
            const WORDS: &'static str = concat!($lead, $first_word $(, ", ", $word)*);

            fn index(self) -> u32 {
                self as u32
            }
        }
    };
}

macro_rules! single {
    ($($name:ident)*) => {$(
        impl Value for $name {
            const ACCEPTED: &'static str = <$name as Keyword>::WORDS;

            fn read(text: &str) -> Option<$name> {
                keyword(text)
            }

            fn print(&self) -> String {
                self.word().to_owned()
            }
        }

        impl $name {
            /// The word in the configuration.
            pub fn word(self) -> &'static str {
                $name::ALL.iter().find(|(keyword, _)| *keyword == self).map_or("", |(_, word)| word)
            }
        }
    )*};
}

macro_rules! sets {
    ($($name:ident)*) => {$(
        impl Set<$name> {
            /// These keywords.
            pub const fn of(keywords: &[$name]) -> Set<$name> {
                let (mut bits, mut at) = (0, 0);
                while at < keywords.len() {
                    bits |= 1 << keywords[at] as u32;
                    at += 1;
                }
                Set(bits, PhantomData)
            }
        }
    )*};
}

keywords! {
    /// Whether there is TLS.
    Ssl, "one of: ":
    No = "no" "None at all.",
    Yes = "yes" "Offered when there is a certificate.",
    Required = "required" "No login without it, except from this host or a trusted network."
}

keywords! {
    /// Oldest TLS version accepted.
    TlsVersion, "one of: ":
    Tls12 = "TLSv1.2" "RFC 5246.",
    Tls13 = "TLSv1.3" "RFC 8446."
}

keywords! {
    /// Facility of the messages to syslog.
    Facility, "one of: ":
    Mail = "mail" "LOG_MAIL.", Daemon = "daemon" "LOG_DAEMON.", Auth = "auth" "LOG_AUTH.",
    Authpriv = "authpriv" "LOG_AUTHPRIV.", User = "user" "LOG_USER.",
    Local0 = "local0" "LOG_LOCAL0.", Local1 = "local1" "LOG_LOCAL1.", Local2 = "local2" "LOG_LOCAL2.",
    Local3 = "local3" "LOG_LOCAL3.", Local4 = "local4" "LOG_LOCAL4.", Local5 = "local5" "LOG_LOCAL5.",
    Local6 = "local6" "LOG_LOCAL6.", Local7 = "local7" "LOG_LOCAL7."
}

keywords! {
    /// A SASL mechanism, or APOP.
    Mechanism, "a list of: ":
    Plain = "plain" "RFC 4616.",
    Login = "login" "Outlook's two questions.",
    CramMd5 = "cram-md5" "RFC 2195; needs a stored secret.",
    Apop = "apop" "RFC 1939; needs a stored secret.",
    ScramSha1 = "scram-sha-1" "RFC 5802.",
    ScramSha256 = "scram-sha-256" "RFC 7677.",
    External = "external" "RFC 4422 A; needs a client certificate."
}

keywords! {
    /// The attribute of a client certificate's subject that is the user name.
    CertUsernameField, "one of: ":
    CommonName = "commonName" "2.5.4.3.",
    EmailAddress = "emailAddress" "1.2.840.113549.1.9.1.",
    UserId = "UID" "0.9.2342.19200300.100.1.1.",
    SerialNumber = "serialNumber" "2.5.4.5, the subject's, not the certificate's.",
    X500UniqueIdentifier = "x500UniqueIdentifier" "2.5.4.45."
}

keywords! {
    /// Mending of replies for clients that need it.
    Workaround, "a list of: ":
    OutlookNoNuls = "outlook-no-nuls" "NUL octets in messages are sent as 0x80.",
    OeNsEoh = "oe-ns-eoh" "An end of headers is sent where a message has none."
}

keywords! {
    /// Habits of clients that are put up with, as with Dovecot.
    ImapWorkaround, "a list of: ":
    DelayNewmail = "delay-newmail" "EXISTS and RECENT are said with NOOP, CHECK and IDLE only.",
    TbExtraMailboxSep = "tb-extra-mailbox-sep" "A hierarchy separator at the end of a name is not there.",
    TbLsubFlags = "tb-lsub-flags" "LSUB says \\Noselect of what does not exist."
}

keywords! {
    /// Which addresses of other hosts are used.
    InetProtocols, "one of: ":
    All = "all" "IPv6 and IPv4.",
    Ipv4 = "ipv4" "RFC 791.",
    Ipv6 = "ipv6" "RFC 8200."
}

keywords! {
    /// How much TLS other servers have to offer.
    TlsLevel, "one of: ":
    None = "none" "Nothing is encrypted.",
    May = "may" "What can be encrypted is; certificates are not looked at.",
    Encrypt = "encrypt" "Nothing goes in clear; certificates are not looked at.",
    Verify = "verify" "The certificate must be the host's, by whatever way the host was found.",
    Secure = "secure" "The certificate must be that of the next hop, or of a host below its domain."
}

keywords! {
    /// SASL mechanisms that are not used.
    SaslOption, "a list of: ":
    NoPlaintext = "noplaintext" "Those that tell the password itself: PLAIN and LOGIN.",
    NoAnonymous = "noanonymous" "Those without a password; there are none here."
}

single! { InetProtocols TlsLevel }
sets! { SaslOption }

keywords! {
    /// Which networks count as `mynetworks` where that is empty.
    NetworksStyle, "one of: ":
    Host = "host" "This host alone.",
    Subnet = "subnet" "The networks that its interfaces are in.",
    Class = "class" "The class A, B and C networks that its IPv4 interfaces are in."
}

keywords! {
    /// Who may name files and programs that mail is delivered to.
    Expansion, "a list of: ":
    Alias = "alias" "Aliases.",
    Forward = "forward" "~/.forward.",
    Include = "include" ":include: files."
}

single! { Ssl TlsVersion Facility CertUsernameField NetworksStyle }
sets! { Mechanism Workaround ImapWorkaround }
sets! { Expansion }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_words() {
        assert_eq!(Ssl::read("Required"), Some(Ssl::Required));
        assert_eq!(TlsVersion::read("tlsv1.3"), Some(TlsVersion::Tls13));
        assert_eq!(Ssl::read(""), None);
        assert_eq!(Ssl::ACCEPTED, "one of: no, yes, required");
        for (facility, word) in Facility::ALL {
            assert_eq!((Facility::read(word), facility.word()), (Some(*facility), *word));
        }
    }

    #[test]
    fn sets() {
        let set = Set::<Mechanism>::read("SCRAM-SHA-256, plain plain").unwrap();
        assert_eq!(set.print(), "plain scram-sha-256");
        assert!(set.contains(Mechanism::Plain) && !set.contains(Mechanism::Login));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Mechanism::Plain, Mechanism::ScramSha256]);
        assert_eq!(set, Set::<Mechanism>::of(&[Mechanism::ScramSha256, Mechanism::Plain]));
        assert!(Set::<Workaround>::read("").unwrap().is_empty());
        assert_eq!(Set::<Workaround>::read("plain"), None);
    }
}
