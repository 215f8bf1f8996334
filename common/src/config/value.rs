//! Kinds of values: what is accepted behind the `=`, and how it is printed again.
//!
//! The text is the administrator's; whatever is not exactly one of the accepted forms is refused.

pub use crate::auth::Passdb;
use crate::peer::Network;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

/// The value is not one of those that the setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What is accepted, for the error line.
    pub accepted: &'static str,
}

/// A kind of value. Printing and parsing again gives an equal value.
pub trait Value: Sized {
    /// What is accepted, for error lines and the manual page.
    const ACCEPTED: &'static str;

    /// `None` if the text is not accepted; it has no blanks at either end and no control characters.
    fn read(text: &str) -> Option<Self>;

    /// The text in its usual form.
    fn print(&self) -> String;

    /// [`Value::read`] with the reason for a refusal.
    fn parse(text: &str) -> Result<Self, Refused> {
        Self::read(text).ok_or(Refused { accepted: Self::ACCEPTED })
    }
}

/// Text; a default costs no memory.
pub type Text = Cow<'static, str>;

/// A list; a default costs no memory.
pub type List<T> = Cow<'static, [T]>;

pub(super) const fn text(default: &'static str) -> Text {
    Cow::Borrowed(default)
}

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub(super) const fn hours(n: u64) -> Duration {
    Duration::from_secs(3600 * n)
}

impl Value for Text {
    const ACCEPTED: &'static str = "any text";

    fn read(text: &str) -> Option<Text> {
        Some(Cow::Owned(text.to_owned()))
    }

    fn print(&self) -> String {
        self.clone().into_owned()
    }
}

impl Value for bool {
    const ACCEPTED: &'static str = "one of: yes, no";

    fn read(text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        }
    }

    fn print(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Value for u32 {
    const ACCEPTED: &'static str = "a number from 0 to 4294967295";

    fn read(text: &str) -> Option<u32> {
        if digits_then_unit(text)?.1.is_empty() { text.parse().ok() } else { None }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// At least one digit, then anything; blanks between the two are taken off.
fn digits_then_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start_matches([' ', '\t'])))
}

/// Longest time that can be configured: a year of 366 days.
const LONGEST_TIME: u64 = 366 * 86_400;

const TIME_UNITS: [(&str, u64); 5] =
    [("week", 7 * 86_400), ("day", 86_400), ("hour", 3600), ("min", 60), ("sec", 1)];

impl Value for Duration {
    const ACCEPTED: &'static str =
        "a time of at most a year, such as 60, 60s, 5m, 2h, 1d, 10 secs, 30 mins (or msecs)";

    fn read(text: &str) -> Option<Duration> {
        let (number, unit) = digits_then_unit(text)?;
        let unit = unit.to_ascii_lowercase();
        if ["ms", "msec", "msecs", "millisecond", "milliseconds"].contains(&&*unit) {
            return Some(Duration::from_millis(number)).filter(|time| time.as_secs() <= LONGEST_TIME);
        }
        let factor = match unit.as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 7 * 86_400,
            _ => return None,
        };
        number.checked_mul(factor).filter(|&time| time <= LONGEST_TIME).map(Duration::from_secs)
    }

    fn print(&self) -> String {
        if self.subsec_millis() != 0 {
            return format!("{} msecs", self.as_millis());
        }
        let seconds = self.as_secs();
        let fits = |&&(_, size): &&(&str, u64)| seconds % size == 0 && seconds >= size;
        match TIME_UNITS.iter().find(fits) {
            Some((unit, size)) => {
                format!("{} {unit}{}", seconds / size, if seconds == *size { "" } else { "s" })
            }
            None => seconds.to_string(),
        }
    }
}

/// A number of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    pub(super) const fn kibi(n: u64) -> Size {
        Size(n << 10)
    }

    pub(super) const fn mebi(n: u64) -> Size {
        Size(n << 20)
    }
}

const SIZE_UNITS: &str = "KMGT";

impl Value for Size {
    const ACCEPTED: &'static str = "a size such as 4096, 512k, 30M, 64 MiB, 1G";

    fn read(text: &str) -> Option<Size> {
        let (number, unit) = digits_then_unit(text)?;
        let unit = unit.to_ascii_uppercase();
        let shift = match unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit) {
            "" if unit != "IB" => 0,
            letter if letter.len() == 1 => 10 * (SIZE_UNITS.find(letter)? + 1),
            _ => return None,
        };
        number.checked_mul(1 << shift).map(Size)
    }

    fn print(&self) -> String {
        let mut number = self.0;
        let mut unit = None;
        for letter in SIZE_UNITS.chars() {
            if number == 0 || number % 1024 != 0 {
                break;
            }
            number /= 1024;
            unit = Some(letter);
        }
        unit.map_or(number.to_string(), |unit| format!("{number}{unit}"))
    }
}

/// An absolute path, or empty where the setting allows that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Text);

impl Path {
    pub(super) const fn new(default: &'static str) -> Path {
        Path(text(default))
    }

