//! `mynetworks`: the clients that may relay.
//!
//! ```text
//! 192.0.2.0/24 2001:db8::/32 [2001:db8::]/32 192.0.2.1 !192.0.2.9 /file-with-more cidr:/file
//! ```
//! As in Postfix the first that fits decides, and `!` means that it does not belong. An IPv4 address that comes mapped into
//! IPv6 is an IPv4 address.

use crate::logical::LogicalLines;
use crate::values::words;
use common::config::keyword::NetworksStyle;
use common::peer::Network;
use common::sys::interface::{Interface, interfaces};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Most networks of all files together.
const MAX: usize = 10_000;

/// A list of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    list: Vec<(Network, bool)>,
    /// What this host's interfaces are in belongs, too.
    style: Option<NetworksStyle>,
    /// Those, once they have been asked for: it is not cheap, and for a client of this host not needed.
    of_style: OnceCell<Box<Networks>>,
}

impl Networks {
    /// Reads a list, with the files in it.
    pub fn parse(list: &str) -> io::Result<Networks> {
        let mut networks = Networks::default();
        for word in words(list) {
            let (file, not) = word.strip_prefix('!').map_or((word, false), |rest| (rest, true));
            let (path, is_table) = file.strip_prefix("cidr:").map_or((file, false), |path| (path, true));
            match path.starts_with('/') {
                true => networks.add_file(Path::new(path), !not, is_table)?,
                false => networks.add(word)?,
            }
        }
        Ok(networks)
    }

    fn add(&mut self, word: &str) -> io::Result<()> {
        let (text, belongs) = word.strip_prefix('!').map_or((word, true), |rest| (rest, false));
        let network = text.parse::<Network>().map_err(|_| {
            let why = format!("mynetworks: {word} is not a network, such as 192.0.2.0/24 or [2001:db8::]/32");
            io::Error::other(why)
        })?;
        if self.list.len() >= MAX {
            return Err(io::Error::other("mynetworks: too many networks"));
        }
        self.list.push((network, belongs));
        Ok(())
    }

