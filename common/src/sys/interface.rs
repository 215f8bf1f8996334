//! The addresses of this host's network interfaces.

use super::cerr;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and how many bits of it are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// The prefix of the network that is directly reached through it.
    pub prefix: u8,
}

/// All addresses of all interfaces that are up. IPv6 ones that hold on one link alone are left out: without the link's name
/// they say nothing.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes a pointer to a list that it allocates, which is given back below.
    cerr(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: the list ends in null, and its nodes live until freeifaddrs; address and mask are null or sockaddrs of the
    // family that they name.
    unsafe {
        while let Some(node) = next.as_ref() {
            next = node.ifa_next;
            if node.ifa_flags & libc::IFF_UP as libc::c_uint == 0 {
                continue;
            }
            let Some(address) = address_of(node.ifa_addr) else { continue };
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let prefix = address_of(node.ifa_netmask).map_or(whole, prefix_of);
            if !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                found.push(Interface { address, prefix });
            }
        }
        libc::freeifaddrs(list);
    }
    Ok(found)
}

/// The number of an interface, which stands for its name in addresses that hold on one link alone.
pub fn number(name: &str) -> Option<u32> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: as above.
    cerr(unsafe { libc::getifaddrs(&raw mut list) }).ok()?;
    let (mut found, mut next) = (None, list);
    // SAFETY: as above; names end in NUL. An address of the family AF_PACKET is a sockaddr_ll, which each interface has one of.
    unsafe {
        while let Some(node) = next.as_ref() {
            next = node.ifa_next;
            let is_packet = !node.ifa_addr.is_null()
                && i32::from((&raw const (*node.ifa_addr).sa_family).read_unaligned()) == libc::AF_PACKET;
            if is_packet && CStr::from_ptr(node.ifa_name).to_bytes() == name.as_bytes() {
                found = u32::try_from(node.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned().sll_ifindex)
                    .ok();
            }
        }
        libc::freeifaddrs(list);
    }
    found
}

/// # Safety
///
/// Null, or a socket address as large as its family says.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller promises it. Nothing is said of its alignment.
    unsafe {
        if address.is_null() {
            return None;
        }
        match i32::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

fn prefix_of(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(v4) => v4.to_bits().leading_ones(),
        IpAddr::V6(v6) => v6.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found() {
        let all = interfaces().unwrap();
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(all.contains(&Interface { address: localhost, prefix: 8 }), "{all:?}");
    }

    #[test]
    fn numbers() {
        assert_eq!(number("lo"), Some(1));
        assert_eq!((number("nosuch0"), number(""), number("lo\0")), (None, None, None));
    }

    #[test]
    fn masks() {
        for (mask, prefix) in
            [("255.255.255.0", 24), ("0.0.0.0", 0), ("ffff:ffff::", 32), ("255.255.255.255", 32)]
        {
            assert_eq!(prefix_of(mask.parse().unwrap()), prefix);
        }
    }
}
