//! Lists of networks, as in `allow_nets=192.0.2.0/24,2001:db8::/32,local` (Dovecot's passdb extra field).

use crate::peer::Network;
use std::net::IpAddr;

/// Whether the list contains the address. `None`: the list is damaged, which is for the caller to refuse. `local`
/// stands for a connection whose address is not known. An IPv4 address written as IPv6 is an IPv4 address.
pub fn contains(list: &str, address: Option<IpAddr>) -> Option<bool> {
    let mut found = false;
    for item in list.split(',').filter(|item| !item.is_empty()) {
        found |= match address {
            None => item == "local" || item.parse::<Network>().map(|_| false).ok()?,
            Some(address) => item != "local" && item.parse::<Network>().ok()?.contains(address),
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("10.0.0.1/8", "10.0.0.1", None),
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

    proptest! {
        /// A list is as good as its worst item, and an address is in it if it is in one item.
        #[test]
        fn a_list_is_its_items(
            items in prop::collection::vec(
                "10[.]0[.]0[.][0-9]{1,2}(/(8|24|3[0-3]))?|::[0-9a-f]{1,2}(/[0-9]{1,3})?|local|[0-9a-f.:/]{1,6}", 0..4),
            v4 in 0_u32..64, v6 in 0_u128..256,
        ) {
            for address in [Some(IpAddr::V4((0x0a00_0000 + v4).into())), Some(IpAddr::V6(v6.into())), None] {
                let each: Option<Vec<bool>> = items.iter().map(|item| contains(item, address)).collect();
                prop_assert_eq!(contains(&items.join(","), address), each.map(|each| each.contains(&true)));
            }
        }
    }
}