    fn add_file(&mut self, path: &Path, belongs: bool, is_table: bool) -> io::Result<()> {
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
        let mut lines = LogicalLines::open(path).map_err(named)?;
        while let Some((_, line)) = lines.next().map_err(named)? {
            let line = String::from_utf8_lossy(line).into_owned();
            // An indented line was joined to the one before it. A table has a value behind the network; that it is there is all
            // that counts.
            for (at, word) in words(&line).enumerate() {
                match self.add(word) {
                    Err(_) if at > 0 => break,
                    added => added.map_err(named)?,
                }
                if let (false, Some(last)) = (belongs, self.list.last_mut()) {
                    last.1 = !last.1;
                }
                if is_table {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What `mynetworks_style` means on this host.
    pub fn of_style(style: NetworksStyle) -> Networks {
        Networks { style: Some(style), ..Networks::from_interfaces(style, &[]) }
    }

    fn from_interfaces(style: NetworksStyle, interfaces: &[Interface]) -> Networks {
        let mut list = Networks::default();
        // The loopback networks are always this host's.
        for (address, prefix) in [("127.0.0.0", 8), ("::1", 128)] {
            list.add_prefix(address.parse().ok(), prefix);
        }
        for Interface { address, prefix } in interfaces {
            // A network of everything would make an open relay.
            if address.is_loopback() || *prefix == 0 {
                continue;
            }
            let prefix = match (style, address) {
                (NetworksStyle::Subnet, _) => *prefix,
                (NetworksStyle::Class, IpAddr::V4(v4)) => match v4.octets().first() {
                    Some(0..=127) => 8,
                    Some(128..=191) => 16,
                    Some(192..=223) => 24,
                    _ => 32,
                },
                (_, IpAddr::V4(_)) => 32,
                (_, IpAddr::V6(_)) => 128,
            };
            list.add_prefix(Some(*address), prefix);
        }
        list
    }

    fn add_prefix(&mut self, address: Option<IpAddr>, prefix: u8) {
        let network = match address {
            Some(IpAddr::V4(v4)) => {
                let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
                format!("{}/{prefix}", std::net::Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            Some(IpAddr::V6(v6)) => {
                let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0);
                format!("{}/{prefix}", std::net::Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            None => return,
        };
        self.list.extend(network.parse::<Network>().ok().map(|network| (network, true)));
    }

    /// Whether the address belongs.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self.list.iter().find(|(network, _)| network.contains(address)) {
            Some((_, belongs)) => *belongs,
            None => self.style.is_some_and(|style| self.found(style).contains(address)),
        }
    }

    /// If the kernel does not tell, nobody is in them.
    fn found(&self, style: NetworksStyle) -> &Networks {
        self.of_style.get_or_init(|| {
            let all = interfaces().unwrap_or_default();
            Box::new(Networks::from_interfaces(style, &all))
        })
    }

    /// Whether at least half of IPv4, or of what is in use of IPv6, belongs: whoever spams has a host there.
    pub fn is_everything(&self) -> bool {
        let is_half = |all: Span| {
            let spans =
                || self.list.iter().map(|(network, belongs)| (Span::of(network).within(all), *belongs));
            // Nearly always they are few, and need not be put in order.
            let at_most = spans()
                .filter(|(_, belongs)| *belongs)
                .fold(0u128, |sum, (span, _)| sum.saturating_add(span.size()));
            at_most >= all.size() / 2 && union(spans()) >= all.size() / 2
        };
        is_half(Span::IPV4) || is_half(Span::IPV6)
    }

    /// Networks that belong and are larger than any that one site has.
    pub fn large(&self) -> impl Iterator<Item = Network> {
        let is_large = |network: &Network| match network.base() {
            IpAddr::V4(_) => network.prefix() < 8,
            IpAddr::V6(_) => network.prefix() < 16 && Span::of(network).within(Span::IPV6).size() > 0,
        };
        let belong = self.list.iter().filter(|(_, belongs)| *belongs).map(|(network, _)| *network);
        belong.filter(is_large)
    }
}

/// Addresses from the first to the last; those of IPv4 are where they are mapped into IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u128,
    last: u128,
}

impl Span {
    const IPV4: Span = Span { first: 0xffff << 32, last: (0xffff << 32) | 0xffff_ffff };
    /// 2000::/3, where all of the Internet is.
    const IPV6: Span = Span { first: 1 << 125, last: (1 << 126) - 1 };

    fn of(network: &Network) -> Span {
        let (first, bits) = match network.base() {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), 32u32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let behind = bits.saturating_sub(network.prefix().into());
        Span { first, last: first | u128::MAX.checked_shr(128 - behind).unwrap_or(0) }
    }

    /// What of it is in the other one.
    fn within(self, other: Span) -> Span {
        Span { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    fn size(self) -> u128 {
        self.last.saturating_add(1).saturating_sub(self.first)
    }
}

/// How many addresses belong, where the first span that has an address decides. One network is within another or has nothing in
/// common with it.
fn union(spans: impl Iterator<Item = (Span, bool)>) -> u128 {
    let mut decided: BTreeMap<u128, u128> = BTreeMap::new();
    let mut sum = 0u128;
    for (span, belongs) in spans.filter(|(span, _)| span.size() > 0) {
        let before = decided.range(..=span.first).next_back();
        if before.is_some_and(|(_, last)| *last >= span.last) {
            continue;
        }
        let mut new = span.size();
        while let Some((&first, &last)) = decided.range(span.first..=span.last).next() {
            decided.remove(&first);
            new = new.saturating_sub(Span { first, last }.size());
        }
        decided.insert(span.first, span.last);
        sum = sum.saturating_add(if belongs { new } else { 0 });
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn contains(list: &str, address: &str) -> bool {
        Networks::parse(list).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn members() {
        for (list, address, belongs) in [
            ("192.0.2.0/24", "192.0.2.9", true),
            ("192.0.2.0/24", "192.0.3.9", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("192.0.2.0/24", "::192.0.2.9", false),
            ("[2001:db8::]/32", "2001:db8::9", true),
            ("[2001:db8::]/32, 192.0.2.1", "192.0.2.1", true),
            ("!192.0.2.9 192.0.2.0/24", "192.0.2.9", false),
            ("192.0.2.0/24 !192.0.2.9", "192.0.2.9", true),
            ("::/0", "192.0.2.1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(contains(list, address), belongs, "{list} {address}");
        }
        for list in ["example.org", "192.0.2.1/24", "192.0.2.0/33", "/nonexistent", "hash:/etc/networks", "*"]
        {
            assert!(Networks::parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn files() {
        let scratch = Scratch::new();
        let path = scratch.file("networks", "# ours\n192.0.2.0/24\n!198.51.100.7\n198.51.100.0/24 OK\n");
        let path = path.to_str().unwrap();
        for list in [path.to_owned(), format!("cidr:{path}")] {
            assert!(contains(&list, "192.0.2.1") && contains(&list, "198.51.100.1"), "{list}");
            assert!(!contains(&list, "198.51.100.7"));
        }
        let several = scratch
            .file("several", "192.0.2.0/24, 198.51.100.0/28 203.0.113.9\n  10.0.0.0/8 OK 11.0.0.0/8\n");
        let several = several.to_str().unwrap();
        for address in ["192.0.2.1", "198.51.100.1", "203.0.113.9", "10.1.1.1"] {
            assert!(contains(several, address), "{address}");
        }
        assert!(!contains(several, "11.1.1.1") && !contains(&format!("cidr:{several}"), "203.0.113.9"));
        assert!(!contains(&format!("!{path} 0.0.0.0/0"), "192.0.2.1"));
        assert!(contains(&format!("!{path} 0.0.0.0/0"), "198.51.100.7"));
    }

    #[test]
    fn styles() {
        let interface = |address: &str, prefix| Interface { address: address.parse().unwrap(), prefix };
        let all = [
            interface("127.0.0.1", 8),
            interface("192.0.2.5", 28),
            interface("10.1.2.3", 24),
            interface("2001:db8::5", 64),
        ];
        for (style, address, belongs) in [
            (NetworksStyle::Host, "127.9.9.9", true),
            (NetworksStyle::Host, "::1", true),
            (NetworksStyle::Host, "192.0.2.5", true),
            (NetworksStyle::Host, "192.0.2.6", false),
            (NetworksStyle::Subnet, "192.0.2.14", true),
            (NetworksStyle::Subnet, "192.0.2.16", false),
            (NetworksStyle::Subnet, "2001:db8::6", true),
            (NetworksStyle::Class, "192.0.2.16", true),
            (NetworksStyle::Class, "10.200.0.1", true),
            (NetworksStyle::Class, "2001:db8::6", false),
        ] {
            let networks = Networks::from_interfaces(style, &all);
            assert_eq!(networks.contains(address.parse().unwrap()), belongs, "{style:?} {address}");
        }
        let ours = Networks::of_style(NetworksStyle::Host);
        assert!(ours.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(ours.of_style.get(), None, "nobody had to look");
        assert!(!ours.contains("192.0.2.77".parse().unwrap()));
        assert!(ours.of_style.get().is_some());
        for own in interfaces().unwrap() {
            assert!(ours.contains(own.address), "{}", own.address);
        }
        let whole = Networks::from_interfaces(NetworksStyle::Subnet, &[interface("192.0.2.5", 0)]);
        assert!(!whole.contains("198.51.100.1".parse().unwrap()));
    }

    #[test]
    fn everything_is_told() {
        let single: String = (0..128).map(|n| format!("{}.0.0.0/8, ", 2 * n)).collect();
        for (list, everything) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("10.0.0.0/8", false),
            ("!0.0.0.0/0", false),
            ("", false),
            ("0.0.0.0/1, 128.0.0.0/1", true),
            ("128.0.0.0/1", true),
            ("64.0.0.0/2, 192.0.2.1, 128.0.0.0/2", true),
            ("64.0.0.0/2", false),
            (&single, true),
            (&single[11..], false),
            ("64.0.0.0/2, 64.0.0.0/3, 64.0.0.0/2", false),
            ("!10.0.0.0/8 0.0.0.0/0", true),
            ("!0.0.0.0/1 !192.0.0.0/2 0.0.0.0/0", false),
            ("!0.0.0.0/0 0.0.0.0/1, 128.0.0.0/1", false),
            ("2000::/3", true),
            ("[2000::]/4 [3000::]/4", true),
            ("2001:db8::/32 fc00::/7 fe80::/10 ::1", false),
            ("::ffff:192.0.2.1, 2001:db8::1", false),
        ] {
            assert_eq!(Networks::parse(list).unwrap().is_everything(), everything, "{list}");
        }
    }

    #[test]
    fn large_networks_are_told() {
        for (list, large) in [
            ("10.0.0.0/8 192.168.0.0/16 172.16.0.0/12 fc00::/7 fe80::/10 2001:db8::/32", vec![]),
            ("64.0.0.0/7 2600::/12 !96.0.0.0/4", vec!["64.0.0.0", "2600::"]),
        ] {
            let networks = Networks::parse(list).unwrap();
            let found: Vec<String> = networks.large().map(|network| network.base().to_string()).collect();
            assert_eq!(found, large);
        }
    }
}