    /// `None`: the setting is empty.
    pub fn get(&self) -> Option<&std::path::Path> {
        if self.0.is_empty() { None } else { Some(std::path::Path::new(&*self.0)) }
    }

    /// The path's text; empty if the setting is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Path {
    const ACCEPTED: &'static str = "a path that begins with /";

    fn read(text: &str) -> Option<Path> {
        let fits = text.is_empty() || text.starts_with('/');
        fits.then(|| Path(Cow::Owned(text.to_owned())))
    }

    fn print(&self) -> String {
        self.as_str().to_owned()
    }
}

/// `maildir:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLocation(Text);

impl MailLocation {
    pub(super) const DEFAULT: MailLocation = MailLocation(text("maildir:~/Maildir"));

    /// As it was written: [`crate::maildir::Location`] takes it apart for a user.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Value for MailLocation {
    const ACCEPTED: &'static str = "maildir:PATH[:INBOX=PATH][:CONTROL=PATH][:INDEX=PATH or MEMORY], absolute or from ~/, with %u %n %d %h (%Lu: in lower case)";

    fn read(text: &str) -> Option<MailLocation> {
        use crate::maildir::{Location, User};
        // What holds for this user holds for all: only names with a path in them are refused later.
        let anybody = User { name: "user@example.org", home: std::path::Path::new("/home/user") };
        Location::parse(text, anybody).ok()?;
        Some(MailLocation(Cow::Owned(text.to_owned())))
    }

    fn print(&self) -> String {
        self.0.clone().into_owned()
    }
}

/// Where mailboxes are that are not the user's own; empty: nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherLocation(Text);

impl OtherLocation {
    pub(super) const NONE: OtherLocation = OtherLocation(text(""));

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Value for OtherLocation {
    const ACCEPTED: &'static str =
        "nothing, or maildir:PATH[:INBOX=PATH][:CONTROL=PATH][:INDEX=PATH or MEMORY] as in mail_location";

    fn read(text: &str) -> Option<OtherLocation> {
        let fits = text.is_empty() || MailLocation::read(text).is_some();
        fits.then(|| OtherLocation(Cow::Owned(text.to_owned())))
    }

    fn print(&self) -> String {
        self.0.clone().into_owned()
    }
}

impl Value for Passdb {
    const ACCEPTED: &'static str = "a list of: shadow, passwd, passwd-file:/FILE, checkpassword:/PROGRAM";

    fn read(text: &str) -> Option<Passdb> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// The passwords of master users: one passwd-file, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterPassdb(pub Option<PathBuf>);

impl Value for MasterPassdb {
    const ACCEPTED: &'static str = "one passwd-file:/FILE, or nothing";

    fn read(text: &str) -> Option<MasterPassdb> {
        if text.is_empty() {
            return Some(MasterPassdb(None));
        }
        match text.parse().ok()? {
            Passdb::PasswdFile(path) => Some(MasterPassdb(Some(path))),
            _ => None,
        }
    }

    fn print(&self) -> String {
        self.0.clone().map_or_else(String::new, |path| Passdb::PasswdFile(path).to_string())
    }
}

impl Value for Network {
    const ACCEPTED: &'static str = "a list of addresses and networks, such as 192.0.2.1 or 2001:db8::/32 (no bits set behind the prefix)";

    fn read(text: &str) -> Option<Network> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// Users of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichUsers {
    /// All of them.
    Anyone,
    /// One, by name or uid.
    Named(String),
}

impl Value for WhichUsers {
    const ACCEPTED: &'static str = "a list of user names and uids, or static:anyone";

    fn read(text: &str) -> Option<WhichUsers> {
        let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "._-@$+".contains(c));
        match text {
            "static:anyone" => Some(WhichUsers::Anyone),
            name => is_name(name).then(|| WhichUsers::Named(name.to_owned())),
        }
    }

    fn print(&self) -> String {
        match self {
            WhichUsers::Anyone => "static:anyone".to_owned(),
            WhichUsers::Named(name) => name.clone(),
        }
    }
}

/// Words of a list: blanks and commas stand between them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', ',']).filter(|word| !word.is_empty())
}

impl<T: Value + Clone + 'static> Value for List<T> {
    const ACCEPTED: &'static str = T::ACCEPTED;

    fn read(text: &str) -> Option<List<T>> {
        words(text).map(T::read).collect::<Option<Vec<T>>>().map(Cow::Owned)
    }

    fn print(&self) -> String {
        self.iter().map(T::print).collect::<Vec<_>>().join(" ")
    }
}

/// The character between user and master user, if such logins exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separator(pub Option<char>);

impl Value for Separator {
    const ACCEPTED: &'static str = "one ASCII character, or nothing";

    fn read(text: &str) -> Option<Separator> {
        let mut chars = text.chars();
        let first = chars.next();
        let fits = chars.next().is_none() && first.is_none_or(|c| c.is_ascii_graphic());
        fits.then_some(Separator(first))
    }

    fn print(&self) -> String {
        self.0.map(String::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
