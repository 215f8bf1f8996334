//! Lists of networks, as in `allow_nets=192.0.2.0/24,2001:db8::/32,local` (Dovecot's passdb extra field).

use std::net::IpAddr;

/// Whether the list contains the address. `None`: the list is damaged, which is for the caller to refuse. `local`
/// stands for a connection whose address is not known. An IPv4 address written as IPv6 is an IPv4 address.
pub fn contains(list: &str, address: Option<IpAddr>) -> Option<bool> {
    let mut found = false;
    for item in list.split(',').filter(|item| !item.is_empty()) {
        found |= match address {
            None => item == "local" || network(item).map(|_| false)?,
            Some(address) => item != "local" && matches(network(item)?, address),
        };
    }
    Some(found)
}

/// `address/prefix`, or an address alone.
fn network(item: &str) -> Option<(IpAddr, u32)> {
    let (text, prefix) = item.split_once('/').map_or((item, None), |(text, prefix)| (text, Some(prefix)));
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = text.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) => {
            super::lines::number::<u32>(digits).filter(|&prefix| prefix <= bits && !digits.is_empty())?
        }
    };
    Some((address, prefix))
}

fn matches((network, prefix): (IpAddr, u32), address: IpAddr) -> bool {
    let (network, prefix) = match (network.to_canonical(), network) {
        (IpAddr::V4(inner), IpAddr::V6(_)) if prefix >= 96 => (IpAddr::V4(inner), prefix - 96),
        _ => (network, prefix),
    };
    let same_bits = match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (network.to_bits() ^ address.to_bits()).leading_zeros(),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits() ^ address.to_bits()).leading_zeros(),
        _ => return false,
    };
    same_bits >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        for (list, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", Some(true)),
            ("192.0.2.0/24", "192.0.3.0", Some(false)),
            ("192.0.2.0/24", "::ffff:192.0.2.1", Some(true)),
            ("::ffff:192.0.2.0/120", "192.0.2.9", Some(true)),
            ("::ffff:192.0.2.0/120", "192.0.3.9", Some(false)),
            ("::/0", "192.0.2.1", Some(false)),
            ("192.0.2.7", "192.0.2.7", Some(true)),
            ("192.0.2.7", "192.0.2.6", Some(false)),
            ("0.0.0.0/0", "203.0.113.1", Some(true)),
            ("0.0.0.0/0", "2001:db8::1", Some(false)),
            ("::/0", "2001:db8::1", Some(true)),
            ("2001:db8::/32", "2001:db8:ffff::1", Some(true)),
            ("2001:db8::/32", "2001:db9::1", Some(false)),
            ("[2001:db8::1]", "2001:db8::1", Some(true)),
            ("10.0.0.0/8,192.0.2.1,local", "192.0.2.1", Some(true)),
            ("local", "127.0.0.1", Some(false)),
            ("", "127.0.0.1", Some(false)),
            ("10.0.0.0/33", "10.0.0.1", None),
            ("10.0.0.0/", "10.0.0.1", None),
            ("10.0.0.0/+8", "10.0.0.1", None),
            ("10.0.0/8", "10.0.0.1", None),
            ("10.0.0.1,nonsense", "10.0.0.1", None),
        ] {
            assert_eq!(contains(list, Some(address.parse().unwrap())), expected, "{list} {address}");
        }
        assert_eq!(contains("192.0.2.1,local", None), Some(true));
        assert_eq!(contains("192.0.2.1", None), Some(false));
        assert_eq!(contains("nonsense", None), None);
    }
}
